//! A server refused a statement for what it is by now: a replica, or about to stop.
//!
//! Never here: a third try, a statement that was not refused.

use sluice_protocol::ErrPacket;
use sluice_routing::intent::{Intent, Statement};
use sluice_routing::prediction::Misprediction;
use sluice_routing::topology::InstanceId;

use super::failure::{Cause, Failure};
use super::relay::Told;
use super::statement::{Job, Next, Tries};
use super::{End, Session};

impl Session {
    /// A server answered that it is read-only or stopping. If it really is, the statement goes back to the
    /// gate, once; otherwise the error has another cause and is the client's. A transaction ends with its
    /// server.
    pub(super) async fn refused_by_server(
        &mut self,
        instance: InstanceId,
        error: Option<ErrPacket<'static>>,
        tries: Tries,
    ) -> Result<(), Next> {
        let Some(error) = error else { return Err(Next::End(End::Failed)) };
        if self.home.is_some() {
            return Err(self.after_not_sent(instance));
        }
        if error.code == 3100 {
            // The server stops and has rolled the write back: its own error would say less.
            self.backends.drop_connection(instance);
            return Err(Next::Fail(Failure::NotExecuted(Cause::InstanceLost)));
        }
        let stopping = error.code == 1053;
        let really = stopping || self.reads_only(instance).await;
        if really && tries == Tries::First {
            self.context.metrics.retried_refusal();
            if self.replica == Some(instance) {
                if stopping {
                    self.shun(instance);
                }
                return Ok(());
            }
            if stopping {
                self.backends.drop_connection(instance);
            }
            self.pause_before_retry().await;
            return Ok(());
        }
        self.let_go_if_idle();
        self.left.failed(&error);
        match self.answer_packet(&error.encode(self.client_capabilities())).await {
            Ok(()) if stopping => Err(Next::End(End::Failed)),
            Ok(()) => Err(Next::Fail(Failure::AlreadyAnswered)),
            Err(end) => Err(Next::End(end)),
        }
    }

    /// What a statement is that a replica refused as a write: not the harmless read it was taken for. A view can call
    /// a function that writes.
    pub(super) fn correction(&self, instance: InstanceId, job: &Job<'_>, told: &Told) -> Option<Statement> {
        let refused = told.error.as_ref().is_some_and(|error| matches!(error.code, 1290 | 1836));
        if !refused || self.replica != Some(instance) || job.statement.intent != Intent::HarmlessRead {
            return None;
        }
        self.context.metrics.mispredicted(Misprediction::ReadRefused);
        Some(job.statement.refused_as_write())
    }

    async fn reads_only(&mut self, instance: InstanceId) -> bool {
        let Some(backend) = self.backends.get_mut(instance) else { return false };
        match backend.query(b"SELECT @@global.read_only").await {
            Ok(sluice_protocol::response::Answer::Rows { rows, .. }) => {
                rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some(b"1"))
            }
            Ok(_) => false,
            Err(_) => {
                self.backends.drop_connection(instance);
                false
            }
        }
    }
}
