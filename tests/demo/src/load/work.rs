//! What the clients do, one unit at a time.
//!
//! Transfers lock accounts in ascending order, so the load makes no deadlocks of its own: a 1213 is never ours.
//!
//! Never here: a connection or a clock; those belong to the client.

use mysql_async::Row;
use rand::RngExt;

use super::client::{Client, Failed, Style};
use super::ledger::Outcome;
use super::timing::Kind;
use crate::tables::{ACCOUNTS, TOTAL};

/// Most that one transfer moves.
const LARGEST_TRANSFER: i64 = 50;

/// What a client does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Autocommit inserts; each is then read back on the same connection.
    Writer(Style),
    /// Transactions that move money between two accounts and insert a ledger row.
    Transfer(Style),
    /// Autocommit reads: the sum of all accounts, which never changes, then one account.
    Reader(Style),
    /// Read-only transactions with two reads that must agree.
    Report(Style),
}

impl Role {
    /// One of each.
    pub const ALL: [Role; 8] = [
        Role::Writer(Style::Text),
        Role::Reader(Style::Text),
        Role::Transfer(Style::Prepared),
        Role::Reader(Style::Prepared),
        Role::Writer(Style::Prepared),
        Role::Report(Style::Text),
        Role::Transfer(Style::Text),
        Role::Report(Style::Prepared),
    ];

    /// Does one unit of work.
    pub(super) async fn once(self, client: &mut Client) {
        match self {
            Role::Writer(style) => write(client, style).await,
            Role::Transfer(style) => {
                let done = transfer(client, style).await;
                conclude(client, done).await;
            }
            Role::Reader(style) => {
                // The failure is in the journal; a read leaves nothing to conclude.
                let _ = read(client, style).await;
            }
            Role::Report(style) => {
                if report(client, style).await.is_err() {
                    client.roll_back().await;
                }
            }
        }
    }
}

async fn conclude(client: &mut Client, done: Result<(), Failed>) {
    match done {
        Ok(()) => client.conclude(Outcome::Acknowledged),
        Err(Failed(outcome)) => {
            client.conclude(outcome);
            client.roll_back().await;
        }
    }
}

async fn write(client: &mut Client, style: Style) {
    let (writer, seq) = (i64::from(client.id), client.next_seq());
    let text =
        "INSERT INTO ledger (writer, seq, amount, note, server) VALUES (?, ?, ?, 'single', @@server_id)";
    match client.run(Kind::Write, style, text, &[writer, seq, seq % 97]).await {
        Ok(_) => client.conclude(Outcome::Acknowledged),
        Err(Failed(outcome)) => {
            client.conclude(outcome);
            return;
        }
    }
    let text = "SELECT COUNT(*) FROM ledger WHERE writer = ? AND seq = ?";
    if let Ok(row) = client.run(Kind::Read, style, text, &[writer, seq]).await {
        let seen = number(row.as_ref(), 0);
        if seen != Some(1) {
            client.anomaly(&format!("own write {seq} read back as {seen:?} rows right after its OK"));
        }
    }
}

async fn transfer(client: &mut Client, style: Style) -> Result<(), Failed> {
    let (writer, seq) = (i64::from(client.id), client.next_seq());
    let (low, high, amount) = pick();
    client.run(Kind::Begin, Style::Text, "START TRANSACTION", &[]).await?;
    let text = "UPDATE account SET balance = balance - ? WHERE id = ?";
    client.run(Kind::Inside, style, text, &[amount, low]).await?;
    let text = "UPDATE account SET balance = balance + ? WHERE id = ?";
    client.run(Kind::Inside, style, text, &[amount, high]).await?;
    let text =
        "INSERT INTO ledger (writer, seq, amount, note, server) VALUES (?, ?, ?, 'transfer', @@server_id)";
    client.run(Kind::Inside, style, text, &[writer, seq, amount]).await?;
    client.run(Kind::Commit, Style::Text, "COMMIT", &[]).await?;
    Ok(())
}

async fn read(client: &mut Client, style: Style) -> Result<(), Failed> {
    let row = client.run(Kind::Read, style, "SELECT CAST(SUM(balance) AS SIGNED) FROM account", &[]).await?;
    check_total(client, number(row.as_ref(), 0));
    let (id, _, _) = pick();
    let row = client.run(Kind::Read, style, "SELECT id, balance FROM account WHERE id = ?", &[id]).await?;
    let seen = number(row.as_ref(), 0);
    if seen != Some(id) {
        client.anomaly(&format!("asked for account {id}, got {seen:?}"));
    }
    Ok(())
}

async fn report(client: &mut Client, style: Style) -> Result<(), Failed> {
    let text = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    client.run(Kind::Begin, Style::Text, text, &[]).await?;
    let row =
        client.run(Kind::Inside, style, "SELECT CAST(SUM(balance) AS SIGNED) FROM account", &[]).await?;
    check_total(client, number(row.as_ref(), 0));
    let text = "SELECT COUNT(*), CAST(SUM(balance) AS SIGNED) FROM account WHERE id >= ?";
    let row = client.run(Kind::Inside, style, text, &[0]).await?;
    check_total(client, number(row.as_ref(), 1));
    client.run(Kind::Commit, Style::Text, "COMMIT", &[]).await?;
    Ok(())
}

fn check_total(client: &mut Client, seen: Option<i64>) {
    if seen != Some(TOTAL) {
        client.anomaly(&format!("all accounts add up to {seen:?}, not {TOTAL}"));
    }
}

fn number(row: Option<&Row>, column: usize) -> Option<i64> {
    row.and_then(|row| row.get_opt::<i64, _>(column)).and_then(Result::ok)
}

/// Two different accounts, the lower one first, and an amount.
fn pick() -> (i64, i64, i64) {
    let mut rng = rand::rng();
    let first = rng.random_range(0..ACCOUNTS);
    let second = (first + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
    (i64::from(first.min(second)), i64::from(first.max(second)), rng.random_range(1..=LARGEST_TRANSFER))
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn transfers_lock_in_ascending_order() {
        for _ in 0..1_000 {
            let (low, high, amount) = pick();
            assert!(low < high && amount > 0);
        }
    }
}
