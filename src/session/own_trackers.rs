//! The session trackers that the client switched on for itself.
//!
//! Towards servers our own are on all the time, and the client gets of what they tell what it would get directly. For the
//! one statement that sets or shows `session_track_*` the connection is lent to the client's values: the server then
//! checks, sets and shows them, and nothing of them is parsed. They are no state of a connection, so they need no
//! restoring elsewhere. `session_track_gtids = ALL_GTIDS` tells the own ones only, and of the variables that a client names
//! those are told that our own list has.
//!
//! Never here: bytes of a packet, what a tracker means.

use sluice_protocol::trackers::{TrackerFilter, TransactionStates, VariableFilter};
use sluice_protocol::{Answer, StatusFlags};
use sluice_routing::effects::Effect;
use sluice_routing::intent::Statement;
use sluice_routing::topology::InstanceId;
use sluice_routing::variables::TRACKED;

use super::backends::{Backend, LastUser, NotReady, Trackers};
use super::{Session, Transaction};
use crate::backend::tracker_statement;

/// Asks for all of them, in the order of [`NAMES`].
const QUESTION: &[u8] = b"SELECT @@session_track_schema,@@session_track_state_change,@@session_track_gtids,\
    @@session_track_transaction_info,@@session_track_system_variables";

/// The variables, in the order of their values in [`OwnTrackers`].
const NAMES: [&str; 5] = [
    "session_track_schema",
    "session_track_state_change",
    "session_track_gtids",
    "session_track_transaction_info",
    "session_track_system_variables",
];

/// What one statement sets besides trackers, and what our own must tell of.
const TOLD: [Effect; 3] = [Effect::SetsTracked, Effect::SetsReading, Effect::SetsAutocommit];

/// Values in the order of [`NAMES`], as a server shows them.
type Values = Box<[Vec<u8>; 5]>;

/// The client's values; `None` is the default that servers come with.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnTrackers(Option<Values>);

impl OwnTrackers {
    /// Whether the client has set any.
    pub(super) fn are_set(&self) -> bool {
        self.0.is_some()
    }

    /// What the client is to see of the servers' trackers in a session with this status.
    fn filter(&self, status: StatusFlags) -> TrackerFilter {
        let defaults = TrackerFilter::server_defaults(status);
        let Some([schema, state_change, gtids, transactions, variables]) = self.0.as_deref() else {
            return defaults;
        };
        let mut filter = defaults.with_variables(named(variables));
        if schema != b"1" {
            filter = filter.without(TrackerFilter::SCHEMA);
        }
        if state_change == b"1" {
            filter = filter.with(TrackerFilter::STATE_CHANGE);
        }
        if gtids != b"OFF" {
            filter = filter.with(TrackerFilter::GTIDS);
        }
        if transactions != b"OFF" {
            filter = filter.with_transactions(TransactionStates::All);
        }
        if transactions == b"CHARACTERISTICS" {
            filter = filter.with(TrackerFilter::TRANSACTION_CHARACTERISTICS);
        }
        filter
    }
}

/// What tells of everything that one statement can set besides trackers, and else what the client has.
fn with_ours(values: &Values) -> Values {
    let mut values = values.clone();
    let [schema, state_change, _, _, variables] = &mut *values;
    *schema = b"1".to_vec();
    *state_change = b"1".to_vec();
    *variables = TRACKED.join(",").into_bytes();
    values
}

/// The statement that gives a connection these values.
fn statement(values: Option<&Values>) -> Vec<u8> {
    let mut text = b"SET SESSION ".to_vec();
    for (number, name) in NAMES.iter().enumerate() {
        text.extend_from_slice(if number == 0 { b"" } else { b"," });
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        match values.and_then(|values| values.get(number)) {
            // The server takes no string for a number.
            Some(value) if matches!(&**value, b"0" | b"1") => text.extend_from_slice(value),
            Some(value) => quote(value, &mut text),
            None => text.extend_from_slice(b"DEFAULT"),
        }
    }
    text
}

fn named(list: &[u8]) -> VariableFilter {
    if list == b"*" {
        return VariableFilter::All;
    }
    let names = list.split(|byte| *byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase().into());
    VariableFilter::Named(names.collect::<Vec<Box<[u8]>>>().into())
}

/// The value as a string that every sql_mode reads alike; a server shows no quotes and backslashes in these.
fn quote(value: &[u8], text: &mut Vec<u8>) {
    text.push(b'\'');
    text.extend(value.iter().filter(|byte| !matches!(byte, b'\'' | b'\\')));
    text.push(b'\'');
}

/// Whether a statement runs alone and sets or shows trackers: of several, or of hidden code, too much would not be told.
pub(super) fn borrows(statement: &Statement) -> bool {
    let effects = &statement.effects;
    effects.has(Effect::UsesTrackers)
        && !effects.has(Effect::SeveralStatements)
        && !effects.has(Effect::Unprovable)
}

impl Session {
    /// What the client is to see of the servers' trackers.
    pub(super) fn tracker_filter(&self) -> TrackerFilter {
        self.own_trackers.filter(match self.transaction {
            Transaction::Explicit => self.status,
            // A server does not tell of the end of a transaction that autocommit=0 began.
            Transaction::Implicit => self.status - StatusFlags::IN_TRANS,
        })
    }

    /// Before a statement that [borrows] them runs: lends it the trackers. What of its answer's trackers the client is to
    /// see.
    pub(super) async fn lend_trackers_to(
        &mut self,
        instance: InstanceId,
        statement: &Statement,
    ) -> Result<TrackerFilter, NotReady> {
        let told = TOLD.iter().any(|&effect| statement.effects.has(effect));
        match self.lend_trackers(instance, told).await {
            Ok(()) if told => Ok(self.tracker_filter()),
            Ok(()) => Ok(TrackerFilter::everything()),
            // Where not even this is allowed (an expired password), the statement is not either.
            Err(NotReady::Refused(_)) => Ok(self.tracker_filter()),
            Err(error) => Err(error),
        }
    }

    /// Gives the connection the client's own trackers; those that tell of other settings stay on if it sets such.
    async fn lend_trackers(&mut self, instance: InstanceId, told: bool) -> Result<(), NotReady> {
        let Some(backend) = self.backends.get_mut(instance) else { return Err(NotReady::Lost) };
        set(backend, &statement(self.own_trackers.0.as_ref())).await?;
        backend.trackers = Trackers::Lent;
        if !told {
            return Ok(());
        }
        if self.own_trackers.0.is_none() {
            self.own_trackers.0 = values(backend).await?;
        }
        let Some(own) = &self.own_trackers.0 else { return Err(NotReady::Lost) };
        set(backend, &statement(Some(&with_ours(own)))).await?;
        backend.trackers = Trackers::LentWithOurs;
        Ok(())
    }

    /// After a statement: takes lent trackers back, and switches ours on again behind what may have switched them off.
    /// What the statement left for questions about it is read off the connection first.
    pub(super) async fn settle_trackers(&mut self, instance: InstanceId, statement: &Statement) {
        self.read_off(instance).await;
        if borrows(statement) {
            self.take_trackers_back(instance).await;
        } else {
            self.switch_trackers_on(instance).await;
        }
        if let Some(backend) = self.backends.get_mut(instance) {
            backend.last_user = LastUser::Another;
        }
    }

    /// Learns the client's own trackers from a connection they were lent, and switches ours on again.
    pub(super) async fn take_trackers_back(&mut self, instance: InstanceId) {
        let Some(backend) = self.backends.get_mut(instance) else { return };
        let lent = std::mem::replace(&mut backend.trackers, Trackers::Ours);
        match (lent, &mut self.own_trackers.0) {
            (Trackers::Ours, _) => return,
            (Trackers::LentWithOurs, Some(own)) => {
                let lent = with_ours(own);
                if let Ok(Some(now)) = values(backend).await {
                    for ((own, now), lent) in own.iter_mut().zip(*now).zip(*lent) {
                        if now != lent {
                            *own = now;
                        }
                    }
                }
            }
            (Trackers::Lent | Trackers::LentWithOurs, own) => {
                if let Ok(Some(now)) = values(backend).await {
                    *own = Some(now);
                }
            }
        }
        self.switch_trackers_on(instance).await;
    }

    /// Switches our own trackers on. Without them the connection would hide what happens on it, so one that does not take
    /// them is dropped.
    async fn switch_trackers_on(&mut self, instance: InstanceId) {
        let Some(backend) = self.backends.get_mut(instance) else { return };
        if set(backend, tracker_statement()).await.is_err() {
            self.backends.drop_connection(instance);
        }
    }
}

async fn set(backend: &mut Backend, statement: &[u8]) -> Result<(), NotReady> {
    match backend.query(statement).await? {
        Answer::Ok(_) => Ok(()),
        Answer::Rows { .. } => Err(NotReady::Lost),
        Answer::Error(error) => Err(NotReady::Refused(Box::new(error))),
    }
}

/// The trackers that are switched on; `None` if the server does not say.
async fn values(backend: &mut Backend) -> Result<Option<Values>, NotReady> {
    let Answer::Rows { rows, .. } = backend.query(QUESTION).await? else { return Ok(None) };
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let values: Vec<Vec<u8>> = row.into_iter().map(Option::unwrap_or_default).collect();
    Ok(values.try_into().ok().map(Box::new))
}
