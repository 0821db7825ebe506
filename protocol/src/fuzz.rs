//! Entry functions for fuzzers: hostile bytes into every decoder and every state.
//!
//! Each takes any bytes and returns; a panic, a broken promise between reading and writing, or growth beyond its input is
//! a bug. The ordinary tests run them over `corpus/` and mutated copies of it. They must never be called by the program.

mod compression;
mod responses;

pub use self::compression::fuzz_compression;
pub use self::responses::{fuzz_gtid, fuzz_ok, fuzz_response};

use std::sync::LazyLock;

use crate::auth::{
    AuthPlugin, ChannelSecurity, ClientAuth, ClientStep, FullStep, KeyPair, Nonce, Password, ServerAuth,
    ServerPublicKey, Verifier,
};
use crate::command::{ChangeUser, ExecuteError, ExecuteView, QueryView, replace_statement};
use crate::handshake::{ExpectLogin, FirstResponse, Greeting, attributes};
use crate::{Capabilities, Command, ErrPacket, PayloadAssembler, Reader, frame_payload};

/// Packets in fuzzed streams may not be larger.
const LIMIT: usize = 1 << 16;

static KEY: LazyLock<Option<KeyPair>> = LazyLock::new(|| KeyPair::generate().ok());

fn nonce() -> Nonce {
    Nonce::from_random([0x55; 20])
}

fn channel(selector: u8) -> ChannelSecurity {
    if selector & 1 == 0 { ChannelSecurity::Plain } else { ChannelSecurity::Secure }
}

/// Cuts `data` into parts, each behind two bytes of length.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(data);
    std::iter::from_fn(move || {
        let length = usize::from(reader.u16().ok()?);
        reader.take(length.min(reader.remaining())).ok()
    })
}

/// A byte stream, read in pieces of the size its first byte says; what was read is written again and must be the same.
pub fn fuzz_packets(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    let mut assembler = PayloadAssembler::new(LIMIT);
    for mut piece in stream.chunks(usize::from(*piece).max(1)) {
        loop {
            match assembler.feed(&mut piece) {
                Ok(Some(packet)) => {
                    assert!(packet.payload.len() <= LIMIT);
                    let (mut out, mut sequence) = (Vec::new(), packet.sequence);
                    frame_payload(&mut out, &mut sequence, &packet.payload);
                    assert_eq!(PayloadAssembler::new(LIMIT).feed(&mut &out[..]), Ok(Some(packet)));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// An error packet.
pub fn fuzz_error_packet(data: &[u8]) {
    let Ok(error) = ErrPacket::parse(data) else { return };
    let with_state = error.encode(Capabilities::PROTOCOL_41);
    assert_eq!(ErrPacket::parse(&with_state).map(|read| read.message), Ok(error.message));
}

/// A server's first packet.
pub fn fuzz_greeting(data: &[u8]) {
    let Ok(greeting) = Greeting::parse(data) else { return };
    assert_eq!(Greeting::parse(&greeting.encode()), Ok(greeting));
}

/// A client's first packet behind four bytes of offered capabilities.
pub fn fuzz_login(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(offered) = reader.u32() else { return };
    let greeting = Greeting::new("9.7.4", 1, nonce(), Capabilities::from_bits(offered), 255);
    let Ok(FirstResponse::Login(login)) =
        ExpectLogin::new(&greeting, ChannelSecurity::Plain).on(reader.rest())
    else {
        return;
    };
    assert!(greeting.capabilities.contains(login.capabilities));
    assert!(attributes::pairs(&login.attributes).count() <= login.attributes.len());
    drop(login.begin_auth(nonce()));
    assert!(!format!("{login:?}").is_empty());
}

/// A command, and the views of those that have one.
pub fn fuzz_command(data: &[u8]) {
    let Ok(command) = Command::decode(data) else { return };
    assert!(!command.name().is_empty());
    for caps in [Capabilities::empty(), Capabilities::from_bits(u32::MAX)] {
        if let Ok(view) = QueryView::parse(data, caps) {
            let without = view.build(caps, |_| false);
            assert_eq!(QueryView::parse(&without, caps).map(|read| read.text), Ok(view.text));
            let rebuilt = view.build(caps, |_| true);
            let names =
                |view: &QueryView<'_>| view.attributes.iter().map(|a| a.name.to_vec()).collect::<Vec<_>>();
            let again = QueryView::parse(&rebuilt, caps);
            assert!(again.is_ok_and(|again| names(&again) == names(&view) && again.text == view.text));
        }
        if let Ok(change) = ChangeUser::parse(data, caps) {
            assert_eq!(
                ChangeUser::parse(&change.encode(b"", caps), caps).map(|read| read.user),
                Ok(change.user)
            );
        }
    }
    let mut copy = data.to_vec();
    if replace_statement(&mut copy, 77).is_ok() {
        assert_eq!(copy.len(), data.len());
    }
}

/// A COM_STMT_EXECUTE behind two bytes of parameter count and one that selects capabilities.
pub fn fuzz_execute(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Ok(parameters), Ok(selector)) = (reader.u16(), reader.u8()) else { return };
    let all = [Capabilities::empty(), Capabilities::QUERY_ATTRIBUTES];
    let [plain, named] = all;
    let caps = if selector & 1 == 0 { plain } else { named };
    let payload = reader.rest();
    let Ok(view) = ExecuteView::parse(payload, parameters, caps) else { return };
    if let Ok(without) = view.without(payload, |_| true) {
        let again = ExecuteView::parse(&without, parameters, caps);
        assert!(again.is_ok_and(|again| again.statement == view.statement));
    }
    for target in all {
        match view.rebuild(9, None, target) {
            Ok(rebuilt) => {
                assert!(rebuilt.head.len() <= payload.len() * 2 + 16);
                let values = payload.get(rebuilt.values_at..).unwrap_or_default();
                let whole = [&rebuilt.head, values].concat();
                let again = ExecuteView::parse(&whole, parameters, target);
                assert!(again.is_ok_and(|again| (again.statement, again.nulls) == (9, view.nulls)));
            }
            Err(ExecuteError::Malformed(_) | ExecuteError::TypesUnknown(_) | ExecuteError::Attributes) => {}
        }
    }
}

/// What a client says while it proves its password: one byte selects the channel, packets follow.
pub fn fuzz_server_auth(data: &[u8]) {
    let (Some((selector, rest)), Some(key)) = (data.split_first(), KEY.as_ref()) else { return };
    let mut packets = parts(rest);
    let plugin = if selector & 2 == 0 { AuthPlugin::CachingSha2 } else { AuthPlugin::NativePassword };
    let Some(response) = packets.next() else { return };
    let attempt = match ServerAuth::begin(&plugin, response, nonce(), nonce(), channel(*selector)) {
        Ok(ServerAuth::Attempt(attempt)) => attempt,
        Ok(ServerAuth::Switch { next, .. }) => match packets.next().map(|packet| next.on(packet)) {
            Some(Ok(attempt)) => attempt,
            Some(Err(_)) | None => return,
        },
        Err(_) => return,
    };
    assert!(!attempt.matches(&Verifier::of(&Password::new(b"not in any corpus".to_vec()))));
    let (_, mut state) = attempt.ask_full();
    for packet in packets {
        match state.on(packet.to_vec(), key) {
            Ok(FullStep::Send { next, .. }) => state = next,
            Ok(FullStep::Password(password)) => {
                assert!(!password.as_bytes().contains(&0));
                return;
            }
            Err(_) => return,
        }
    }
}

/// What a server says while we prove a password: one byte selects channel and plugin, packets follow. The password must
/// not leave in the clear over a plain channel.
pub fn fuzz_client_auth(data: &[u8]) {
    const SECRET: &[u8] = b"correct horse battery";
    let Some((selector, rest)) = data.split_first() else { return };
    let plugin = if selector & 2 == 0 { AuthPlugin::CachingSha2 } else { AuthPlugin::NativePassword };
    let channel = channel(*selector);
    let agreed = if selector & 5 == 5 { Capabilities::SSL } else { Capabilities::empty() };
    let password = Password::new(SECRET.to_vec());
    let (_, _, mut state) = ClientAuth::begin(&plugin, nonce(), password, channel, agreed);
    let mut sent = 0;
    for packet in parts(rest) {
        match state.on(packet) {
            Ok(ClientStep::Send { payload, next }) => {
                let clear = payload.windows(SECRET.len()).any(|part| part == SECRET);
                assert!(!clear || channel == ChannelSecurity::Secure);
                sent += 1;
                assert!(sent <= 4, "an exchange has an end");
                state = next;
            }
            Ok(ClientStep::Wait(next)) => state = next,
            Ok(ClientStep::Done(_) | ClientStep::Refused(_)) | Err(_) => return,
        }
    }
}

/// A server's public key.
pub fn fuzz_public_key(data: &[u8]) {
    let Ok(key) = ServerPublicKey::from_pem(data) else { return };
    drop(key.encrypt(&Password::new(b"secret".to_vec()), &nonce()));
}
