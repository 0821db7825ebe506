//! Turns started servers into a primary and its semi-sync replicas.
//!
//! Must never be used on servers that hold data of someone else's: it assumes empty GTID sets.

use std::time::Duration;

use crate::wait::wait_for;
use crate::{Accounts, Cluster, ClusterError, Login, Node};

/// Semi-sync never gives up waiting for acks: the largest value the variable takes, in ms (49 days).
const FOREVER_MS: u32 = u32::MAX;
/// Attaching takes 50 ms, behind a busy machine's RSA up to seconds.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);

impl Cluster {
    /// Makes node `primary` (from 0) the primary and all others its semi-sync replicas with super_read_only=ON:
    /// accounts, schema `app` with [`Login::app`], replication by GTID over TLS, wait count 1 (2 with five or more
    /// members). Returns when all are attached and have executed everything.
    ///
    /// # Errors
    /// The first statement that fails; [`ClusterError::Timeout`] if a replica does not attach.
    pub async fn setup_replication(&self, primary: usize, accounts: &Accounts) -> Result<(), ClusterError> {
        let wait_count = if self.nodes().len() >= 5 { 2 } else { 1 };
        self.setup_replication_with(primary, accounts, wait_count).await
    }

    /// The same with a wait count of the caller's (0: semi-sync stays off on the primary).
    ///
    /// # Errors
    /// As [`Cluster::setup_replication`].
    pub async fn setup_replication_with(
        &self,
        primary: usize,
        accounts: &Accounts,
        wait_count: u32,
    ) -> Result<(), ClusterError> {
        let source = self.node(primary);
        source.exec("SET GLOBAL super_read_only = OFF").await?;
        source.exec("SET GLOBAL read_only = OFF").await?;
        for statement in accounts.statements.iter().chain(&app_statements()) {
            source.exec(statement).await?;
        }
        let replicas: Vec<&Node> = self.nodes().iter().filter(|node| node.uuid() != source.uuid()).collect();
        for replica in &replicas {
            replica.follow(source, &accounts.replication).await?;
        }
        if wait_count > 0 && !replicas.is_empty() {
            source.exec(&format!("SET GLOBAL rpl_semi_sync_source_timeout = {FOREVER_MS}")).await?;
            source
                .exec(&format!("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = {wait_count}"))
                .await?;
            source.exec("SET GLOBAL rpl_semi_sync_source_enabled = ON").await?;
            source.wait_ackers(replicas.len()).await?;
        }
        self.wait_caught_up(primary).await?;
        let _ = self.accounts.set(accounts.clone()); // a second setup is about the same accounts
        Ok(())
    }

    /// Waits until every running node has executed what node `primary` has executed now.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] after 60 s, with what the slowest node lacks.
    pub async fn wait_caught_up(&self, primary: usize) -> Result<(), ClusterError> {
        let wanted = self.node(primary).gtid_executed().await?;
        for node in self.nodes().iter().filter(|node| node.pid().is_some()) {
            node.wait_executed(&wanted).await?;
        }
        Ok(())
    }
}

impl Node {
    /// Makes this node a semi-sync replica of `source`, read-only, and starts it. What it has received but not
    /// executed from another source must be nothing.
    ///
    /// # Errors
    /// The first statement that fails.
    pub async fn follow(&self, source: &Node, replication: &Login) -> Result<(), ClusterError> {
        let (host, port) = (source.address().ip().to_owned(), source.port());
        let Login { user, password } = replication;
        let change = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER='{user}', \
             SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, SOURCE_SSL=1, GET_SOURCE_PUBLIC_KEY=1, \
             SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_HEARTBEAT_PERIOD=2"
        );
        for statement in [
            change.as_str(),
            "SET GLOBAL rpl_semi_sync_source_enabled = OFF",
            "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
            "SET GLOBAL super_read_only = ON",
            "START REPLICA",
        ] {
            self.exec(statement).await?;
        }
        Ok(())
    }

    /// Waits until `count` semi-sync replicas are attached to this node.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] after 60 s.
    pub async fn wait_ackers(&self, count: usize) -> Result<(), ClusterError> {
        let what = format!("{count} semi-sync replicas attached to {}", self.name());
        wait_for(&what, ATTACH_LIMIT, || async {
            let sql = "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM performance_schema.global_status \
                       WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_clients'";
            let seen: usize = self.value(sql).await?;
            Ok(if seen == count { Ok(()) } else { Err(seen.to_string()) })
        })
        .await
    }

    /// Waits until this node has executed the GTID set.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] after 60 s, with what is missing.
    pub async fn wait_executed(&self, gtids: &str) -> Result<(), ClusterError> {
        wait_for(&format!("{} to execute {gtids}", self.name()), ATTACH_LIMIT, || async {
            let missing: String =
                self.value(&format!("SELECT GTID_SUBTRACT('{gtids}', @@gtid_executed)")).await?;
            Ok(if missing.is_empty() { Ok(()) } else { Err(format!("{missing} missing")) })
        })
        .await
    }
}

fn app_statements() -> Vec<String> {
    let Login { user, password } = Login::app();
    vec![
        "CREATE DATABASE app".into(),
        format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"),
        format!("GRANT ALL ON app.* TO '{user}'@'%'"),
    ]
}
