//! A BEGIN that is answered at once and sent together with the transaction's first statement.
//!
//! A plain BEGIN takes no snapshot and no lock, so nobody can tell when a server hears of it. Until then the session
//! holds no connection and no place at the gate: who begins a transaction and thinks is in nobody's way.
//!
//! Never here: a BEGIN that does more than begin (`READ ONLY`, `WITH CONSISTENT SNAPSHOT`, one that ends another
//! transaction or unlocks tables), an answer to anything else.

use std::sync::LazyLock;

use sluice_protocol::StatusFlags;
use sluice_protocol::command::QueryView;
use sluice_protocol::ok_packet::OkPacket;
use sluice_routing::decide::Listener;
use sluice_routing::hint::Wish;
use sluice_routing::intent::{Access, Intent, Snapshot, Statement, classify};
use sluice_routing::lexer::LexMode;
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use super::backends::NotReady;
use super::failure::{Cause, Failure};
use super::left::FoundRows;
use super::place::NoPlace;
use super::relay::{Cut, Delivered};
use super::repeat::Repeatable;
use super::{End, Session, Transaction};
use crate::config::Pooling;

/// The longest text that is kept, in bytes; a longer one has comments that somebody may wait for.
const MAX_TEXT: usize = 256;

/// What servers tell of a BEGIN even if no tracker was asked for: kind, length, and the transaction's state as text
/// with its length (seen on 9.7.4).
const BEGUN: [u8; 11] = *b"\x05\x09\x08T_______";
/// What a BEGIN does that stands alone.
static PLAIN: LazyLock<Statement> = LazyLock::new(|| classify(b"BEGIN", LexMode::default()));

/// A BEGIN that no server has heard of yet.
#[derive(Clone, Debug)]
pub(super) struct PutOff {
    statement: Statement,
    text: Box<[u8]>,
}

impl Session {
    /// Answers a BEGIN that can wait for the statement after it; `false`: it is to be run.
    pub(super) async fn put_off(&mut self, statement: &Statement, view: &QueryView<'_>) -> Result<bool, End> {
        let Intent::TransactionStart { access, snapshot } = statement.intent else { return Ok(false) };
        let writes = match access {
            Access::ReadWrite => true,
            Access::Default => !self.facts.read_only_session(),
            Access::ReadOnly => false,
        };
        let plain = statement.effects == PLAIN.effects && statement.wish == Wish::Rules && !self.hints.taken;
        let unseen = view.attributes.is_empty() && !self.own_trackers.are_set();
        let shares = self.context.pooling == Pooling::Transaction
            && matches!(self.listener, Listener::Split | Listener::Primary);
        let nothing_open = self.put_off.is_none() && self.home.is_none() && self.facts.pin().is_none();
        // Only the connection of the last statement knows, and it may be lent meanwhile.
        let found_rows = matches!(self.left.found_rows, FoundRows::OnConnection(_));
        if !(writes && snapshot == Snapshot::Later && plain && unseen && shares && nothing_open)
            || found_rows
            || view.text.len() > MAX_TEXT
        {
            return Ok(false);
        }
        self.put_off = Some(Box::new(PutOff { statement: statement.clone(), text: view.text.into() }));
        self.status |= StatusFlags::IN_TRANS;
        self.publish_facts();
        self.left.only_row_count(0);
        (self.last, self.repeatable) = (None, Repeatable::No);
        let mut payload = Vec::new();
        let ok = OkPacket { session_changes: &BEGUN, ..OkPacket::answer(self.status) };
        ok.encode(self.client_capabilities(), &mut payload);
        self.answer_packet(&payload).await?;
        Ok(true)
    }

    /// As [`Self::place`], in the transaction whose BEGIN was put off, if there is one.
    pub(super) async fn place_in_transaction(
        &mut self,
        statement: &Statement,
        deadline: Instant,
    ) -> Result<InstanceId, NoPlace> {
        if let Some(put_off) = self.put_off.clone() {
            let instance = Box::pin(self.place(&put_off.statement, deadline)).await?;
            if self.replica == Some(instance) && self.context.feed.topology().is_primary(instance) {
                // It became the primary while this statement was held.
                self.replica = None;
            }
            let backend = self.backends.get_mut(instance);
            let backend = backend.ok_or(Failure::NotExecuted(Cause::Unreachable))?;
            backend.begin_first(&put_off.text);
            self.put_off = None;
            self.facts.observe_status(self.facts.status() | StatusFlags::IN_TRANS);
            self.transaction = Transaction::Explicit;
            self.home = Some(instance);
            self.publish_facts();
        }
        self.place(statement, deadline).await
    }
}

/// What became of a statement whose sending failed. If the BEGIN in the same write was refused, it ran without.
pub(super) fn unsent(error: &NotReady, in_transaction: bool) -> Cut {
    match error {
        NotReady::RefusedFirst if in_transaction => Cut::Unseen(Delivered::Nothing),
        NotReady::RefusedFirst
        | NotReady::Lost
        | NotReady::Dial(_)
        | NotReady::NoSchema(_)
        | NotReady::Unfit
        | NotReady::ClientGone
        | NotReady::Refused(_) => Cut::Server(Delivered::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_without_its_begin_may_have_committed() {
        assert!(matches!(unsent(&NotReady::RefusedFirst, true), Cut::Unseen(Delivered::Nothing)));
        assert!(matches!(unsent(&NotReady::RefusedFirst, false), Cut::Server(Delivered::Nothing)));
        assert!(matches!(unsent(&NotReady::Lost, true), Cut::Server(Delivered::Nothing)));
    }
}
