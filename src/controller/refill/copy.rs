//! The copy: begun on the member, followed to its end and through the restart behind it, and begun again with another
//! donor when it fails.
//!
//! Never here: a second copy beside one that runs.

use std::time::Duration;

use metrics::gauge;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{ATTEMPTS, Failure, PAUSE, Refill};
use crate::config::InstanceTlsMode;
use crate::controller::api::CopyView;
use crate::controller::control_session::{Rows, SqlError};
use crate::controller::rebuild::{self, CloneState, Donor, Objection, Recipient, Seen};
use crate::controller::record::RebuildPhase;
use crate::controller::statements::cloning::{self, Encryption};
use sluice_protocol::GtidSet;

/// Login of the session in which the copy runs.
const LOGIN: Duration = Duration::from_secs(5);
/// The longest copy: 2 TB over a slow line have taken ten hours elsewhere.
const LONGEST: Duration = Duration::from_secs(48 * 3600);
/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A server that says that a copy runs, while no stage of it does, for so long: it broke off with the server.
const BROKEN_OFF: Duration = Duration::from_secs(15);
/// How long a server may take to come back on the copied data, recovery included.
const RETURN: Duration = Duration::from_secs(15 * 60);
/// The same where somebody has to start it.
const BY_HAND: Duration = Duration::from_secs(3600);
/// The copy is complete, and nobody is there to start the server again.
const NOT_SUPERVISED: u16 = 3707;
/// Another copy into this server is under way.
const UNDER_WAY: u16 = 3634;

type Statement = JoinHandle<Result<Rows, SqlError>>;

impl Refill {
    /// Until the member runs on a donor's data. `adopted`: a copy may be under way already.
    pub(super) async fn copy(&mut self, adopted: bool) -> Result<(), Failure> {
        if adopted && self.job.attempts > 0 {
            let began = Instant::now();
            let outcome = self.follow(None, Instant::now() + RETURN).await;
            let donor = self.job.donor.clone().unwrap_or_default();
            let followed = outcome.map(|()| format!("the copy from {donor} that was under way is complete"));
            if self.noted("copy", began, followed).is_ok() {
                return Ok(());
            }
            self.failed.push(donor);
        }
        loop {
            let began = Instant::now();
            let donor = match self.choose().await {
                Ok(donor) => donor,
                Err(failure) if self.job.phase == RebuildPhase::Preparing => return Err(failure),
                Err(failure) => {
                    self.attempt_failed(began, &failure)?;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let copied = self.copy_from(&donor).await.map(|()| format!("from {}", donor.name));
            let Err(failure) = copied else { return self.noted("copy", began, copied) };
            self.note("copy", began, &format!("from {}", donor.name), &format!("failed: {failure}"));
            if self.job.phase == RebuildPhase::Preparing {
                return Err(failure);
            }
            self.failed.push(donor.name);
            if let Ok((server, _)) = self.server() {
                // It may be writable now. What fails here is mended at the next attempt or by upkeep.
                let _ = server.close_after_copy().await;
            }
            if self.job.attempts >= ATTEMPTS {
                return Err(Failure::Unmet(format!("{} copies failed, the last one: {failure}", ATTEMPTS)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Counts a failed attempt that had no donor at all.
    fn attempt_failed(&mut self, began: Instant, failure: &Failure) -> Result<(), Failure> {
        self.note("choose a donor", began, "", &format!("failed: {failure}"));
        self.keep(|job| job.attempts += 1)?;
        if self.job.attempts > ATTEMPTS {
            return Err(Failure::Unmet(format!("nobody gives its data: {failure}")));
        }
        Ok(())
    }

    async fn choose(&self) -> Result<Donor, Failure> {
        self.desk.observers.look_at_all(Instant::now() + super::LOOK).await;
        let record = self.desk.record().ok_or_else(|| Failure::Unmet("the cluster is not adopted".into()))?;
        let recipient = Recipient {
            id: self.member,
            name: self.job.member.clone(),
            uuid: self.job.uuid,
            own: GtidSet::new(),
            unapplied: GtidSet::new(),
        };
        let donors =
            rebuild::donors(&self.desk.view(), &record, &recipient, self.job.from.as_deref(), &self.failed)?;
        let mut misfit = None;
        for donor in donors {
            match self.fits(&donor).await {
                Ok(_) => return Ok(donor),
                Err(failure) => misfit = Some(failure),
            }
        }
        Err(misfit.unwrap_or_else(|| Objection::NoDonor("there is no other member".into()).into()))
    }

    /// Whether the data of a donor fit the member, and how many bytes they are.
    pub(super) async fn fits(&self, donor: &Donor) -> Result<u64, Failure> {
        let (server, _) = self.server()?;
        let (giver, _) =
            self.desk.at(donor.id).ok_or_else(|| Failure::Unmet("there is no such instance".into()))?;
        let (theirs, ours) = (giver.clone_facts().await?, server.clone_facts().await?);
        rebuild::fit((&donor.name, &theirs), (&self.job.member, &ours))?;
        Ok(theirs.bytes)
    }

    async fn copy_from(&mut self, donor: &Donor) -> Result<(), Failure> {
        let (server, grammar) = self.server()?;
        let begun = server.clone_state().await?.begun;
        server.persist_boot(grammar).await?;
        server.stop_replication(grammar).await?;
        let gone = || Failure::Unmet("there is no such instance".into());
        let (address, account) = self.desk.donor(donor.id).ok_or_else(gone)?;
        let encryption = match self.desk.config.tls_instance.mode {
            InstanceTlsMode::Disabled | InstanceTlsMode::Preferred => Encryption::Preferred,
            InstanceTlsMode::Required | InstanceTlsMode::VerifyCa | InstanceTlsMode::VerifyIdentity => {
                Encryption::Required
            }
        };
        let sql =
            cloning::clone_from(&address.0, address.1, &account.user, &account.password.read(), encryption);
        self.keep(|job| {
            job.phase = RebuildPhase::Cloning;
            job.donor = Some(donor.name.clone());
            job.attempts += 1;
            job.before = begun;
        })?;
        let (server, _) = self.server()?;
        server.open_for_copy(&address, self.desk.config.rebuild.max_speed).await?;
        let mut session = server.open(LOGIN).await?;
        // A task of its own: whatever becomes of this rebuild's future, the session is not torn in the middle of a
        // statement by a look at the progress.
        let statement = tokio::spawn(async move { session.rows(&sql, LONGEST).await });
        self.follow(Some(statement), Instant::now() + RETURN).await
    }

    /// Until the server says that the copy is complete and that it runs on it, or that it failed.
    async fn follow(&mut self, mut statement: Option<Statement>, until: Instant) -> Result<(), Failure> {
        let mut back_by = until;
        let mut still: Option<Instant> = None;
        loop {
            if let Some(mut running) = statement.take() {
                match timeout(LOOK_AGAIN, &mut running).await {
                    Err(_) => statement = Some(running),
                    Ok(ended) => back_by = Instant::now() + self.after_statement(ended)?,
                }
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let state = match self.server()?.0.clone_state().await {
                Ok(state) => state,
                Err(_) if statement.is_some() => continue,
                Err(error) if Instant::now() >= back_by => {
                    return Err(Failure::Unmet(format!("the server did not come back: {error}")));
                }
                Err(_) => continue,
            };
            match state.seen(self.job.before.as_deref()) {
                Seen::Done => return Ok(()),
                Seen::Failed(why) if statement.is_none() => return Err(Failure::Unmet(why)),
                Seen::Running => {
                    self.show(&state);
                    (still, back_by) = (None, back_by.max(Instant::now() + RETURN));
                }
                Seen::Still | Seen::NotBegun if statement.is_none() => {
                    let since = *still.get_or_insert_with(Instant::now);
                    if since.elapsed() >= BROKEN_OFF {
                        return Err(Failure::Unmet("the copy broke off with the server".into()));
                    }
                }
                Seen::Still | Seen::NotBegun | Seen::Failed(_) => {}
            }
        }
    }

    /// What the end of the statement means: how long to wait for the server, or that the copy failed.
    fn after_statement(
        &mut self,
        ended: Result<Result<Rows, SqlError>, tokio::task::JoinError>,
    ) -> Result<Duration, Failure> {
        match ended {
            Ok(Ok(_)) => Ok(RETURN),
            Ok(Err(error)) if error.code() == Some(NOT_SUPERVISED) => {
                let member = self.job.member.clone();
                let hint = format!("start the server of {member}: nobody else does");
                self.note("copy", Instant::now(), &format!("complete, and {member} has stopped"), &hint);
                self.desk.operation(&self.job.id, |view| view.hint = Some(hint.clone()));
                self.remarks.push(format!("nobody starts {member} when it ends: give it a supervisor"));
                Ok(BY_HAND)
            }
            // Somebody else began one: it is followed like ours, and told from an older one by its beginning.
            Ok(Err(error)) if error.code() == Some(UNDER_WAY) => Ok(RETURN),
            Ok(Err(error @ SqlError::Server { .. })) => Err(error.into()),
            // The way that a server ends: what it says when it is back counts.
            Ok(Err(SqlError::Lost(_) | SqlError::Timeout(_) | SqlError::Refused | SqlError::Answer(_))) => {
                Ok(RETURN)
            }
            Err(lost) => Err(Failure::Unmet(lost.to_string())),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is floating-point; no server has 2^52 bytes")]
    fn show(&mut self, state: &CloneState) {
        self.looks += 1;
        let progress = &state.progress;
        let copy = CopyView {
            stage: progress.stage.clone().unwrap_or_default(),
            done_bytes: progress.done,
            total_bytes: progress.total,
            bytes_per_s: progress.speed,
            seconds_left: progress.seconds_left(),
            looks: self.looks,
        };
        for (what, bytes) in [("done", copy.done_bytes), ("total", copy.total_bytes)] {
            let labels = [("instance", self.job.member.clone()), ("what", what.to_owned())];
            gauge!("sluice_rebuild_bytes", &labels).set(bytes as f64);
        }
        self.desk.operation(&self.job.id, |view| view.copy = Some(copy));
        self.desk.publish();
    }
}
