//! What of an answer is on its way to the client: bytes that lie ready in the server's read buffer, written from there as
//! they are, and before them those that could not stay there.
//!
//! Never here: what a packet means, a wait for the server.

use std::time::Duration;

use tokio::time::sleep;

use super::{Cut, Delivered, MAX_FILE_READ_AHEAD};
use crate::backend::PacketStream;

/// How long a client may take to read what one read from its server has brought. Its server waits for `net_write_timeout`
/// (60 s by default) and cuts Sluice off then; this is for servers that were told to wait for days, and far beyond any
/// reader that lives.
const SLOW_READER: Duration = Duration::from_mins(10);

/// The way of an answer from its server to the client. Bounded by what the server's read buffer holds: everything is
/// written before more is read.
pub(super) struct Outflow<'a> {
    pub(super) server: &'a mut PacketStream,
    pub(super) client: &'a mut PacketStream,
    /// So much at the front of the server's buffer goes to the client as it is, behind `copied`.
    ready: usize,
    /// What something was cut out of or put in behind.
    copied: Vec<u8>,
    delivered: Delivered,
}

impl<'a> Outflow<'a> {
    pub(super) fn new(server: &'a mut PacketStream, client: &'a mut PacketStream) -> Self {
        Self { server, client, ready: 0, copied: Vec::new(), delivered: Delivered::Nothing }
    }

    /// How far the client has got.
    pub(super) fn delivered(&self) -> Delivered {
        self.delivered
    }

    /// Whether nothing of the answer has gone to the client or is about to.
    pub(super) fn untouched(&self) -> bool {
        self.ready == 0 && self.copied.is_empty() && self.delivered == Delivered::Nothing
    }

    /// What the server has sent behind that.
    pub(super) fn rest(&mut self) -> &mut [u8] {
        self.server.buffer_mut().get_mut(self.ready..).unwrap_or_default()
    }

    /// Gives the client the first `bytes` of the rest, and cuts out `skip` behind them.
    pub(super) fn pass(&mut self, bytes: usize, skip: usize) {
        self.ready += bytes;
        if skip > 0 {
            self.copy_ready();
            self.server.consume(skip);
        }
    }

    /// Cuts out the first `bytes` of the rest.
    pub(super) fn leave_out(&mut self, bytes: usize) {
        self.pass(0, bytes);
    }

    /// Gives the client a packet that the server has not sent.
    pub(super) fn put(&mut self, packet: &[u8]) {
        self.copy_ready();
        self.copied.extend_from_slice(packet);
    }

    fn copy_ready(&mut self) {
        self.copied.extend_from_slice(self.server.buffer().get(..self.ready).unwrap_or_default());
        self.server.consume(self.ready);
        self.ready = 0;
    }

    /// Writes everything. Most answers fit into the client's socket: they take no future and no clock to get there.
    pub(super) async fn flush(&mut self) -> Result<(), Cut> {
        if self.flush_at_once()? { Ok(()) } else { self.flush_rest().await }
    }

    /// Writes what the client's socket takes. Whether that is everything.
    fn flush_at_once(&mut self) -> Result<bool, Cut> {
        if self.copied.is_empty() && self.ready == 0 {
            return Ok(true);
        }
        self.delivered = Delivered::Something;
        if !self.copied.is_empty() {
            self.copy_ready();
            return Ok(false);
        }
        let bytes = self.server.buffer().get(..self.ready).unwrap_or_default();
        let written = self.client.write_at_once(bytes).map_err(|_| Cut::Client)?;
        self.server.consume(written);
        self.ready = self.ready.saturating_sub(written);
        Ok(self.ready == 0)
    }

    async fn flush_rest(&mut self) -> Result<(), Cut> {
        let bytes = if self.copied.is_empty() {
            self.server.buffer().get(..self.ready).unwrap_or_default()
        } else {
            &self.copied
        };
        tokio::select! {
            biased;
            written = self.client.write_out(bytes) => written.map_err(|_| Cut::Client)?,
            () = async { sleep(SLOW_READER).await } => return Err(Cut::Client),
        }
        self.copied = Vec::new();
        self.server.consume(self.ready);
        self.ready = 0;
        Ok(())
    }

    /// Waits until the client has closed its connection. What it sends meanwhile stays in its buffer.
    pub(super) async fn client_gone(client: &mut PacketStream) {
        while client.buffer().len() < MAX_FILE_READ_AHEAD {
            if !matches!(client.fill().await, Ok(1..)) {
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
    use super::super::tests::pair;
    use super::*;

    /// One read's worth, roughly.
    const PART: usize = 16 * 1024;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off_and_costs_a_fixed_buffer() {
        let (mut server, _of_server) = pair().await;
        let (mut client, _of_client) = pair().await;
        let mut out = Outflow::new(&mut server, &mut client);
        let begun = tokio::time::Instant::now();
        let part = [7; PART];
        // More than any socket buffer takes.
        for _ in 0..(1 << 30) / PART {
            out.put(&part);
            if out.flush().await.is_err() {
                assert_eq!(begun.elapsed(), SLOW_READER);
                assert!(out.copied.capacity() <= 2 * PART);
                return;
            }
        }
        unreachable!("nobody reads");
    }

    #[tokio::test]
    async fn what_stays_is_written_from_where_it_was_read_and_in_its_place() {
        let (mut server, mut of_server) = pair().await;
        let (mut client, mut of_client) = pair().await;
        of_server.write_out(b"abCCdeRR").await.unwrap();
        while server.buffer().len() < 8 {
            server.fill().await.unwrap();
        }
        let mut out = Outflow::new(&mut server, &mut client);
        assert!(out.untouched());
        out.pass(2, 0);
        assert!(!out.untouched() && out.copied.is_empty(), "nothing is copied for it");
        out.leave_out(2);
        out.pass(1, 0);
        out.put(b"+");
        out.pass(1, 0);
        assert_eq!(out.rest(), b"RR");
        assert_eq!(out.delivered(), Delivered::Nothing);
        out.flush().await.unwrap();
        assert_eq!((out.delivered(), out.ready), (Delivered::Something, 0));
        assert_eq!(server.buffer(), b"RR");
        while of_client.buffer().len() < 5 {
            of_client.fill().await.unwrap();
        }
        assert_eq!(of_client.buffer(), b"abd+e");
    }
}
