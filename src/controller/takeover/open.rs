//! The epoch change, and opening the winner.
//!
//! Never here: a way back.

use std::sync::Arc;

use sluice_routing::topology::InstanceId;
use tokio::time::Instant;
use uuid::Uuid;

use super::Takeover;
use crate::controller::assess::Trust;
use crate::controller::desk::Opened;
use crate::controller::execute::StepError;
use crate::controller::failover::Chosen;
use crate::controller::plan;
use crate::controller::record::{Deposed, Guarantee, OperationRecord, Phase, Record, Tail};

/// Statements that have to succeed after the epoch changed are tried this often.
const FORWARD_TRIES: u32 = 3;

impl Takeover {
    /// The point of no return.
    pub(super) fn commit(&self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let current = self.desk.record().ok_or(StepError::Gone("there is no record"))?;
        let to = self.uuid(chosen.winner)?;
        // Also those that are not known to be attached: they were told to, and may be any moment.
        let view = self.desk.view();
        let uuid = |id: &InstanceId| Some(view.instances.get(id.index())?.server.as_ref()?.uuid);
        let chosen_ackers: Vec<Uuid> = chosen.ackers.iter().filter_map(uuid).collect();
        let mut ackers = chosen_ackers.clone();
        if current.waits() {
            let unasked = plan::unasked_ackers(&view, &current, to).into_iter().chain(self.moved());
            ackers.extend(unasked.filter(|uuid| *uuid != to && !chosen_ackers.contains(uuid)));
        }
        let proven = current.guarantee == Guarantee::Acknowledged && chosen.lost.is_empty();
        let tail = if proven && !self.terms.accept_loss { Tail::Unacknowledged } else { Tail::Unknown };
        let old = Deposed { uuid: self.before.primary, epoch: self.before.epoch, tail };
        let others = current.deposed.iter().filter(|one| one.uuid != old.uuid && one.uuid != to);
        let next = Record {
            deposed: others.copied().chain([old]).collect(),
            epoch: self.before.epoch + 1,
            primary: to,
            ackers,
            operation: current.operation.clone().map(|operation| OperationRecord {
                phase: Phase::Promoted,
                to,
                ..operation
            }),
            guarantee: match current.guarantee {
                Guarantee::Acknowledged => Guarantee::Acknowledged,
                Guarantee::None | Guarantee::Broken => Guarantee::None,
            },
            // It was the old primary's.
            window: None,
            who: format!("failover: {}", self.terms.who()),
            ..current
        };
        let record = self.desk.commit(self.desk.prepare(next)?)?;
        self.desk.publish();
        Ok((format!("epoch {}", record.epoch), ()))
    }

    /// Writable, one acknowledged write, clients released.
    pub(super) async fn open(&self, chosen: &Chosen) -> Result<(), StepError> {
        let began = Instant::now();
        let writable = self.writable(chosen).await;
        self.noted("winner writable", began, writable)?;
        let began = Instant::now();
        let written = self.barrier(chosen).await;
        self.noted("acknowledged write", began, written)?;
        let began = Instant::now();
        let gate = Arc::clone(self.desk.publisher.feed().gate());
        let held = gate.held();
        self.desk.set_trust(Trust::Checked);
        self.desk.set_failover(Some(Opened::Yes));
        self.desk.publish();
        gate.open().await;
        self.note("release", began, &format!("{held} statements were waiting"), "ok");
        Ok(())
    }

    async fn writable(&self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let (winner, _) = self.server(chosen.winner)?;
        let mut tries = 1;
        while let Err(error) = winner.set_writable().await {
            if tries == FORWARD_TRIES {
                return Err(error.into());
            }
            tries += 1;
        }
        Ok((format!("{} takes writes", self.name(chosen.winner)), ()))
    }

    async fn barrier(&self, chosen: &Chosen) -> Result<(String, ()), StepError> {
        let (winner, _) = self.server(chosen.winner)?;
        let record = self.desk.record().ok_or(StepError::Gone("there is no record"))?;
        winner.write_epoch_row(&record.row()).await?;
        if record.waits() && record.guarantee != Guarantee::Acknowledged {
            self.desk.note_acknowledged()?;
        }
        Ok((format!("acknowledged by {}", record.wait_count), ()))
    }

    /// What clients do not wait for; what does not work is left to upkeep.
    pub(super) async fn tidy_up(&self, chosen: &Chosen) -> Vec<String> {
        let mut remarks = Vec::new();
        let began = Instant::now();
        let forgotten = match self.server(chosen.winner) {
            Ok((winner, grammar)) => winner.forget_source(grammar).await.map_err(StepError::from),
            Err(failure) => Err(failure),
        };
        let forgotten = forgotten.map(|()| ("replicates from nobody".to_owned(), ()));
        if let Err(failure) = self.noted("new primary forgets its source", began, forgotten) {
            remarks.push(failure.to_string());
        }
        if let Err(error) = self.desk.change(|record| record.operation = None) {
            remarks.push(error.to_string());
        }
        remarks
    }
}
