//! Many sessions over few backend connections: none may ever see, lose or get what is another's.
//!
//! Random sequences of everything that a session can do are held to a model of a MySQL session ([`model`]), in turns
//! ([`sequence`]) and all at once ([`crowd`]). The same sequences are played against a server without Sluice, which
//! holds the model to the truth. `make test` plays a few; see [`draws`] for playing many, or one again.
//!
//! Never here: a comparison with anything but the model and the server itself.

#![allow(clippy::wildcard_enum_match_arm, reason = "most arms are about a few of the fifty operations")]
#![allow(clippy::print_stdout, reason = "how much was played is worth knowing")]

mod actor;
mod between;
mod client;
mod crowd;
mod draws;
mod ground;
mod levels;
mod model;
mod operations;
mod sequence;
mod settings;
mod untold;

use std::sync::Arc;

use draws::Draws;
use ground::{Front, Ground};

/// Sessions of the random tests.
const SESSIONS: usize = 12;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_model_is_right_about_servers() {
    let runtime = runtime();
    let ground = runtime.block_on(Ground::start(1, 8));
    let draws = Draws::of("the_model_is_right_about_servers", 10);
    sequence::play_sequences(&ground, &runtime, Front::Direct, draws);
}

#[test]
fn sessions_in_turns_see_what_the_model_says() {
    let runtime = runtime();
    let ground = runtime.block_on(Ground::start(3, 2));
    let draws = Draws::of("sessions_in_turns_see_what_the_model_says", 20);
    sequence::play_sequences(&ground, &runtime, Front::Sluice, draws);
}

#[test]
fn sessions_at_once_see_what_their_models_say() {
    runtime().block_on(async {
        let ground = Arc::new(Ground::start(3, 3).await);
        crowd::play_at_once(&ground, Draws::of("sessions_at_once_see_what_their_models_say", 3)).await;
    });
}

#[test]
fn isolation_levels_are_those_of_the_server() {
    runtime().block_on(async {
        let ground = Ground::start(3, 8).await;
        levels::hold_to_servers(&ground).await;
    });
}

/// One server is enough where replicas make no difference.
fn on_one_server(max_backend: usize) -> (tokio::runtime::Runtime, Arc<Ground>) {
    let runtime = runtime();
    let ground = Arc::new(runtime.block_on(Ground::start(1, max_backend)));
    (runtime, ground)
}

#[test]
fn a_schema_dropped_between_two_statements() {
    runtime().block_on(async { between::schema_is_dropped(&Ground::start(3, 3).await).await });
}

#[test]
fn a_role_revoked_between_two_statements() {
    runtime().block_on(async { between::role_is_revoked(&Ground::start(3, 3).await).await });
}

#[test]
fn a_password_changed_between_two_statements() {
    let (runtime, ground) = on_one_server(3);
    runtime.block_on(between::password_is_changed(&ground));
}

#[test]
fn a_session_killed_while_it_borrows() {
    let (runtime, ground) = on_one_server(3);
    runtime.block_on(between::session_is_killed(&ground));
}

#[test]
fn backend_connections_killed_while_idle() {
    runtime().block_on(async { between::idle_connections_are_killed(&Ground::start(3, 3).await).await });
}

#[test]
fn backend_connections_killed_while_borrowed() {
    let (runtime, ground) = on_one_server(3);
    runtime.block_on(between::borrowed_connections_are_killed(&ground));
}

#[test]
fn temporary_tables_come_and_go_in_transactions() {
    let (runtime, ground) = on_one_server(2);
    runtime.block_on(between::temporary_tables_in_transactions(&ground));
}

#[test]
fn fewer_connections_than_workers_serve_many_sessions() {
    let (runtime, ground) = on_one_server(2);
    runtime.block_on(between::few_connections_serve_many(&ground));
}

#[test]
fn no_answer_reaches_another_session() {
    let (runtime, ground) = on_one_server(3);
    runtime.block_on(between::answers_reach_nobody_else(&ground));
}

#[test]
fn nothing_untold_is_found_by_others() {
    runtime().block_on(untold::nothing_untold_is_found_by_others());
}
