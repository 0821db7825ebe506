//! What of a session is pure, in the order in which `src/session` goes through it, between buffers in memory: a command is
//! cut out of what the client sent, read, classified and routed, its answer is followed to its end, and what it told becomes
//! facts of the session.
//!
//! It must never do more than a session does, or its figures say nothing.

use std::hint::black_box;

use sluice_protocol::command::{ExecuteView, QueryView, replace_statement};
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::response::Expect;
use sluice_protocol::{
    Advance, Capabilities, Command, Header, OkSummary, ResponseEvent, ResponseRelay, StatusFlags,
    TrackerFilter,
};
use sluice_routing::decide::{Fallback, Freshness, Listener, Route, Situation, decide, passes_gate};
use sluice_routing::freshness::FreshEnough;
use sluice_routing::intent::{Statement, classify};
use sluice_routing::prediction::{Observed, compare};
use sluice_routing::read_only::Seen;
use sluice_routing::session_facts::{Outcome, SessionFacts};
use sluice_routing::topology::{Instance, InstanceId, Reads, Topology};

/// Instances of the cluster: the first is the primary, the others serve reads.
const INSTANCES: u16 = 3;
/// What the server knows the prepared statement by.
const SERVER_STATEMENT: u32 = 7;

/// The replica that was found fresh with an earlier read, as nearly always.
#[derive(Debug)]
struct Proved(InstanceId);

impl FreshEnough for Proved {
    fn is_fresh(&self, replica: InstanceId) -> bool {
        self.0 == replica
    }
}

/// A session of a client with these capabilities on the split listener.
pub(crate) struct Session {
    capabilities: Capabilities,
    topology: Topology,
    facts: SessionFacts,
    seen: Seen,
    status: StatusFlags,
    replica: InstanceId,
    prepared: Option<(Statement, u16)>,
    from_client: Vec<u8>,
    to_server: Vec<u8>,
    from_server: Vec<u8>,
}

/// What became of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) route: Route,
    /// Bytes that go to the client.
    pub(crate) shown: usize,
}

impl Session {
    pub(crate) fn new(capabilities: Capabilities, prepared: Option<&[u8]>) -> Self {
        let instances: Vec<_> = (0..INSTANCES)
            .map(|id| Instance {
                reads: Reads::Serving,
                ..Instance::unchecked(InstanceId(id), "db", "db:3306")
            })
            .collect();
        let mut facts = SessionFacts::default();
        facts.observe_status(StatusFlags::AUTOCOMMIT);
        let prepared = prepared.map(|text| (classify(text, facts.mode()), parameters(text)));
        Self {
            capabilities,
            topology: Topology { primary: Some(InstanceId(0)), ..Topology::unknown(instances) },
            facts,
            seen: Seen::Nothing,
            status: StatusFlags::AUTOCOMMIT,
            replica: InstanceId(1),
            prepared,
            from_client: Vec::new(),
            to_server: Vec::new(),
            from_server: Vec::new(),
        }
    }

    /// Takes one command of the client, and the server's answer to it. `None`: a session would not have relayed them.
    pub(crate) fn exchange(&mut self, frames: &[u8], answer: &[u8]) -> Option<Done> {
        self.from_client.clear();
        self.from_client.extend_from_slice(frames);
        let header = Header::parse(&self.from_client)?;
        let end = HEADER_LEN + header.length as usize;
        if !header.is_last() || self.from_client.len() < end {
            return None;
        }
        let payload = self.from_client.get(HEADER_LEN..end)?;
        #[allow(clippy::wildcard_enum_match_arm, reason = "no script has another command")]
        let (statement, expect) = match Command::decode(payload).ok()? {
            Command::Query(body) => {
                let view = QueryView::parse_body(body, self.capabilities).ok()?;
                view.attributes.is_empty().then(|| (classify(view.text, self.facts.mode()), Expect::Query))?
            }
            Command::StmtExecute { payload, .. } => {
                let (statement, parameters) = self.prepared.as_ref()?;
                // Once for the client and once for the server's connection.
                black_box(ExecuteView::parse(payload, *parameters, self.capabilities).ok()?.wants_cursor());
                black_box(ExecuteView::parse(payload, *parameters, self.capabilities).ok()?.types);
                (statement.clone(), Expect::Execute)
            }
            _ => return None,
        };
        let route = self.route(&statement);
        let frame = self.from_client.get(..end)?;
        if expect == Expect::Execute {
            self.to_server.clear();
            self.to_server.extend_from_slice(frame);
            replace_statement(self.to_server.get_mut(HEADER_LEN..)?, SERVER_STATEMENT).ok()?;
            black_box(&self.to_server);
        } else {
            black_box(frame);
        }
        let (summary, shown) = self.relay(expect, answer)?;
        self.settle(&statement, &summary);
        Some(Done { route, shown })
    }

    fn route(&mut self, statement: &Statement) -> Route {
        let fresh = Proved(self.replica);
        let situation = Situation {
            listener: Listener::Split,
            facts: &self.facts,
            freshness: Freshness::Known(&fresh),
            topology: &self.topology,
            current_replica: Some(self.replica),
            fallback: Fallback::ToPrimary,
            seed: 1,
        };
        let route = decide(statement, &situation);
        black_box(passes_gate(statement, &route, &self.facts));
        self.facts.observe_route(&route);
        route
    }

    /// Follows an answer that comes with one read, to what its last OK told. It is written from where it was read.
    fn relay(&mut self, expect: Expect, answer: &[u8]) -> Option<(OkSummary, usize)> {
        self.from_server.clear();
        self.from_server.extend_from_slice(answer);
        let mut relay = ResponseRelay::new(expect, self.capabilities, TrackerFilter::default(), self.status);
        let (mut at, mut shown, mut told) = (0, 0, None);
        loop {
            match relay.advance(self.from_server.get_mut(at..)?).ok()? {
                Advance::Forward { bytes, skip, event } => {
                    shown += black_box(self.from_server.get(at..at + bytes)?).len();
                    at += bytes + skip;
                    match event {
                        Some(ResponseEvent::Ok { summary, .. }) => told = Some(summary),
                        Some(ResponseEvent::Error(_) | ResponseEvent::Prepared(_)) => return None,
                        None => {}
                    }
                }
                Advance::Insert { packet } => shown += black_box(&packet).len(),
                Advance::NeedMore | Advance::LocalInfile { .. } => return None,
                Advance::Complete => break,
            }
        }
        told.map(|told| (told, shown))
    }

    fn settle(&mut self, statement: &Statement, summary: &OkSummary) {
        let changes = &summary.changes;
        let observed = Observed {
            wrote: changes.gtids.is_some().into(),
            opened_transaction: summary.status.contains(StatusFlags::IN_TRANS).into(),
            changed_state: (changes.state_changed || changes.schema.is_some()).into(),
        };
        black_box(compare(statement, &observed).count());
        black_box(changes.gtid_set().and_then(Result::ok));
        self.facts.observe_status(summary.status);
        self.status = summary.status;
        self.facts.observe_statement(statement, Outcome::Done);
        self.seen = self.seen.after(statement);
        black_box(self.facts.pins().count());
    }
}

/// How many placeholders stand in a text that has no other question marks.
fn parameters(text: &[u8]) -> u16 {
    text.iter().map(|&byte| u16::from(byte == b'?')).sum()
}
