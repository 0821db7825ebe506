//! KILL by the id the client knows, COM_RESET_CONNECTION and COM_CHANGE_USER.
//!
//! A KILL is sent as the killing client's own account to the server that runs the other session's statement,
//! so the server decides whether it is allowed. Sessions own their connections, so a late KILL can only hit
//! the session it was meant for.
//!
//! Never here: privileges of our own.

use sluice_protocol::response::Answer;
use sluice_protocol::{ErrPacket, StatusFlags};
use sluice_routing::intent::{KillKind, KillTarget};
use sluice_routing::session_facts::SessionFacts;
use tokio::time::{Duration, Instant};

use super::backends::{Backend, NotReady};
use super::failure::{Cause, ClientFault, Failure};
use super::state::SessionState;
use super::{End, Session};
use crate::backend::Target;
use crate::feed::registry::{CONNECTION_ID_BASE, Order};

/// Longest wait for the connection that carries a KILL.
const KILL_DIAL_DEADLINE: Duration = Duration::from_secs(5);

impl Session {
    /// `KILL ...`
    pub(super) async fn kill(&mut self, kind: KillKind, target: KillTarget) -> Result<(), End> {
        let id = match target {
            KillTarget::Literal(id) => id,
            KillTarget::Own => u64::from(self.registration.entry().id),
            KillTarget::Expression => {
                let error = ErrPacket::own(
                    sluice_protocol::ErrorCode::UnknownCommand,
                    "KILL through Sluice needs the connection id as a number",
                );
                return self.fail(&Failure::Refused(error)).await;
            }
        };
        let known = u32::try_from(id).ok().and_then(|id| self.context.feed.registry().get(id));
        let (instance, thread, session) = match known {
            Some(entry) => match entry.backend() {
                Some((instance, thread)) => (instance, u64::from(thread), Some(entry)),
                None => return self.kill_without_server(kind, &entry).await,
            },
            None if id & u64::from(CONNECTION_ID_BASE) != 0 => {
                return self.fail(&Failure::Client(ClientFault::NoSuchThread(id))).await;
            }
            // A server's own thread id, as SHOW PROCESSLIST on the primary shows it.
            None => match self.context.feed.topology().primary {
                Some(primary) => (primary, id, None),
                None => return self.fail(&Failure::NotExecuted(Cause::NoPrimary)).await,
            },
        };
        let text = match kind {
            KillKind::Query => format!("KILL QUERY {thread}"),
            KillKind::Connection => format!("KILL CONNECTION {thread}"),
        };
        match self.ask_to_kill(instance, text.as_bytes()).await {
            Ok(Answer::Error(error)) => self.fail(&Failure::Server(error)).await,
            Ok(Answer::Ok(_) | Answer::Rows { .. }) => {
                if let (KillKind::Connection, Some(entry)) = (kind, session) {
                    entry.order(Order::Close);
                    if entry.id == self.registration.entry().id {
                        return Err(End::Ordered);
                    }
                }
                self.answer_ok().await
            }
            Err(NotReady::Refused(error)) => self.fail(&Failure::Server(error)).await,
            Err(NotReady::Dial(_) | NotReady::Lost) => {
                self.fail(&Failure::Client(ClientFault::NoSuchThread(id))).await
            }
        }
    }

    /// A session that has no server thread runs nothing; ending it needs no server, only the same account.
    async fn kill_without_server(
        &mut self,
        kind: KillKind,
        entry: &crate::feed::registry::Entry,
    ) -> Result<(), End> {
        if entry.user() != self.registration.entry().user() {
            return self.fail(&Failure::Client(ClientFault::NoSuchThread(u64::from(entry.id)))).await;
        }
        if kind == KillKind::Connection {
            entry.order(Order::Close);
        }
        self.answer_ok().await
    }

    /// COM_PROCESS_KILL
    pub(super) async fn kill_command(&mut self, id: u32) -> Result<(), End> {
        self.kill(KillKind::Connection, KillTarget::Literal(u64::from(id))).await
    }

    /// Sends a KILL on a connection of its own: the session's may be inside a transaction.
    async fn ask_to_kill(
        &mut self,
        instance: sluice_routing::topology::InstanceId,
        text: &[u8],
    ) -> Result<Answer, NotReady> {
        let target = self
            .context
            .feed
            .topology()
            .instance(instance)
            .map(Target::of)
            .ok_or(crate::backend::DialError::UnknownInstance)?;
        let deadline = Instant::now() + KILL_DIAL_DEADLINE;
        let connection = self.context.login.connect(target, &self.login, deadline).await?;
        let mut backend = Backend::new(connection);
        backend.query(text).await
    }

    /// COM_RESET_CONNECTION: every connection is reset; one that can't be is dropped, which frees the same.
    pub(super) async fn reset_connection(&mut self) -> Result<(), End> {
        let before = self.state.version();
        let mut broken = Vec::new();
        let mut charset = None;
        for backend in self.backends.iter_mut() {
            match backend.reset().await {
                Ok(after) => charset = Some(after),
                Err(_) => broken.push(backend.connection.instance),
            }
        }
        self.backends.end(|instance| broken.contains(&instance));
        self.state.reset();
        // The charset is now the server's, not the login's (bug 85185); connections opened later have to be
        // told.
        for (name, value) in charset.into_iter().flatten() {
            // A state that was just reset is not full.
            let _ = self.state.set_variable(name, &value);
        }
        let version = self.state.version();
        for backend in self.backends.iter_mut() {
            // A reset keeps the schema, and that is all there is: one that had not been told of a change of
            // the schema has another.
            backend.in_step = if backend.in_step == before { version } else { 0 };
        }
        self.forget_session();
        self.answer_ok().await
    }

    /// What a reset and a change of user have in common.
    fn forget_session(&mut self) {
        self.statements.clear();
        self.facts.observe_reset();
        self.status = StatusFlags::AUTOCOMMIT;
        self.home = None;
        self.owed = None;
        self.publish_facts();
    }

    /// COM_CHANGE_USER
    pub(super) async fn change_user(&mut self, payload: &[u8]) -> Result<(), End> {
        self.backends.end(|_| true);
        let entry = std::sync::Arc::clone(self.registration.entry());
        let changed =
            super::login::change_user(&mut self.client, payload, &self.login, &entry, &self.context.login);
        let Ok(changed) = Box::pin(changed).await else { return Err(End::ChangeUserRefused) };
        self.login = changed.login;
        if let Some(warming) = self.warming.take() {
            // It logs in as the former user.
            warming.dial.abort();
            self.registration.set_warmed(warming.generation);
        }
        self.state = SessionState::after_login(self.login.database.take().map(|schema| schema.into_vec()));
        self.facts = SessionFacts::default();
        self.reading =
            super::freshness::Reading::new(self.context.freshness(), &self.context.feed, &self.login.user);
        self.replica = None;
        self.forget_session();
        if let Some(connection) = changed.first_backend {
            self.adopt_first(connection);
        }
        Ok(())
    }
}
