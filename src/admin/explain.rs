//! `POST /explain/route`: where a statement would go, why, and what it would leave behind.
//!
//! It asks the same pure functions that sessions ask, about sessions that hold nothing but an open transaction.
//!
//! Never here: a rule of its own.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sluice_protocol::StatusFlags;
use sluice_routing::decide::{Fallback, Freshness, Listener, Route, Situation, decide};
use sluice_routing::effects::PinChange;
use sluice_routing::intent::{Statement, classify, classify_vouching};
use sluice_routing::lexer::LexMode;
use sluice_routing::session_facts::SessionFacts;
use sluice_routing::topology::{InstanceId, Topology};
use sluice_routing::vouched::Vouching;

use super::AdminState;
use super::answer::Refused;
use super::sessions::listener_name;
use crate::feed::registry::RouteNote;

/// Why a statement is not what it would be by its text alone.
const VOUCHED: &str = " [sessions] harmless_functions vouches for stored functions in it.";

/// What is known of a statement from its text.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Explanation {
    /// What it is, for programs: `read`, `primary:locking_read`, `write:data`.
    pub intent: String,
    /// What it is, for people.
    pub sentence: String,
    /// What a comment in it asks for: `any`, `primary`, `replica`, `last`.
    pub hint: String,
    /// What it does beside answering.
    pub effects: Vec<String>,
    /// What it pins, and what pins it ends.
    pub pins: Vec<PinChangeView>,
    /// Where it would go, by listener and situation.
    pub routes: Vec<RouteView>,
}

/// A pin that begins or ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct PinChangeView {
    /// Whether it begins.
    pub begins: bool,
    /// Its reason, for programs.
    pub reason: String,
    /// Its reason, for people.
    pub sentence: String,
    /// What it is counted by, such as the name of a temporary table.
    pub name: Option<String>,
}

/// Where a statement would go.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct RouteView {
    /// `split`, `primary` or `replica`.
    pub listener: String,
    /// `autocommit` or `in_transaction`.
    pub situation: String,
    /// `primary`, `replica` or `refused`.
    pub to: String,
    /// The instance it would be now; one of several for a replica.
    pub instance: Option<String>,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub because: String,
}

#[derive(Deserialize)]
struct Question {
    statement: String,
    /// The session's `sql_mode`, where it changes how quotes and backslashes read.
    #[serde(default)]
    sql_mode: String,
    /// The session's `character_set_client`.
    #[serde(default)]
    charset: String,
    /// The session's schema, where names of functions have none.
    #[serde(default)]
    schema: String,
}

pub(super) async fn route(
    State(state): State<AdminState>,
    bytes: Bytes,
) -> Result<Json<Explanation>, Refused> {
    let question: Question =
        serde_json::from_slice(&bytes).map_err(|error| Refused::bad_request(format!("the body: {error}")))?;
    let mode = LexMode::default()
        .with_sql_mode(question.sql_mode.as_bytes())
        .with_client_charset(question.charset.as_bytes());
    let text = question.statement.as_bytes();
    let functions = (state.harmless_functions)();
    let schema = Some(question.schema.as_bytes()).filter(|schema| !schema.is_empty());
    let statement = classify_vouching(text, mode, Vouching { functions: &functions, schema });
    let mut explanation = explain(&statement, &state.feed.topology());
    if statement != classify(text, mode) {
        explanation.sentence.push_str(VOUCHED);
    }
    Ok(Json(explanation))
}

fn explain(statement: &Statement, topology: &Topology) -> Explanation {
    let listeners = [Listener::Split, Listener::Primary, Listener::Replica];
    Explanation {
        intent: statement.intent.to_string(),
        sentence: statement.intent.sentence().to_owned(),
        hint: statement.wish.as_str().to_owned(),
        effects: statement.effects.iter().map(|effect| effect.as_str().to_owned()).collect(),
        pins: statement.effects.pins().iter().map(pin_change).collect(),
        routes: listeners
            .into_iter()
            .flat_map(|listener| {
                [Open::Nothing, Open::Transaction].map(|open| route_in(statement, listener, open, topology))
            })
            .collect(),
    }
}

/// What the session has open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Transaction,
}

fn route_in(statement: &Statement, listener: Listener, open: Open, topology: &Topology) -> RouteView {
    let mut facts = SessionFacts::default();
    let mut current_replica = None;
    if open == Open::Transaction {
        facts.observe_status(StatusFlags::AUTOCOMMIT | StatusFlags::IN_TRANS);
        if listener == Listener::Replica {
            current_replica = topology.serving_replicas().next().map(|replica| replica.id);
        }
    }
    if let Some(replica) = current_replica {
        facts.observe_route(&Route::Replica(replica, sluice_routing::decide::ReplicaReason::Listener));
    }
    let situation = Situation {
        listener,
        facts: &facts,
        freshness: Freshness::Any,
        topology,
        current_replica,
        fallback: Fallback::ToPrimary,
        seed: 0,
    };
    let route = decide(statement, &situation);
    let instance = match route {
        Route::Primary(_) => topology.primary,
        Route::Replica(id, _) => Some(id),
        Route::Refuse(_) => None,
    };
    let name = |id: InstanceId| topology.instance(id).map(|instance| instance.name.to_string());
    let note = RouteNote::from(&route);
    RouteView {
        listener: listener_name(listener).to_owned(),
        situation: if open == Open::Nothing { "autocommit" } else { "in_transaction" }.to_owned(),
        to: note.to().to_owned(),
        instance: instance.and_then(name),
        reason: note.reason().to_owned(),
        because: note.sentence().to_owned(),
    }
}

fn pin_change(change: &PinChange) -> PinChangeView {
    let (begins, reason, name) = match change {
        PinChange::Begins(reason, name) => (true, reason, name),
        PinChange::Ends(reason, name) => (false, reason, name),
    };
    PinChangeView {
        begins,
        reason: reason.as_str().to_owned(),
        sentence: reason.sentence().to_owned(),
        name: name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
    }
}
