//! One command's way to a server and its answer's way back to the client.
//!
//! Bytes of the answer go from the server's read buffer to the client as they were read; only control packets
//! are looked into. A client that reads slowly slows the server down: everything read is written before more is.
//!
//! Never here: a choice of server, what an answer means for the session, an error text.

mod outflow;

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::response::{
    Advance, LocalInfileRelay, Prepared, ResponseError, ResponseEvent, ResponseRelay,
};
use sluice_protocol::trackers::SessionChanges;
use sluice_protocol::{Capabilities, ErrPacket, ErrorCode, Header, StatusFlags, frame_payload};

use tokio::time::sleep;

use self::outflow::Outflow;
use super::interrupt::Interrupt;
use crate::backend::PacketStream;
use crate::feed::ledger::Writes;
use crate::feed::registry::Order;

/// How long a late commit may wait to be seen at the ackers: they are asked every few milliseconds, and a failover
/// breaks it off sooner.
const LONGEST_DOUBT: Duration = Duration::from_secs(10);

/// Most bytes of a client's file that are read ahead of the server.
const MAX_FILE_READ_AHEAD: usize = 64 * 1024;

/// What the packets of an answer told, as far as the session has to know.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Status flags of the last OK.
    pub(crate) status: Option<StatusFlags>,
    /// Trackers of all OKs together; the later value counts.
    pub(crate) changes: SessionChanges,
    /// The last generated id that was not 0.
    pub(crate) last_insert_id: u64,
    /// How many OKs came.
    pub(crate) oks: u32,
    /// Whether a character set was told without its collation, which the text may have named.
    pub(crate) may_collate: bool,
    /// Whether character sets were told of because of SET NAMES.
    pub(crate) by_names: bool,
    /// Warnings of the last OK.
    pub(crate) warnings: u16,
    /// Rows changed, as the last OK says.
    pub(crate) affected_rows: u64,
    /// Rows of the last result, if it was a result set.
    pub(crate) rows: Option<u64>,
    /// The error that ended the answer.
    pub(crate) error: Option<ErrPacket<'static>>,
    /// Whether that is another error than the server's.
    pub(crate) reworded: bool,
    /// The new prepared statement.
    pub(crate) prepared: Option<Prepared>,
}

impl Told {
    fn absorb(&mut self, event: ResponseEvent) {
        match event {
            ResponseEvent::Ok { summary, columns, rows } => {
                self.oks = self.oks.saturating_add(1);
                self.status = Some(summary.status);
                self.warnings = summary.warnings;
                self.affected_rows = summary.affected_rows;
                self.rows = (columns > 0).then_some(rows);
                if columns == 0 && summary.last_insert_id != 0 {
                    self.last_insert_id = summary.last_insert_id;
                }
                self.changes.absorb(summary.changes);
            }
            ResponseEvent::Error(error) => self.error = Some(error),
            ResponseEvent::Prepared(prepared) => {
                self.warnings = prepared.warnings;
                self.prepared = Some(prepared);
            }
        }
    }
}

/// Notes the GTIDs of writes, before their OK is passed on.
fn note_writes(ledger: Option<&Writes>, event: &ResponseEvent) {
    if let (Some(ledger), ResponseEvent::Ok { summary, .. }) = (ledger, event) {
        match summary.changes.gtid_set() {
            Some(Ok(written)) => ledger.note(&written, Instant::now()),
            Some(Err(error)) => {
                tracing::warn!(%error, "a server reported GTIDs that can't be read");
                ledger.note_unknown(Instant::now());
            }
            None => {}
        }
    }
}

/// Which errors of a server are kept from the client, because they say "not here, not now".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldBack {
    /// None.
    Nothing,
    /// It is read-only: 1290 and 1836. Or it stops and has rolled the write back: 3100.
    ReadOnlyOrUncommitted,
    /// It is read-only, or it stops: also 1053. For what may be sent twice.
    ReadOnlyOrStopping,
    /// It stops, and with it the open transaction ends: 1053, and 3100 in answer to COMMIT.
    Stopping,
    /// None, but 1290 of a replica is told as 1792 to a client with these capabilities: its transaction is read-only,
    /// and that is what its server would say if it were the primary.
    AsReadOnlyTransaction(Capabilities),
}

impl HoldBack {
    pub(crate) fn keeps(self, error: &ErrPacket<'_>) -> bool {
        match self {
            Self::Nothing | Self::AsReadOnlyTransaction(_) => false,
            Self::ReadOnlyOrUncommitted => matches!(error.code, 1290 | 1836 | 3100),
            Self::ReadOnlyOrStopping => matches!(error.code, 1053 | 1290 | 1836),
            Self::Stopping => matches!(error.code, 1053 | 3100),
        }
    }

    /// The packet that the client gets instead of an error, which is the first of `frames` and all of its `bytes`.
    fn instead_of(
        self,
        event: Option<&ResponseEvent>,
        frames: &[u8],
        bytes: usize,
    ) -> Option<(BytesMut, ErrPacket<'static>)> {
        let (Self::AsReadOnlyTransaction(capabilities), Some(ResponseEvent::Error(error))) = (self, event)
        else {
            return None;
        };
        let header = Header::parse(frames)?;
        if error.code != ErrorCode::ReadOnly.number() || HEADER_LEN + header.length as usize != bytes {
            return None;
        }
        let error = ErrPacket::own(ErrorCode::ReadOnlyTransaction, "");
        let mut packet = BytesMut::new();
        frame_payload(&mut packet, &mut { header.sequence }, &error.encode(capabilities));
        Some((packet, error))
    }
}

/// How far the answer got before it broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The client has seen nothing of it.
    Nothing,
    /// The client has seen a part.
    Something,
}

/// Why an answer was not relayed to its end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The server's connection ended or failed, or what it sent can't be followed.
    Server(Delivered),
    /// It said late that it committed, and not enough ackers were seen to have it.
    Unseen(Delivered),
    /// The client's connection failed: the session is over.
    Client,
    /// An order broke it off.
    Ordered(Order, Delivered),
}

/// Whether the client has seen an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It has.
    ToClient,
    /// It has not: the answer is an error for a second try elsewhere.
    HeldBack,
}

/// Relays the answer to a command that has been sent. `told` is filled as far as the answer came,
/// and the GTIDs of writes are noted in `ledger`. With
/// anything but [`HoldBack::Nothing`] an error of that kind that is the whole answer is not written: `told.error`
/// has it.
pub(crate) async fn relay_answer(
    server: &mut PacketStream,
    client: &mut PacketStream,
    relay: &mut ResponseRelay,
    told: &mut Told,
    ledger: Option<&Writes>,
    hold_back: HoldBack,
    interrupt: &mut Interrupt<'_>,
) -> Result<Shown, Cut> {
    let mut out = Outflow::new(server, client);
    let mut shown = Shown::ToClient;
    loop {
        match relay.advance(out.rest()).map_err(|error| bad_answer(error, out.delivered()))? {
            Advance::Forward { bytes, skip, event } => {
                if let Some((packet, error)) = hold_back.instead_of(event.as_ref(), out.rest(), bytes) {
                    out.put(&packet);
                    (told.error, told.reworded) = (Some(error), true);
                    out.leave_out(bytes + skip);
                    continue;
                }
                let kept = match &event {
                    Some(ResponseEvent::Error(error)) => out.untouched() && hold_back.keeps(error),
                    Some(ResponseEvent::Ok { .. } | ResponseEvent::Prepared(_)) | None => false,
                };
                if let Some(event) = event {
                    if interrupt.is_disowned() {
                        // A stopping or forgotten primary says OK to what nobody else has.
                        return Err(Cut::Server(out.delivered()));
                    }
                    seen_at_ackers(&event, out.delivered(), interrupt).await?;
                    note_writes(ledger, &event);
                    told.absorb(event);
                }
                if kept {
                    shown = Shown::HeldBack;
                    out.leave_out(bytes + skip);
                } else {
                    out.pass(bytes, skip);
                }
            }
            Advance::Insert { packet } => out.put(&packet),
            Advance::NeedMore => more(&mut out, interrupt).await?,
            Advance::LocalInfile { shift } => {
                out.flush().await?;
                tokio::select! {
                    biased;
                    relayed = relay_file(out.server, out.client, LocalInfileRelay::new(shift)) => relayed?,
                    cut = interrupt.cut(Delivered::Something) => return Err(cut),
                }
                relay.local_infile_finished();
            }
            Advance::Complete => break,
        }
    }
    out.flush().await?;
    server.release();
    Ok(shown)
}

/// Writes what there is, and reads more.
async fn more(out: &mut Outflow<'_>, interrupt: &mut Interrupt<'_>) -> Result<(), Cut> {
    out.flush().await?;
    let delivered = out.delivered();
    let read = match interrupt {
        Interrupt::OfStream(..) => more_of_stream(out, interrupt).await?,
        Interrupt::OfStatement(..) => tokio::select! {
            biased;
            read = out.server.fill() => read,
            cut = interrupt.cut(delivered) => return Err(cut),
        },
    };
    if matches!(read, Ok(1..)) { Ok(()) } else { Err(Cut::Server(delivered)) }
}

/// Waits until a commit that was answered late is seen at the ackers; see [`crate::feed::receipts`].
async fn seen_at_ackers(
    event: &ResponseEvent,
    delivered: Delivered,
    interrupt: &mut Interrupt<'_>,
) -> Result<(), Cut> {
    let (ResponseEvent::Ok { summary, .. }, Some((feed, begun))) = (event, interrupt.statement()) else {
        return Ok(());
    };
    let Some(Ok(written)) = summary.changes.gtid_set() else { return Ok(()) };
    if !feed.receipts().must_be_seen(begun.elapsed()) {
        return Ok(());
    }
    tokio::select! {
        biased;
        () = feed.receipts().seen(&written, begun, Instant::now()) => Ok(()),
        cut = interrupt.cut(delivered) => Err(match cut {
            Cut::Server(_) | Cut::Unseen(_) => Cut::Unseen(delivered),
            Cut::Client | Cut::Ordered(..) => cut,
        }),
        () = sleep(LONGEST_DOUBT) => {
            tracing::warn!(%written, "a late commit was not seen at enough ackers: its outcome is told as unknown");
            Err(Cut::Unseen(delivered))
        }
    }
}

/// Reads more of a stream. It has no end of its own, so what ends it comes first: a busy one would never let it.
async fn more_of_stream(
    out: &mut Outflow<'_>,
    interrupt: &mut Interrupt<'_>,
) -> Result<io::Result<usize>, Cut> {
    let delivered = out.delivered();
    tokio::select! {
        biased;
        cut = interrupt.cut(delivered) => Err(cut),
        () = Outflow::client_gone(out.client) => Err(Cut::Client),
        read = out.server.fill() => Ok(read),
    }
}

fn bad_answer(error: ResponseError, delivered: Delivered) -> Cut {
    tracing::warn!(%error, "a server's answer can't be followed; its connection is dropped");
    Cut::Server(delivered)
}

/// Relays a client's file to the server, up to the empty packet that ends it.
async fn relay_file(
    server: &mut PacketStream,
    client: &mut PacketStream,
    mut file: LocalInfileRelay,
) -> Result<(), Cut> {
    while !file.is_finished() {
        let ready = file.advance(client.buffer_mut());
        if ready > 0 {
            let part = client.take(ready);
            server.write_out(&part).await.map_err(|_| Cut::Server(Delivered::Something))?;
            continue;
        }
        if client.buffer().len() > MAX_FILE_READ_AHEAD || !matches!(client.fill().await, Ok(1..)) {
            return Err(Cut::Client);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
    use bytes::BytesMut;
    use sluice_protocol::response::Expect;
    use sluice_protocol::{Capabilities, TrackerFilter, frame_payload};
    use sluice_routing::decide::Listener;
    use sluice_routing::topology::Topology;
    use tokio::net::{TcpListener, TcpStream};

    use sluice_routing::topology::InstanceId;

    use super::*;
    use crate::backend::Stream;
    use crate::feed::{self, registry};
    use crate::session::interrupt::{Obey, ServerWatch, ServesAs};

    pub(super) async fn pair() -> (PacketStream, PacketStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (PacketStream::new(Stream::from_tcp(near)), PacketStream::new(Stream::from_tcp(far)))
    }

    /// What is said of an answer of these payloads; `end` comes when the client has seen the rest.
    async fn shown(begin: &[&[u8]], end: &[u8]) -> Shown {
        let (mut server, mut of_server) = pair().await;
        let (mut client, mut of_client) = pair().await;
        let (_publisher, feed) = feed::channel(1, Topology::unknown([]));
        let peer = "127.0.0.1:1".parse().unwrap();
        let registration = registry::register(&feed, peer, Listener::Split);
        let caps = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        let mut relay =
            ResponseRelay::new(Expect::Query, caps, TrackerFilter::default(), StatusFlags::AUTOCOMMIT);
        let instance = InstanceId(0);
        let server_watch =
            ServerWatch { feed: &feed, instance, serves_as: ServesAs::Primary, begun: Instant::now() };
        let mut interrupt = Interrupt::OfStatement(registration.entry(), Obey::Close, server_watch);
        let mut told = Told::default();
        let hold_back = HoldBack::ReadOnlyOrStopping;
        let relayed =
            relay_answer(&mut server, &mut client, &mut relay, &mut told, None, hold_back, &mut interrupt);
        let answer = async {
            let mut sequence = 1;
            for payload in begin {
                let mut bytes = BytesMut::new();
                frame_payload(&mut bytes, &mut sequence, payload);
                of_server.write_out(&bytes).await.unwrap();
                while of_client.buffer().len() < bytes.len() {
                    of_client.fill().await.unwrap();
                }
                of_client.consume(bytes.len());
            }
            let mut bytes = BytesMut::new();
            frame_payload(&mut bytes, &mut sequence, end);
            of_server.write_out(&bytes).await.unwrap();
        };
        tokio::join!(relayed, answer).0.unwrap()
    }

    #[tokio::test]
    async fn an_error_is_held_back_only_if_nothing_of_the_answer_was_shown() {
        let stopping = b"\xff\x1d\x04#08S01Server shutdown in progress";
        assert_eq!(shown(&[], stopping).await, Shown::HeldBack);
        // A replica that stops in the middle of a result.
        assert_eq!(shown(&[b"\x01", b"\x03def...", b"\x011"], stopping).await, Shown::ToClient);
        let other = b"\xff\x7a\x04#42S02Table 't' doesn't exist";
        assert_eq!(shown(&[], other).await, Shown::ToClient);
    }
}
