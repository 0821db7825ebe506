//! Who gives its data, and whether they fit.
//!
//! Never here: I/O.

use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use uuid::Uuid;

use super::{Objection, Recipient};
use crate::controller::plan::nearly;
use crate::controller::record::Record;
use crate::controller::statements::version_number;
use crate::controller::view::{ClusterView, InstanceView, ServerView};

/// Servers below it copy only from the very same release.
const ANY_PATCH_SINCE: (u16, u16, u16) = (8, 0, 37);
/// First version with CLONE.
const CLONE_SINCE: (u16, u16, u16) = (8, 0, 17);
/// CLONE needs packets of this size on both sides, bytes.
const LEAST_PACKET: u64 = 2 << 20;

/// A member as a donor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Donor {
    /// Which.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
}

/// Those that can give their data, the best first: replicas before the primary, those that failed before last.
/// `from` is the one that is asked for. The refusal names what is wrong with each.
pub fn donors(
    view: &ClusterView,
    record: &Record,
    recipient: &Recipient,
    from: Option<&str>,
    failed: &[String],
) -> Result<Vec<Donor>, Objection> {
    let own = view.instances.get(recipient.id.index()).and_then(InstanceView::live);
    let mut fitting = Vec::new();
    let mut reasons = Vec::new();
    for instance in view.members().filter(|instance| instance.id != recipient.id) {
        let unwanted =
            from.filter(|from| **from != *instance.name).map(|_| "another one is asked for".to_owned());
        match unwanted.or_else(|| against(view, record, instance, (recipient.uuid, own))) {
            Some(why) => reasons.push(format!("{}: {why}", instance.name)),
            None => {
                let is_primary = instance.live().is_some_and(|server| server.uuid == record.primary);
                let times = failed.iter().filter(|name| **name == *instance.name).count();
                let marked = record.marks.iter().any(|mark| *mark.name == *instance.name);
                let donor = Donor { id: instance.id, name: instance.name.to_string() };
                fitting.push(((times, is_primary, marked, instance.id), donor));
            }
        }
    }
    if fitting.is_empty() {
        return Err(Objection::NoDonor(reasons.join("; ")));
    }
    fitting.sort_by_key(|(rank, _)| *rank);
    Ok(fitting.into_iter().map(|(_, donor)| donor).collect())
}

fn against(
    view: &ClusterView,
    record: &Record,
    instance: &InstanceView,
    (uuid, recipient): (Uuid, Option<&ServerView>),
) -> Option<String> {
    let Some(server) = instance.live() else {
        return Some(format!("it does not answer ({})", instance.reach.as_str()));
    };
    if record.is_taken_apart(server.uuid) {
        return Some("it is being rebuilt itself".into());
    }
    if let Some(kind) = record.mark_kind(&instance.name).filter(|kind| kind.is_hands_off()) {
        return Some(kind.objection().into());
    }
    if let Some(recipient) = recipient
        && let Some(why) = versions(&server.version, &recipient.version)
    {
        return Some(why);
    }
    if server.uuid == record.primary {
        return None;
    }
    let Some(primary) = view.by_uuid(record.primary).and_then(InstanceView::live) else {
        return Some("the primary does not answer".into());
    };
    let errant = server.errant(primary);
    if !errant.is_empty() {
        return Some(format!("it has transactions of its own ({errant})"));
    }
    if !server.replicates_from(record.primary) {
        return Some("it does not replicate from the primary".into());
    }
    // What a server has written itself it takes from no source (replicate_same_server_id=OFF): it comes with the copy, or
    // never.
    if !server.executed.contains_set(&primary.executed.of(uuid)) {
        return Some("it has not applied yet what the member that is to be filled had once written".into());
    }
    (!nearly(server, primary)).then(|| "it is far behind the primary".into())
}

/// What is wrong with two versions; `None`: data of the one fit the other.
fn versions(donor: &str, member: &str) -> Option<String> {
    let (Some(one), Some(other)) = (version_number(donor), version_number(member)) else {
        return Some(format!("versions {donor} and {member} can't be compared"));
    };
    let differ = || Some(format!("its version is {donor} and not {member}"));
    if one < CLONE_SINCE || other < CLONE_SINCE {
        return Some("servers before 8.0.17 can't be copied".into());
    }
    if (one.0, one.1) != (other.0, other.1) {
        return differ();
    }
    let patched = one >= ANY_PATCH_SINCE && other >= ANY_PATCH_SINCE;
    if patched || one == other { None } else { differ() }
}

/// What a server says of itself that decides whether data fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// State of the clone plugin; `None`: there is none.
    pub plugin: Option<String>,
    /// `innodb_page_size`
    pub page_size: String,
    /// `innodb_data_file_path`
    pub data_files: String,
    /// `lower_case_table_names`
    pub case: String,
    /// `max_allowed_packet`, bytes.
    pub packet: u64,
    /// Operating system and machine it was built for.
    pub platform: String,
    /// `gtid_purged`
    pub purged: GtidSet,
    /// Size of its data, bytes.
    pub bytes: u64,
    /// Tables that are neither the server's own nor Sluice's.
    pub tables: u64,
}

/// Whether the data of one fit the other.
pub fn fit(donor: (&str, &Facts), member: (&str, &Facts)) -> Result<(), Objection> {
    for (name, facts) in [donor, member] {
        if facts.plugin.as_deref() != Some("ACTIVE") {
            return Err(Objection::NoPlugin(name.to_owned()));
        }
    }
    let (giver, getter) = (donor.1, member.1);
    let pairs = [
        ("innodb_page_size", &giver.page_size, &getter.page_size),
        ("innodb_data_file_path", &giver.data_files, &getter.data_files),
        ("lower_case_table_names", &giver.case, &getter.case),
        ("platform", &giver.platform, &getter.platform),
    ];
    let misfit =
        |why: String| Err(Objection::Misfit { donor: donor.0.to_owned(), member: member.0.to_owned(), why });
    if let Some((what, theirs, ours)) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours) {
        return misfit(format!("{what} is {theirs} there and {ours} here"));
    }
    if giver.packet.min(getter.packet) < LEAST_PACKET {
        return misfit("max_allowed_packet has to be 2 MiB or more on both".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_fit_as_the_manual_says() {
        for (donor, member, fits) in [
            ("9.7.4", "9.7.4", true),
            ("8.0.37", "8.0.41", true),
            ("8.0.35", "8.0.35-0ubuntu0.22.04.1", true),
            ("8.0.36", "8.0.35", false),
            ("8.0.36", "8.0.37", false),
            ("8.0.40", "8.4.3", false),
            ("8.4.3", "9.7.4", false),
            ("8.0.16", "8.0.16", false),
            ("strange", "9.7.4", false),
        ] {
            assert_eq!(versions(donor, member).is_none(), fits, "{donor} to {member}");
        }
    }

    #[test]
    fn data_fit_only_where_the_shape_is_the_same() {
        let facts = Facts {
            plugin: Some("ACTIVE".into()),
            page_size: "16384".into(),
            data_files: "ibdata1:12M:autoextend".into(),
            case: "0".into(),
            packet: 64 << 20,
            platform: "Linux x86_64".into(),
            ..Facts::default()
        };
        assert_eq!(fit(("db2", &facts), ("db3", &facts)), Ok(()));
        let bare = Facts { plugin: None, ..facts.clone() };
        let refused = fit(("db2", &facts), ("db3", &bare)).unwrap_err();
        assert_eq!(refused, Objection::NoPlugin("db3".into()));
        assert!(refused.hint().unwrap().contains("INSTALL PLUGIN clone"));
        let other = Facts { page_size: "4096".into(), ..facts.clone() };
        assert!(fit(("db2", &other), ("db3", &facts)).unwrap_err().to_string().contains("innodb_page_size"));
        let small = Facts { packet: 1 << 20, ..facts.clone() };
        assert!(fit(("db2", &facts), ("db3", &small)).is_err());
    }
}
