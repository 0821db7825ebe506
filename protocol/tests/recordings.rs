//! Replays what real clients and a real server said to each other (`recordings/record.py` has recorded it).
//!
//! The truth is on the recordings' side: where an answer ends is known from the client having sent its next command,
//! and what a client without `DEPRECATE_EOF` must get from what the server sent it directly.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(clippy::wildcard_enum_match_arm, reason = "commands that were not recorded are one case")]

#[path = "recordings/clients.rs"]
mod clients;
#[path = "recordings/reading.rs"]
mod reading;
#[path = "recordings/relaying.rs"]
mod relaying;

use clients::{CLIENTS, Client};
use reading::{Connection, Exchange, Side};
use relaying::{Relaying, relay_answer};
use sluice_protocol::auth::server::FAST_OK;
use sluice_protocol::auth::{
    AuthPlugin, ChannelSecurity, ClientAuth, ClientStep, Nonce, Password, ServerAuth, Verifier,
};
use sluice_protocol::command::execute::BoundTypes;
use sluice_protocol::command::{ChangeUser, ExecuteView, QueryView, build};
use sluice_protocol::handshake::{ClientLogin, ExpectLogin, FirstResponse, Greeting, HandshakeResponse};
use sluice_protocol::{Capabilities, Command, OkPacket, ResponseEvent};

use std::collections::HashMap;

/// Bit of an execution's flags: the number of parameters is in the packet.
const COUNT_AVAILABLE: u8 = 8;
const PLAIN: ChannelSecurity = ChannelSecurity::Plain;

fn for_every_connection(check: impl Fn(&Client, &Connection)) {
    for client in CLIENTS {
        let connections = reading::connections(client.recording);
        assert_eq!(connections.len(), 2, "{}", client.name);
        for connection in &connections {
            check(client, connection);
        }
    }
}

fn greeting(connection: &Connection) -> Greeting {
    Greeting::parse(&connection.login.packets[0].payload).unwrap()
}

fn login(connection: &Connection) -> ClientLogin {
    let payload = &connection.login.of(Side::Client)[0].payload;
    match ExpectLogin::new(&greeting(connection), PLAIN).on(payload) {
        Ok(FirstResponse::Login(login)) => *login,
        other => panic!("{other:?}"),
    }
}

fn password(user: &[u8]) -> Password {
    Password::new(match user {
        b"app" => b"secret".to_vec(),
        b"app2" => b"second secret".to_vec(),
        other => panic!("{}", other.escape_ascii()),
    })
}

#[test]
fn greetings_and_logins_read_and_are_written_the_same() {
    for_every_connection(|client, connection| {
        let sent = &connection.login.packets[0].payload;
        let greeting = greeting(connection);
        assert_eq!(greeting.encode(), *sent);
        assert_eq!((&greeting.server_version[..], greeting.collation), (&b"9.7.4-2"[..], 255));
        let login = login(connection);
        let (user, database) = (&login.user[..], login.database.as_deref());
        assert_eq!(
            (user, database, &login.plugin),
            (&b"app"[..], Some(&b"shop"[..]), &AuthPlugin::CachingSha2)
        );
        assert_eq!(format!("{:?}", login.capabilities), client.capabilities(), "{}", client.name);
        let response = &connection.login.of(Side::Client)[0].payload;
        let read = HandshakeResponse::parse(response, greeting.capabilities).unwrap();
        assert_eq!(read.encode().escape_ascii().to_string(), response.escape_ascii().to_string());
    });
}

#[test]
fn the_clients_proofs_hold_and_are_the_ones_we_would_send() {
    let full = std::cell::Cell::new(0);
    for_every_connection(|_, connection| {
        let (login, secret) = (login(connection), password(b"app"));
        let Ok(ServerAuth::Attempt(attempt)) = login.begin_auth(Nonce::from_wire([1; 20])) else { panic!() };
        assert!(attempt.matches(&Verifier::of(&secret)));
        assert!(!attempt.matches(&Verifier::of(&password(b"app2"))));
        let greeting = greeting(connection);
        let begun = ClientAuth::begin(&greeting.plugin, greeting.nonce, secret, PLAIN, login.capabilities);
        assert_eq!((begun.0, begun.1), (login.plugin, login.auth_response.to_vec()));
        let (mut auth, mut client) = (begun.2, connection.login.of(Side::Client).into_iter().skip(1));
        let mut server = connection.login.of(Side::Server).into_iter().skip(1);
        let asked = &connection.login.of(Side::Server)[1].payload;
        if **asked != FAST_OK {
            assert_eq!(asked[..], attempt.ask_full().0);
            full.set(full.get() + 1);
        }
        loop {
            match auth.on(&server.next().unwrap().payload).unwrap() {
                ClientStep::Send { payload, next } => {
                    // What is encrypted differs from run to run; all else is the same.
                    let theirs = &client.next().unwrap().payload;
                    assert!(payload[..] == theirs[..] || (payload.len(), theirs.len()) == (256, 256));
                    auth = next;
                }
                ClientStep::Wait(next) => auth = next,
                ClientStep::Done(ok) => break assert!(OkPacket::parse(&ok).is_ok()),
                ClientStep::Refused(error) => panic!("{error:?}"),
            }
        }
        assert!(client.next().is_none() && server.next().is_none());
    });
    assert_eq!(full.get(), 3, "clients that know RSA have proved themselves with it once");
}

#[test]
fn every_command_is_known() {
    for client in CLIENTS {
        let mut seen = Vec::new();
        for connection in reading::connections(client.recording) {
            for exchange in &connection.commands {
                let command = Command::decode(exchange.command()).unwrap();
                let name = command.name().trim_start_matches("COM_");
                assert_eq!(command.is_unanswered(), exchange.of(Side::Server).is_empty(), "{name}");
                seen.push(name);
            }
        }
        let expected: Vec<&str> = client.commands.iter().flat_map(|line| line.split(' ')).collect();
        let runs = reading::run_lengths(&seen);
        assert_eq!(runs, expected, "{}:\n{}", client.name, runs.join(" "));
    }
}

#[test]
fn statements_read_and_are_written_the_same() {
    let (with_attributes, executions) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    for_every_connection(|client, connection| {
        let agreed = login(connection).capabilities;
        let mut statements: HashMap<u32, (u16, Option<BoundTypes>)> = HashMap::new();
        for exchange in &connection.commands {
            let payload = exchange.command();
            match Command::decode(payload).unwrap() {
                Command::Query(_) => {
                    let view = QueryView::parse(payload, agreed).unwrap();
                    if view.attributes.is_empty() {
                        assert_eq!(view.build(agreed, |_| true), payload);
                    } else {
                        let (count, text) = (view.attributes.len(), view.text);
                        assert_eq!((count, text), (2, &b"SELECT 'with attributes'"[..]));
                        assert_eq!(view.build(agreed, |_| true), payload);
                        with_attributes.set(with_attributes.get() + 1);
                    }
                }
                Command::StmtPrepare(text) => {
                    assert_eq!(build::stmt_prepare(text), payload);
                    if let [0, a, b, c, d, _, _, low, high, ..] = exchange.of(Side::Server)[0].payload[..] {
                        let (id, parameters) =
                            (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]));
                        assert_eq!(
                            usize::from(parameters),
                            text.iter().filter(|byte| **byte == b'?').count()
                        );
                        statements.insert(id, (parameters, None));
                    }
                }
                Command::StmtExecute { statement, .. } => {
                    let (parameters, types) = statements.get_mut(&statement).unwrap();
                    let view = ExecuteView::parse(payload, *parameters, agreed).unwrap();
                    assert_eq!(
                        (view.statement, view.parameters, view.iterations),
                        (statement, *parameters, 1)
                    );
                    assert_eq!(view.wants_cursor(), view.flags & 7 != 0);
                    let rebuilt = view.rebuild(statement, types.as_ref(), agreed).unwrap();
                    let whole = [&rebuilt.head[..], &payload[rebuilt.values_at..]].concat();
                    assert_eq!(whole, with_count(payload, &view, agreed), "{}", client.name);
                    *types = view.types.map(|types| types.first(*parameters).to_bound()).or(types.take());
                    executions.set(executions.get() + 1);
                }
                Command::StmtSendLongData { statement, parameter, data } => {
                    assert_eq!((parameter, data), (0, &b"long data in one piece"[..]));
                    assert_eq!(build::stmt_send_long_data(statement, parameter, data), payload);
                }
                _ => {}
            }
        }
    });
    assert_eq!((with_attributes.get(), executions.get()), (1, 18));
}

/// The pure Python connector leaves out the bit for the number of parameters: where there are some, servers find it all
/// the same; where there are none, it leaves the number out too. Both say what is said with it.
fn with_count(payload: &[u8], view: &ExecuteView<'_>, agreed: Capabilities) -> Vec<u8> {
    let mut out = payload.to_vec();
    if agreed.contains(Capabilities::QUERY_ATTRIBUTES) && view.flags & COUNT_AVAILABLE == 0 {
        out[5] |= COUNT_AVAILABLE;
        if view.parameters == 0 {
            out.insert(10, 0);
        }
    }
    out
}

#[test]
fn changes_of_user_ask_as_the_server_did_and_the_proofs_hold() {
    let changes = std::cell::Cell::new(0);
    for_every_connection(|_, connection| {
        let agreed = login(connection).capabilities;
        for exchange in connection.commands.iter().filter(|exchange| exchange.command()[0] == 0x11) {
            let change = ChangeUser::parse(exchange.command(), agreed).unwrap();
            assert_eq!((&change.user[..], change.database.as_deref()), (&b"app2"[..], Some(&b"shop"[..])));
            let (server, client) = (exchange.of(Side::Server), exchange.of(Side::Client));
            let question = &server[0].payload;
            let nonce = question[question.len() - 21..][..20].try_into().unwrap();
            let ServerAuth::Switch { payload, next } = ServerAuth::switch(Nonce::from_wire(nonce), PLAIN)
            else {
                panic!()
            };
            assert_eq!(payload, *question);
            let attempt = next.on(&client[1].payload).unwrap();
            assert!(attempt.matches(&Verifier::of(&password(&change.user))));
            assert_eq!(server[1].payload, FAST_OK);
            changes.set(changes.get() + 1);
        }
    });
    assert_eq!(changes.get(), 3);
}

#[test]
fn answers_reach_every_client_as_the_server_would_have_sent_them() {
    for client in CLIENTS {
        let (mut unchanged, mut compared) = (0, 0);
        for connection in reading::connections(client.recording) {
            let agreed = login(&connection).capabilities;
            let last = &connection.login.of(Side::Server).last().unwrap().payload;
            let mut status = OkPacket::parse(last).unwrap().status;
            for exchange in &connection.commands {
                let Some(expect) = relaying::expectation(exchange) else { continue };
                let both = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
                let side = if agreed.contains(both) { Side::Server } else { Side::Backend };
                let (direct, from_backend) = (exchange.wire(Side::Server), exchange.wire(side));
                let what = format!("{}: {}", client.name, exchange.command().escape_ascii());
                let mut events = Vec::new();
                for piece in [1, 7, usize::MAX] {
                    let settings = Relaying { expect, agreed, status, piece };
                    let through = relay_answer(exchange, side, settings, &what);
                    if side == Side::Server {
                        assert!(through.bytes == direct, "{what} was changed");
                    }
                    let (seen, wanted) = (reading::readable(&through.bytes), reading::readable(&direct));
                    assert!(seen == wanted, "{what}\n{seen}instead of\n{wanted}");
                    events = through.events;
                }
                check_last_event(exchange, events.last(), &what);
                if let Some(ResponseEvent::Ok { summary, .. }) = events.last() {
                    status = summary.status;
                }
                compared += 1;
                unchanged += usize::from(from_backend == direct);
            }
        }
        assert_eq!((compared, unchanged), client.answers, "{}", client.name);
    }
}

/// Whether the session is told the right thing by an answer's end: read here from the raw last packet.
fn check_last_event(exchange: &Exchange, event: Option<&ResponseEvent>, what: &str) {
    let server = exchange.of(Side::Server);
    let (first, last) = (&server[0].payload, &server[server.len() - 1].payload);
    match event {
        Some(ResponseEvent::Error(error)) => {
            assert_eq!((last[0], &error.code.to_le_bytes()[..]), (0xff, &last[1..3]), "{what}");
        }
        Some(ResponseEvent::Prepared(prepared)) => {
            assert_eq!(exchange.command()[0], 0x16, "{what}");
            let numbers = [prepared.columns.to_le_bytes(), prepared.parameters.to_le_bytes()].concat();
            assert_eq!(numbers, first[5..9], "{what}");
        }
        Some(ResponseEvent::Ok { .. }) => assert!(matches!(last[0], 0 | 0xfe), "{what}"),
        None => assert!(last.starts_with(b"Uptime: "), "{what}"),
    }
}
