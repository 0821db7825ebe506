//! The tables that the load works on: accounts with a constant sum, and the rows of the ledger, each with the server
//! that took it and when.
//!
//! Never here: a unique key on (writer, seq). A write that was executed twice must show up as two rows, not be
//! refused by the server.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use crate::login::Login;

/// Accounts that transfers move money between.
pub const ACCOUNTS: u32 = 64;
/// What every account starts with.
pub const OPENING_BALANCE: i64 = 1_000;
/// What all balances always add up to.
pub const TOTAL: i64 = ACCOUNTS as i64 * OPENING_BALANCE;

/// Makes the schema named in `login` with fresh tables; an earlier load's tables are dropped.
pub async fn create(login: &Login, schema: &str) -> Result<(), Error> {
    let mut conn = Conn::new(Login { database: None, ..login.clone() }.opts()).await?;
    conn.query_drop(format!("CREATE DATABASE IF NOT EXISTS `{schema}`")).await?;
    conn.query_drop(format!("DROP TABLE IF EXISTS `{schema}`.ledger, `{schema}`.account")).await?;
    conn.query_drop(format!(
        "CREATE TABLE `{schema}`.account (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB"
    ))
    .await?;
    conn.query_drop(format!(
        "CREATE TABLE `{schema}`.ledger (\
           id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, writer INT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, \
           amount BIGINT NOT NULL, note VARCHAR(64) NOT NULL, server INT UNSIGNED NOT NULL, \
           at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (writer, seq)) ENGINE=InnoDB"
    ))
    .await?;
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING_BALANCE})")).collect();
    conn.query_drop(format!("INSERT INTO `{schema}`.account VALUES {}", rows.join(","))).await?;
    conn.disconnect().await
}
