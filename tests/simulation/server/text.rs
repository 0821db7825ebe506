//! From the text of a statement to its meaning: exactly the texts of the controller's table, and nothing else.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sluice::controller::record::EpochRow;
use sluice::controller::statements::{self, Grammar, cloning};
use sluice_protocol::GtidSet;
use uuid::Uuid;

use super::clone::Question;
use crate::world::Time;

/// What the controller may say.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    Setup,
    Now,
    Pulse,
    Progress,
    Received,
    Vouch,
    Channels,
    Settings,
    EpochRow,
    ReadOnlyFlags,
    SetWritable,
    SetReadOnly,
    Create,
    Log(bool),
    OpenWrites,
    ReadOnlyBlockers,
    Clients,
    PendingReadOnly,
    /// Nothing is there, whatever it asks for.
    Nothing,
    StartReceiver,
    StopReceiver,
    StartApplier,
    StopApplier,
    ResetReplicaAll,
    NetTimeout,
    PersistBoot,
    Heartbeat,
    SetAcking(bool),
    Waiting {
        enabled: bool,
        strict: bool,
        count: u16,
    },
    IsWaiting,
    WaitingState,
    ReceivedSince(Time),
    GetLock(String),
    ReleaseLock(String),
    LockHolder(String),
    Cloning(Question),
    Working,
    Offline(bool),
    /// From this host.
    Clone(String),
    WaitExecuted(GtidSet, Time),
    Kill(u64),
    Exists(u64),
    WriteEpoch(EpochRow),
    Events,
    Follow {
        host: String,
        port: u16,
        auto_position: bool,
    },
}

/// Texts that are always the same.
static FIXED: LazyLock<HashMap<String, Meaning>> = LazyLock::new(|| {
    let words = Grammar::Source;
    let mut all: HashMap<String, Meaning> = [
        (statements::SESSION_SETUP, Meaning::Setup),
        (statements::NOW, Meaning::Now),
        (statements::PULSE, Meaning::Pulse),
        (statements::PROGRESS, Meaning::Progress),
        (statements::RECEIVED, Meaning::Received),
        (statements::VOUCH, Meaning::Vouch),
        (statements::CHANNELS, Meaning::Channels),
        (statements::SETTINGS, Meaning::Settings),
        (statements::EPOCH_ROW, Meaning::EpochRow),
        (statements::READ_ONLY_FLAGS, Meaning::ReadOnlyFlags),
        (statements::SET_WRITABLE, Meaning::SetWritable),
        (statements::SET_READ_ONLY, Meaning::SetReadOnly),
        (statements::CREATE_SCHEMA, Meaning::Create),
        (statements::CREATE_EPOCH_TABLE, Meaning::Create),
        (statements::CREATE_PROBE_TABLE, Meaning::Create),
        (statements::LOG_ON, Meaning::Log(true)),
        (statements::LOG_OFF, Meaning::Log(false)),
        (statements::OPEN_WRITES, Meaning::OpenWrites),
        (statements::READ_ONLY_BLOCKERS, Meaning::ReadOnlyBlockers),
        (statements::CLIENTS, Meaning::Clients),
        (statements::PENDING_READ_ONLY, Meaning::PendingReadOnly),
        (statements::UNBLOCK_HOSTS, Meaning::Nothing),
        (statements::XA_RECOVER, Meaning::Nothing),
        (statements::FILTERS, Meaning::Nothing),
        (statements::events::EVENTS, Meaning::Events),
        (cloning::FACTS, Meaning::Cloning(Question::Facts)),
        (cloning::STATUS, Meaning::Cloning(Question::Status)),
        (cloning::PROGRESS, Meaning::Cloning(Question::Progress)),
        (cloning::WORKING, Meaning::Working),
        (cloning::CLOSE, Meaning::Offline(true)),
        (cloning::OPEN, Meaning::Offline(false)),
    ]
    .map(|(text, meaning)| (text.to_owned(), meaning))
    .into();
    all.extend([
        (words.start_receiver(), Meaning::StartReceiver),
        (words.stop_receiver(), Meaning::StopReceiver),
        (words.start_applier(), Meaning::StartApplier),
        (words.stop_applier(), Meaning::StopApplier),
        (words.reset_replica_all(), Meaning::ResetReplicaAll),
        (words.net_timeout(), Meaning::NetTimeout),
        (words.persist_boot(), Meaning::PersistBoot),
        (words.heartbeat(), Meaning::Heartbeat),
        (words.set_acking(true), Meaning::SetAcking(true)),
        (words.set_acking(false), Meaning::SetAcking(false)),
        (words.set_waiting_off(), Meaning::Waiting { enabled: false, strict: false, count: 0 }),
        (words.is_waiting(), Meaning::IsWaiting),
        (words.waiting_state(), Meaning::WaitingState),
    ]);
    for count in 0..5 {
        for strict in [false, true] {
            let meaning = Meaning::Waiting { enabled: true, strict, count };
            all.insert(words.set_waiting_on(count, strict), meaning);
        }
    }
    all
});

/// What a text means; `None`: the model and the controller's table have drifted apart.
pub(crate) fn meaning(sql: &str) -> Option<Meaning> {
    if let Some(known) = FIXED.get(sql) {
        return Some(known.clone());
    }
    let between = |before: &str, after: &str| -> Option<&str> {
        let rest = sql.strip_prefix(before)?;
        rest.split(after).next()
    };
    let found = |meaning: Meaning, text: String| (text == sql).then_some(meaning);
    if let Some(lock) = between("SELECT GET_LOCK('", "'") {
        return found(Meaning::GetLock(lock.into()), statements::get_lock(lock));
    }
    if let Some(lock) = between("DO RELEASE_LOCK('", "'") {
        return found(Meaning::ReleaseLock(lock.into()), statements::release_lock(lock));
    }
    if let Some(id) = sql.strip_prefix("KILL ") {
        return Some(Meaning::Kill(id.parse().ok()?));
    }
    if let Some((_, rest)) = sql.split_once("IS_USED_LOCK('") {
        let lock = rest.split('\'').next()?;
        return found(Meaning::LockHolder(lock.into()), statements::lock_holder(lock));
    }
    if let Some(moment) = between("SELECT last_heartbeat_timestamp > '", "'") {
        return found(Meaning::ReceivedSince(moment.parse().ok()?), statements::received_since(moment));
    }
    if let Some(id) = between("SELECT COUNT(*) FROM performance_schema.processlist WHERE id=", " ") {
        let id = id.parse().ok()?;
        return found(Meaning::Exists(id), statements::connection_exists(id));
    }
    if let Some(rest) = sql.strip_prefix("SELECT WAIT_FOR_EXECUTED_GTID_SET('") {
        let (set, seconds) = rest.strip_suffix(')')?.split_once("', ")?;
        let limit = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
        let limit = Time::try_from(limit.as_micros()).ok()?;
        return Some(Meaning::WaitExecuted(set.parse().ok()?, limit));
    }
    if let Some(donor) = between("SET GLOBAL clone_valid_donor_list='", "'") {
        let (host, port) = donor.split_once(':')?;
        return found(Meaning::Nothing, cloning::allow_donor(host, port.parse().ok()?));
    }
    if let Some(rest) = sql.strip_prefix("CLONE INSTANCE FROM '") {
        let (_, rest) = rest.split_once("'@'")?;
        let host = rest.split('\'').next()?;
        return Some(Meaning::Clone(host.into()));
    }
    if sql.starts_with("REPLACE INTO sluice.epoch") {
        let row = epoch_row(sql)?;
        let text = statements::epoch_row(&row);
        return found(Meaning::WriteEpoch(row), text);
    }
    follow(sql)
}

fn epoch_row(sql: &str) -> Option<EpochRow> {
    let (_, values) = sql.split_once("VALUES (")?;
    let values: Vec<&str> = values.strip_suffix(')')?.split(", ").collect();
    let [epoch, primary, ackers, count, who @ ..] = values.as_slice() else { return None };
    let plain = |text: &str| text.trim_matches('\'').to_owned();
    let ackers = plain(ackers);
    Some(EpochRow {
        epoch: epoch.parse().ok()?,
        primary: plain(primary).parse().ok()?,
        ackers: ackers.split(',').filter_map(|one| one.parse::<Uuid>().ok()).collect(),
        wait_count: count.parse().ok()?,
        who: plain(&who.join(", ")),
    })
}

fn follow(sql: &str) -> Option<Meaning> {
    let rest = sql.strip_prefix("CHANGE REPLICATION SOURCE TO SOURCE_HOST='")?;
    let (host, rest) = rest.split_once("', SOURCE_PORT=")?;
    let port = rest.split(',').next()?.parse().ok()?;
    let auto_position = rest.ends_with(", SOURCE_AUTO_POSITION=1");
    Some(Meaning::Follow { host: host.into(), port, auto_position })
}
