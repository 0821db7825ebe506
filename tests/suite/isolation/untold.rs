//! What triggers, functions and procedures leave on a connection without a word of the server: nobody else may find it.
//!
//! One backend connection for all: a second session gets the very one on which the first has just left something, unless
//! the first is tied to it, and then has to wait in vain. What it finds must be what it finds without Sluice, on a connection
//! of its own.
//!
//! Never here: a random order.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use sluice_cluster::{Accounts, Cluster, Login};

use super::client::{Account, Answer, Client, Counts};
use crate::data_path::DataPath;

/// Longer than a session is left its connection to ask about its last statement.
const HOLD: Duration = Duration::from_secs(2);
/// Certainly not executed: the connection is somebody's who is tied to it.
const NO_PLACE: u16 = 1053;

/// Something to say.
#[derive(Clone, Copy, Debug)]
enum Say {
    /// As COM_QUERY.
    Text(&'static str),
    /// Prepared and executed.
    Prepared(&'static str),
}

use Say::{Prepared, Text};

/// What one session does, and what another one must not find.
struct Attack {
    name: &'static str,
    offence: &'static [Say],
    victim: &'static [Say],
    /// What the offender himself finds afterwards.
    after: &'static [Say],
}

/// What triggers and routines the attacks use.
const MADE: &[&str] = &[
    "SET GLOBAL log_bin_trust_function_creators = ON",
    "CREATE ROLE untold_role",
    "GRANT untold_role TO app@'%'",
    "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.plain (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.reads (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.locks (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.makes (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.sets (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.seeds (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "CREATE TABLE app.ids (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(64))",
    "INSERT INTO app.plain VALUES (1, 'plain')",
    "CREATE TRIGGER app.tells BEFORE INSERT ON app.t FOR EACH ROW SELECT 'secret', 7 INTO @v, @guard",
    "CREATE TRIGGER app.asks BEFORE INSERT ON app.reads FOR EACH ROW SET NEW.v = COALESCE(@v, 'nothing')",
    "CREATE TRIGGER app.lock BEFORE INSERT ON app.locks FOR EACH ROW SET NEW.v = GET_LOCK('untold', 0)",
    "CREATE TRIGGER app.sets BEFORE INSERT ON app.sets FOR EACH ROW SET SESSION lock_wait_timeout = 77, sql_big_selects = 0",
    "CREATE TRIGGER app.seeds BEFORE INSERT ON app.seeds FOR EACH ROW SET SESSION rand_seed1 = 5, rand_seed2 = 6",
    "CREATE TRIGGER app.ids AFTER INSERT ON app.ids FOR EACH ROW INSERT INTO app.plain (v) VALUES ('from a trigger')",
    "CREATE FUNCTION app.copies() RETURNS INT NOT DETERMINISTIC MODIFIES SQL DATA BEGIN \
     CREATE TEMPORARY TABLE plain AS SELECT 1 AS id, 'temporary' AS v; RETURN 1; END",
    "CREATE TRIGGER app.makes BEFORE INSERT ON app.makes FOR EACH ROW SET NEW.v = app.copies()",
    "CREATE FUNCTION app.puts() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN \
     SELECT 'from a function' INTO @v; RETURN 1; END",
    "CREATE FUNCTION app.takes() RETURNS VARCHAR(64) NOT DETERMINISTIC NO SQL RETURN COALESCE(@v, 'nothing')",
    "CREATE FUNCTION app.holds() RETURNS INT NOT DETERMINISTIC NO SQL RETURN GET_LOCK('untold', 0)",
    "CREATE FUNCTION app.ids() RETURNS INT NOT DETERMINISTIC MODIFIES SQL DATA BEGIN \
     INSERT INTO app.plain (v) VALUES ('from a function'); RETURN LAST_INSERT_ID(4711); END",
    "CREATE VIEW app.putting AS SELECT app.puts() AS done",
    "CREATE VIEW app.taking AS SELECT app.takes() AS v",
    "CREATE PROCEDURE app.puts() BEGIN SELECT 'from a procedure' INTO @v; END",
    "CREATE PROCEDURE app.shows() SELECT COALESCE(@v, 'nothing') AS v",
    "CREATE PROCEDURE app.role() SQL SECURITY INVOKER SET ROLE untold_role",
    "CREATE PROCEDURE app.next() SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "CREATE PROCEDURE app.xa() XA START 'untold'",
    "CREATE PROCEDURE app.prepares() BEGIN SET @text = 'SELECT 5'; PREPARE left_over FROM @text; END",
];

const ATTACKS: &[Attack] = &[
    Attack {
        name: "a trigger's user variable, read in a transaction",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[Text("BEGIN"), Text("SELECT @v, @guard"), Prepared("SELECT CONCAT(@v)"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read behind a write of one's own",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[
            Text("UPDATE plain SET v = 'changed' WHERE id = 1"),
            Text("SELECT @v"),
            Prepared("SELECT CONCAT(@v)"),
        ],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read without autocommit",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[
            Text("SET autocommit = 0"),
            Text("SELECT v FROM plain WHERE id = 1 FOR UPDATE"),
            Text("SELECT @v"),
            Text("COMMIT"),
        ],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read by a trigger",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[
            Text("INSERT INTO `reads` (v) VALUES ('b')"),
            Text("SELECT v FROM `reads` ORDER BY id DESC LIMIT 1 FOR SHARE"),
        ],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read by a function",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[
            Text("BEGIN"),
            Text("SELECT takes()"),
            Prepared("SELECT takes()"),
            Text("COMMIT"),
            Text("SELECT takes()"),
        ],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read by a procedure",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[Text("CALL shows()"), Text("BEGIN"), Text("CALL shows()"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, read by a view",
        offence: &[Text("INSERT INTO t (v) VALUES ('a')")],
        victim: &[Text("SELECT v FROM taking"), Text("BEGIN"), Text("SELECT v FROM taking"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, by a prepared INSERT",
        offence: &[Prepared("INSERT INTO t (v) VALUES ('a')")],
        victim: &[Text("BEGIN"), Text("SELECT @v"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a trigger's user variable, in a transaction of several",
        offence: &[Text("BEGIN"), Text("INSERT INTO t (v) VALUES ('a')"), Text("ROLLBACK")],
        victim: &[Text("BEGIN"), Text("SELECT @v"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a function's user variable",
        offence: &[Text("SELECT puts()")],
        victim: &[Text("BEGIN"), Text("SELECT @v"), Text("COMMIT"), Text("SELECT takes()")],
        after: &[],
    },
    Attack {
        name: "a view's function's user variable, read at once",
        offence: &[Text("SELECT done FROM putting")],
        victim: &[Text("SELECT @v"), Text("SELECT takes()")],
        after: &[],
    },
    Attack {
        name: "a view's function's user variable, read in a transaction",
        offence: &[Text("SELECT done FROM putting")],
        victim: &[Text("BEGIN"), Text("SELECT @v"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a procedure's user variable",
        offence: &[Text("CALL puts()")],
        victim: &[Text("BEGIN"), Text("SELECT @v"), Text("COMMIT"), Text("SELECT takes()")],
        after: &[],
    },
    Attack {
        name: "a user variable of a text",
        offence: &[Text("SET @v = 'mine'"), Text("DO 0")],
        victim: &[
            Text("BEGIN"),
            Text("SELECT @v"),
            Text("CALL shows()"),
            Text("COMMIT"),
            Text("SELECT v FROM taking"),
        ],
        after: &[Text("SELECT @v"), Text("CALL shows()"), Text("SELECT v FROM taking")],
    },
    Attack {
        name: "a trigger's lock",
        offence: &[Text("INSERT INTO locks (v) VALUES ('a')")],
        victim: &[Text("SELECT COALESCE(RELEASE_LOCK('untold'), 0)")],
        after: &[],
    },
    Attack {
        name: "a function's lock",
        offence: &[Text("SELECT holds()")],
        victim: &[Text("SELECT COALESCE(RELEASE_LOCK('untold'), 0)")],
        after: &[],
    },
    Attack {
        name: "a trigger's temporary table",
        offence: &[Text("INSERT INTO makes (v) VALUES ('a')")],
        victim: &[
            Text("SELECT v FROM plain WHERE id = 1"),
            Text("BEGIN"),
            Text("SELECT v FROM plain WHERE id = 1"),
            Text("COMMIT"),
        ],
        after: &[],
    },
    Attack {
        name: "a function's temporary table",
        offence: &[Text("SELECT copies()")],
        victim: &[
            Text("SELECT v FROM plain WHERE id = 1"),
            Text("SELECT v FROM plain WHERE id = 1 FOR SHARE"),
        ],
        after: &[],
    },
    Attack {
        name: "a trigger's session variables",
        offence: &[Text("INSERT INTO sets (v) VALUES ('a')")],
        victim: &[Text("SELECT @@lock_wait_timeout, @@sql_big_selects")],
        after: &[Text("SELECT @@lock_wait_timeout, @@sql_big_selects")],
    },
    Attack {
        name: "a trigger's random seeds",
        offence: &[Text("INSERT INTO seeds (v) VALUES ('a')")],
        victim: &[Text("SELECT RAND() = 0.00000002793967724773464"), Text("SELECT 1")],
        after: &[],
    },
    Attack {
        name: "insert ids of a trigger",
        offence: &[Text("REPLACE INTO ids (id, v) VALUES (4242, 'a')")],
        victim: &[
            Text("SELECT LAST_INSERT_ID()"),
            Text("BEGIN"),
            Text("SELECT LAST_INSERT_ID()"),
            Text("COMMIT"),
        ],
        after: &[],
    },
    Attack {
        name: "insert ids of a function",
        offence: &[Text("SELECT ids() > 0")],
        victim: &[Text("BEGIN"), Text("SELECT LAST_INSERT_ID()"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a procedure's role",
        offence: &[Text("CALL role()")],
        victim: &[Text("SELECT CURRENT_ROLE()"), Text("SELECT CURRENT_ROLE() FROM plain LIMIT 1 FOR SHARE")],
        after: &[Text("SELECT CURRENT_ROLE()")],
    },
    Attack {
        name: "a procedure's SET TRANSACTION",
        offence: &[Text("CALL next()")],
        victim: &[Text("BEGIN"), Text("SELECT v FROM plain WHERE id = 1"), Text("COMMIT")],
        after: &[],
    },
    Attack {
        name: "a procedure's statement",
        offence: &[Text("CALL prepares()")],
        victim: &[Text("EXECUTE left_over")],
        after: &[Text("EXECUTE left_over")],
    },
    Attack {
        name: "a procedure's XA transaction",
        offence: &[Text("CALL xa()")],
        victim: &[Text("BEGIN"), Text("SELECT v FROM plain WHERE id = 1"), Text("COMMIT")],
        after: &[Text("BEGIN")],
    },
    Attack {
        name: "a row count and conditions of a trigger",
        offence: &[Text("INSERT INTO t (v) VALUES ('a'), ('b')")],
        victim: &[Text("SHOW WARNINGS"), Text("SELECT ROW_COUNT()"), Text("SELECT FOUND_ROWS()")],
        after: &[],
    },
];

/// What two sessions heard: the victim, then the offender afterwards.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    victim: Vec<String>,
    after: Vec<String>,
}

async fn client(port: u16) -> Client {
    let Login { user, password } = Login::app();
    let account = Account::new(&user, &password);
    let client = Client::connect(port, &account, Some("app"), Counts::Changed).await;
    client.unwrap_or_else(|broken| panic!("{broken}"))
}

async fn say(client: &mut Client, say: Say) -> String {
    let answer = match say {
        Text(sql) => client.query(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}")).remove(0),
        Prepared(sql) => {
            let prepared = client.prepare(sql).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"));
            match prepared {
                Ok(prepared) => {
                    client.execute(prepared, &[]).await.unwrap_or_else(|broken| panic!("{sql}: {broken}"))
                }
                Err(error) => Answer::Error(error),
            }
        }
    };
    match answer {
        Answer::Rows { rows, .. } => format!("{rows:?}"),
        Answer::Error(error) => format!("error {}", error.code),
        Answer::Done(_) => "done".to_owned(),
    }
}

/// Whether the offender is still there when the other one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offender {
    Stays,
    Leaves,
}

async fn play(attack: &Attack, port: u16, stays: Offender) -> Heard {
    let mut offender = client(port).await;
    for sql in attack.offence {
        let heard = say(&mut offender, *sql).await;
        assert!(!heard.starts_with("error"), "{}: {sql:?}: {heard}", attack.name);
    }
    let mut offender = Some(offender);
    if stays == Offender::Leaves
        && let Some(leaving) = offender.take()
    {
        leaving.quit().await.unwrap_or_else(|broken| panic!("{broken}"));
    }
    let mut other = client(port).await;
    let mut heard = Heard { victim: Vec::new(), after: Vec::new() };
    for sql in attack.victim {
        heard.victim.push(say(&mut other, *sql).await);
        if heard.victim.last().is_some_and(|heard| *heard == format!("error {NO_PLACE}")) {
            break;
        }
    }
    if let Some(mut offender) = offender {
        for sql in attack.after {
            heard.after.push(say(&mut offender, *sql).await);
        }
        offender.quit().await.unwrap_or_else(|broken| panic!("{broken}"));
    }
    let _ = other.quit().await;
    heard
}

/// See the module's documentation.
pub(super) async fn nothing_untold_is_found_by_others() {
    let cluster = Cluster::builder().nodes(1).start().await.unwrap();
    cluster.setup_replication(0, &Accounts::replication_only()).await.unwrap();
    let mut root = cluster.node(0).root_conn().await.unwrap();
    for sql in MADE {
        root.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let mut wrong = Vec::new();
    for (attack, stays) in ATTACKS.iter().flat_map(|it| [(it, Offender::Stays), (it, Offender::Leaves)]) {
        let due = play(attack, cluster.node(0).port(), stays).await;
        let path = DataPath::start_with(&cluster, HOLD, "max_backend = 1");
        let found = play(attack, path.primary_address().port(), stays).await;
        let tied = found.victim.last().is_some_and(|heard| *heard == format!("error {NO_PLACE}"));
        if (stays == Offender::Leaves && tied)
            || (!tied && found.victim != due.victim)
            || found.after != due.after
        {
            wrong.push(format!("{} ({stays:?}): {found:?} instead of {due:?}", attack.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
