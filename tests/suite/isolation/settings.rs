//! Session variables that the random sessions set, and what they show afterwards.
//!
//! Never here: a variable whose global value a test changes.

use std::collections::BTreeMap;

/// A session variable and the values that are tried, as written in SET and as shown afterwards.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) values: &'static [(&'static str, &'static str)],
}

const fn setting(name: &'static str, values: &'static [(&'static str, &'static str)]) -> Setting {
    Setting { name, values }
}

/// Isolation levels as the variable shows them.
pub(super) const LEVELS: [&str; 4] =
    ["READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"];

/// Whose DEFAULT servers take for 0, although 1 is what a session begins with.
pub(super) const OFF_BY_DEFAULT: [&str; 2] = ["foreign_key_checks", "unique_checks"];

/// All of them. The first ones change what statements mean and are drawn more often.
pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "sql_mode",
        &[
            ("''", ""),
            ("'ANSI_QUOTES'", "ANSI_QUOTES"),
            ("'NO_BACKSLASH_ESCAPES'", "NO_BACKSLASH_ESCAPES"),
            ("'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"),
            ("CONCAT('PIPES_', 'AS_CONCAT')", "PIPES_AS_CONCAT"),
        ],
    ),
    setting("time_zone", &[("'+00:00'", "+00:00"), ("'+05:00'", "+05:00"), ("'-03:00'", "-03:00")]),
    setting("group_concat_max_len", &[("8", "8"), ("4096", "4096"), ("2*50", "100")]),
    setting(
        "transaction_isolation",
        &[
            ("'READ-UNCOMMITTED'", LEVELS[0]),
            ("'READ-COMMITTED'", LEVELS[1]),
            ("'REPEATABLE-READ'", LEVELS[2]),
            ("'SERIALIZABLE'", LEVELS[3]),
        ],
    ),
    setting("transaction_read_only", &[("1", "1"), ("0", "0")]),
    setting("character_set_results", &[("NULL", "NULL"), ("latin1", "latin1"), ("utf8mb4", "utf8mb4")]),
    setting("collation_connection", &[("utf8mb4_bin", "utf8mb4_bin"), ("latin1_bin", "latin1_bin")]),
    setting("lc_time_names", &[("'de_DE'", "de_DE"), ("'en_US'", "en_US")]),
    setting("div_precision_increment", &[("0", "0"), ("8", "8")]),
    setting("default_week_format", &[("1", "1"), ("3", "3")]),
    setting("foreign_key_checks", &[("0", "0"), ("1", "1")]),
    setting("unique_checks", &[("0", "0"), ("1", "1")]),
    setting("max_execution_time", &[("60000", "60000"), ("0", "0")]),
    setting("innodb_lock_wait_timeout", &[("17", "17"), ("33", "33")]),
    setting("lock_wait_timeout", &[("44", "44")]),
    setting("net_write_timeout", &[("77", "77")]),
    setting("cte_max_recursion_depth", &[("19", "19"), ("500", "500")]),
    setting("sql_select_limit", &[("1000000", "1000000")]),
    setting("wait_timeout", &[("3000", "3000"), ("5000", "5000")]),
    setting("sql_safe_updates", &[("0", "0")]),
];

/// Shown beside the settings; changed by SET NAMES.
pub(super) const CHARSETS: [&str; 2] = ["character_set_client", "character_set_connection"];

/// What SET NAMES is given, with the character set and collation that follow.
pub(super) const NAMES: [(&str, &str, &str); 5] = [
    ("utf8mb4", "utf8mb4", "utf8mb4_0900_ai_ci"),
    ("latin1", "latin1", "latin1_swedish_ci"),
    ("'utf8mb4' COLLATE 'utf8mb4_bin'", "utf8mb4", "utf8mb4_bin"),
    ("gbk", "gbk", "gbk_chinese_ci"),
    ("DEFAULT", "utf8mb4", "utf8mb4_0900_ai_ci"),
];

/// Every variable that a look shows, in its order.
pub(super) fn shown() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name).chain(CHARSETS)
}

/// Values by variable.
pub(super) type Values = BTreeMap<&'static str, String>;

/// The statement that asks a server for what a fresh session has.
pub(super) fn question() -> String {
    let columns: Vec<String> = shown().map(|name| format!("IFNULL(@@session.{name}, 'NULL')")).collect();
    format!("SELECT {}", columns.join(", "))
}
