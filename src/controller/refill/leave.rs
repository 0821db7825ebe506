//! Before anything is dropped: everything is checked again, reads go elsewhere, and the member leaves the ackers in
//! the order that loses nothing.
//!
//! Never here: a change to the member's data.

use std::path::PathBuf;
use std::time::Duration;

use sluice_protocol::GtidSet;
use tokio::time::Instant;

use super::{Failure, LOOK, Refill};
use crate::controller::rebuild::{self, Objection, Recipient};
use crate::controller::record::{OwnTransactions, RebuildCause, Record};

/// How long reads under way there may take to end; new ones go elsewhere at once.
const DRAIN: Duration = Duration::from_secs(10);
/// Between two looks at them.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

impl Refill {
    /// From a member that serves to one that nobody misses.
    pub(super) async fn leave(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let checked = self.check_and_record().await;
        self.noted("check", began, checked)?;
        let began = Instant::now();
        let drained = self.drain().await;
        self.noted("reads go elsewhere", began, drained)?;
        let began = Instant::now();
        let left = self.leave_ackers().await;
        self.noted("no acker any more", began, left)?;
        let began = Instant::now();
        let kept = self.keep_own().await;
        self.noted("own transactions", began, kept)
    }

    /// What may be done now, on fresh looks.
    async fn recipient(&self) -> Result<(Record, Recipient), Failure> {
        self.desk.observers.look_at_all(Instant::now() + LOOK).await;
        let record = self.desk.record().ok_or_else(|| Failure::Unmet("the cluster is not adopted".into()))?;
        let (view, assessment) = (self.desk.view(), self.desk.assessment());
        let found = rebuild::recipient(&view, &record, &assessment, &self.job.member, self.job.own)?;
        if found.uuid != self.job.uuid {
            return Err(Failure::Unmet(format!("{} is another server now", self.job.member)));
        }
        Ok((record, found))
    }

    /// What nobody asked for is done only while its reason is there.
    async fn still_due(&self, record: &Record) -> Result<(), Failure> {
        let member = &self.job.member;
        let unrecorded = Record { rebuild: None, ..record.clone() };
        let due = rebuild::due(&self.desk.view(), &unrecorded, &self.desk.assessment());
        let still = due.iter().any(|due| due.member == *member && due.cause == self.job.cause);
        match self.job.cause {
            RebuildCause::Asked => return Ok(()),
            RebuildCause::Empty | RebuildCause::Tail | RebuildCause::Forgot if !still => {
                return Err(Objection::NotDue(member.clone()).into());
            }
            RebuildCause::Tail | RebuildCause::Forgot => return Ok(()),
            RebuildCause::Empty => {}
        }
        let tables = self.server()?.0.clone_facts().await?.tables;
        if tables > 0 {
            return Err(Objection::NotEmpty { name: member.clone(), tables }.into());
        }
        Ok(())
    }

    async fn check_and_record(&mut self) -> Result<String, Failure> {
        // Upkeep, switchover and failover change nothing meanwhile; afterwards the record keeps them off.
        let bench = std::sync::Arc::clone(&self.desk.bench).lock_owned().await;
        let (record, found) = self.recipient().await?;
        self.still_due(&record).await?;
        let donors =
            rebuild::donors(&self.desk.view(), &record, &found, self.job.from.as_deref(), &self.failed)?;
        let mut misfit = None;
        for donor in donors {
            match self.fits(&donor).await {
                Ok(bytes) => {
                    self.keep(|_| {})?;
                    drop(bench);
                    return Ok(format!("{} will give about {} MiB", donor.name, bytes >> 20));
                }
                Err(failure) => misfit = Some(failure),
            }
        }
        Err(misfit.unwrap_or_else(|| Objection::NoDonor("there is no other member".into()).into()))
    }

    async fn drain(&self) -> Result<String, Failure> {
        let (server, _) = self.server()?;
        let until = Instant::now() + DRAIN;
        loop {
            let working = server.working_clients().await?;
            if working == 0 {
                return Ok("nobody is at work there".into());
            }
            if Instant::now() >= until {
                return Ok(format!("{working} clients are still at work there and will be cut off"));
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// It receives nothing any more, so it acknowledges nothing; then a write that the others acknowledge proves that
    /// they have everything before it, too; only then the record forgets it.
    async fn leave_ackers(&self) -> Result<String, Failure> {
        let _bench = self.desk.bench.lock().await;
        let (record, found) = self.recipient().await?;
        let (server, grammar) = self.server()?;
        let view = self.desk.view();
        let known = view.instances.get(self.member.index()).and_then(|view| view.live());
        if known.is_some_and(|known| known.semi_sync.is_some()) {
            server.set_acking_flag(grammar, false).await?;
        }
        server.stop_receiver(grammar).await?;
        if !record.is_acker(found.uuid) {
            return Ok("it was none".into());
        }
        let primary = view.by_uuid(record.primary).and_then(|view| self.desk.at(view.id));
        let (primary, _) = primary.ok_or_else(|| Failure::Unmet("the primary was never seen".into()))?;
        primary.write_epoch_row(&record.row()).await?;
        let uuid = found.uuid;
        let record = self.desk.change(|record| record.ackers.retain(|acker| *acker != uuid))?;
        Ok(format!("{} of {} others acknowledged everything so far", record.wait_count, record.ackers.len()))
    }

    /// What only this member has is kept, or nothing is replaced.
    async fn keep_own(&mut self) -> Result<String, Failure> {
        let (_, found) = self.recipient().await?;
        if found.own.is_empty() && found.unapplied.is_empty() {
            return Ok("it has none".into());
        }
        let own = found.own.union(&found.unapplied);
        let unkept = match self.export(&found.own).await {
            Ok(path) => {
                let kept = format!("{} are in {}", found.own, path.display());
                self.remarks.push(format!("its own transactions {kept}"));
                return Ok(kept);
            }
            Err(why) => why,
        };
        match self.job.own {
            OwnTransactions::Discard => Ok(format!("given up as asked for: {own} ({unkept})")),
            OwnTransactions::Keep => {
                let (name, own) = (self.job.member.clone(), own.to_string());
                Err(Objection::OwnTransactions { name, own, why: unkept }.into())
            }
        }
    }

    /// Copies transactions out of the member's binary log into the store, and sees that all are there.
    async fn export(&self, own: &GtidSet) -> Result<PathBuf, String> {
        let (server, _) = self.server().map_err(|failure| failure.to_string())?;
        let executed = server.executed().await.map_err(|error| error.to_string())?;
        let executed: GtidSet = executed.parse().map_err(|_| "gtid_executed can't be read".to_owned())?;
        let (mut file, path) =
            self.desk.tail(&self.job.member, &self.job.id).map_err(|error| error.to_string())?;
        let copied = server.copy_transactions(&executed.subtract(own), &mut file).await;
        let kept = match copied {
            Ok(count) if count == own.count() => file.sync_all().map_err(|error| error.to_string()),
            Ok(count) => Err(format!("its binary log has {count} of {} transactions", own.count())),
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(()) => Ok(path),
            Err(why) => {
                // Half a copy would be taken for a whole one.
                let _ = std::fs::remove_file(&path);
                Err(why)
            }
        }
    }
}
