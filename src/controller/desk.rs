//! The controller's shared state: record, verdict, what is published, operations. Everything that changes one
//! of them goes through here.
//!
//! Never here: a statement to a server, a decision about roles.

mod events;
mod floor;
mod group;
mod operations;
mod window;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::adopt::Policy;
use super::api::{BudgetStatus, ControllerSeat, GateStatus, OperationView, Status};
use super::assess::{Assessment, Trust, Verdict};
use super::board::Board;
use super::clock;
use super::control_session::Servers;
use super::failover::{self, Rules};
use super::guarantee::{self, Waited};
use super::hooks::Beside;
use super::instance_operations::{AllOperations, InstanceOperations};
use super::lag::LagMeter;
use super::observe::Observers;
use super::plan::Address;
use super::publish::{self, Picture};
use super::record::{Pause, Record, Window};
use super::statements::{Grammar, Source};
use super::store::{Floor, Prepared, Store, StoreError};
use super::view::ClusterView;
use crate::config::{Account, Config, InstanceTlsMode, Promotion};
use crate::feed::Publisher;
use crate::feed::gate::Closed;

pub(super) use floor::Moment;
pub(super) use operations::{ASKED, HOOK, REBUILD};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) config: Arc<Config>,
    pub(super) policy: Policy,
    pub(super) promotion: Vec<Promotion>,
    /// Failure zones by instance.
    pub(super) zones: Vec<Option<Arc<str>>>,
    /// Where replicas reach each instance.
    pub(super) replication_addresses: Vec<Address>,
    pub(super) board: Arc<Board>,
    pub(super) observers: Arc<Observers>,
    pub(super) operations: AllOperations,
    pub(super) publisher: Arc<Publisher>,
    /// Upkeep and switchover share it: one of them changes servers at a time.
    pub(super) bench: Arc<tokio::sync::Mutex<()>>,
    /// Programs that run.
    pub(super) hooks: Arc<Beside>,
    addresses: Vec<Arc<str>>,
    store: Arc<Store>,
    seat: Arc<Seat>,
    /// Shared with the desks before and after this one.
    state: Arc<Mutex<State>>,
}

/// Whether a failover has opened the new primary for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Nobody may write.
    No,
    /// Clients go on there.
    Yes,
}

/// The sending ends of the API.
#[derive(Debug)]
struct Seat {
    status: Arc<arc_swap::ArcSwap<Status>>,
    operations: tokio::sync::watch::Sender<Arc<Vec<OperationView>>>,
}

#[derive(Debug)]
struct State {
    record: Option<Record>,
    trust: Trust,
    assessment: Assessment,
    assessed_at: Instant,
    /// Set while a switchover runs: it alone opens and closes the gate.
    coming: Option<(InstanceId, Uuid)>,
    warm: Option<InstanceId>,
    /// Set while a failover runs: it alone opens the gate.
    failover: Option<Opened>,
    /// The primary it was read on, and the most that was ever read there as committed under the guarantee.
    floor: Option<(Uuid, Arc<GtidSet>)>,
    /// The latest reading of the primary that waited for acknowledgements.
    waited: Option<Waited>,
    /// Both, as they are in the store, and since when.
    kept: Option<(Floor, Instant)>,
    trouble: Option<String>,
    budgets: Vec<BudgetStatus>,
    operations: Vec<OperationView>,
    lags: LagMeter,
    /// Scheduled events.
    events: events::Events,
}

impl Desk {
    /// Opens the store and starts looking at the instances.
    pub(super) fn open(
        config: Arc<Config>,
        servers: &Arc<dyn Servers>,
        publisher: Publisher,
        seat: &ControllerSeat,
    ) -> Result<Self, StoreError> {
        let store = Store::open(&config.cluster.store)?;
        let record = store.load()?;
        if let Some(other) = record.as_ref().filter(|record| record.cluster != config.cluster.name) {
            return Err(StoreError::OtherCluster {
                path: config.cluster.store.clone(),
                found: other.cluster.clone(),
                expected: config.cluster.name.clone(),
            });
        }
        let known = floor::known(&store, record.as_ref());
        let board = Arc::new(Board::new(&config));
        let observers = Arc::new(Observers::start(&config, servers, &board, publisher.feed()));
        let state = State {
            record,
            trust: Trust::Checked,
            assessment: starting(),
            assessed_at: clock::now(),
            coming: None,
            warm: None,
            failover: None,
            floor: known.floor,
            waited: known.waited,
            kept: None,
            trouble: None,
            budgets: Vec::new(),
            operations: Vec::new(),
            lags: LagMeter::new(config.sessions.max_lag),
            events: events::Events::open(&store),
        };
        let seat = Seat { status: Arc::clone(&seat.status), operations: seat.operations.clone() };
        Ok(Self {
            policy: group::policy(&config),
            promotion: group::promotion(&config),
            zones: group::zones(&config),
            replication_addresses: group::replication_addresses(&config),
            addresses: group::addresses(&config),
            operations: group::operations(&config, servers, &[]),
            board,
            observers,
            publisher: Arc::new(publisher),
            bench: Arc::new(tokio::sync::Mutex::new(())),
            hooks: Arc::default(),
            store: Arc::new(store),
            seat: Arc::new(seat),
            state: Arc::new(Mutex::new(state)),
            config,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record in force.
    pub(super) fn record(&self) -> Option<Record> {
        self.state().record.clone()
    }

    /// What was seen last.
    pub(super) fn view(&self) -> ClusterView {
        self.board.snapshot()
    }

    /// Whether the primary was checked since it was last lost.
    pub(super) fn trust(&self) -> Trust {
        self.state().trust
    }

    /// Notes that the primary has been checked, or has to be.
    pub(super) fn set_trust(&self, trust: Trust) {
        self.state().trust = trust;
    }

    /// The latest verdict.
    pub(super) fn assessment(&self) -> Assessment {
        self.state().assessment.clone()
    }

    /// Notes a verdict; a new one is logged.
    pub(super) fn set_assessment(&self, assessment: Assessment) {
        let mut state = self.state();
        if state.assessment.verdict != assessment.verdict {
            state.assessed_at = clock::now();
            tracing::info!(verdict = assessment.verdict.as_str(), evidence = %assessment.evidence, "verdict");
        }
        state.assessment = assessment;
    }

    /// What went wrong in the latest upkeep, for the alarms.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        if let Some(trouble) = &trouble {
            tracing::warn!(%trouble, "upkeep");
        }
        self.state().trouble = trouble;
    }

    /// Notes how often Sluice may still act by itself.
    pub(super) fn set_budgets(&self, budgets: Vec<BudgetStatus>) {
        self.state().budgets = budgets;
    }

    /// Changes the record, by compare-and-set against the one this process last saw.
    pub(super) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<Record, StoreError> {
        let Some(current) = self.record() else { return Err(StoreError::Changed { found: 0, expected: 0 }) };
        let mut next = current;
        change(&mut next);
        self.commit(self.prepare(next)?)
    }

    /// Writes a changed record beside the one in force.
    pub(super) fn prepare(&self, mut next: Record) -> Result<Prepared, StoreError> {
        let expected = self.state().record.as_ref().map(|record| record.version);
        next.version = expected.unwrap_or(0) + 1;
        if let Some(seen) = self.view().by_uuid(next.primary) {
            next.primary_name = seen.name.to_string();
        }
        self.store.prepare(next, expected)
    }

    /// A new file for transactions that only one member has.
    pub(super) fn tail(&self, member: &str, id: &str) -> Result<(File, PathBuf), StoreError> {
        self.store.tail(member, id)
    }

    /// Puts it in force.
    pub(super) fn commit(&self, prepared: Prepared) -> Result<Record, StoreError> {
        let record = self.store.commit(prepared)?;
        self.state().record = Some(record.clone());
        Ok(record)
    }

    /// Where a replica finds its source.
    pub(super) fn source(&self, id: InstanceId) -> Option<Source<'_>> {
        let (host, port) = self.replication_addresses.get(id.index())?;
        let account = &self.config.accounts.replication;
        let tls = self.config.tls_instance.mode != InstanceTlsMode::Disabled;
        let password = account.password.read().to_string().into();
        Some(Source { host, port: *port, user: &account.user, password, tls })
    }

    /// Who copies data from a donor, with the password, and where a donor is reached.
    pub(super) fn donor(&self, id: InstanceId) -> Option<(Address, &Account)> {
        let accounts = &self.config.accounts;
        let account = accounts.clone.as_ref().unwrap_or(&accounts.control);
        Some((self.replication_addresses.get(id.index())?.clone(), account))
    }

    /// The statements of an instance and their grammar.
    pub(super) fn at(&self, id: InstanceId) -> Option<(&InstanceOperations, Grammar)> {
        let version = self.board.view(id.index()).and_then(|view| view.server.map(|s| s.grammar()));
        Some((self.operations.get(id.index())?.as_ref(), version.unwrap_or(Grammar::Source)))
    }

    /// Whether a switchover or a failover changes servers now.
    pub(super) fn is_switching(&self) -> bool {
        let state = self.state();
        state.coming.is_some() || state.failover.is_some()
    }

    /// Says that a failover has begun, has opened the new primary, or is over.
    pub(super) fn set_failover(&self, failover: Option<Opened>) {
        self.state().failover = failover;
    }

    /// What the configuration says about failover.
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules {
            automatic: self.config.failover.automatic,
            promotion: &self.promotion,
            zones: &self.zones,
            policy: &self.policy,
            stall: self.config.failover.stall,
            now: clock::now(),
        }
    }

    /// Says which instance is about to become the primary, and whether sessions should connect to it.
    pub(super) fn set_coming(&self, coming: Option<(InstanceId, Uuid)>, warm: Option<InstanceId>) {
        let mut state = self.state();
        state.coming = coming;
        state.warm = warm;
    }

    /// Publishes topology and status as they are now.
    pub(super) fn publish(&self) {
        let view = self.view();
        let mut state = self.state();
        let (now, primary) = (clock::now(), state.record.as_ref().map(|record| record.primary));
        state.lags.look(&view, primary, now);
        let state = state;
        let recorded = state.record.as_ref().and_then(|record| view.by_uuid(record.primary)).map(|i| i.id);
        let writes = match state.failover {
            Some(opened) => opened == Opened::Yes,
            None => state.coming.is_some() || state.assessment.verdict.writes_allowed(),
        };
        let picture = Picture {
            view: &view,
            record: state.record.as_ref(),
            primary: recorded.filter(|_| writes),
            coming: state.coming,
            warm: state.warm,
            waited: state.waited,
            lags: &state.lags,
            now,
        };
        self.publisher.set_receipt_rule(publish::receipt_rule(&picture));
        self.publisher.publish(publish::topology(&picture, &self.addresses));
        self.seat.status.store(Arc::new(self.status(&state, &picture, recorded)));
    }

    fn status(&self, state: &State, picture: &Picture<'_>, primary: Option<InstanceId>) -> Status {
        let record = state.record.as_ref();
        let name = |id: InstanceId| picture.view.instances.get(id.index()).map(|view| view.name.to_string());
        let instances = picture.view.members().map(|view| {
            let address = self.addresses.get(view.id.index()).map_or("", |address| address);
            publish::instance_status(picture, view, address)
        });
        let mut alarms = publish::alarms(picture);
        alarms.extend(state.trouble.clone());
        alarms.extend(state.events.alarms());
        let feed = self.publisher.feed();
        Status {
            cluster: self.config.cluster.name.clone(),
            epoch: record.map_or(0, |record| record.epoch),
            primary: primary.and_then(name),
            guarantee: record.map_or_else(
                || "none: not adopted".into(),
                |record| guarantee::words(record, self.config.durability.without_acker),
            ),
            unguarded: record.and_then(Record::open_window).map(Window::describe),
            verdict: state.assessment.verdict.as_str().into(),
            evidence: state.assessment.evidence.clone(),
            verdict_age_s: clock::since(state.assessed_at).as_secs(),
            hint: state.assessment.hint.clone(),
            failover: failover::shown(picture.view, record, &self.rules()),
            ackers: record
                .map_or_else(Vec::new, |r| r.ackers.iter().map(|uuid| picture.view.name_of(*uuid)).collect()),
            wait_count: record.map_or(0, |record| record.wait_count),
            budgets: state.budgets.clone(),
            paused: record.and_then(|record| record.pause.as_ref()).map(Pause::describe),
            gate: GateStatus {
                state: match feed.gate().closed() {
                    None if feed.gate().is_wide() => "open",
                    None => "narrow (switchover)",
                    Some(Closed::Switchover) => "closed (switchover)",
                    Some(Closed::NoPrimary) => "closed (no primary)",
                }
                .into(),
                open_units: u64::try_from(feed.gate().open_units()).unwrap_or(0),
                held: u64::try_from(feed.gate().held()).unwrap_or(0),
                pinned: u64::try_from(feed.gate().pinned_sessions()).unwrap_or(0),
            },
            instances: instances.collect(),
            alarms,
            operation: operations::running(&state.operations).cloned(),
            rebuild: operations::rebuilding(&state.operations).cloned(),
            sessions: u64::try_from(feed.registry().len()).unwrap_or(0),
        }
    }
}

fn starting() -> Assessment {
    Assessment {
        verdict: Verdict::Starting,
        evidence: "not every instance has been looked at yet".into(),
        hint: None,
        primary: None,
    }
}
