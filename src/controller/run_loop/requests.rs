//! What people ask for: each request is answered at once, with the id of its operation or with why not.
//!
//! Never here: what an operation does.

use super::{Looped, unix_now};
use crate::controller::adopt;
use crate::controller::api::{
    Asked, FailoverRequest, RebuildRequest, Refusal, RefusalCode, Request, SwitchoverRequest,
};
use crate::controller::assess::{Trust, Verdict};
use crate::controller::failover::Terms;
use crate::controller::record::{Mark, Record};
use crate::controller::{conduct, refill, takeover};

impl Looped {
    pub(super) fn serve(&mut self, asked: Asked) {
        let Asked { request, answer } = asked;
        let answered = match &request {
            Request::Switchover(wanted) => self.switchover(wanted),
            Request::Failover(wanted) => self.failover(wanted),
            Request::Adopt { primary, who } => self.adopt_named(&request, primary, who),
            Request::Drain { name, reason, duration } => self.mark(&request, name, |record| {
                record.marks.retain(|mark| mark.name != *name);
                let until = duration.map(|duration| unix_now() + duration.as_secs());
                record.marks.push(Mark { name: name.clone(), reason: reason.clone(), until });
            }),
            Request::Rebuild(wanted) => self.rebuild(wanted),
            Request::Undrain { name } => {
                self.mark(&request, name, |record| record.marks.retain(|mark| mark.name != *name))
            }
        };
        // Whoever asked may be gone.
        let _ = answer.send(answered);
        self.desk.publish();
    }

    fn adopt_named(&self, request: &Request, name: &str, who: &str) -> Result<String, Refusal> {
        self.known(name)?;
        self.idle()?;
        let view = self.desk.view();
        if self.desk.assessment().verdict == Verdict::LockHeldElsewhere {
            return Err(not_now(self.desk.assessment().evidence, self.desk.assessment().hint));
        }
        let recorded = self.desk.record().map_or(0, |record| record.epoch);
        let adoption =
            adopt::named(&view, &self.desk.policy, name, recorded).map_err(|reason| not_now(reason, None))?;
        self.write_adoption(&adoption, &format!("adopt: {who}"))
            .map_err(|error| not_now(error.to_string(), None))?;
        self.desk.set_trust(Trust::Unchecked);
        Ok(self.desk.single("adopt", request, name, Ok(adoption.describe())))
    }

    fn mark(
        &self,
        request: &Request,
        name: &str,
        change: impl FnOnce(&mut Record),
    ) -> Result<String, Refusal> {
        self.known(name)?;
        self.idle()?;
        if self.desk.record().is_none() {
            let hint = Some("`sluice status` says what adoption waits for".to_owned());
            return Err(not_now("the cluster is not adopted yet".to_owned(), hint));
        }
        let kind = if matches!(request, Request::Undrain { .. }) { "undrain" } else { "drain" };
        self.desk.change(change).map_err(|error| not_now(error.to_string(), None))?;
        Ok(self.desk.single(kind, request, name, Ok(format!("{kind} {name}"))))
    }

    fn known(&self, name: &str) -> Result<(), Refusal> {
        let names: Vec<&str> = self.desk.config.instances.iter().map(|instance| &*instance.name).collect();
        if names.contains(&name) {
            return Ok(());
        }
        Err(Refusal {
            code: RefusalCode::UnknownInstance,
            reason: format!("no instance is called {name}"),
            hint: Some(format!("one of {}", names.join(", "))),
        })
    }

    fn idle(&self) -> Result<(), Refusal> {
        let busy = self.switchover.is_some() || self.takeover.is_some();
        let Some(running) = self.desk.running().filter(|_| busy) else { return Ok(()) };
        Err(Refusal {
            code: RefusalCode::Busy,
            reason: format!("the {} {} is under way", running.kind, running.id),
            hint: Some("wait for its end: sluice status".into()),
        })
    }

    fn switchover(&mut self, wanted: &SwitchoverRequest) -> Result<String, Refusal> {
        if let Some(running) = self.desk.running().filter(|_| self.switchover.is_some()) {
            return Ok(running.id);
        }
        let (id, switchover) = conduct::start(&self.desk, wanted)?;
        self.switchover = Some(switchover);
        Ok(id)
    }

    fn rebuild(&mut self, wanted: &RebuildRequest) -> Result<String, Refusal> {
        self.known(&wanted.name)?;
        if let Some(from) = &wanted.from {
            self.known(from)?;
        }
        if let Some(running) = self.desk.rebuilding().filter(|_| self.rebuild.is_some()) {
            if running.target.as_deref() == Some(&wanted.name) {
                return Ok(running.id);
            }
            let member = running.target.unwrap_or_default();
            return Err(Refusal {
                code: RefusalCode::Busy,
                reason: format!("the rebuild {} of {member} is under way", running.id),
                hint: Some(format!("one at a time; follow it: sluice rebuild {member}")),
            });
        }
        self.idle()?;
        let (id, running) = refill::start(&self.desk, wanted)?;
        self.rebuild = Some(running);
        Ok(id)
    }

    fn failover(&mut self, wanted: &FailoverRequest) -> Result<String, Refusal> {
        if let Some(running) = self.desk.running().filter(|_| self.takeover.is_some()) {
            return Ok(running.id);
        }
        self.idle()?;
        if let Some(name) = &wanted.to {
            self.known(name)?;
        }
        let named = |name: &String| self.desk.view().by_name(name).map(|view| view.id);
        let terms = Terms {
            to: wanted.to.as_ref().and_then(named),
            accept_loss: wanted.accept_loss,
            who: Some(wanted.who.clone()),
        };
        let id = self.desk.begin("failover", wanted.to.clone(), &wanted.who);
        self.takeover = Some(takeover::start(&self.desk, terms, Some(id.clone())));
        Ok(id)
    }
}

fn not_now(reason: String, hint: Option<String>) -> Refusal {
    Refusal { code: RefusalCode::NotNow, reason, hint }
}
