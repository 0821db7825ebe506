//! Sluice's own accounts: whether they may do what they are for.
//!
//! Never here: a password.

use super::{Facts, Finding, Member, Server};
use crate::controller::grants::{Need, Weight, Which, needs};

pub(super) fn findings(member: &Member, server: &Server, facts: &Facts) -> Vec<Finding> {
    let wanted = &facts.wanted;
    let mut findings = lacking(member, &wanted.control, &server.grants, Which::Control);
    findings.extend(of_account(member, &wanted.replication, &member.replication, Which::Replication));
    if let (Some(user), Some(clone)) = (&wanted.clone, &member.clone) {
        findings.extend(of_account(member, user, clone, Which::Clone));
    }
    findings
}

fn of_account(
    member: &Member,
    user: &str,
    grants: &Result<Vec<String>, String>,
    which: Which,
) -> Vec<Finding> {
    match grants {
        Ok(grants) => lacking(member, user, grants, which),
        Err(error) => {
            let (what, check) = match which {
                Which::Control => ("control", "account_control"),
                Which::Replication => ("replication", "account_replication"),
                Which::Clone => ("clone", "account_clone"),
            };
            let why = "members log in at each other with it";
            vec![
                Finding::required(
                    &member.name,
                    check,
                    format!("the {what} account '{user}' can't log in there: {error}"),
                    why,
                )
                .act(format!("run what `sluice grants --for {what}` prints, on the primary")),
            ]
        }
    }
}

fn lacking(member: &Member, user: &str, grants: &[String], which: Which) -> Vec<Finding> {
    let held: Vec<Grant> = grants.iter().filter_map(|line| Grant::parse(line)).collect();
    needs(which)
        .filter(|need| !held.iter().any(|grant| grant.covers(need)))
        .map(|Need { privilege, on, why, weight }| {
            let what = format!("'{user}' lacks {privilege} ON {on}");
            let check = format!("privilege {privilege}");
            let finding = match weight {
                Weight::Needed => Finding::required(&member.name, &check, what, why),
                Weight::ForEvents => Finding::advisable(&member.name, &check, what, why),
            };
            finding
                .run(format!("GRANT {privilege} ON {on} TO '{user}'@'%'"))
                .act("on the primary, if it is missing everywhere")
        })
        .collect()
}

/// One line of SHOW GRANTS.
#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    on: String,
}

impl Grant {
    /// `None` for a granted role or a proxy.
    fn parse(line: &str) -> Option<Self> {
        let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (on, _) = rest.split_once(" TO ")?;
        let on = on.replace('`', "");
        let privileges = privileges.split(',').map(|one| one.trim().to_uppercase()).collect();
        Some(Self { privileges, on })
    }

    fn covers(&self, need: &Need) -> bool {
        let schema = |on: &str| on.split_once('.').map(|(schema, _)| format!("{schema}.*"));
        let there = self.on == "*.*" || self.on == need.on || Some(&self.on) == schema(need.on).as_ref();
        let is_it = |one: &String| {
            // The name before 8.2.
            one == need.privilege || (one == "SET_USER_ID" && need.privilege == "SET_ANY_DEFINER")
        };
        there && self.privileges.iter().any(|one| is_it(one) || one == "ALL PRIVILEGES")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn covers(line: &str, privilege: &'static str, on: &'static str) -> bool {
        Grant::parse(line)
            .is_some_and(|grant| grant.covers(&Need { privilege, on, why: "", weight: Weight::Needed }))
    }

    #[test]
    fn lines_of_show_grants_are_read() {
        assert!(covers("GRANT RELOAD, PROCESS ON *.* TO `sluice`@`%`", "PROCESS", "*.*"));
        assert!(covers(
            "GRANT SELECT ON `performance_schema`.* TO `s`@`%`",
            "SELECT",
            "performance_schema.*"
        ));
        let one = "GRANT DROP ON `performance_schema`.`host_cache` TO `s`@`%`";
        assert!(covers(one, "DROP", "performance_schema.host_cache"));
        assert!(!covers(one, "DROP", "performance_schema.*"));
        assert!(covers(
            "GRANT DROP ON `performance_schema`.* TO `s`@`%`",
            "DROP",
            "performance_schema.host_cache"
        ));
        assert!(covers("GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION", "RELOAD", "*.*"));
        assert!(!covers("GRANT USAGE ON *.* TO `s`@`%`", "RELOAD", "*.*"));
        assert!(Grant::parse("GRANT `role`@`%` TO `s`@`%`").is_none());
    }
}
