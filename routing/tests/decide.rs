//! Every rule of routing, with its reason.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use sluice_protocol::{GtidSet, StatusFlags};
use sluice_routing::decide::{PrimaryReason, RefuseReason, ReplicaReason};
use sluice_routing::freshness::FreshEnough;
use sluice_routing::topology::{Instance, ReadsStopped};
use sluice_routing::{
    Fallback, Freshness, InstanceId, LexMode, Listener, Outcome, Reads, Route, SessionFacts, Situation,
    Topology, classify, decide, passes_gate,
};

const DB0: InstanceId = InstanceId(0);
const DB1: InstanceId = InstanceId(1);
const DB2: InstanceId = InstanceId(2);
const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn gtids(text: &str) -> GtidSet {
    format!("{SOURCE}:{text}").parse().unwrap()
}

/// db0 is the primary; db1 and db2 serve and have executed 1-100 and 1-200.
fn topology() -> Topology {
    let executed = ["1-200", "1-100", "1-200"];
    let instances: Vec<_> = [DB0, DB1, DB2]
        .into_iter()
        .zip(executed)
        .map(|(id, executed)| {
            let mut instance = Instance::unchecked(id, format!("db{id}"), "h:3306");
            instance.reads = Reads::Serving;
            instance.executed = Arc::new(gtids(executed));
            instance
        })
        .collect();
    Topology { epoch: 1, primary: Some(DB0), warm: None, instances: instances.into() }
}

fn stopped(mut topology: Topology, ids: &[InstanceId]) -> Topology {
    let mut instances = topology.instances.to_vec();
    for id in ids {
        instances.get_mut(id.index()).unwrap().reads = Reads::Stopped(ReadsStopped::Draining);
    }
    topology.instances = instances.into();
    topology
}

/// Replicas that the topology knows to have executed this.
#[derive(Debug)]
struct Known<'a>(&'a Topology, GtidSet);

impl FreshEnough for Known<'_> {
    fn is_fresh(&self, replica: InstanceId) -> bool {
        self.0.instance(replica).is_some_and(|instance| instance.executed.contains_set(&self.1))
    }
}

struct Case {
    listener: Listener,
    facts: SessionFacts,
    topology: Topology,
    writes: Option<GtidSet>,
    current_replica: Option<InstanceId>,
    fallback: Fallback,
    seed: u64,
}

impl Case {
    fn on(listener: Listener) -> Self {
        Self {
            listener,
            facts: SessionFacts::default(),
            topology: topology(),
            writes: None,
            current_replica: None,
            fallback: Fallback::ToPrimary,
            seed: 0,
        }
    }

    fn after(mut self, sql: &str) -> Self {
        let statement = classify(sql.as_bytes(), LexMode::default());
        let route = self.route(sql);
        self.facts.observe_route(&route);
        if let Route::Replica(id, _) = route {
            self.current_replica = Some(id);
        }
        self.facts.observe_statement(&statement, Outcome::Done);
        self
    }

    fn status(mut self, status: StatusFlags) -> Self {
        self.facts.observe_status(status);
        self
    }

    fn route(&self, sql: &str) -> Route {
        let known = Known(&self.topology, self.writes.clone().unwrap_or_default());
        let freshness = if self.writes.is_some() { Freshness::Known(&known) } else { Freshness::Any };
        decide(
            &classify(sql.as_bytes(), LexMode::default()),
            &Situation {
                listener: self.listener,
                facts: &self.facts,
                freshness,
                topology: &self.topology,
                current_replica: self.current_replica,
                fallback: self.fallback,
                seed: self.seed,
            },
        )
    }

    fn passes(&self, sql: &str) -> bool {
        let statement = classify(sql.as_bytes(), LexMode::default());
        passes_gate(&statement, &self.route(sql), &self.facts)
    }
}

fn split() -> Case {
    Case::on(Listener::Split)
}

fn in_transaction() -> StatusFlags {
    StatusFlags::AUTOCOMMIT | StatusFlags::IN_TRANS
}

#[test]
fn split_sends_harmless_reads_to_a_replica_and_stays_there() {
    let mut case = split();
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Chosen));
    case.current_replica = Some(DB2);
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB2, ReplicaReason::Current));
    case.topology = stopped(case.topology, &[DB2]);
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Chosen));
}

#[test]
fn split_sends_everything_else_to_the_primary() {
    let statement = Route::Primary(PrimaryReason::Statement);
    for sql in ["UPDATE t SET a = 1", "SELECT * FROM t FOR UPDATE", "BEGIN", "SET @x = 1", "SELECT f(1)"] {
        assert_eq!(split().route(sql), statement, "{sql}");
    }
    let pinned = Route::Primary(PrimaryReason::Pinned);
    assert_eq!(split().after("CREATE TEMPORARY TABLE a (b INT)").route("SELECT 1"), pinned);
    let open = split().status(in_transaction());
    assert_eq!(open.route("SELECT 1"), Route::Primary(PrimaryReason::OpenTransaction));
    let manual = split().status(StatusFlags::empty());
    assert_eq!(manual.route("SELECT 1"), Route::Primary(PrimaryReason::AutocommitOff));
    let mut case = split();
    case.facts.observe_schema(b"mysql");
    assert_eq!(case.route("SELECT * FROM user"), Route::Primary(PrimaryReason::ServerSchema));
    case = split();
    case.facts.observe_variable(b"sql_auto_is_null", b"ON");
    assert_eq!(case.route("SELECT 1"), Route::Primary(PrimaryReason::AutoIsNull));
    case.facts.observe_variable(b"sql_auto_is_null", b"OFF");
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Chosen));
    case.topology = stopped(case.topology, &[DB1, DB2]);
    assert_eq!(case.route("SELECT 1"), Route::Primary(PrimaryReason::NoReplica));
}

#[test]
fn seeds_spread_evenly() {
    let mut case = split();
    let mut counts = [0; 3];
    for seed in 0..1000 {
        case.seed = seed;
        if let Route::Replica(id, _) = case.route("SELECT 1") {
            *counts.get_mut(id.index()).unwrap() += 1;
        }
    }
    assert_eq!(counts, [0, 500, 500]);
}

#[test]
fn a_session_reads_its_own_writes() {
    let mut case = split();
    case.current_replica = Some(DB1);
    case.writes = Some(gtids("150"));
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB2, ReplicaReason::Chosen));
    case.writes = Some(gtids("100"));
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Current));
    case.writes = Some(gtids("201"));
    assert_eq!(case.route("SELECT 1"), Route::Primary(PrimaryReason::FreshRead));
}

#[test]
fn read_only_transactions_run_on_one_replica() {
    let begun = Route::Replica(DB1, ReplicaReason::ReadOnlyTransaction);
    let primary = Route::Primary(PrimaryReason::Statement);
    let mut case = split();
    for sql in ["START TRANSACTION READ ONLY", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"] {
        assert_eq!(case.route(sql), begun, "{sql}");
        assert!(case.passes(sql));
    }
    assert_eq!(case.route("BEGIN"), primary);
    case.facts.observe_variable(b"transaction_read_only", b"ON");
    assert_eq!(case.route("BEGIN"), begun);
    assert_eq!(case.route("START TRANSACTION READ WRITE"), primary);
    assert_eq!(case.route("INSERT INTO t VALUES (1)"), primary);
    // Without autocommit, too: no read of this session can go on to write.
    let case = case.status(StatusFlags::empty());
    assert_eq!(case.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Chosen));
    assert_eq!(case.route("SELECT * FROM t FOR UPDATE"), primary);
    let open = case.after("SELECT 1").status(StatusFlags::IN_TRANS | StatusFlags::IN_TRANS_READONLY);
    assert_eq!(open.route("SELECT 1"), Route::Replica(DB1, ReplicaReason::Pinned));
    assert_eq!(open.route("COMMIT"), Route::Replica(DB1, ReplicaReason::Pinned));
    let mut stale = split();
    stale.writes = Some(gtids("201"));
    assert_eq!(stale.route("START TRANSACTION READ ONLY"), Route::Primary(PrimaryReason::FreshRead));
}

#[test]
fn questions_about_the_last_statement_follow_it() {
    let case = split().after("SELECT 1");
    assert_eq!(case.route("SHOW WARNINGS"), Route::Replica(DB1, ReplicaReason::LastStatement));
    let case = case.after("INSERT INTO t VALUES (1)");
    assert_eq!(case.route("SELECT ROW_COUNT()"), Route::Primary(PrimaryReason::LastStatement));
}

#[test]
fn the_primary_listener_knows_one_way() {
    let case = Case::on(Listener::Primary);
    for sql in ["SELECT 1", "DELETE FROM t", "BEGIN"] {
        assert_eq!(case.route(sql), Route::Primary(PrimaryReason::Listener));
    }
}

#[test]
fn the_replica_listener_refuses_writes() {
    let case = Case::on(Listener::Replica);
    let refused = Route::Refuse(RefuseReason::ReadOnlyListener);
    for sql in
        ["DELETE FROM t", "CREATE TABLE t (a INT)", "CALL p()", "XA START 'x'", "SELECT 1; DELETE FROM t"]
    {
        assert_eq!(case.route(sql), refused, "{sql}");
    }
    assert_eq!(RefuseReason::ReadOnlyListener.error_code(), 1290);
    let served = Route::Replica(DB1, ReplicaReason::Listener);
    for sql in
        ["SELECT 1", "SELECT @x", "BEGIN", "SET @x = 1", "CREATE TEMPORARY TABLE a (b INT)", "SELECT f(1)"]
    {
        assert_eq!(case.route(sql), served, "{sql}");
    }
}

#[test]
fn the_replica_listener_keeps_transactions_and_temporary_tables_in_place() {
    let pinned = Route::Replica(DB1, ReplicaReason::Pinned);
    let mut case = Case::on(Listener::Replica).after("BEGIN").status(in_transaction());
    case.seed = 1;
    case.topology = stopped(case.topology, &[DB1]);
    assert_eq!(case.route("SELECT 1"), pinned);
    let case = Case::on(Listener::Replica).after("CREATE TEMPORARY TABLE a (b INT)");
    assert_eq!(case.route("INSERT INTO a VALUES (1)"), pinned);
}

#[test]
fn the_replica_listener_falls_back_only_where_allowed() {
    let mut case = Case::on(Listener::Replica);
    case.topology = stopped(case.topology, &[DB1, DB2]);
    assert_eq!(case.route("SELECT 1"), Route::Primary(PrimaryReason::NoReplica));
    assert_eq!(case.route("DELETE FROM t"), Route::Refuse(RefuseReason::ReadOnlyListener));
    let on_primary = case.after("BEGIN").status(in_transaction());
    assert_eq!(on_primary.route("SELECT 1"), Route::Primary(PrimaryReason::OpenTransaction));
    let mut case = Case::on(Listener::Replica);
    case.fallback = Fallback::Refuse;
    case.topology = stopped(case.topology, &[DB1, DB2]);
    assert_eq!(case.route("SELECT 1"), Route::Refuse(RefuseReason::NoReplica));
}

#[test]
fn only_harmless_statements_and_open_units_pass_the_gate() {
    let case = Case::on(Listener::Primary);
    for sql in ["SELECT 1", "SHOW WARNINGS", "KILL 5", "SELECT CONNECTION_ID()"] {
        assert!(case.passes(sql), "{sql}");
    }
    for sql in
        ["UPDATE t SET a = 1", "BEGIN", "COMMIT", "SELECT f(1)", "SET autocommit = 0", "SELECT 1; SELECT 2"]
    {
        assert!(!case.passes(sql), "{sql}");
    }
    let manual = Case::on(Listener::Primary).status(StatusFlags::empty());
    assert!(!manual.passes("SELECT 1"), "it would open a transaction");
    let open = Case::on(Listener::Primary).status(in_transaction());
    assert!(open.passes("UPDATE t SET a = 1") && open.passes("COMMIT"));
    let locked = Case::on(Listener::Primary).after("LOCK TABLES t WRITE");
    assert!(locked.passes("UNLOCK TABLES"));
    assert!(split().passes("SELECT 1"), "replicas have no gate");
}
