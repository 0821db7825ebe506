//! Whole handshakes: our server against our client, and either against peers played from a script.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

use std::sync::LazyLock;

use proptest::prelude::*;
use sluice_protocol::auth::server::FAST_OK;
use sluice_protocol::auth::{
    AuthError, AuthPlugin, ChannelSecurity, ClientAuth, ClientAuthError, ClientStep, Credential, FullStep,
    KeyPair, Nonce, Password, PasswordHash, RsaError, ServerAuth, ServerPublicKey, Verifier, scramble,
};
use sluice_protocol::command::ChangeUser;
use sluice_protocol::handshake::{
    ClientLogin, ExpectGreeting, ExpectLogin, FirstResponse, Greeting, HandshakeError, HandshakeResponse,
    LoginRequest, attributes, change_user,
};
use sluice_protocol::{
    Capabilities, ErrPacket, ErrorCode, Malformed, PayloadAssembler, StatusFlags, frame_payload,
};

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const PLAIN: ChannelSecurity = ChannelSecurity::Plain;
const SECURE: ChannelSecurity = ChannelSecurity::Secure;

fn nonce(seed: u8) -> Nonce {
    Nonce::from_random(std::array::from_fn(|i| seed.wrapping_add(u8::try_from(i * 11).unwrap())))
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

fn greeting(extra: Capabilities) -> Greeting {
    let caps =
        extra | Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF | Capabilities::CONNECT_ATTRS;
    Greeting::new("9.7.4", 77, nonce(1), caps, 255)
}

fn request<'a>(credential: &'a Credential, attributes: &'a [u8]) -> LoginRequest<'a> {
    LoginRequest {
        user: b"app",
        credential,
        database: Some(b"shop"),
        capabilities: Capabilities::SESSION_TRACK | Capabilities::MULTI_RESULTS,
        collation: 255,
        max_packet: 1 << 24,
        attributes,
    }
}

/// What the server's owner decides about a fast attempt.
#[derive(Clone, Copy, PartialEq)]
enum Cache {
    Cold,
    Warm,
    Stale,
}

/// What a whole exchange showed: packets of the client, and how it was proved.
#[derive(Debug, PartialEq)]
enum Proof {
    Empty,
    Fast,
    Full(Vec<u8>),
}

/// Plays both sides until the server would say OK; every packet of the client goes to `wire`.
fn prove(
    begun: ServerAuth,
    mut client: ClientAuth,
    cache: Cache,
    right: &Password,
    wire: &mut Vec<Vec<u8>>,
) -> Result<Proof, AuthError> {
    let mut send = |client: ClientAuth, packet: &[u8]| match client.on(packet).unwrap() {
        ClientStep::Send { payload, next } => {
            wire.push(payload.to_vec());
            (payload.to_vec(), next)
        }
        other @ (ClientStep::Wait(_) | ClientStep::Done(_) | ClientStep::Refused(_)) => panic!("{other:?}"),
    };
    let attempt = match begun {
        ServerAuth::Attempt(attempt) => attempt,
        ServerAuth::Switch { payload, next } => {
            let (reply, after) = send(client, &payload);
            client = after;
            next.on(&reply)?
        }
    };
    let finish = |client: ClientAuth| assert!(matches!(client.on(OK), Ok(ClientStep::Done(ok)) if ok == OK));
    if attempt.is_empty() {
        finish(client);
        return Ok(Proof::Empty);
    }
    let verifier = match cache {
        Cache::Cold => None,
        Cache::Warm => Some(Verifier::of(right)),
        Cache::Stale => Some(Verifier::of(&password("the one before"))),
    };
    if verifier.is_some_and(|verifier| attempt.matches(&verifier)) {
        let ClientStep::Wait(client) = client.on(&FAST_OK).unwrap() else { panic!("no wait after fast OK") };
        finish(client);
        return Ok(Proof::Fast);
    }
    let (asked, mut full) = attempt.ask_full();
    let mut packet = asked.to_vec();
    loop {
        let (reply, after) = send(client, &packet);
        client = after;
        match full.on(reply, &KEY)? {
            FullStep::Password(password) => {
                finish(client);
                return Ok(Proof::Full(password.as_bytes().to_vec()));
            }
            FullStep::Send { payload, next } => (packet, full) = (payload, next),
        }
    }
}

/// From greeting to login over framed bytes, with TLS if both want it.
fn handshake(
    greeting: &Greeting,
    login: &LoginRequest<'_>,
    channel: ChannelSecurity,
) -> (ClientLogin, ClientAuth) {
    let (mut wire, mut sequence) = (Vec::new(), 0);
    frame_payload(&mut wire, &mut sequence, &greeting.encode());
    let packet = PayloadAssembler::new(1 << 16).feed(&mut &wire[..]).unwrap().unwrap();
    let mut ready = ExpectGreeting.on(&packet.payload, channel).unwrap();
    assert_eq!(ready.greeting(), greeting);
    let mut server = ExpectLogin::new(greeting, channel);
    if ready.offers_tls() {
        let (payload, pending) = ready.request_tls(login);
        let mut wire = Vec::new();
        frame_payload(&mut wire, &mut packet.next_sequence.clone(), &payload);
        wire.extend_from_slice(b"\x16\x03\x01 client hello");
        let mut input = &wire[..];
        let short = PayloadAssembler::new(1 << 16).feed(&mut input).unwrap().unwrap();
        assert_eq!(input, b"\x16\x03\x01 client hello", "these bytes are for TLS");
        let FirstResponse::Tls(tls) = server.on(&short.payload).unwrap() else { panic!("no TLS") };
        (server, ready) = (tls.upgraded(), pending.upgraded());
        assert!(!ready.offers_tls());
    }
    let (payload, auth, agreed) = ready.log_in(login);
    let FirstResponse::Login(login) = server.on(&payload).unwrap() else { panic!("no login") };
    assert_eq!(login.capabilities, agreed);
    (*login, auth)
}

#[test]
fn every_path_of_a_login_proves_the_password_and_hides_it() {
    let attributes = attributes::encode(&[(b"_client_name", b"sluice"), (b"program_name", b"test")]);
    for tls in [Capabilities::empty(), Capabilities::SSL] {
        for text in ["", "secret", "pässwörd with spaces", &"x".repeat(200)] {
            for cache in [Cache::Cold, Cache::Warm, Cache::Stale] {
                let right = password(text);
                let greeting = greeting(tls);
                let (login, client) =
                    handshake(&greeting, &request(&right.clone().into(), &attributes), PLAIN);
                let channel = if tls == Capabilities::SSL { SECURE } else { PLAIN };
                assert_eq!((login.channel, &login.plugin), (channel, &AuthPlugin::CachingSha2));
                assert_eq!((&login.user[..], login.database.as_deref()), (&b"app"[..], Some(&b"shop"[..])));
                assert_eq!((login.collation, login.max_packet), (255, 1 << 24));
                assert_eq!(login.attributes, attributes);
                let mut wire = vec![login.auth_response.to_vec()];
                let begun = login.begin_auth(nonce(9)).unwrap();
                let proof = prove(begun, client, cache, &right, &mut wire).unwrap();
                let expected = match (text, cache) {
                    ("", _) => Proof::Empty,
                    (_, Cache::Warm) => Proof::Fast,
                    (_, Cache::Cold | Cache::Stale) => Proof::Full(text.as_bytes().to_vec()),
                };
                assert_eq!(proof, expected);
                let clear = !text.is_empty()
                    && wire
                        .iter()
                        .any(|packet| packet.windows(text.len()).any(|part| part == text.as_bytes()));
                assert_eq!(clear, channel == SECURE && matches!(proof, Proof::Full(_)));
            }
        }
    }
}

#[test]
fn a_client_of_another_plugin_is_switched_to_ours_with_a_fresh_nonce() {
    let right = password("secret");
    let mut greeting = greeting(Capabilities::empty());
    greeting.plugin = AuthPlugin::NativePassword;
    let (login, client) = handshake(&greeting, &request(&right.clone().into(), b""), PLAIN);
    assert_eq!(login.plugin, AuthPlugin::NativePassword);
    assert_eq!(**login.auth_response, scramble::native(&right, &greeting.nonce));
    let mut wire = Vec::new();
    let proof = prove(login.begin_auth(nonce(9)).unwrap(), client, Cache::Warm, &right, &mut wire);
    assert_eq!(proof, Ok(Proof::Fast));
    assert_eq!(wire, [scramble::caching_sha2(&right, &nonce(9)).to_vec()]);
}

#[test]
fn a_change_of_user_runs_the_same_exchange() {
    let right = password("other secret");
    for (cache, expected) in
        [(Cache::Warm, Proof::Fast), (Cache::Cold, Proof::Full(b"other secret".to_vec()))]
    {
        let greeting = greeting(Capabilities::empty());
        let attributes = attributes::encode(&[(b"a", b"b")]);
        let credential = right.clone().into();
        let login = LoginRequest { user: b"second", database: None, ..request(&credential, &attributes) };
        let agreed = Greeting::REQUIRED | Capabilities::CONNECT_ATTRS;
        let (payload, client) = change_user(&login, &greeting, agreed, PLAIN);
        let change = ChangeUser::parse(&payload, agreed).unwrap();
        assert_eq!((&change.user[..], change.database, change.collation), (&b"second"[..], None, Some(255)));
        assert_eq!((change.plugin, change.attributes), (Some(AuthPlugin::CachingSha2), attributes.clone()));
        let proof = prove(ServerAuth::switch(nonce(3), PLAIN), client, cache, &right, &mut Vec::new());
        assert_eq!(proof, Ok(expected));
    }
}

#[test]
fn strange_clients_are_refused_with_a_reason() {
    let offered = greeting(Capabilities::SSL);
    let plain = greeting(Capabilities::empty());
    let secret = password("secret").into();
    let login = request(&secret, b"");
    let ready = || ExpectGreeting.on(&offered.encode(), PLAIN).unwrap();
    let (tls_request, pending) = ready().request_tls(&login);
    let (claims_tls, ..) = pending.upgraded().log_in(&login);
    let refusal = |server: ExpectLogin, payload: &[u8]| match server.on(payload) {
        Err(error) => error,
        Ok(first) => panic!("{first:?}"),
    };
    let with_tls = || ExpectLogin::new(&offered, PLAIN);
    let without_tls = || ExpectLogin::new(&plain, PLAIN);
    assert_eq!(refusal(without_tls(), &tls_request), HandshakeError::TlsNotOffered);
    assert_eq!(refusal(with_tls(), &claims_tls), HandshakeError::LoginBeforeTls);
    let Ok(FirstResponse::Tls(tls)) = with_tls().on(&tls_request) else { panic!("no TLS") };
    assert_eq!(refusal(tls.upgraded(), &tls_request), HandshakeError::TlsTwice);
    let pre_41 = [0x85, 0x24, 0, 0, 0, b'r', b'o', b'o', b't', 0];
    assert_eq!(refusal(with_tls(), &pre_41), HandshakeError::Pre41Client);
    let truncated = Malformed::Unterminated;
    assert_eq!(refusal(with_tls(), &claims_tls[..33]), HandshakeError::LoginBeforeTls);
    assert_eq!(refusal(without_tls(), &claims_tls[..34]), HandshakeError::Malformed(truncated));
    let (mut no_plugins, ..) = ExpectGreeting.on(&plain.encode(), PLAIN).unwrap().log_in(&login);
    no_plugins[2] &= !0x08;
    no_plugins.truncate(no_plugins.len() - "caching_sha2_password\0".len());
    let error = refusal(without_tls(), &no_plugins);
    assert_eq!((error.code(), error), (ErrorCode::NoPluginSupport, HandshakeError::NoPluginSupport));
}

#[test]
fn a_login_in_the_manual_reads_as_the_manual_says() {
    let payload = include_bytes!("../corpus/login/manual_5.6");
    let mut greeting = greeting(Capabilities::empty());
    greeting.capabilities = Capabilities::from_bits(u32::MAX) - Capabilities::SSL;
    let Ok(FirstResponse::Login(login)) = ExpectLogin::new(&greeting, PLAIN).on(&payload[4..]) else {
        panic!("no login")
    };
    assert_eq!((&login.user[..], login.database.as_deref()), (&b"pam"[..], Some(&b"test"[..])));
    assert_eq!((&login.plugin, login.auth_response.len()), (&AuthPlugin::NativePassword, 20));
    assert_eq!((login.collation, login.max_packet), (8, 1 << 24));
    let greeting = Greeting::parse(include_bytes!("../corpus/greeting/5.6.4")).unwrap();
    assert_eq!((&greeting.server_version[..], greeting.connection_id), (&b"5.6.4-m7-log"[..], 2646));
    assert_eq!((&greeting.plugin, greeting.status), (&AuthPlugin::NativePassword, StatusFlags::AUTOCOMMIT));
    assert_eq!(greeting.nonce.as_bytes(), b"RB3vz&Gr+yD&/ZZ305ZG");
    assert_eq!(greeting.capabilities.bits(), 0xc00f_ffff);
}

#[test]
fn the_real_client_says_it_has_no_password_with_one_zero_byte() {
    let payload = &include_bytes!("../corpus/login/mysql_9.7.4_empty_password")[4..];
    let mut greeting = greeting(Capabilities::empty());
    greeting.capabilities = Capabilities::from_bits(u32::MAX) - Capabilities::SSL;
    let Ok(FirstResponse::Login(login)) = ExpectLogin::new(&greeting, PLAIN).on(payload) else {
        panic!("no login")
    };
    assert_eq!((&login.user[..], login.database.as_deref()), (&b"app"[..], Some(&b"shop"[..])));
    assert_eq!(**login.auth_response, [0]);
    let Ok(ServerAuth::Attempt(attempt)) = login.begin_auth(nonce(2)) else { panic!("switched") };
    assert!(attempt.is_empty());
    let pairs: Vec<_> = attributes::pairs(&login.attributes).map(Result::unwrap).collect();
    assert!(pairs.contains(&(b"program_name", b"mysql")) && pairs.len() == 7);
}

#[test]
fn what_is_no_password_is_refused() {
    let attempt = |data: &[u8], channel| match ServerAuth::begin(
        &AuthPlugin::CachingSha2,
        data,
        nonce(1),
        nonce(2),
        channel,
    ) {
        Ok(ServerAuth::Attempt(attempt)) => Ok(attempt),
        Ok(ServerAuth::Switch { .. }) => panic!("switched"),
        Err(error) => Err(error),
    };
    assert_eq!(attempt(&[1; 20], PLAIN).unwrap_err(), AuthError::Scramble(20));
    let nothing = Verifier::of(&password(""));
    for empty in [&b""[..], b"\0"] {
        let attempt = attempt(empty, PLAIN).unwrap();
        assert!(attempt.is_empty() && !attempt.matches(&nothing));
    }
    let full = |channel| attempt(&[1; 32], channel).unwrap().ask_full().1;
    let failed = |result: Result<FullStep, AuthError>| result.err();
    let unreadable = Some(AuthError::Rsa(RsaError::Decrypt));
    assert_eq!(failed(full(PLAIN).on(b"secret\0".to_vec(), &KEY)), unreadable, "in the clear");
    assert_eq!(failed(full(PLAIN).on(vec![7; 256], &KEY)), unreadable);
    for text in [&b"secret"[..], b"", b"two\0parts\0"] {
        assert_eq!(failed(full(SECURE).on(text.to_vec(), &KEY)), Some(AuthError::Unterminated));
    }
    let Ok(FullStep::Send { next, .. }) = full(PLAIN).on(vec![2], &KEY) else { panic!("no key") };
    assert_eq!(failed(next.on(vec![2], &KEY)), unreadable, "the key is sent once");
    // A client that has the key in a file does not ask for it.
    let key = ServerPublicKey::from_pem(KEY.public_pem().as_bytes()).unwrap();
    let block = key.encrypt(&password("secret"), &nonce(1)).unwrap();
    let Ok(FullStep::Password(read)) = full(PLAIN).on(block.clone(), &KEY) else { panic!("no password") };
    assert_eq!(read.as_bytes(), b"secret");
    assert!(KEY.decrypt(&block, &nonce(2)).is_err(), "a block is of use for its nonce only");
}

#[test]
fn keys_are_kept_and_bad_ones_refused() {
    let again = KeyPair::from_pkcs8(KEY.to_pkcs8()).unwrap();
    assert_eq!(again.public_pem(), KEY.public_pem());
    let key = ServerPublicKey::from_pem(again.public_pem().as_bytes()).unwrap();
    let block = key.encrypt(&password("secret"), &nonce(1)).unwrap();
    assert_eq!(KEY.decrypt(&block, &nonce(1)).unwrap().as_bytes(), b"secret");
    assert_eq!(key.encrypt(&password(&"x".repeat(214)), &nonce(1)), Err(RsaError::PasswordTooLong));
    assert!(matches!(KeyPair::from_pkcs8(&KEY.to_pkcs8()[1..]), Err(RsaError::PrivateKey)));
    let small = include_bytes!("../corpus/public_key/rsa_1024.pem");
    for text in [&b""[..], b"-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----", small] {
        assert!(matches!(ServerPublicKey::from_pem(text), Err(RsaError::PublicKey)));
    }
    assert!(ServerPublicKey::from_pem(include_bytes!("../corpus/public_key/rsa_2048.pem")).is_ok());
}

fn switch_to(plugin: &str) -> Vec<u8> {
    [b"\xfe", plugin.as_bytes(), b"\0", nonce(5).as_bytes(), b"\0"].concat()
}

fn client(text: &str, channel: ChannelSecurity) -> ClientAuth {
    let agreed = if channel == SECURE { Capabilities::SSL } else { Capabilities::empty() };
    ClientAuth::begin(&AuthPlugin::CachingSha2, nonce(1), password(text), channel, agreed).2
}

fn sent(step: Result<ClientStep, ClientAuthError>) -> (Vec<u8>, ClientAuth) {
    match step {
        Ok(ClientStep::Send { payload, next }) => (payload.to_vec(), next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn switches_of_a_server_are_followed_once_and_never_give_a_password_away() {
    let secret = password("secret");
    let (payload, next) = sent(client("secret", PLAIN).on(&switch_to("mysql_native_password")));
    assert_eq!(payload, scramble::native(&secret, &nonce(5)));
    let error = next.on(&switch_to("caching_sha2_password")).unwrap_err();
    assert_eq!(error, ClientAuthError::OutOfPlace(0xfe));
    let (payload, _) = sent(client("secret", PLAIN).on(&switch_to("caching_sha2_password")));
    assert_eq!(payload, scramble::caching_sha2(&secret, &nonce(5)));
    // The decoy for unknown users: over plain the key is asked for with 1, not 2.
    let (payload, next) = sent(client("secret", PLAIN).on(&switch_to("sha256_password")));
    assert_eq!(payload, [1]);
    let (block, next) = sent(next.on(&[b"\x01", KEY.public_pem().as_bytes()].concat()));
    assert_eq!(KEY.decrypt(&block, &nonce(5)).unwrap().as_bytes(), b"secret");
    let denied = ErrPacket::access_denied(b"app", "localhost", true);
    let refused = next.on(&denied.encode(Capabilities::PROTOCOL_41)).unwrap();
    assert!(matches!(refused, ClientStep::Refused(error) if error == denied));
    assert_eq!(sent(client("", PLAIN).on(&switch_to("sha256_password"))).0, [0]);
    for plugin in ["sha256_password", "mysql_clear_password"] {
        let step = client("secret", SECURE).on(&switch_to(plugin));
        assert!(
            !format!("{step:?}").contains("115, 101, 99, 114, 101, 116"),
            "a step does not print a password"
        );
        assert_eq!(sent(step).0, b"secret\0");
    }
    // Seen on 9.7.4: over a Unix socket sha256_password refuses what caching_sha2_password takes.
    let begin = ClientAuth::begin(&AuthPlugin::CachingSha2, nonce(1), secret, SECURE, Capabilities::empty());
    assert_eq!(sent(begin.2.on(&switch_to("sha256_password"))).0, [1]);
    let error = client("secret", PLAIN).on(&switch_to("mysql_clear_password")).unwrap_err();
    assert_eq!(error, ClientAuthError::ClearPasswordOverPlain);
}

#[test]
fn what_a_server_may_not_say_ends_the_exchange() {
    let error = |payload: &[u8]| client("secret", PLAIN).on(payload).unwrap_err();
    assert_eq!(error(&switch_to("dialog")), ClientAuthError::Plugin(AuthPlugin::Other(b"dialog".to_vec())));
    assert!(matches!(error(b"\xfe"), ClientAuthError::Plugin(AuthPlugin::Other(_))));
    assert_eq!(error(b"\x02authentication_webauthn\0"), ClientAuthError::SecondFactor);
    assert_eq!(error(&[]), ClientAuthError::Malformed(Malformed::Truncated("integer")));
    assert_eq!(error(&[1, 9]), ClientAuthError::OutOfPlace(1));
    assert_eq!(error(&[0x55]), ClientAuthError::OutOfPlace(0x55));
    let (_, asked) = sent(client("secret", PLAIN).on(&[1, 4]));
    assert_eq!(asked.on(b"\x01no key").unwrap_err(), ClientAuthError::Rsa(RsaError::PublicKey));
    let Ok(ClientStep::Wait(done)) = client("secret", PLAIN).on(&[1, 3]) else { panic!("no wait") };
    assert_eq!(done.on(&[1, 4]).unwrap_err(), ClientAuthError::OutOfPlace(1));
}

#[test]
fn an_error_instead_of_the_greeting_is_the_servers_own_word() {
    for (number, text) in [(1040u16, "Too many connections"), (1129, "Host '10.0.0.1' is blocked")] {
        let payload = [b"\xff", &number.to_le_bytes()[..], text.as_bytes()].concat();
        let Err(HandshakeError::Refused(error)) = ExpectGreeting.on(&payload, PLAIN) else {
            panic!("greeted")
        };
        assert_eq!((error.code, error.sql_state, &error.message[..]), (number, None, text.as_bytes()));
    }
    let old = HandshakeError::ProtocolVersion(9);
    assert_eq!(ExpectGreeting.on(b"\x093.23\0", PLAIN).unwrap_err(), old);
}

fn bytes_without_zero() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=u8::MAX, 0..40)
}

proptest! {
    #[test]
    fn a_greeting_reads_back(
        version in bytes_without_zero(), id: u32, seed: u8, caps: u32, collation: u8, status: u16,
        plugin in bytes_without_zero(),
    ) {
        let greeting = Greeting {
            server_version: version,
            connection_id: id,
            nonce: nonce(seed),
            capabilities: Capabilities::from_bits(caps) | Greeting::REQUIRED,
            collation,
            status: StatusFlags::from_bits(status),
            plugin: AuthPlugin::from_name(&plugin),
        };
        prop_assert_eq!(Greeting::parse(&greeting.encode()), Ok(greeting));
    }

    #[test]
    fn a_login_reads_back_in_every_layout(
        caps: u32, offered: u32, user in bytes_without_zero(), data in proptest::collection::vec(any::<u8>(), 0..255),
        database in bytes_without_zero(), plugin in bytes_without_zero(), attributes: Vec<u8>, level: u8,
    ) {
        let fixed = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
        let offered = Capabilities::from_bits(offered) | fixed;
        let caps = Capabilities::from_bits(caps) & offered | fixed;
        let has = |flag| caps.contains(flag);
        let login = HandshakeResponse {
            capabilities: caps,
            max_packet: 1 << 24,
            collation: 255,
            user,
            auth_response: data.into(),
            database: Some(database).filter(|name| has(Capabilities::CONNECT_WITH_DB) && !name.is_empty()),
            plugin: has(Capabilities::PLUGIN_AUTH).then(|| AuthPlugin::from_name(&plugin)),
            attributes: if has(Capabilities::CONNECT_ATTRS) { attributes } else { Vec::new() },
            zstd_level: has(Capabilities::ZSTD_COMPRESSION).then_some(level),
        };
        let read = HandshakeResponse::parse(&login.encode(), offered);
        prop_assert_eq!(read, Ok(login));
    }

    #[test]
    fn a_change_of_user_reads_back(
        user in bytes_without_zero(), database in bytes_without_zero(), collation: u16, plugin in bytes_without_zero(),
        attributes: Vec<u8>, data in proptest::collection::vec(any::<u8>(), 0..255),
    ) {
        let change = ChangeUser {
            user,
            database: Some(database).filter(|name| !name.is_empty()),
            collation: Some(collation),
            plugin: Some(AuthPlugin::from_name(&plugin)),
            attributes,
        };
        let caps = Greeting::REQUIRED | Capabilities::CONNECT_ATTRS;
        prop_assert_eq!(ChangeUser::parse(&change.encode(&data, caps), caps), Ok(change));
    }
}

#[test]
fn a_password_that_was_not_kept_is_good_for_warm_servers_only() {
    let hash = Credential::Hash(PasswordHash::of(&password("secret")));
    let begin = |plugin| ClientAuth::begin(&plugin, nonce(1), hash.clone(), SECURE, Capabilities::empty());
    for plugin in [AuthPlugin::CachingSha2, AuthPlugin::NativePassword] {
        let (used, data, client) = begin(plugin);
        assert_eq!(used, AuthPlugin::CachingSha2);
        assert_eq!(data, scramble::caching_sha2(&password("secret"), &nonce(1)));
        let ClientStep::Wait(client) = client.on(&FAST_OK).unwrap() else { panic!("no wait") };
        assert!(matches!(client.on(OK), Ok(ClientStep::Done(_))));
    }
    for demand in [vec![1, 4], switch_to("sha256_password"), switch_to("mysql_native_password")] {
        let error = begin(AuthPlugin::CachingSha2).2.on(&demand).unwrap_err();
        assert_eq!(error, ClientAuthError::PasswordNotKept, "{demand:?}");
    }
}
