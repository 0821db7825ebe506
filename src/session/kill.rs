//! KILL by the id the client knows, COM_RESET_CONNECTION and COM_CHANGE_USER.
//!
//! A KILL is sent as the killing client's own account to the server that runs the other session's statement,
//! so the server decides whether it is allowed. While it is under way the other session keeps its connection, so
//! a late KILL can only hit the session it was meant for.
//!
//! Never here: privileges of our own.

use sluice_protocol::StatusFlags;
use sluice_protocol::response::Answer;
use sluice_routing::intent::KillKind;
use sluice_routing::pin::PinReason;
use sluice_routing::session_facts::SessionFacts;
use sluice_routing::topology::InstanceId;
use tokio::time::{Duration, Instant, timeout_at};

use super::backends::{Backend, Hidden, NotReady, Roles, Trackers};
use super::failure::{Cause, ClientFault, Failure};
use super::state::SessionState;
use super::{End, Session};
use crate::backend::Target;
use crate::backend::places::Permit;
use crate::feed::registry::{Entry, Order, slot_of};

/// KILLs under way at once, each with a connection of its own beyond `max_backend`: it does next to nothing there.
pub(super) const KILLS_AT_ONCE: usize = 4;
/// Longest wait for the connection that carries a KILL.
const KILL_DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// Has a row for accounts that may end other accounts' connections.
const MAY_KILL: &[u8] = b"SELECT 1 FROM information_schema.user_privileges \
    WHERE grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''') \
    AND privilege_type IN ('SUPER', 'CONNECTION_ADMIN') LIMIT 1";

impl Session {
    /// `KILL` of an id as the client knows it.
    pub(super) async fn kill(&mut self, kind: KillKind, id: u64) -> Result<(), End> {
        if id == u64::from(self.registration.entry().id) {
            return self.kill_itself(kind).await;
        }
        let own_slot = self.context.feed.registry().slot();
        let known = u32::try_from(id).ok().and_then(|id| self.context.feed.registry().get(id));
        // From here on the other session keeps the connection that it has.
        let _under_way = known.as_ref().map(Entry::begin_kill);
        let (instance, thread, session) = match known {
            Some(entry) => match entry.backend() {
                Some((instance, thread)) => (instance, u64::from(thread), Some(entry)),
                None => return self.kill_without_server(kind, &entry).await,
            },
            None if slot_of(id) == Some(own_slot) => {
                return self.fail(&Failure::Client(ClientFault::NoSuchThread(id))).await;
            }
            None if slot_of(id).is_some() => {
                let fault = ClientFault::OfAnotherSluice { id, own_slot };
                return self.fail(&Failure::Client(fault)).await;
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
        match self.ask(instance, text.as_bytes()).await {
            Ok(Answer::Error(error)) => self.fail(&Failure::Server(Box::new(error))).await,
            Ok(Answer::Ok(_) | Answer::Rows { .. }) => {
                if let (KillKind::Connection, Some(entry)) = (kind, session) {
                    entry.order(Order::Close);
                }
                self.left.only_row_count(0);
                self.answer_ok().await
            }
            Err(NotReady::Refused(error)) => self.fail(&Failure::Server(error)).await,
            Err(
                NotReady::Dial(_)
                | NotReady::Lost
                | NotReady::RefusedFirst
                | NotReady::NoSchema(_)
                | NotReady::Unfit
                | NotReady::ClientGone,
            ) => self.fail(&Failure::Client(ClientFault::NoSuchThread(id))).await,
        }
    }

    /// What a KILL of oneself interrupts is that very statement.
    async fn kill_itself(&mut self, kind: KillKind) -> Result<(), End> {
        let interrupted = sluice_protocol::ErrPacket::own(sluice_protocol::ErrorCode::Interrupted, "");
        self.fail(&Failure::Refused(Box::new(interrupted))).await?;
        match kind {
            KillKind::Query => Ok(()),
            KillKind::Connection => Err(End::Ordered),
        }
    }

    /// A session that has no server thread runs nothing; ending it needs no server, only the same account or
    /// the privilege that a server would ask for.
    async fn kill_without_server(&mut self, kind: KillKind, entry: &Entry) -> Result<(), End> {
        let own = entry.user() == self.registration.entry().user();
        if !own && !self.may_kill_others().await {
            return self.fail(&Failure::Client(ClientFault::NotOwner(u64::from(entry.id)))).await;
        }
        if kind == KillKind::Connection {
            entry.order(Order::Close);
            if entry.id == self.registration.entry().id {
                return Err(End::Ordered);
            }
        }
        self.left.only_row_count(0);
        self.answer_ok().await
    }

    async fn may_kill_others(&mut self) -> bool {
        let Some(primary) = self.context.feed.topology().primary else { return false };
        match self.ask(primary, MAY_KILL).await {
            Ok(Answer::Rows { rows, .. }) => !rows.is_empty(),
            Ok(Answer::Ok(_) | Answer::Error(_)) | Err(_) => false,
        }
    }

    /// COM_PROCESS_KILL
    pub(super) async fn kill_command(&mut self, id: u32) -> Result<(), End> {
        self.kill(KillKind::Connection, u64::from(id)).await
    }

    /// Runs a statement of ours on a connection of its own: the session's may be inside a transaction.
    async fn ask(&mut self, instance: InstanceId, text: &[u8]) -> Result<Answer, NotReady> {
        let target = self
            .context
            .feed
            .topology()
            .instance(instance)
            .map(Target::of)
            .ok_or(crate::backend::DialError::UnknownInstance)?;
        let deadline = Instant::now() + KILL_DIAL_DEADLINE;
        // When every place is taken, KILL is what is needed most.
        let turn = timeout_at(deadline, self.context.kills.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(crate::backend::DialError::Busy.into()) };
        let beyond = Permit::beyond_the_limit();
        let connection = self.context.login.connect_at(beyond, target, &self.login, deadline).await?;
        let mut backend = Backend::new(connection, Default::default());
        backend.query(text).await
    }

    /// COM_RESET_CONNECTION: what the session holds is reset on the server, or dropped, which frees the same;
    /// the rest of its state is a value.
    pub(super) async fn reset_connection(&mut self) -> Result<(), End> {
        // A reset leaves the roles; of some only the server knows which they are.
        let before = self.home;
        let home = before.filter(|_| self.facts.pins().any(|reason| reason == PinReason::Role));
        let mut role = None;
        let instances: Vec<_> = self.context.feed.topology().instances.iter().map(|known| known.id).collect();
        for instance in instances {
            let Some(backend) = self.own(instance) else { continue };
            // To its client the session is another one from now on.
            backend.hand_on();
            let (hidden, trackers) = (backend.hidden, backend.trackers);
            let lent = trackers != Trackers::Ours;
            let held = hidden != Hidden::Nothing || lent || self.home == Some(instance);
            let roles = if home == Some(instance) { Roles::AsTheyAre } else { Roles::OfLogin };
            if held
                && let Some(backend) = self.backends.get_mut(instance)
                && backend.reset(roles).await.is_err()
            {
                self.backends.drop_connection(instance);
            }
            if home == Some(instance)
                && let Some(backend) = self.backends.get_mut(instance)
            {
                match backend.active_roles().await {
                    Ok(active) => role = active,
                    Err(_) => self.backends.drop_connection(instance),
                }
            }
        }
        self.state.reset();
        self.forget_session();
        if let Some(role) = role {
            self.state.set_role(&role);
            if let Some(backend) = home.and_then(|home| self.backends.get_mut(home)) {
                backend.has = std::sync::Arc::new(backend.has.with_role(&role));
                backend.hidden = Hidden::Nothing;
            }
        } else if let Some(home) = home.filter(|home| self.backends.has(*home)) {
            self.facts.hold(PinReason::Role, None);
            self.home = Some(home);
            self.publish_facts();
        }
        if let Some(home) = before {
            self.tie_to_login(home);
        }
        self.answer_ok().await
    }

    /// What a reset and a change of user have in common.
    fn forget_session(&mut self) {
        self.statements.clear();
        self.own_trackers = super::own_trackers::OwnTrackers::default();
        self.facts.observe_reset();
        self.status = StatusFlags::AUTOCOMMIT;
        self.put_off = None;
        self.home = None;
        self.owed = None;
        self.left = super::left::Left::default();
        self.called_procedure = false;
        self.publish_facts();
    }

    /// COM_CHANGE_USER
    pub(super) async fn change_user(&mut self, payload: &[u8]) -> Result<(), End> {
        self.backends.end(|_| true);
        self.abandon_parked();
        let entry = std::sync::Arc::clone(self.registration.entry());
        let changed =
            super::login::change_user(&mut self.client, payload, &self.login, &entry, &self.context.login);
        let Ok(changed) = Box::pin(changed).await else { return Err(End::ChangeUserRefused) };
        self.login = changed.login;
        entry.set_user(&String::from_utf8_lossy(&self.login.user));
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
        self.begin(changed.mode, changed.first_backend);
        Ok(())
    }
}
