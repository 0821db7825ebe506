//! Asking servers again about the passwords that are remembered, so that an old one dies.
//!
//! One login per password that clients use, each half of `[login] max_age`; what nobody uses is asked about when
//! somebody does.
//!
//! Never here: a client, a password that was not kept.

use std::time::Duration;

use sluice_protocol::Capabilities;
use sluice_protocol::handshake::attributes;
use sluice_routing::decide::Listener;
use tokio::time::{MissedTickBehavior, interval};

use super::LoginContext;
use super::verify::verify;
use crate::backend::{BackendLogin, DialError, Secret};

/// How often it is looked for passwords to ask about. The shortest `[login] max_age` is a second.
const ROUND: Duration = Duration::from_millis(250);
/// `utf8mb4_0900_ai_ci`; no statement of ours depends on it.
const COLLATION: u8 = 255;

/// Keeps what is remembered true; runs until dropped.
pub async fn keep_verified(context: &LoginContext) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let max_age = context.settings().max_age;
        context.verifiers.expire();
        context.admissions.expire(max_age);
        let due = context.verifiers.due(max_age);
        for (user, secret) in due {
            ask(context, user, secret).await;
        }
    }
}

async fn ask(context: &LoginContext, user: Box<[u8]>, secret: Secret) {
    let login = BackendLogin {
        identity: Some(context.identities.of(&user, &secret.hash())),
        user,
        secret: Some(secret.clone()),
        database: None,
        collation: COLLATION,
        client_capabilities: Capabilities::empty(),
        attributes: attributes::encode(&[(b"program_name", b"sluice")]).into(),
    };
    match verify(context, &login, Listener::Primary).await {
        Ok(connection) if connection.identity.is_some() => context.remember(&login.user, &secret),
        // Let in only to change the password, which has expired.
        Ok(_) => context.verifiers.forget(&login.user, &secret),
        Err(DialError::Server(refusal)) if about_the_account(refusal.code) => {
            tracing::info!(
                user = %String::from_utf8_lossy(&login.user),
                code = refusal.code,
                "a remembered password is not accepted any more"
            );
            context.verifiers.forget(&login.user, &secret);
        }
        // It is an account of another plugin now.
        Err(DialError::AsksClient(_)) => context.verifiers.forget(&login.user, &secret),
        // Nobody could be asked, or only the server was the reason: the password gets older, and once it is
        // too old the next login has to find somebody to ask.
        Err(error) => tracing::debug!(%error, "a remembered password could not be verified"),
    }
}

/// Whether a refusal is about the account: access denied, host not allowed, password expired (1862, 1820),
/// locked. Anything else passes.
fn about_the_account(code: u16) -> bool {
    matches!(code, 1045 | 1130 | 1698 | 1820 | 1862 | 3118)
}
