//! Whether members can be taken out of the configuration.
//!
//! One that others count on is not simply dropped: the refusal says what to type first.
//!
//! Never here: I/O, a member that is to be added (it is observed, and becomes something when it can).

use super::api::{Refusal, RefusalCode};
use super::record::Record;
use super::view::{ClusterView, InstanceView};

/// Why this member can't be taken out now; `None`: it can.
pub fn objection(view: &ClusterView, record: Option<&Record>, name: &str) -> Option<Refusal> {
    let record = record?;
    let instance = view.by_name(name)?;
    let server = instance.server.as_deref();
    let is_primary = match server {
        Some(server) => server.uuid == record.primary,
        None => record.primary_name == name,
    };
    if is_primary {
        return Some(refused(
            format!("{name} is the primary and can't be taken out"),
            "another one has to be it first: sluice switchover".to_owned(),
        ));
    }
    if record.rebuild.as_ref().is_some_and(|rebuild| {
        rebuild.member == name
            || rebuild.donor.as_deref() == Some(name)
            || rebuild.from.as_deref() == Some(name)
    }) {
        let hint = "wait for its end: sluice status".to_owned();
        return Some(refused(format!("{name} takes part in a rebuild"), hint));
    }
    let Some(server) = server else { return unseen(view, record, name) };
    if record.is_acker(server.uuid) {
        return Some(acker(instance, record));
    }
    let acks = instance.live().and_then(|server| server.semi_sync.as_ref()).is_some_and(|s| s.acking.is_on());
    acks.then(|| {
        let hint = "reload again in a few seconds".to_owned();
        refused(format!("{name} still acknowledges commits: it is just being told to stop"), hint)
    })
}

fn acker(instance: &InstanceView, record: &Record) -> Refusal {
    let name = &instance.name;
    if instance.live().is_none() {
        return refused(
            format!("{name} does not answer and is a recorded acker: it may be the only one with a commit"),
            format!(
                "start it, then: sluice maintenance {name}; or, if it is gone for good: sluice adopt --primary {} makes a \
                 record without it",
                record.primary_name
            ),
        );
    }
    refused(
        format!("{name} is a recorded acker: commits count on it"),
        format!(
            "take it out of the ackers first: sluice maintenance {name}; when `sluice status` names it no more \
             among those that a commit waits for, reload again"
        ),
    )
}

/// Since this Sluice was started nobody has seen which server is there.
fn unseen(view: &ClusterView, record: &Record, name: &str) -> Option<Refusal> {
    let lost = record.ackers.iter().any(|uuid| view.by_uuid(*uuid).is_none());
    lost.then(|| {
        refused(
            format!("{name} was not seen since sluice was started, and may be a recorded acker"),
            format!(
                "start it; or, if it is gone for good: sluice adopt --primary {} makes a record without it",
                record.primary_name
            ),
        )
    })
}

fn refused(reason: String, hint: String) -> Refusal {
    Refusal { code: RefusalCode::NotNow, reason, hint: Some(hint) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::controller::pictures::{healthy, record, uuid};
    use crate::controller::view::{Reach, Switch};

    #[test]
    fn who_is_counted_on_stays() {
        let mut view = healthy(3);
        let mut record = record(3);
        let said = |view: &ClusterView, record: &Record, name: &str| {
            objection(view, Some(record), name).map(|refusal| refusal.to_string()).unwrap_or_default()
        };
        assert!(said(&view, &record, "db1").contains("sluice switchover"));
        assert!(said(&view, &record, "db3").contains("sluice maintenance db3"));
        record.ackers.retain(|acker| *acker != uuid(3));
        assert!(said(&view, &record, "db3").contains("just being told"));
        let server = Arc::make_mut(view.instances[2].server.as_mut().unwrap());
        server.semi_sync.as_mut().unwrap().acking = Switch::Off;
        assert_eq!(said(&view, &record, "db3"), "");
        assert_eq!(said(&view, &record, "nobody"), "");
        assert!(objection(&view, None, "db1").is_none(), "nothing is recorded, nothing counts");
    }

    #[test]
    fn who_is_away_stays_as_long_as_it_may_be_counted_on() {
        let mut view = healthy(3);
        let mut record = record(3);
        view.instances[2].reach = Reach::Silent;
        let said = objection(&view, Some(&record), "db3").unwrap().to_string();
        assert!(said.contains("sluice adopt --primary db1"), "{said}");
        view.instances[2].server = None;
        let said = objection(&view, Some(&record), "db3").unwrap().to_string();
        assert!(said.contains("was not seen"), "{said}");
        record.ackers.truncate(1);
        assert!(objection(&view, Some(&record), "db3").is_none(), "every recorded acker is known");
    }
}
