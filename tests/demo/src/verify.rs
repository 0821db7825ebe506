//! Holds a ledger against the servers.
//!
//! Every server is first brought to the union of what all have executed, then read whole, so a row that only one
//! of them has can't hide. Log in as an account that may read `gtid_executed` and every table.
//!
//! Never here: a write.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use crate::load::{Ledger, Outcome};
use crate::login::Login;
use crate::tables::TOTAL;

/// How long a server may take to execute what the others have.
const CATCH_UP_SECONDS: u32 = 60;
/// Units named in a finding; the rest are counted.
const NAMED: usize = 10;

/// A server to look at.
#[derive(Clone, Debug)]
pub struct Server {
    /// For people.
    pub name: String,
    /// How to log in there directly.
    pub login: Login,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that should not be; empty means that all promises were kept.
    pub findings: Vec<String>,
    /// Rows of the ledger, the same on all servers unless there is a finding.
    pub rows: u64,
    /// Units with an unknown outcome that turned out to exist.
    pub unknown_present: u64,
    /// Units with an unknown outcome that turned out not to exist.
    pub unknown_absent: u64,
    /// The servers (`server_id`) that took rows, in the order of time. A server is named again for each time that it
    /// took rows after another did: with one writer at a time as often as the role moved, with two much more often.
    pub turns: Vec<u32>,
}

/// The servers could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A server did not answer as it should.
    #[error("{server} can't be verified: {source}")]
    Server {
        /// Its name.
        server: String,
        /// Its answer.
        source: Error,
    },
}

/// Reads `schema` on all servers and compares it with the ledger and with each other.
pub async fn verify(ledger: &Ledger, schema: &str, servers: &[Server]) -> Result<Verdict, VerifyError> {
    let mut verdict = Verdict::default();
    let mut conns = connect(servers).await?;
    catch_up(&mut conns, &mut verdict).await?;
    let mut pictures = Vec::new();
    for (name, conn) in &mut conns {
        let picture = picture(conn, schema).await.map_err(|source| blame(name, source))?;
        verdict.findings.extend(check(name, ledger, &picture));
        pictures.push((name.clone(), picture));
    }
    if let Some((first, picture)) = pictures.first() {
        verdict.rows = picture.units.values().sum();
        count_unknown(ledger, picture, &mut verdict);
        verdict.turns = turns(picture);
        for (name, other) in pictures.iter().skip(1) {
            if other.digest != picture.digest {
                verdict.findings.push(format!("{name} and {first} hold different rows of {schema}"));
            }
        }
    }
    compare_checksums(&mut conns, &mut verdict).await?;
    for (_, conn) in conns {
        // All that was wanted has been read.
        let _ = conn.disconnect().await;
    }
    Ok(verdict)
}

/// `CHECKSUM TABLE` of every table that is not the server's or Sluice's own.
pub async fn checksums(conn: &mut Conn) -> Result<BTreeMap<String, Option<u64>>, Error> {
    let tables: Vec<String> = conn
        .query(
            "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables \
             WHERE table_type = 'BASE TABLE' \
             AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', 'sluice')",
        )
        .await?;
    let mut sums = BTreeMap::new();
    for table in tables {
        let sum: Option<(String, Option<u64>)> = conn.query_first(format!("CHECKSUM TABLE {table}")).await?;
        sums.insert(table, sum.and_then(|(_, sum)| sum));
    }
    Ok(sums)
}

/// Brings all servers to the same transactions and compares every table; for data that no ledger knows.
pub async fn same_data(servers: &[Server]) -> Result<Vec<String>, VerifyError> {
    let mut verdict = Verdict::default();
    let mut conns = connect(servers).await?;
    catch_up(&mut conns, &mut verdict).await?;
    compare_checksums(&mut conns, &mut verdict).await?;
    Ok(verdict.findings)
}

/// Waits until every server has executed what any of them has; what is late is returned.
pub async fn settled(servers: &[Server]) -> Result<Vec<String>, VerifyError> {
    let mut verdict = Verdict::default();
    let mut conns = connect(servers).await?;
    catch_up(&mut conns, &mut verdict).await?;
    Ok(verdict.findings)
}

async fn connect(servers: &[Server]) -> Result<Vec<(String, Conn)>, VerifyError> {
    let mut conns = Vec::new();
    for server in servers {
        let conn = Conn::new(server.login.opts()).await.map_err(|source| blame(&server.name, source))?;
        conns.push((server.name.clone(), conn));
    }
    Ok(conns)
}

/// Lets every server execute what any of them has.
async fn catch_up(conns: &mut [(String, Conn)], verdict: &mut Verdict) -> Result<(), VerifyError> {
    let mut sets: Vec<String> = Vec::new();
    for (name, conn) in conns.iter_mut() {
        let set: Option<String> =
            conn.query_first("SELECT @@GLOBAL.gtid_executed").await.map_err(|source| blame(name, source))?;
        sets.push(set.unwrap_or_default().replace('\n', ""));
    }
    let union = sets.join(",");
    for (name, conn) in conns.iter_mut() {
        let late: Option<Option<i64>> = conn
            .exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", (&union, CATCH_UP_SECONDS))
            .await
            .map_err(|source| blame(name, source))?;
        if late != Some(Some(0)) {
            let finding = format!("{name} did not execute {union} within {CATCH_UP_SECONDS} s");
            verdict.findings.push(finding);
        }
    }
    Ok(())
}

async fn compare_checksums(conns: &mut [(String, Conn)], verdict: &mut Verdict) -> Result<(), VerifyError> {
    let mut first: Option<(String, BTreeMap<String, Option<u64>>)> = None;
    for (name, conn) in conns.iter_mut() {
        let sums = checksums(conn).await.map_err(|source| blame(name, source))?;
        let Some((reference, expected)) = &first else {
            first = Some((name.clone(), sums));
            continue;
        };
        for table in expected.keys().chain(sums.keys()).collect::<std::collections::BTreeSet<_>>() {
            if expected.get(table) != sums.get(table) {
                verdict.findings.push(format!("{table} differs between {reference} and {name}"));
            }
        }
    }
    Ok(())
}

/// What one server holds.
struct Picture {
    /// How often each (writer, seq) is there.
    units: HashMap<(u32, u64), u64>,
    /// Sum of all accounts.
    total: i64,
    /// When each row was taken (microseconds of the server's clock) and by which server.
    taken: Vec<(u64, u32)>,
    /// Of all rows, in the order of their keys.
    digest: u64,
}

async fn picture(conn: &mut Conn, schema: &str) -> Result<Picture, Error> {
    let mut picture = Picture { units: HashMap::new(), total: 0, taken: Vec::new(), digest: 0 };
    let mut hasher = DefaultHasher::new();
    let mut rows = conn.query_iter(format!("SELECT id, balance FROM `{schema}`.account ORDER BY id")).await?;
    while let Some(row) = rows.next().await? {
        let (id, balance): (u32, i64) = typed(row)?;
        (id, balance).hash(&mut hasher);
        picture.total += balance;
    }
    drop(rows);
    let text = format!(
        "SELECT id, writer, seq, amount, note, CAST(UNIX_TIMESTAMP(at) * 1000000 AS UNSIGNED), server \
         FROM `{schema}`.ledger ORDER BY id"
    );
    let mut rows = conn.query_iter(text).await?;
    while let Some(row) = rows.next().await? {
        let row: (u64, u32, u64, i64, String, u64, u32) = typed(row)?;
        row.hash(&mut hasher);
        picture.taken.push((row.5, row.6));
        *picture.units.entry((row.1, row.2)).or_default() += 1;
    }
    drop(rows);
    picture.digest = hasher.finish();
    Ok(picture)
}

fn turns(picture: &Picture) -> Vec<u32> {
    let mut taken = picture.taken.clone();
    taken.sort_unstable();
    taken.dedup_by_key(|(_, server)| *server);
    taken.into_iter().map(|(_, server)| server).collect()
}

fn typed<T: mysql_async::prelude::FromRow>(row: Row) -> Result<T, Error> {
    mysql_async::from_row_opt(row).map_err(|error| Error::Other(Box::new(error)))
}

/// What this server's picture contradicts.
fn check(name: &str, ledger: &Ledger, picture: &Picture) -> Vec<String> {
    let mut lists: [(&str, Vec<(u32, u64)>); 4] = [
        ("acknowledged but missing", Vec::new()),
        ("there more than once", Vec::new()),
        ("there although an error said that they are not", Vec::new()),
        ("there although nobody wrote them", Vec::new()),
    ];
    for (writer, seq, outcome) in ledger.units() {
        let times = picture.units.get(&(writer, seq)).copied().unwrap_or(0);
        let list = match (outcome, times) {
            (Outcome::Acknowledged, 0) => 0,
            (Outcome::RolledBack, 1..) => 2,
            (Outcome::Acknowledged | Outcome::Unknown, 2..) => 1,
            (Outcome::Acknowledged | Outcome::Unknown | Outcome::RolledBack, _) => continue,
        };
        if let Some((_, units)) = lists.get_mut(list) {
            units.push((writer, seq));
        }
    }
    if let Some((_, units)) = lists.last_mut() {
        units.extend(picture.units.keys().filter(|(writer, seq)| ledger.outcome(*writer, *seq).is_none()));
        units.sort_unstable();
    }
    let mut findings: Vec<String> = lists
        .iter()
        .filter(|(_, units)| !units.is_empty())
        .map(|(what, units)| {
            let named: Vec<String> =
                units.iter().take(NAMED).map(|(writer, seq)| format!("writer {writer} seq {seq}")).collect();
            format!("on {name} {} rows are {what}: {}", units.len(), named.join(", "))
        })
        .collect();
    if picture.total != TOTAL {
        findings.push(format!("on {name} all accounts add up to {}, not {TOTAL}", picture.total));
    }
    findings
}

fn count_unknown(ledger: &Ledger, picture: &Picture, verdict: &mut Verdict) {
    for (writer, seq, outcome) in ledger.units() {
        if outcome == Outcome::Unknown {
            if picture.units.contains_key(&(writer, seq)) {
                verdict.unknown_present += 1;
            } else {
                verdict.unknown_absent += 1;
            }
        }
    }
}

fn blame(server: &str, source: Error) -> VerifyError {
    VerifyError::Server { server: server.into(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Picture, check, turns};
    use crate::load::{Ledger, Outcome};
    use crate::tables::TOTAL;
    use std::collections::HashMap;

    fn picture(units: &[(u32, u64, u64)]) -> Picture {
        let units: HashMap<_, _> =
            units.iter().map(|(writer, seq, times)| ((*writer, *seq), *times)).collect();
        Picture { units, total: TOTAL, taken: Vec::new(), digest: 0 }
    }

    #[test]
    fn two_writers_at_a_time_take_more_turns_than_the_role_moved() {
        let of = |taken: &[(u64, u32)]| turns(&Picture { taken: taken.to_vec(), ..picture(&[]) });
        assert_eq!(of(&[(4, 2), (1, 1), (2, 1), (3, 2), (5, 1)]), [1, 2, 1]);
        assert_eq!(of(&[(1, 1), (2, 1), (3, 2), (4, 1), (5, 2)]), [1, 2, 1, 2]);
    }

    #[test]
    fn every_broken_promise_is_a_finding() {
        let mut ledger = Ledger::default();
        ledger.add(
            1,
            vec![Outcome::Acknowledged, Outcome::RolledBack, Outcome::Unknown, Outcome::Acknowledged],
        );
        assert!(check("db1", &ledger, &picture(&[(1, 0, 1), (1, 3, 1)])).is_empty());
        assert!(check("db1", &ledger, &picture(&[(1, 0, 1), (1, 2, 1), (1, 3, 1)])).is_empty());
        let broken = [
            (vec![(1, 0, 1)], "missing"),
            (vec![(1, 0, 2), (1, 3, 1)], "more than once"),
            (vec![(1, 0, 1), (1, 2, 2), (1, 3, 1)], "more than once"),
            (vec![(1, 0, 1), (1, 1, 1), (1, 3, 1)], "an error said"),
            (vec![(1, 0, 1), (1, 3, 1), (9, 9, 1)], "nobody wrote"),
        ];
        for (units, word) in broken {
            let findings = check("db1", &ledger, &picture(&units));
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings.first().unwrap().contains(word), "{findings:?}");
        }
    }

    #[test]
    fn a_wrong_sum_is_a_finding() {
        let mut wrong = picture(&[]);
        wrong.total += 1;
        assert_eq!(check("db1", &Ledger::default(), &wrong).len(), 1);
    }
}
