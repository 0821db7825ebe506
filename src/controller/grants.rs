//! The CREATE USER and GRANT statements of Sluice's own accounts: what `sluice grants` prints.
//!
//! Each privilege stands beside the reason for it. The test suite and the demo run with exactly these.
//!
//! Never here: ALL privileges, a privilege that nothing needs, a connection.

use crate::config::{Account, Accounts};

/// One of Sluice's own accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Observes and operates.
    Control,
    /// Used by replicas to follow their source.
    Replication,
    /// Used for CLONE.
    Clone,
}

impl Which {
    /// Every account, in the order in which it is printed.
    pub const ALL: [Self; 3] = [Self::Control, Self::Replication, Self::Clone];
}

/// Server-wide privileges of the control account, each with its reason.
const CONTROL: [(&str, &str); 10] = [
    ("REPLICATION_SLAVE_ADMIN", "START, STOP, CHANGE and RESET REPLICA"),
    ("RELOAD", "RESET REPLICA ALL"),
    ("SYSTEM_VARIABLES_ADMIN", "super_read_only, semi-sync, sql_log_bin of its own session"),
    (
        "PERSIST_RO_VARIABLES_ADMIN",
        "what a server starts with: read-only, not replicating, not acknowledging",
    ),
    ("CONNECTION_ADMIN", "KILL of what blocks a switchover; a login when max_connections is reached"),
    ("SERVICE_CONNECTION_ADMIN", "the admin port"),
    ("PROCESS", "who blocks a switchover, who holds the lock of another Sluice"),
    ("XA_RECOVER_ADMIN", "XA RECOVER: prepared transactions must not be left behind"),
    ("BACKUP_ADMIN", "donor of a CLONE"),
    ("CLONE_ADMIN", "recipient of a CLONE"),
];

/// Server-wide privileges of the control account that only scheduled events need. `SET_ANY_DEFINER` is called
/// `SET_USER_ID` before 8.2.
const EVENTS: [(&str, &str); 2] = [
    ("EVENT", "scheduled events run at the primary, whoever it is: they are enabled at the new one"),
    (
        "SET_ANY_DEFINER",
        "scheduled events stay those of their accounts when they are enabled at the new primary",
    ),
];

/// Privileges that `REPLICATION` and `CLONE` accounts need on `*.*`.
const REPLICATION: &str = "REPLICATION SLAVE";
const CLONE: &str = "BACKUP_ADMIN";

/// Privileges of the control account elsewhere, each with its reason.
const CONTROL_ON: [(&str, &str, &str); 6] = [
    ("SELECT", "performance_schema.*", "observation: replication state, open transactions, locks, sessions"),
    ("DROP", "performance_schema.host_cache", "TRUNCATE heals error 1129"),
    ("CREATE", "sluice.*", "the epoch row and the write probe"),
    ("SELECT", "sluice.*", "the epoch row and the write probe"),
    ("INSERT", "sluice.*", "the epoch row and the write probe"),
    ("DELETE", "sluice.*", "the epoch row and the write probe"),
];

/// A privilege that an account needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub privilege: &'static str,
    /// `*.*`, a schema or a table.
    pub on: &'static str,
    /// What for.
    pub why: &'static str,
    /// Who can do without.
    pub weight: Weight,
}

/// Who can do without a privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nobody.
    Needed,
    /// A cluster without scheduled events.
    ForEvents,
}

/// Every privilege that the account needs.
pub fn needs(which: Which) -> impl Iterator<Item = Need> {
    let everywhere = |(privilege, why): &(&'static str, &'static str)| Need {
        privilege,
        on: "*.*",
        why,
        weight: Weight::Needed,
    };
    let on = |(privilege, on, why): &(&'static str, &'static str, &'static str)| Need {
        privilege,
        on,
        why,
        weight: Weight::Needed,
    };
    let for_events = |one| Need { weight: Weight::ForEvents, ..everywhere(one) };
    let needs: Vec<Need> = match which {
        Which::Control => {
            let of_events = EVENTS.iter().map(for_events);
            CONTROL.iter().map(everywhere).chain(CONTROL_ON.iter().map(on)).chain(of_events).collect()
        }
        Which::Replication => vec![everywhere(&(REPLICATION, "replicas read the binary log with it"))],
        Which::Clone => vec![everywhere(&(CLONE, "donor of a CLONE"))],
    };
    needs.into_iter()
}

/// The statements that make the account `which` (or all of them), in the order to run them on the primary.
/// They contain the passwords in clear.
pub fn statements(accounts: &Accounts, which: Option<Which>) -> Vec<String> {
    Which::ALL
        .into_iter()
        .filter(|one| which.is_none_or(|wanted| wanted == *one))
        .flat_map(|one| of_account(accounts, one))
        .collect()
}

fn of_account(accounts: &Accounts, which: Which) -> Vec<String> {
    match which {
        Which::Control => control(&accounts.control),
        Which::Replication => simple(&accounts.replication, REPLICATION),
        // Without an account of its own, CLONE uses the control account, which has what it needs.
        Which::Clone => accounts.clone.as_ref().map_or_else(Vec::new, |account| simple(account, CLONE)),
    }
}

fn control(account: &Account) -> Vec<String> {
    let name = quoted_name(account);
    let everywhere: Vec<&str> = CONTROL.iter().map(|(privilege, _)| *privilege).collect();
    let mut statements =
        vec![create_user(account), format!("GRANT {} ON *.* TO {name}", everywhere.join(", "))];
    for of_place in CONTROL_ON.chunk_by(|one, next| one.1 == next.1) {
        let privileges: Vec<&str> = of_place.iter().map(|(privilege, _, _)| *privilege).collect();
        let place = of_place.first().map_or("", |(_, place, _)| place);
        statements.push(format!("GRANT {} ON {place} TO {name}", privileges.join(", ")));
    }
    // By itself, so that it can be left out.
    let of_events: Vec<&str> = EVENTS.iter().map(|(privilege, _)| *privilege).collect();
    statements.push(format!("GRANT {} ON *.* TO {name}", of_events.join(", ")));
    statements
}

fn simple(account: &Account, privileges: &str) -> Vec<String> {
    vec![create_user(account), format!("GRANT {privileges} ON *.* TO {}", quoted_name(account))]
}

fn create_user(account: &Account) -> String {
    format!(
        "CREATE USER IF NOT EXISTS {} IDENTIFIED BY {}",
        quoted_name(account),
        super::statements::quoted(&account.password.read())
    )
}

fn quoted_name(account: &Account) -> String {
    format!("{}@'%'", super::statements::quoted(&account.user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn account(user: &str, password: &str) -> Account {
        Account { user: user.into(), password: Secret::new(password.to_owned()) }
    }

    fn accounts() -> Accounts {
        Accounts { control: account("sluice", "it's"), replication: account("repl", "r"), clone: None }
    }

    #[test]
    fn all_accounts_are_printed_and_never_with_all_privileges() {
        let all = statements(&accounts(), None);
        assert_eq!(all.len(), 8);
        assert_eq!(all[5], "GRANT EVENT, SET_ANY_DEFINER ON *.* TO 'sluice'@'%'");
        assert!(all.iter().all(|statement| !statement.contains("GRANT ALL")));
        assert!(all[0].starts_with("CREATE USER IF NOT EXISTS 'sluice'@'%' IDENTIFIED BY 'it''s'"));
        assert!(all[7].starts_with("GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'"));
    }

    #[test]
    fn one_account_can_be_asked_for() {
        assert_eq!(statements(&accounts(), Some(Which::Replication)).len(), 2);
        assert!(statements(&accounts(), Some(Which::Clone)).is_empty());
        let own = Accounts { clone: Some(account("cloner", "c")), ..accounts() };
        let all = statements(&own, Some(Which::Clone));
        assert_eq!(all[1], "GRANT BACKUP_ADMIN ON *.* TO 'cloner'@'%'");
    }
}
