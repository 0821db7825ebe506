//! Every statement of the tables in `golden/` is classified exactly as its line says.
//!
//! A line is `intent | effects | statement`. `\n` and `\t` in a statement are a line feed and a tab. Lines that begin with `--- `
//! set the mode for those below. It must never be regenerated from what the classifier says.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use sluice_routing::intent::KillTarget;
use sluice_routing::lexer::LexMode;
use sluice_routing::{Effect, Intent, classify};

const TABLES: [(&str, &str); 4] = [
    ("reads.txt", include_str!("golden/reads.txt")),
    ("needs_primary.txt", include_str!("golden/needs_primary.txt")),
    ("writes.txt", include_str!("golden/writes.txt")),
    ("state.txt", include_str!("golden/state.txt")),
];

/// A line of a table.
struct Row {
    place: String,
    mode: LexMode,
    expected: String,
    sql: String,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, text) in TABLES {
        let mut mode = LexMode::default();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", number + 1);
            if let Some(setting) = line.strip_prefix("--- ") {
                mode = LexMode::default();
                if let Some(charset) = setting.strip_prefix("charset ") {
                    mode = mode.with_client_charset(charset.as_bytes());
                } else {
                    mode = mode.with_sql_mode(setting.as_bytes());
                }
            } else if !line.is_empty() {
                let mut cells = line.splitn(3, " | ");
                let mut cell = || cells.next().unwrap_or_else(|| panic!("{place}: three cells")).trim();
                let expected = format!("{} | {}", cell(), cell());
                let sql = cell().replace("\\n", "\n").replace("\\t", "\t");
                rows.push(Row { place, mode, expected, sql });
            }
        }
    }
    rows
}

/// Effects in any order.
fn sorted(line: &str) -> Vec<&str> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    words.sort_unstable();
    words
}

#[test]
fn every_row_is_classified_as_it_says() {
    let mut wrong = String::new();
    for row in rows() {
        let found = classify(row.sql.as_bytes(), row.mode).to_string();
        if sorted(&found) != sorted(&row.expected) {
            wrong +=
                &format!("{}: {}\n  expected {}\n  found    {found}\n", row.place, row.sql, row.expected);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_tables_are_large() {
    assert!(rows().len() >= 250, "{}", rows().len());
}

#[test]
fn with_a_delete_behind_it_nothing_is_harmless() {
    for row in rows() {
        let sql = format!("{}\n; DELETE FROM t", row.sql.trim_end_matches(';'));
        let statement = classify(sql.as_bytes(), row.mode);
        assert_ne!(statement.intent, Intent::HarmlessRead, "{}: {sql}", row.place);
    }
}

#[test]
fn with_for_update_behind_it_nothing_is_harmless() {
    // What closes an open string or comment makes another statement of it.
    for row in rows().into_iter().filter(|row| !row.expected.starts_with("primary:malformed")) {
        for clause in
            [" FOR UPDATE", "\nfor/**/share", " LOCK IN SHARE MODE", " INTO @x", "/*! FOR UPDATE */"]
        {
            let sql = format!("{}\n{clause}", row.sql);
            let statement = classify(sql.as_bytes(), row.mode);
            assert_ne!(statement.intent, Intent::HarmlessRead, "{}: {sql}", row.place);
        }
    }
}

#[test]
fn case_and_blanks_change_nothing() {
    for row in rows() {
        if row.sql.contains(['\'', '"', '`', '@', '#']) || row.sql.contains("/*") || row.sql.contains("--") {
            continue;
        }
        let expected = classify(row.sql.as_bytes(), row.mode);
        let spaced = row.sql.replace(' ', " /* c */\n\t-- c\n  ");
        let shaped = [row.sql.to_ascii_uppercase(), row.sql.to_ascii_lowercase(), spaced];
        for sql in shaped {
            let found = classify(sql.as_bytes(), row.mode);
            let same_place = match (found.intent, expected.intent) {
                (Intent::ConnectionId { .. }, Intent::ConnectionId { .. }) => true,
                // Where the expression stands is another place.
                (
                    Intent::Kill { kind, target: KillTarget::Expression(_) },
                    Intent::Kill { kind: other, target: KillTarget::Expression(_) },
                ) => kind == other,
                (found, expected) => found == expected,
            };
            let effects = Effect::ALL.into_iter().all(|e| found.effects.has(e) == expected.effects.has(e));
            assert!(same_place && effects, "{}: {sql}: {found}", row.place);
            assert_eq!(found.effects.pins().len(), expected.effects.pins().len(), "{}: {sql}", row.place);
        }
    }
}

#[test]
fn a_trailing_semicolon_changes_nothing() {
    for row in rows() {
        if row.expected.starts_with("primary:malformed") {
            continue;
        }
        let sql = format!("{}\n ; -- end\n ;", row.sql);
        let found = classify(sql.as_bytes(), row.mode).to_string();
        assert_eq!(sorted(&found), sorted(&row.expected), "{}: {sql}", row.place);
    }
}
