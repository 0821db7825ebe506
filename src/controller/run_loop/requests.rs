//! What people ask for: each request is answered at once, with the id of its operation or with why not.
//!
//! Never here: what an operation does.

use super::{Looped, WantedBy};
use crate::config::{Instance, Promotion};
use crate::controller::adopt;
use crate::controller::api::{
    Asked, FailoverRequest, MarkTerms, RebuildRequest, Refusal, RefusalCode, Request, SwitchoverRequest,
};
use crate::controller::assess::{Trust, Verdict};
use crate::controller::clock;
use crate::controller::failover::Terms;
use crate::controller::record::{Mark, MarkKind, Pause, PromotionRule, Record};
use crate::controller::{conduct, plan, refill, takeover};

impl Looped {
    pub(super) fn serve(&mut self, asked: Asked) {
        let Asked { request, answer } = asked;
        let answered = match &request {
            Request::Switchover(wanted) => self.switchover(wanted),
            Request::Failover(wanted) => self.failover(wanted),
            Request::Adopt { primary, who } => self.adopt_named(&request, primary, who),
            Request::Mark { kind, name, terms } => self.mark(&request, *kind, name, terms),
            Request::Unmark { kind, name, .. } => self.unmark(&request, *kind, name),
            Request::Promotion { name, promotion, terms } => {
                self.promotion(&request, name, *promotion, terms)
            }
            Request::Pause(terms) => self.pause(&request, Some(terms)),
            Request::Resume { .. } => self.pause(&request, None),
            Request::Rebuild(wanted) => self.rebuild(wanted),
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
        let policy = &self.desk.policy;
        let adoption = adopt::named(&view, policy, name, recorded)
            .map_err(|reason| not_now(reason, adopt::advice(&view, policy, name, recorded)))?;
        self.write_adoption(&adoption, &format!("adopt: {who}"))
            .map_err(|error| not_now(error.to_string(), None))?;
        self.desk.set_trust(Trust::Unchecked);
        Ok(self.desk.single("adopt", request, name, Ok(adoption.describe())))
    }

    /// Sets a mark in place of any other; the same once more only changes its terms.
    fn mark(
        &self,
        request: &Request,
        kind: MarkKind,
        name: &str,
        terms: &MarkTerms,
    ) -> Result<String, Refusal> {
        self.known(name)?;
        let record = self.markable()?;
        let view = self.desk.view();
        let primary = view.by_uuid(record.primary).map_or(&*record.primary_name, |primary| &*primary.name);
        if kind.is_hands_off() && primary == name {
            let reason = format!("{name} is the primary");
            return Err(not_now(reason, Some("another one has to be it first: sluice switchover".into())));
        }
        let mark = Mark {
            name: name.to_owned(),
            kind,
            who: terms.who.clone(),
            reason: terms.reason.clone(),
            until: terms.duration.map(|duration| clock::unix() + duration.as_secs()),
        };
        let done =
            format!("{name} is marked: {}{}", mark.describe(), plan::mark_words(&view, &record, &mark));
        self.change(|record| {
            record.marks.retain(|mark| mark.name != *name);
            record.marks.push(mark);
        })?;
        Ok(self.desk.single(kind.as_str(), request, name, Ok(done)))
    }

    fn unmark(&self, request: &Request, kind: Option<MarkKind>, name: &str) -> Result<String, Refusal> {
        self.known(name)?;
        let record = self.markable()?;
        let verb = if kind.is_some() { "undrain" } else { "clear" };
        let there = record.mark(name).filter(|mark| kind.is_none_or(|kind| kind == mark.kind));
        let done = match there {
            Some(mark) => format!("{name} is marked no more ({})", mark.describe()),
            None if record.mark(name).is_some() => {
                let hint = Some(format!("sluice clear {name}"));
                return Err(not_now(format!("{name} is not drained, it has another mark"), hint));
            }
            None => format!("{name} had no mark"),
        };
        self.change(|record| record.marks.retain(|mark| mark.name != *name))?;
        Ok(self.desk.single(verb, request, name, Ok(done)))
    }

    /// Sets a promotion rule in place of any other, or takes it back.
    fn promotion(
        &self,
        request: &Request,
        name: &str,
        promotion: Option<Promotion>,
        terms: &MarkTerms,
    ) -> Result<String, Refusal> {
        self.known(name)?;
        let mut record = self.markable()?;
        let had = record.promotion_rule(name).map(PromotionRule::describe);
        record.promotions.retain(|rule| rule.name != *name);
        let done = match promotion {
            Some(promotion) => {
                let rule = PromotionRule {
                    name: name.to_owned(),
                    promotion,
                    who: terms.who.clone(),
                    reason: terms.reason.clone(),
                    until: terms.duration.map(|duration| clock::unix() + duration.as_secs()),
                };
                let done = format!("promotion of {name} is {}", rule.describe());
                record.promotions.push(rule);
                done
            }
            None => match had {
                Some(had) => format!("promotion of {name} is as configured again ({had})"),
                None => format!("promotion of {name} is as configured"),
            },
        };
        let config = &self.desk.config;
        let never = |one: &Instance| record.promotion(&one.name, one.promotion) == Promotion::MustNot;
        if config.members().all(never) {
            let hint = Some("give one of them another rule first: sluice promotion NAME neutral".to_owned());
            return Err(not_now(
                "every instance would have must-not: none could be the primary".into(),
                hint,
            ));
        }
        let promotions = record.promotions;
        self.change(|record| record.promotions = promotions)?;
        Ok(self.desk.single("promotion", request, name, Ok(done)))
    }

    fn pause(&self, request: &Request, terms: Option<&MarkTerms>) -> Result<String, Refusal> {
        self.markable()?;
        let pause = terms.map(|terms| Pause {
            who: terms.who.clone(),
            reason: terms.reason.clone(),
            until: terms.duration.map(|duration| clock::unix() + duration.as_secs()),
        });
        let (verb, done) = match &pause {
            Some(pause) => ("pause", format!("automatic failover is {}", pause.describe())),
            None => ("resume", "automatic failover is as configured".to_owned()),
        };
        self.change(|record| record.pause = pause)?;
        let cluster = self.desk.config.cluster.name.clone();
        Ok(self.desk.single(verb, request, &cluster, Ok(done)))
    }

    /// The record, if it can take a mark now.
    fn markable(&self) -> Result<Record, Refusal> {
        self.idle()?;
        self.desk.record().ok_or_else(|| {
            let hint = Some("`sluice status` says what adoption waits for".to_owned());
            not_now("the cluster is not adopted yet".to_owned(), hint)
        })
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), Refusal> {
        self.desk.change(change).map(drop).map_err(|error| not_now(error.to_string(), None))
    }

    fn known(&self, name: &str) -> Result<(), Refusal> {
        let names: Vec<&str> = self.desk.config.members().map(|instance| &*instance.name).collect();
        if names.contains(&name) {
            return Ok(());
        }
        Err(Refusal {
            code: RefusalCode::UnknownInstance,
            reason: format!("no instance is called {name}"),
            hint: Some(format!("one of {}", names.join(", "))),
        })
    }

    pub(super) fn idle(&self) -> Result<(), Refusal> {
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
        self.wanted_by = WantedBy::Somebody;
        self.takeover = Some(takeover::start(&self.desk, terms, Some(id.clone())));
        Ok(id)
    }
}

fn not_now(reason: String, hint: Option<String>) -> Refusal {
    Refusal { code: RefusalCode::NotNow, reason, hint }
}
