//! COM_REGISTER_REPLICA, COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID: a server's binlog on its way to a client, such as a
//! program that captures changes.
//!
//! A stream writes nothing, so no switchover waits for it; it ends when its instance is no longer what the listener
//! promises, and the client finds the next one by connecting again. The split listener has no single server to stream from
//! and refuses. A client that would acknowledge for semi-sync is refused: its word would count among those of the replicas.
//!
//! Never here: an event's content.

use sluice_protocol::response::{Answer, Expect, ResponseRelay};
use sluice_protocol::{ErrPacket, ErrorCode};
use sluice_routing::decide::Listener;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::pin::PinReason;
use sluice_routing::topology::InstanceId;

use super::command::ClientCommand;
use super::failure::{Cause, Failure};
use super::interrupt::Interrupt;
use super::place::NoPlace;
use super::relay::{Cut, HoldBack, Told, relay_answer};
use super::statement::Job;
use super::stream_watch::StreamWatch;
use super::{End, Session};
use crate::feed::registry::Activity;

/// What a replica sets on its connection to say that it acknowledges, in old and new words.
const SEMI_SYNC: &[u8] = b"SELECT @rpl_semi_sync_replica, @rpl_semi_sync_slave";

impl Session {
    /// COM_REGISTER_REPLICA: the server keeps the name with the connection, so the session stays on it.
    pub(super) async fn register_replica(&mut self, command: &ClientCommand) -> Result<(), End> {
        if self.listener == Listener::Split {
            return self.refuse_stream(NEEDS_ONE_SERVER).await;
        }
        let statement = Statement::of(Intent::LastStatement);
        let job = Job::text(command.frames(), Expect::Plain, &statement);
        let mut told = Told::default();
        if self.run_job_told(&job, &mut told).await? && told.error.is_none() {
            self.facts.hold(PinReason::ReplicationStream, None);
            self.home = self.home.or(self.last);
            self.publish_facts();
        }
        Ok(())
    }

    /// COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID
    pub(super) async fn stream_binlog(&mut self, command: &ClientCommand) -> Result<(), End> {
        if self.listener == Listener::Split {
            return self.refuse_stream(NEEDS_ONE_SERVER).await;
        }
        let deadline = self.hold_deadline();
        let instance = match self.place(&Statement::of(Intent::LastStatement), deadline).await {
            Ok(instance) => instance,
            Err(NoPlace::Fail(failure)) => return self.fail(&failure).await,
            Err(NoPlace::End(end)) => return Err(end),
        };
        match self.acknowledges(instance).await {
            Some(false) => {}
            Some(true) => return self.refuse_stream(NO_SEMI_SYNC).await,
            None => return self.fail(&Failure::NotExecuted(Cause::InstanceLost)).await,
        }
        self.seat.leave();
        self.seat.unpin();
        let entry = std::sync::Arc::clone(self.registration.entry());
        entry.set_pins(0);
        entry.set_activity(Activity::Streaming);
        self.relay_stream(instance, command).await
    }

    async fn relay_stream(&mut self, instance: InstanceId, command: &ClientCommand) -> Result<(), End> {
        let entry = std::sync::Arc::clone(self.registration.entry());
        let context = std::sync::Arc::clone(&self.context);
        let (capabilities, filter) = (self.client_capabilities(), self.tracker_filter());
        let watch =
            StreamWatch { feed: &context.feed, shape: self.shape.clone(), instance, listener: self.listener };
        let mut interrupt = Interrupt::OfStream(&entry, watch);
        let mut relay = ResponseRelay::new(Expect::BinlogStream, capabilities, filter, self.status);
        let Some(backend) = self.backends.get_mut(instance) else { return Err(End::Failed) };
        entry.set_backend(Some((instance, backend.connection.thread_id)));
        let server = &mut backend.connection.io;
        let cut = match server.write_out(command.frames()).await {
            Ok(()) => {
                let (mut told, keep) = (Told::default(), HoldBack::Nothing);
                relay_answer(server, &mut self.client, &mut relay, &mut told, None, keep, &mut interrupt)
                    .await
            }
            Err(_) => Err(Cut::Server(super::relay::Delivered::Nothing)),
        };
        let cause = match cut {
            // A server that ends a stream, with an error or an end of file, closes the connection behind it.
            Ok(_) => return Err(End::Failed),
            Err(Cut::Client) => return Err(End::ClientLost),
            Err(Cut::Server(_) | Cut::Unseen(_)) => Cause::InstanceLost,
            Err(Cut::Ordered(..)) => Cause::StreamEnded,
        };
        self.backends.drop_connection(instance);
        if relay.is_within_packet() {
            return Err(End::Failed);
        }
        self.answer_sequence = relay.next_sequence();
        self.fail(&Failure::NotExecuted(cause)).await
    }

    /// Whether the session's connection would be one that acknowledges for semi-sync; `None`: it is lost.
    async fn acknowledges(&mut self, instance: InstanceId) -> Option<bool> {
        let set = |value: &Option<Vec<u8>>| value.as_deref().is_some_and(|value| value != b"0");
        match self.backends.get_mut(instance)?.query(SEMI_SYNC).await {
            Ok(Answer::Rows { rows, .. }) => Some(rows.iter().flatten().any(set)),
            Ok(Answer::Ok(_) | Answer::Error(_)) => Some(false),
            Err(_) => {
                self.backends.drop_connection(instance);
                None
            }
        }
    }

    async fn refuse_stream(&mut self, why: &str) -> Result<(), End> {
        self.fail(&Failure::Refused(Box::new(ErrPacket::own(ErrorCode::UnknownCommand, why)))).await
    }
}

const NEEDS_ONE_SERVER: &str = "a binlog comes from one server: connect to Sluice's primary or replica port";
const NO_SEMI_SYNC: &str = "semi-sync through Sluice is refused: only the cluster's own replicas may \
                            acknowledge; do not set rpl_semi_sync_replica";
