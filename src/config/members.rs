//! Instances that a reload adds, changes and takes out, at places that stay what they are.
//!
//! Never here: whether a member can be spared (the controller knows).

use std::sync::Arc;

use sluice_routing::topology::MAX_INSTANCES;

use super::{Config, Instance, Standing};

impl Config {
    /// Those that are in the configuration.
    pub fn members(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.standing == Standing::Member)
    }
}

impl Instance {
    /// Where it is reached, which only another process can change: sessions and observers are there.
    pub(super) fn reach(&self) -> String {
        match &self.admin {
            Some(admin) => format!("{}, admin {admin}", self.address),
            None => self.address.to_string(),
        }
    }
}

/// The instances of `file` at the places that `running` gave them: those that are gone leave their place behind, new
/// ones come last. Fails if there are no places left.
pub(super) fn placed(running: &[Instance], file: &[Instance]) -> Result<Vec<Instance>, String> {
    let is_member = |instance: &&Instance| instance.standing == Standing::Member;
    let named = |name: &str, all: &[Instance]| all.iter().filter(is_member).any(|known| *known.name == *name);
    let kept =
        running.iter().enumerate().map(|(place, old)| match file.iter().find(|new| new.name == old.name) {
            Some(new) if old.standing == Standing::Member => {
                Instance { address: Arc::clone(&old.address), admin: old.admin.clone(), ..new.clone() }
            }
            Some(_) | None => removed(place, old),
        });
    let added = file.iter().filter(|new| !named(&new.name, running)).cloned();
    let all: Vec<Instance> = kept.chain(added).collect();
    if all.len() > MAX_INSTANCES {
        return Err(format!(
            "{} instances were known since the start, with those that are gone; {MAX_INSTANCES} is the limit: restart \
             sluice",
            all.len()
        ));
    }
    Ok(all)
}

/// A place whose instance is gone. The name can't be one of a configuration: another one may have it from now on.
fn removed(place: usize, old: &Instance) -> Instance {
    let name = match old.standing {
        Standing::Member => format!("(removed) {} #{place}", old.name).into(),
        Standing::Removed => Arc::clone(&old.name),
    };
    Instance { name, standing: Standing::Removed, ..old.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Promotion;

    fn instance(name: &str, port: u16) -> Instance {
        Instance {
            name: name.into(),
            address: format!("h:{port}").into(),
            admin: None,
            replication_address: None,
            zone: None,
            promotion: Promotion::Neutral,
            acker: true,
            standing: Standing::Member,
        }
    }

    fn shown(all: &[Instance]) -> Vec<String> {
        all.iter().map(|one| format!("{} {}", one.name, one.address)).collect()
    }

    #[test]
    fn places_stay_and_names_can_be_given_again() {
        let running = [instance("db1", 1), instance("db2", 2), instance("db3", 3)];
        let file = [instance("db3", 3), instance("db4", 4), instance("db1", 1)];
        let once = placed(&running, &file).unwrap();
        assert_eq!(shown(&once), ["db1 h:1", "(removed) db2 #1 h:2", "db3 h:3", "db4 h:4"]);
        let twice = placed(&once, &[instance("db1", 1), instance("db2", 9)]).unwrap();
        let wanted =
            ["db1 h:1", "(removed) db2 #1 h:2", "(removed) db3 #2 h:3", "(removed) db4 #3 h:4", "db2 h:9"];
        assert_eq!(shown(&twice), wanted);
    }

    #[test]
    fn an_address_waits_for_a_restart_and_a_rule_does_not() {
        let moved = Instance { promotion: Promotion::Prefer, ..instance("db1", 7) };
        let all = placed(&[instance("db1", 1)], &[moved]).unwrap();
        assert_eq!(shown(&all), ["db1 h:1"]);
        assert_eq!(all.first().unwrap().promotion, Promotion::Prefer);
    }

    #[test]
    fn places_are_bounded() {
        let many: Vec<Instance> = (0..40).map(|n| instance(&format!("a{n}"), n + 1)).collect();
        let others: Vec<Instance> = (0..40).map(|n| instance(&format!("b{n}"), n + 100)).collect();
        assert!(placed(&many, &others).unwrap_err().contains("restart"));
    }
}
