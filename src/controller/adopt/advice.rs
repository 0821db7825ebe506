//! What a human may type after a refused adoption.
//!
//! Never here: a judgment of its own. Whoever is named would be accepted by the one that refused.

use std::sync::Arc;

use super::{Policy, named};
use crate::controller::view::{ClusterView, InstanceView};

/// The member that could be adopted in place of the refused one, at once or when it has applied what it received.
///
/// `None` where none could, and where the refused one does not answer: what it alone has is unknown.
pub fn advice(view: &ClusterView, policy: &Policy, refused: &str, recorded: u64) -> Option<String> {
    let asked = view.by_name(refused).filter(|asked| asked.live().is_some())?;
    let accepted = |view: &ClusterView, one: &InstanceView| {
        named(view, policy, &one.name, recorded).is_ok() && has_what_the_silent_had(view, one)
    };
    let silent: Vec<&str> = view.members().filter(|one| one.live().is_none()).map(|one| &*one.name).collect();
    let silent = match silent.as_slice() {
        [] => String::new(),
        names => format!("; {} may have more: start it first", names.join(" and ")),
    };
    if let Some(other) = view.members().find(|one| accepted(view, one)) {
        return Some(format!(
            "sluice adopt --primary {} would be accepted: it has executed all that the members are known to have{silent}",
            other.name
        ));
    }
    let later = applied(view);
    let others = view.members().filter(|one| one.id != asked.id);
    let late = std::iter::once(asked).chain(others).find(|one| accepted(&later, one))?;
    Some(format!(
        "wait until {0} has applied what it received (START REPLICA SQL_THREAD on {0}, if that is stopped), \
         then: sluice adopt --primary {0}{silent}",
        late.name
    ))
}

/// Who does not answer is not asked by the judgment; what it had when it was last seen must not get lost on somebody's advice.
fn has_what_the_silent_had(view: &ClusterView, one: &InstanceView) -> bool {
    let mut silent = view.seen().filter(|(other, _)| other.live().is_none());
    one.live().is_some_and(|server| silent.all(|(_, seen)| server.executed.contains_set(&seen.has())))
}

/// The same members when each has executed all that it received.
fn applied(view: &ClusterView) -> ClusterView {
    let mut later = view.clone();
    for server in later.instances.iter_mut().filter_map(|instance| instance.server.as_mut()) {
        let has = Arc::new(server.has());
        Arc::make_mut(server).executed = has;
    }
    later
}
