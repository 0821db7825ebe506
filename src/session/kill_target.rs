//! Whom a KILL means: an id, the session itself or an expression.
//!
//! Never here: the killing itself, privileges.

use sluice_protocol::response::Answer;
use sluice_protocol::{ErrPacket, ErrorCode};
use sluice_routing::intent::{Intent, KillKind, KillTarget, Statement};

use super::failure::{Cause, ClientFault, Failure};
use super::place::NoPlace;
use super::{End, Session};

impl Session {
    /// `KILL ...`; `text` is the statement in which the target stands.
    pub(super) async fn kill_text(
        &mut self,
        kind: KillKind,
        target: KillTarget,
        text: &[u8],
    ) -> Result<(), End> {
        let expression = match target {
            KillTarget::Literal(id) => return self.kill(kind, id).await,
            KillTarget::Own => return self.kill(kind, u64::from(self.registration.entry().id)).await,
            KillTarget::Expression(span) => text.get(span.start..span.end).unwrap_or_default(),
        };
        match self.evaluate(expression).await {
            Ok(id) => self.kill(kind, id).await,
            Err(NoPlace::Fail(failure)) => self.fail(&failure).await,
            Err(NoPlace::End(end)) => Err(end),
        }
    }

    /// A prepared KILL. Servers prepare none with parameters.
    pub(super) async fn kill_prepared(
        &mut self,
        client_id: u32,
        kind: KillKind,
        target: KillTarget,
    ) -> Result<(), End> {
        let Some(prepared) = self.statements.get(client_id) else {
            return self.fail(&Failure::Client(ClientFault::UnknownStatement(client_id))).await;
        };
        let text = prepared.text.clone();
        self.kill_text(kind, target, &text).await
    }

    /// Has a server compute an expression, with the session's variables.
    async fn evaluate(&mut self, expression: &[u8]) -> Result<u64, NoPlace> {
        let own_function = b"connection_id";
        if expression.windows(own_function.len()).any(|part| part.eq_ignore_ascii_case(own_function)) {
            // A server would put its own id there.
            return Err(needs_number().into());
        }
        let deadline = self.hold_deadline();
        let instance = self.place(&Statement::of(Intent::LastStatement), deadline).await?;
        let lost = Failure::NotExecuted(Cause::InstanceLost);
        let Some(backend) = self.backends.get_mut(instance) else { return Err(lost.into()) };
        let question = [b"SELECT CAST((", expression, b") AS UNSIGNED)"].concat();
        match backend.query(&question).await {
            Ok(Answer::Rows { rows, .. }) => {
                let value =
                    rows.into_iter().flatten().flatten().next().and_then(|v| String::from_utf8(v).ok());
                value.and_then(|value| value.parse().ok()).ok_or_else(|| needs_number().into())
            }
            Ok(Answer::Error(error)) => Err(Failure::Server(Box::new(error)).into()),
            Ok(Answer::Ok(_)) => Err(needs_number().into()),
            Err(_) => {
                self.backends.drop_connection(instance);
                Err(self.lost_home(instance, Cause::InstanceLost).unwrap_or(lost).into())
            }
        }
    }
}

fn needs_number() -> Failure {
    let detail = "KILL through Sluice needs the connection id as a number";
    Failure::Refused(Box::new(ErrPacket::own(ErrorCode::UnknownCommand, detail)))
}
