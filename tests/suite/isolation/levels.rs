//! The four isolation levels by their known anomalies, the same directly and through Sluice.
//!
//! Each anomaly is a schedule of two transactions and a question whose answer says whether it was seen. What MySQL
//! shows at which level is in [`SEEN`], and is first held to a server itself.
//!
//! Never here: a level without a transaction, a schedule that could wait for a lock for long.

use std::future::Future;
use std::task::Poll;

use mysql_async::prelude::Queryable as _;

use super::client::{Client, Counts};
use super::ground::{Front, Ground, account};
use super::operations::Schema;
use super::settings::LEVELS;

/// What may go wrong between two transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anomaly {
    DirtyRead,
    NonRepeatableRead,
    Phantom,
    LostUpdate,
    WriteSkew,
}

const ANOMALIES: [Anomaly; 5] = [
    Anomaly::DirtyRead,
    Anomaly::NonRepeatableRead,
    Anomaly::Phantom,
    Anomaly::LostUpdate,
    Anomaly::WriteSkew,
];

/// Whether MySQL shows the anomaly, by level (in the order of [`LEVELS`]) and anomaly (in the order of [`ANOMALIES`]).
const SEEN: [[bool; 5]; 4] = [
    [true, true, true, true, true],
    [false, true, true, true, true],
    [false, false, false, true, true],
    [false, false, false, false, false],
];

/// How a transaction gets its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// SET SESSION TRANSACTION, once.
    Session,
    /// SET TRANSACTION before each one.
    Next,
    /// The variable.
    Variable,
}

/// Two transactions of two sessions.
struct Pair {
    one: Client,
    two: Client,
    scope: Scope,
    level: usize,
    table: String,
}

/// Holds every level, however it is set, to what MySQL shows.
pub(super) async fn hold_to_servers(ground: &Ground) {
    let mut root = ground.root().await;
    let mut ways = Vec::new();
    for front in [Front::Direct, Front::Sluice] {
        for scope in [Scope::Session, Scope::Next, Scope::Variable] {
            let table = format!("account{}", ways.len());
            root.query_drop(format!("CREATE TABLE iso_a.{table} (id INT PRIMARY KEY, v INT)")).await.unwrap();
            root.query_drop(format!("INSERT INTO iso_a.{table} VALUES (1, 100), (2, 100)")).await.unwrap();
            ways.push((front, scope, table));
        }
    }
    // Side by side: a level that keeps an anomaly out by a lock takes a second each time.
    let ways = ways.into_iter().map(|(front, scope, table)| hold(ground, front, scope, table));
    futures(ways.collect()).await;
}

/// Lets all of them run at once.
async fn futures(mut ways: Vec<impl Future<Output = ()>>) {
    let mut ways: Vec<_> = ways.drain(..).map(Box::pin).collect();
    std::future::poll_fn(|context| {
        ways.retain_mut(|way| way.as_mut().poll(context).is_pending());
        if ways.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn hold(ground: &Ground, front: Front, scope: Scope, table: String) {
    for (level, due) in SEEN.iter().enumerate() {
        let mut pair = Pair::connect(ground, front, scope, level, &table).await;
        for (anomaly, due) in ANOMALIES.into_iter().zip(due) {
            let seen = pair.sees(anomaly).await;
            let level = LEVELS[level];
            assert_eq!(seen, *due, "{front:?}, {scope:?}, {level}: {anomaly:?}");
        }
    }
}

impl Pair {
    async fn connect(ground: &Ground, front: Front, scope: Scope, level: usize, table: &str) -> Self {
        let port = ground.port(front, 0);
        let connect = async || {
            let schema = Some(Schema::A.name());
            let mut client = Client::connect(port, &account(0), schema, Counts::Changed)
                .await
                .unwrap_or_else(|e| panic!("{e}"));
            say(&mut client, "SET innodb_lock_wait_timeout = 1").await;
            client
        };
        let mut pair =
            Self { one: connect().await, two: connect().await, scope, level, table: table.to_owned() };
        let words = LEVELS[level].replace('-', " ");
        let sql = match scope {
            Scope::Session => format!("SET SESSION TRANSACTION ISOLATION LEVEL {words}"),
            Scope::Variable => format!("SET transaction_isolation = '{}'", LEVELS[level]),
            Scope::Next => return pair,
        };
        say(&mut pair.one, &sql).await;
        say(&mut pair.two, &sql).await;
        pair
    }

    async fn begin(&mut self) {
        let table = &self.table;
        let sql = format!("SET TRANSACTION ISOLATION LEVEL {}", LEVELS[self.level].replace('-', " "));
        for client in [&mut self.one, &mut self.two] {
            say(client, &format!("UPDATE {table} SET v = 100 WHERE v <> 100")).await;
            say(client, &format!("DELETE FROM {table} WHERE id > 2")).await;
            if self.scope == Scope::Next {
                say(client, &sql).await;
            }
            say(client, "START TRANSACTION").await;
        }
    }

    async fn end(&mut self) {
        for client in [&mut self.one, &mut self.two] {
            say(client, "ROLLBACK").await;
        }
    }

    /// Runs the schedule; whether the anomaly was there. A statement that waits for the other transaction's lock
    /// until it fails is the level's way to keep the anomaly out.
    async fn sees(&mut self, anomaly: Anomaly) -> bool {
        self.begin().await;
        let table = self.table.clone();
        let read = format!("SELECT v FROM {table} WHERE id = 1");
        let seven = format!("UPDATE {table} SET v = 7 WHERE id = 1");
        let seen = match anomaly {
            Anomaly::DirtyRead => {
                say(&mut self.two, &seven).await;
                ask(&mut self.one, &read).await == Some("7".into())
            }
            Anomaly::NonRepeatableRead => self.changes_between(&read, &seven).await,
            Anomaly::Phantom => {
                let (count, insert) =
                    (format!("SELECT COUNT(*) FROM {table}"), format!("INSERT INTO {table} VALUES (3, 100)"));
                self.changes_between(&count, &insert).await
            }
            Anomaly::LostUpdate => {
                let write = |value| format!("UPDATE {table} SET v = {value} WHERE id = 1");
                self.both_write(&read, &write(101), &write(105)).await == Some("105".into())
            }
            Anomaly::WriteSkew => {
                let sum = format!("SELECT SUM(v) FROM {table}");
                let take = |id| format!("UPDATE {table} SET v = v - 150 WHERE id = {id}");
                self.both_write(&sum, &take(1), &take(2)).await == Some("-100".into())
            }
        };
        self.end().await;
        seen
    }

    /// Whether the second of two equal questions has another answer, once a change between them is committed.
    async fn changes_between(&mut self, question: &str, change: &str) -> bool {
        let before = ask(&mut self.one, question).await;
        if !succeeds(&mut self.two, change).await {
            return false;
        }
        say(&mut self.two, "COMMIT").await;
        ask(&mut self.one, question).await != before
    }

    /// Both ask, then both write what they make of the answer and commit; what the question says in the end.
    /// `None`: one of them could not write.
    async fn both_write(&mut self, question: &str, first: &str, second: &str) -> Option<String> {
        for client in [&mut self.one, &mut self.two] {
            ask(client, question).await;
        }
        for (client, write) in [(&mut self.one, first), (&mut self.two, second)] {
            if !succeeds(client, write).await {
                return None;
            }
            // A snapshot keeps nobody from committing.
            say(client, "COMMIT").await;
        }
        // A locking read is asked of the primary, which has both.
        ask(&mut self.one, &format!("{question} FOR SHARE")).await
    }
}

async fn say(client: &mut Client, sql: &str) {
    let answer = client.one(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"));
    assert_eq!(answer.code(), 0, "{sql}: {answer:?}");
}

/// `false`: it waited for a lock until it failed (1205), or was in a deadlock (1213).
async fn succeeds(client: &mut Client, sql: &str) -> bool {
    let answer = client.one(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"));
    match answer.code() {
        0 => true,
        1205 | 1213 => false,
        _ => panic!("{sql}: {answer:?}"),
    }
}

/// The one value; `None` where it waited for a lock until it failed.
async fn ask(client: &mut Client, sql: &str) -> Option<String> {
    let answer = client.one(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"));
    match answer.code() {
        0 => answer.rows().first().and_then(|row| row.first().cloned().flatten()),
        1205 | 1213 => None,
        _ => panic!("{sql}: {answer:?}"),
    }
}
