//! Repeats on the primary what a replica was asked last, for a question about it that stays with its connection.
//!
//! `GET DIAGNOSTICS @n = NUMBER` asks where the last statement ran and ties the session to that connection, since only the
//! server knows what is in `@n` now. On a replica the session could never write again. A harmless read may run twice, so
//! it leaves on the primary what it left on the replica.
//!
//! Never here: repeating anything but a harmless read.

use sluice_routing::decide::Listener;
use sluice_routing::effects::PinChange;
use sluice_routing::intent::{Intent, PrimaryNeed, Statement};
use sluice_routing::topology::InstanceId;
use tokio::time::Instant;

use super::Session;
use super::backends::LastUser;
use super::place::NoPlace;
use super::relay::Told;
use super::statement::{Body, Job};

/// The longest text that is kept for being repeated; kept only if it left warnings or an error.
const MAX_TEXT: usize = 16 * 1024;
/// A read that leaves what every read without warnings leaves.
const ANY_READ: &[u8] = b"SELECT NULL LIMIT 0";

/// How the last statement can be run again, with the same left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Repeatable {
    /// It was no harmless read on a replica, or was prepared, or is too long.
    #[default]
    No,
    /// Any read will do.
    Any,
    /// This one.
    Text(Box<[u8]>),
}

impl Session {
    /// Takes note of a statement that was answered.
    pub(super) fn note_repeatable(&mut self, instance: InstanceId, job: &Job<'_>, told: &Told) {
        if job.statement.intent == Intent::LastStatement {
            return;
        }
        let read = job.statement.intent == Intent::HarmlessRead && self.replica == Some(instance);
        let clean = told.warnings == 0 && told.error.is_none();
        self.repeatable = match job.body {
            _ if read && clean => Repeatable::Any,
            Body::Query { view, .. } if read && view.text.len() <= MAX_TEXT => {
                Repeatable::Text(view.text.into())
            }
            Body::Query { .. } | Body::Frames(_) | Body::Execute { .. } | Body::OnPrepared { .. } => {
                Repeatable::No
            }
        };
    }

    /// If the statement asks about a replica's last read and will tie the session to its connection: repeats the read on
    /// the primary, so that the question goes there.
    pub(super) async fn repeat_on_primary(
        &mut self,
        statement: &Statement,
        deadline: Instant,
    ) -> Result<(), NoPlace> {
        let ties = statement.effects.pins().iter().any(|change| matches!(change, PinChange::Begins(..)));
        let on_replica = self.replica.is_some() && self.last == self.replica;
        if !(ties && on_replica) || self.home.is_some() || self.listener != Listener::Split {
            return Ok(());
        }
        let text = match std::mem::take(&mut self.repeatable) {
            Repeatable::No => return Ok(()),
            Repeatable::Any => ANY_READ.into(),
            Repeatable::Text(text) => text,
        };
        let needs = Statement::of(Intent::NeedsPrimary(PrimaryNeed::Attached));
        let primary = Box::pin(self.place(&needs, deadline)).await?;
        self.last = Some(primary);
        let Some(backend) = self.backends.get_mut(primary) else { return Ok(()) };
        if backend.query(&text).await.is_ok() {
            backend.last_user = LastUser::ThisSession;
        } else {
            // Nothing is left there then, which the question will tell.
            self.backends.drop_connection(primary);
        }
        Ok(())
    }
}
