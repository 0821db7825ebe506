//! What one server has of the history of another.
//!
//! Never here: what follows from it.

use sluice_protocol::GtidSet;

use super::ServerView;

impl ServerView {
    /// Transactions that only this server has. New transactions of the primary itself are none.
    pub fn errant(&self, primary: &Self) -> GtidSet {
        let extra = self.known_before(primary).subtract(&primary.executed);
        extra.subtract(&extra.of(primary.uuid))
    }

    /// What it had before the primary was asked: right after a change of roles the latest answer of a primary may be older
    /// than both of this server's, and lack what the former primary wrote last. Where no answer is old enough, as of a
    /// server that has just come, the older one counts: better a doubt than a foreign history.
    fn known_before(&self, primary: &Self) -> &GtidSet {
        let asked = primary.executed_asked;
        match &self.look_before {
            Some((known, looked)) if asked < self.executed_before_read && asked >= Some(*looked) => known,
            Some(_) | None => &self.executed_before,
        }
    }

    /// Transactions of its own that the cluster has and it has not any more. Replication never brings them back: a
    /// replica skips what bears its own `server_id`, and goes on behind it (seen on 9.7.4).
    ///
    /// Only a fenced server that was asked after the primary had answered can have forgotten something: in an older
    /// answer a former primary just has not written it yet.
    pub fn forgot(&self, primary: &Self) -> GtidSet {
        match &primary.look_before {
            Some((known, looked)) if !self.is_writable() && self.executed_asked >= Some(*looked) => {
                self.lacks_of_its_own(known)
            }
            Some(_) | None => GtidSet::new(),
        }
    }

    /// Whether it must not follow before it is known that it has not [forgotten](Self::forgot) anything.
    pub fn may_have_forgotten(&self, primary: &Self) -> bool {
        !self.lacks_of_its_own(&primary.executed_in_look).is_empty()
    }

    fn lacks_of_its_own(&self, known: &GtidSet) -> GtidSet {
        known.of(self.uuid).subtract(&self.executed).subtract(&self.committing)
    }

    /// Whether this is somebody else's server, as behind a wrong address: it takes writes and has transactions, none of
    /// them of this cluster. It is left alone.
    pub fn is_stranger(&self, primary: &Self) -> bool {
        self.is_writable()
            && self.epoch_row.is_none()
            && !self.executed.is_empty()
            && !primary.executed.is_empty()
            && self.executed.subtract(&primary.executed) == *self.executed
    }
}
