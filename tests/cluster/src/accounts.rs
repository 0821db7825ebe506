//! The accounts of a cluster: Sluice's own, and the application's.
//!
//! Must never grant Sluice anything by itself: what its accounts may do comes from the caller, who takes it from
//! `sluice grants`.

/// A user name and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// MySQL user name; the host part is `%`.
    pub user: String,
    /// Clear text: these accounts live as long as a test.
    pub password: String,
}

impl Login {
    /// A login from its two halves.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// The application's account of every cluster: everything on schema `app`, nothing else.
    #[must_use]
    pub fn app() -> Self {
        Self::new("app", "app-password")
    }
}

/// Sluice's accounts in one cluster and the statements that make them.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// Who observes and operates; `None` where no Sluice is to run.
    pub control: Option<Login>,
    /// Who replicates.
    pub replication: Login,
    /// Run on the primary in this order, before replication starts: CREATE USER, GRANT.
    pub statements: Vec<String>,
}

impl Accounts {
    /// Accounts as `sluice grants` prints them, given its statements and the logins they are about.
    #[must_use]
    pub fn new(control: Login, replication: Login, statements: Vec<String>) -> Self {
        Self { control: Some(control), replication, statements }
    }

    /// A replication account alone, for clusters without a Sluice.
    #[must_use]
    pub fn replication_only() -> Self {
        let replication = Login::new("repl", "repl-password");
        let Login { user, password } = &replication;
        let statements = vec![
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"),
            format!("GRANT REPLICATION SLAVE ON *.* TO '{user}'@'%'"),
        ];
        Self { control: None, replication, statements }
    }
}
