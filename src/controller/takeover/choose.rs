//! Electing the winner among those that are held, and another one when the first can't be brought to everything.
//!
//! Never here: on what ground somebody wins (that is `failover`), anything once ackers were attached to a winner.

use tokio::time::Instant;
use uuid::Uuid;

use sluice_routing::topology::InstanceId;

use super::Takeover;
use super::revoke::{Check, Held};
use crate::controller::execute::StepError;
use crate::controller::failover::{self, Chosen, Member};
use crate::controller::zones::{Outgoing, Zones};

impl Takeover {
    /// Elects, and shows whom.
    pub(super) fn choose(&self) -> Result<Chosen, StepError> {
        let began = Instant::now();
        let elected = self.elect();
        let chosen = self.noted("elect", began, elected)?;
        for (name, why) in &chosen.rejected {
            self.note("not elected", began, &format!("{name}: {why}"), "rejected");
        }
        let uuid = self.uuid(chosen.winner)?;
        self.desk.set_coming(Some((chosen.winner, uuid)), None);
        self.desk.operation(&self.id, |view| view.target = Some(self.name(chosen.winner)));
        Ok(chosen)
    }

    fn elect(&self) -> Result<(String, Chosen), StepError> {
        let view = self.desk.view();
        let rules = self.desk.rules();
        let member = |held: &Held| {
            let instance = view.instances.get(held.id.index())?;
            let server = instance.server.as_deref()?;
            let sets = (held.has.clone(), held.executed.clone());
            let mut member = Member::new(instance, server, sets, &self.before, &rules);
            let passed_over = self.passed_over.iter().find(|(id, _)| *id == held.id);
            if let Some((_, why)) = passed_over {
                member.objection.get_or_insert_with(|| why.clone());
            }
            Some(member)
        };
        let members: Vec<Member> = self.held.iter().filter_map(member).collect();
        let floor = self.desk.floor(&self.before);
        let zones = Zones::new(&view, &self.before, rules.zones, Outgoing::Lost);
        let chosen =
            failover::elect(&members, &self.before, &floor, &self.terms, &zones).map_err(StepError::Unmet)?;
        let text = format!("{}: {}; union {}", self.name(chosen.winner), chosen.because, chosen.union);
        Ok((text, chosen))
    }

    /// Another one may be brought to everything where this one could not. Its data still count, and it may acknowledge.
    pub(super) async fn pass_over(&mut self, chosen: &Chosen, failure: &StepError) -> Result<(), StepError> {
        self.passed_over.push((chosen.winner, failure.to_string()));
        // It may have been receiving from a donor. One that does not answer is found out by the look.
        if let Ok((server, grammar)) = self.server(chosen.winner) {
            let _ = server.stop_receiver(grammar).await;
        }
        let began = Instant::now();
        let checked = self.recheck(Check::Alive).await.map(|()| ("another one is tried".to_owned(), ()));
        self.noted("look at the stopped again", began, checked)
    }

    pub(super) fn uuid(&self, id: InstanceId) -> Result<Uuid, StepError> {
        let held = self.held.iter().find(|held| held.id == id).map(|held| held.uuid);
        held.ok_or(StepError::Gone("the winner is not among the stopped"))
    }
}
