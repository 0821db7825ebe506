//! Instances and rules that a reload brings: from the next round on they are what the loop works with.
//!
//! Never here: whether a member can be spared.

use std::sync::Arc;

use super::Looped;
use crate::config::Config;
use crate::controller::api::{Refusal, Regroup};
use crate::controller::record::Record;
use crate::controller::regroup;

impl Looped {
    /// Goes over to other instances, once no step is under way that may be about one of them.
    pub(super) fn regroup(&mut self) {
        if self.upkeep.is_some() {
            return;
        }
        let Some(Regroup { config, answer }) = self.regroup.take() else { return };
        let outcome = self.take_in(config);
        // Whoever asked may be gone.
        let _ = answer.send(outcome);
        self.desk.publish();
    }

    fn take_in(&mut self, config: Arc<Config>) -> Result<(), Refusal> {
        let gone = leaving(&self.desk.config, &config);
        if !gone.is_empty() {
            self.idle()?;
        }
        let (view, record) = (self.desk.view(), self.desk.record());
        if let Some(refusal) = gone.iter().find_map(|name| regroup::objection(&view, record.as_ref(), name)) {
            return Err(refusal);
        }
        let servers: Vec<_> = gone.iter().filter_map(|name| view.by_name(name)?.server.as_ref()).collect();
        let forget = |record: &mut Record| {
            record.marks.retain(|mark| !gone.contains(&mark.name));
            record.promotions.retain(|rule| !gone.contains(&rule.name));
            record.deposed.retain(|deposed| !servers.iter().any(|server| server.uuid == deposed.uuid));
        };
        if record.is_some() && !gone.is_empty() {
            self.change(forget)?;
        }
        self.desk = Arc::new(self.desk.regrouped(config, &self.servers));
        Ok(())
    }
}

/// Names of members that are none any more.
fn leaving(before: &Config, after: &Config) -> Vec<String> {
    let stays = |name: &str| after.members().any(|instance| *instance.name == *name);
    before.members().map(|instance| instance.name.to_string()).filter(|name| !stays(name)).collect()
}
