//! What is asked of and set on a server whose data are given or replaced.
//!
//! Never here: policy, a statement's text.

use std::io::Write;
use std::time::Duration;

use sluice_protocol::GtidSet;

use super::{InstanceOperations, QUICK, REPLICATION, Via, text};
use crate::controller::control_session::SqlError;
use crate::controller::plan::Address;
use crate::controller::rebuild::{CloneState, Facts};
use crate::controller::statements::{Grammar, cloning};

/// Adding up the sizes of all tablespaces: one row for each.
const SIZES: Duration = Duration::from_secs(20);
/// Reading its own transactions out of its binary log: the server looks through all its logs for them.
const TAIL: Duration = Duration::from_secs(600);
/// `offline_mode` ends all client connections: 16 ms were measured, with many it takes longer.
const CUT: Duration = Duration::from_secs(10);

impl InstanceOperations {
    /// What decides whether data fit.
    pub(in crate::controller) async fn clone_facts(&self) -> Result<Facts, SqlError> {
        let rows = self.rows(Via::Main, cloning::FACTS, SIZES).await?;
        let plain = |column: usize| text(&rows, 0, column).to_owned();
        let purged: GtidSet =
            text(&rows, 0, 6).parse().map_err(|_| SqlError::Answer("gtid_purged can't be read"))?;
        Ok(Facts {
            plugin: Some(plain(0)).filter(|state| !state.is_empty()),
            page_size: plain(1),
            data_files: plain(2),
            case: plain(3),
            packet: text(&rows, 0, 4).parse().unwrap_or_default(),
            platform: plain(5),
            purged,
            bytes: text(&rows, 0, 7).parse().unwrap_or_default(),
            // What can't be read is no proof that there are none.
            tables: text(&rows, 0, 8).parse().unwrap_or(u64::MAX),
        })
    }

    /// What the server says about the latest copy into it.
    pub(in crate::controller) async fn clone_state(&self) -> Result<CloneState, SqlError> {
        let status = self.rows(Via::Aside, cloning::STATUS, QUICK).await?;
        let stages = self.rows(Via::Aside, cloning::PROGRESS, QUICK).await?;
        Ok(CloneState::read(&status, &stages))
    }

    /// Writes the transactions of its binary log that are not in `skip` to `file`; returns how many.
    pub(in crate::controller) async fn copy_transactions(
        &self,
        skip: &GtidSet,
        file: &mut (dyn Write + Send),
    ) -> Result<u64, SqlError> {
        self.target.copy_transactions(skip, file, TAIL).await
    }

    /// Clients that are at work there.
    pub(in crate::controller) async fn working_clients(&self) -> Result<u64, SqlError> {
        let rows = self.rows(Via::Aside, cloning::WORKING, QUICK).await?;
        // No number is no proof that nobody is.
        text(&rows, 0, 0).parse().map_err(|_| SqlError::Answer("how many clients are at work can't be read"))
    }

    /// Stops both threads: nothing more is received, then nothing more is applied.
    pub(in crate::controller) async fn stop_replication(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.run(&grammar.stop_receiver(), REPLICATION).await?;
        self.run(&grammar.stop_applier(), REPLICATION).await
    }

    /// Lets nobody in but Sluice and administrators, and then takes `super_read_only` away, under which CLONE would
    /// be refused.
    pub(in crate::controller) async fn open_for_copy(
        &self,
        donor: &Address,
        max_speed: Option<usize>,
    ) -> Result<(), SqlError> {
        self.run(&cloning::allow_donor(&donor.0, donor.1), QUICK).await?;
        if let Some(bytes) = max_speed {
            self.run(&cloning::limit_speed(bytes.div_ceil(1 << 20)), QUICK).await?;
        }
        self.run(cloning::CLOSE, CUT).await?;
        self.set_writable().await
    }

    /// Fences a server as it should be again, whether it was copied into or not.
    pub(in crate::controller) async fn close_after_copy(&self) -> Result<(), SqlError> {
        self.set_read_only().await?;
        self.run(cloning::OPEN, QUICK).await
    }

    /// Forgets the source that came with the donor's data. Only for a server that was just filled: what its channel
    /// received is the donor's.
    pub(in crate::controller) async fn forget_donors_source(&self, grammar: Grammar) -> Result<(), SqlError> {
        self.stop_replication(grammar).await?;
        self.run(&grammar.reset_replica_all(), REPLICATION).await
    }
}
