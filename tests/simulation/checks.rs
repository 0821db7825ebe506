//! What must hold, after every step and at the end (I1 to I12 of the failover reference, as far as a model can say).

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice::controller::record::Record;

use crate::ledger::Outcome;
use crate::server::commit::{Why, short};
use crate::server::{Content, Trx};
use crate::world::World;

impl World {
    /// The recorded primary of the Sluice that runs, with its epoch; epoch 0: it has not said yet.
    fn held_primary(&self) -> Option<(u64, String)> {
        let status = self.sluice.as_ref()?.status();
        let known = status.epoch > 0;
        known.then(|| Some((status.epoch, status.primary.clone()?))).flatten()
    }

    /// The record in the store.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.store.join("record.json")).ok()?).ok()
    }

    /// The epoch of this Sluice, for a look whether it only grows.
    pub(crate) fn check_epoch(&mut self) {
        let Some((epoch, _)) = self.held_primary() else { return };
        let seen = self.ledger.epoch;
        if epoch < seen {
            self.violated(format!("the epoch went back from {seen} to {epoch}"));
        }
        self.ledger.epoch = epoch.max(seen);
        let (ledger, servers) = (&self.ledger, &self.servers);
        let ahead = servers.iter().find_map(|server| {
            let row = server.epoch.as_ref()?;
            (row.epoch > ledger.epoch).then(|| format!("{} carries epoch {}", server.name, row.epoch))
        });
        // One that was written and waits for acknowledgements comes to light later.
        let newer = |trx: &Arc<Trx>| matches!(&trx.content, Content::Epoch(row) if row.epoch > ledger.epoch);
        if ledger.stale && !servers.iter().any(|server| server.log.iter().any(newer)) {
            self.ledger.stale = false;
        }
        if let Some(ahead) = ahead.filter(|_| !self.ledger.stale) {
            self.violated(format!("{ahead}, but the record says {}", self.ledger.epoch));
        }
    }

    /// A server is about to take writes: everything that clients were told OK has to be there.
    pub(crate) fn check_opening(&mut self, index: usize) {
        let rows: BTreeSet<usize> = self.servers[index].rows().collect();
        let lost: Vec<usize> =
            self.ledger.all(Outcome::Acknowledged).filter(|write| !rows.contains(write)).collect();
        if !lost.is_empty() {
            self.violated(format!("db{} is opened without acknowledged writes {lost:?}", index + 1));
        }
    }

    /// A client's commit was let go.
    pub(crate) fn check_release(&mut self, index: usize, trx: &Trx, place: usize, heard: bool, why: Why) {
        let server = &self.servers[index];
        let side = &server.source_side;
        let (acknowledged, enabled) = (side.acks(place) >= usize::from(side.count.max(1)), side.enabled);
        let held = self.held_primary();
        let name = server.name.clone();
        let ackers: Vec<&str> = side
            .acked
            .iter()
            .zip(&self.servers)
            .filter(|(acked, _)| acked.is_some_and(|acked| acked >= place))
            .map(|(_, server)| server.name.as_str())
            .collect();
        let status = self.sluice.as_ref().map(|sluice| sluice.status());
        let counted = status.as_ref().is_some_and(|status| {
            let recorded = |name: &&&str| status.ackers.iter().any(|acker| acker == **name);
            ackers.iter().filter(recorded).count() >= usize::from(status.wait_count)
        });
        let wrong = (enabled && acknowledged && !counted).then(|| self.miscounted(index, place)).flatten();
        if let Some(wrong) = wrong.filter(|_| why == Why::Due && heard) {
            self.violated(format!("{name}: OK for {}, {wrong}", short(&trx.gtid)));
        }
        if why == Why::Changed && !acknowledged && heard {
            self.violated(format!(
                "{name}: a statement of the controller answered OK for {}, which nobody has acknowledged",
                short(&trx.gtid)
            ));
        }
        if let Some((epoch, primary)) = held
            && primary != name
            && acknowledged
            && enabled
            && why == Why::Due
            && heard
            && !self.servers.iter().any(|server| server.name == primary && server.written.contains(&trx.gtid))
        {
            self.violated(format!(
                "{name} gets writes acknowledged ({}) that {primary}, the primary of epoch {epoch}, lacks",
                short(&trx.gtid)
            ));
        }
    }

    /// What is wrong with the acknowledgements of a place in the log of the recorded primary, by the record: they are
    /// of others than the recorded ackers, or fewer than recorded.
    fn miscounted(&self, index: usize, place: usize) -> Option<String> {
        let record = self.record().filter(|record| record.primary == self.servers[index].uuid)?;
        let acked = &self.servers[index].source_side.acked;
        let counted = acked.iter().zip(&self.servers).filter(|(acked, server)| {
            acked.is_some_and(|acked| acked >= place) && record.is_acker(server.uuid)
        });
        let counted = counted.count();
        (counted < usize::from(record.wait_count)).then(|| {
            format!("with {counted} acknowledgements of recorded ackers where {} count", record.wait_count)
        })
    }

    /// The ledger against a server that is the primary in the end.
    pub(crate) fn check_ledger(&mut self, index: usize) {
        let mut found: Vec<usize> = self.servers[index].rows().collect();
        found.sort_unstable();
        let twice: Vec<usize> =
            found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let found: BTreeSet<usize> = found.into_iter().collect();
        let lost: Vec<usize> =
            self.ledger.all(Outcome::Acknowledged).filter(|write| !found.contains(write)).collect();
        let failed: Vec<usize> =
            self.ledger.all(Outcome::Failed).filter(|write| found.contains(write)).collect();
        for (what, which) in
            [("lost", lost), ("told as not executed but there", failed), ("there twice", twice)]
        {
            if !which.is_empty() {
                self.violated(format!("acknowledged or failed writes {what} on db{}: {which:?}", index + 1));
            }
        }
    }

    /// Members that serve reads have nothing that the primary lacks.
    pub(crate) fn check_readers(&mut self, primary: usize, readers: &[usize]) {
        for reader in readers {
            let own = self.servers[*reader].executed.subtract(&self.servers[primary].written);
            if !own.is_empty() {
                self.violated(format!("db{} serves reads with transactions of its own: {own}", reader + 1));
            }
        }
    }
}
