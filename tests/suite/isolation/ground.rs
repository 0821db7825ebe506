//! What the isolation suite stands on: servers, Sluice with few backend connections, schemas and accounts.
//!
//! Never here: a session under test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use sluice_cluster::{Cluster, Durability, SluiceProcess, wait_until};
use sluice_demo::stage::{self, Stage};

use super::SESSIONS;
use super::client::{Account, Client, Counts};
use super::model::{Defaults, Model};
use super::operations::{NAMES_EACH, Schema};
use super::settings::{question, shown};

/// Whether sessions share backend connections: the limits of the tests hold then. Where each session owns its
/// connections, a limit below the number of sessions would only make them wait for each other.
const SHARING: bool = true;
/// `max_backend` where nothing is shared.
const PLENTY: usize = 200;
/// Longest wait for something that has to happen soon, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// Workers of Sluice: more than the smallest `max_backend`.
const WORKERS: usize = 3;

/// Where sessions connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// The primary itself, without Sluice.
    Direct,
    /// Sluice's split and primary listeners.
    Sluice,
}

/// Servers with a Sluice in front and everything that the sessions need.
pub(super) struct Ground {
    pub(super) stage: Stage,
    pub(super) defaults: Arc<Defaults>,
    /// Most sessions that may be tied to a connection at a time.
    pub(super) permits: usize,
    lives: AtomicU64,
}

/// The two accounts.
pub(super) fn account(index: usize) -> Account {
    Account::new(["iso1", "iso2"][index], "isolation-password")
}

impl Ground {
    /// Starts so many servers, and Sluice with at most `max_backend` connections to each.
    pub(super) async fn start(nodes: u32, max_backend: usize) -> Self {
        let (pooling, max_backend) = if SHARING { ("transaction", max_backend) } else { ("session", PLENTY) };
        let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
        let cluster = Cluster::builder().nodes(nodes).durability(Durability::Relaxed).start().await.unwrap();
        let accounts = stage::accounts(binary, cluster.folder()).await.unwrap();
        cluster.setup_replication(0, &accounts).await.unwrap();
        // Before Sluice comes: statements about accounts keep a server's logins waiting while they wait for an
        // acknowledgement, also the login of a replica whose receiver Sluice has just restarted.
        let mut root = cluster.node(0).root_conn().await.unwrap();
        for statement in schemas() {
            root.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        if nodes > 1 {
            cluster.wait_caught_up(0).await.unwrap();
        }
        let toml = format!(
            "[listen]\nworkers = {WORKERS}\n[sessions]\npooling = '{pooling}'\nmax_backend = {max_backend}\n"
        );
        let sluice =
            SluiceProcess::builder(binary).accounts(&accounts).toml(&toml).start(&cluster).await.unwrap();
        let stage = Stage { sluice, cluster };
        let defaults = Arc::new(defaults(stage.cluster.node(0).port()).await);
        Self { stage, defaults, permits: max_backend - 1, lives: AtomicU64::new(1) }
    }

    /// A number that no session had before.
    pub(super) fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed)
    }

    /// A model of a session of this slot that begins now.
    pub(super) fn model(&self, slot: usize, account: usize, schema: Schema) -> Model {
        Model::new(slot, self.next_life(), account, schema, counts(slot), &self.defaults)
    }

    /// The port that sessions of this slot use.
    pub(super) fn port(&self, front: Front, slot: usize) -> u16 {
        match front {
            Front::Direct => self.stage.cluster.node(0).port(),
            Front::Sluice if slot % 4 == 3 => self.stage.sluice.ports().primary,
            Front::Sluice => self.stage.sluice.ports().split,
        }
    }

    /// Connects as the session that `model` describes.
    pub(super) async fn connect(&self, front: Front, slot: usize, model: &Model) -> Result<Client, String> {
        let port = self.port(front, slot);
        let account = account(model.account);
        Client::connect(port, &account, Some(model.schema().name()), counts(slot))
            .await
            .map_err(|broken| broken.to_string())
    }

    /// Root on the primary, seeing also what is not committed.
    pub(super) async fn root(&self) -> Conn {
        let mut root = self.stage.cluster.node(0).root_conn().await.unwrap();
        root.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").await.unwrap();
        root
    }

    /// Waits until nothing of an ended session is left on the primary: no row that it did not commit, no lock.
    pub(super) async fn gone(&self, root: &mut Conn, slot: usize, model: &Model) -> Result<(), String> {
        let life = model.life;
        let counts = Schema::ALL.map(|schema| {
            let name = schema.name();
            format!("(SELECT COUNT(*) FROM {name}.t{slot} WHERE life = {life}) = {}", model.committed(schema))
        });
        let locks = (0..NAMES_EACH).map(|name| format!("IS_FREE_LOCK('l{life}_{name}')"));
        let conditions: Vec<String> = counts.into_iter().chain(locks).collect();
        let sql = format!("SELECT {}", conditions.join(" AND "));
        let root = tokio::sync::Mutex::new(root);
        let condition =
            || async { root.lock().await.query_first::<bool, _>(&sql).await.unwrap() == Some(true) };
        wait_until("an ended session leaves nothing behind", SOON, condition)
            .await
            .map_err(|error| format!("{error}: {sql}"))
    }
}

/// Whether a slot's sessions count found rows.
fn counts(slot: usize) -> Counts {
    if slot % 3 == 2 { Counts::Found } else { Counts::Changed }
}

async fn defaults(port: u16) -> Defaults {
    let account = account(0);
    let mut client = Client::connect(port, &account, Some(Schema::A.name()), Counts::Changed)
        .await
        .map_err(|e| e.to_string())
        .unwrap();
    let answer = client.one(&question()).await.map_err(|e| e.to_string()).unwrap();
    let row = answer.rows().first().unwrap_or_else(|| panic!("{answer:?}")).clone();
    let values: BTreeMap<_, _> = shown().zip(row.into_iter().map(Option::unwrap)).collect();
    let answer = client.one("SELECT FROM_UNIXTIME(86400)").await.map_err(|e| e.to_string()).unwrap();
    let second_day = answer.rows()[0][0].clone().unwrap();
    Defaults { values, second_day }
}

fn schemas() -> Vec<String> {
    let mut statements = vec!["CREATE ROLE iso_r1, iso_r2".to_owned()];
    for index in 0..2 {
        let Account { user, password } = account(index);
        statements.push(format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"));
    }
    statements.push("GRANT iso_r1, iso_r2 TO iso1@'%'".into());
    statements.push("GRANT iso_r2 TO iso2@'%'".into());
    for schema in Schema::ALL.map(Schema::name) {
        statements.push(format!("CREATE DATABASE {schema}"));
        statements.push(format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, CREATE TEMPORARY TABLES, EXECUTE \
             ON {schema}.* TO iso1@'%', iso2@'%'"
        ));
        statements.push(format!("CREATE TABLE {schema}.whereami SELECT '{schema}' AS name"));
        statements.push(format!("CREATE TABLE {schema}.numbers (n INT PRIMARY KEY)"));
        statements.push(format!("INSERT INTO {schema}.numbers VALUES (1), (2), (3), (4), (5)"));
        statements.push(format!("CREATE TABLE {schema}.fixed (id INT PRIMARY KEY)"));
        statements.push(format!("INSERT INTO {schema}.fixed VALUES (1)"));
        for slot in 0..SESSIONS {
            statements.push(format!(
                "CREATE TABLE {schema}.t{slot} (id INT AUTO_INCREMENT PRIMARY KEY, life INT, token VARCHAR(64), \
                 v INT, INDEX (life))"
            ));
        }
        statements.push(format!(
            "CREATE PROCEDURE {schema}.change_things(word VARCHAR(64)) SQL SECURITY INVOKER BEGIN \
             SET @u1 = word; SET SESSION group_concat_max_len = 123; SET SESSION time_zone = '+09:00'; END"
        ));
        statements.push(format!(
            "CREATE PROCEDURE {schema}.show_things(word VARCHAR(64)) SQL SECURITY INVOKER BEGIN \
             SET @u2 = word; SELECT word; END"
        ));
    }
    statements.push("CREATE DATABASE iso_role".into());
    statements.push("CREATE TABLE iso_role.secret SELECT 'hush' AS word".into());
    statements.push("GRANT SELECT ON iso_role.* TO iso_r1".into());
    statements
}
