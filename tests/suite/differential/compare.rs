//! What differs between two runs of a case, and what may.
//!
//! Never here: a difference that is allowed without saying why.

use std::fmt::Write as _;

use super::run::{Job, Seen};

/// A difference that is known.
struct Known {
    /// The beginning of the case's name; empty for every case.
    case: &'static str,
    /// The name of the client; empty for every client.
    variant: &'static str,
    /// The beginning of the step's line; empty for every step.
    line: &'static str,
    /// The end of the field's name; empty for all fields.
    field: &'static str,
    /// Why.
    why: &'static str,
}

/// In every case: this field.
const fn field(field: &'static str, why: &'static str) -> Known {
    Known { case: "", variant: "", line: "", field, why }
}

/// In the cases that begin so: this field of the steps that begin so.
const fn case(case: &'static str, line: &'static str, field: &'static str, why: &'static str) -> Known {
    Known { case, variant: "", line, field, why }
}

/// Differences that are as they should be. The whole list.
const ALLOWED: &[Known] = &[
    field(
        "after columns status",
        "for clients without DEPRECATE_EOF Sluice makes the packet between columns and rows itself; what the \
         statement's own flags (no index used, more results) will be is known at the end only",
    ),
    field("after columns warnings", "as above: the number of warnings is known at the end only"),
    case(
        "COM_PROCESS_KILL",
        "",
        "",
        "servers of 9.x do not know this command any more; Sluice serves it for clients of older ones",
    ),
    case(
        "EXPLAIN of a connection / KILL",
        "a fails",
        "error",
        "KILL takes a number, since ids are Sluice's own; anything else gets 1047 and a sentence",
    ),
    case(
        "read-only transaction refuses writes",
        "a fails: SELECT * FROM t FOR UPDATE",
        "",
        "several statements, one of which commits, in a transaction that has read on a replica: nobody can say before which \
         of them will run, so it is rolled back (1213), and runs on the primary when it is repeated",
    ),
    case("read-only transaction refuses writes", "a: COMMIT", "", "as above: nothing is open any more"),
    case("COM_CLONE", "", "error", "never through a proxy, whoever asks: 1047 instead of 1227"),
    case(
        "a deadlock rolls",
        "a: ROLLBACK",
        "",
        "the end of a transaction by an error is not told again with the next OK, where nothing ends",
    ),
    Known {
        variant: "trackers",
        ..case(
            "end / ANALYZE TABLE",
            "a: ROLLBACK",
            "",
            "what ended with rows is not told later to a client without DEPRECATE_EOF",
        )
    },
    Known {
        variant: "trackers",
        ..case("GTIDs of CALL", "a: CALL q()", "", "as above: all of its GTIDs came with its rows")
    },
    Known {
        variant: "trackers",
        ..case(
            "transaction characteristics",
            "a: COMMIT AND CHAIN",
            "trackers",
            "as above: that the transaction had read came with the rows, so that it has not read any more is news",
        )
    },
    case("greeting", "", "version", "says that it is Sluice"),
    case("greeting", "", "offered", "OPTIONAL_RESULTSET_METADATA and several factors are not offered"),
    Known { variant: "metadata", ..field("", "OPTIONAL_RESULTSET_METADATA is not offered") },
    case(
        "procedure with OUT",
        "a execute",
        "",
        "to clients without DEPRECATE_EOF a server marks the OUT parameters in front of their row and forgets to \
         say that an OK follows; through Sluice both are said, as with DEPRECATE_EOF",
    ),
    case(
        "read / SHOW TRIGGERS",
        "",
        "status",
        "whether the dictionary used an index is the server's own affair",
    ),
    case("show / TRIGGERS", "", "status", "as above"),
    case("event definitions", "a: SHOW", "status", "as above"),
    case(
        "COM_STMT_EXECUTE every parameter type",
        "a execute s: NULL",
        "",
        "what type a NULL without a type has is remembered from executions before; anew prepared, there are none",
    ),
    case(
        "COM_STMT_EXECUTE types only",
        "a again",
        "column 1",
        "as above: how wide a parameter is taken to be",
    ),
    case("COM_STMT_EXECUTE types only", "a again s: NULL", "column 2", "as above: what type a NULL has"),
    case("COM_STMT_EXECUTE types only", "a execute s: 'text", "column 1", "as above: how wide it is"),
    case(
        "COM_STMT_EXECUTE read again after",
        "a execute",
        "status",
        "a statement that was prepared anew on another connection has not changed since: no METADATA_CHANGED",
    ),
    case(
        "show of a server's own / BINARY LOG STATUS",
        "",
        "column 5",
        "as wide as the set of the server's GTIDs",
    ),
    case(
        "all variables tracked",
        "a: SE",
        "trackers",
        "of all variables those are told that Sluice tracks; the number of each statement, which is the server's own \
         affair, is not",
    ),
    case("all variables tracked", "a: SELECT", "status", "as above: nothing is left to be told"),
    case("all variables tracked", "a: SELECT", "info", "as above"),
];

/// Faults that are known and not mended yet.
const OPEN: &[Known] = &[];

/// Longest piece of a value that is shown.
const EXCERPT: usize = 300;

/// One field that differs.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub(super) case: String,
    pub(super) variant: &'static str,
    pub(super) line: String,
    pub(super) field: String,
    pub(super) direct: String,
    pub(super) through: String,
}

/// All fields that differ, without those that may.
pub(super) fn differences(jobs: &[Job], direct: &[Vec<Seen>], through: &[Vec<Seen>]) -> Vec<Difference> {
    let mut all = Vec::new();
    for ((job, direct), through) in jobs.iter().zip(direct).zip(through) {
        for (expected, seen) in direct.iter().zip(through) {
            for (field, one, other) in fields(expected, seen) {
                if [ALLOWED, OPEN].iter().any(|list| is_known(list, job, &expected.line, &field)) {
                    continue;
                }
                all.push(Difference {
                    case: job.case.name.clone(),
                    variant: job.variant.name,
                    line: expected.line.clone(),
                    field,
                    direct: one,
                    through: other,
                });
            }
        }
    }
    all
}

fn is_known(list: &[Known], job: &Job, line: &str, field: &str) -> bool {
    list.iter().any(|known| {
        job.case.name.starts_with(known.case)
            && (known.variant.is_empty() || known.variant == job.variant.name)
            && line.starts_with(known.line)
            && field.ends_with(known.field)
            && !known.why.is_empty()
    })
}

/// Name, value in `one`, value in `other` of every field that is not the same.
fn fields(one: &Seen, other: &Seen) -> Vec<(String, String, String)> {
    let (one, other) = (&one.fields.0, &other.fields.0);
    let value = |list: &[(String, String)], name: &str| {
        list.iter().find(|(found, _)| found == name).map_or("-".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&String> = one.iter().chain(other).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name.clone(), value(one, name), value(other, name)))
        .filter(|(_, one, other)| one != other)
        .collect()
}

/// For people: case, step, field, direct, through Sluice.
pub(super) fn table(differences: &[Difference]) -> String {
    let mut text = String::new();
    let (mut case, mut line) = (String::new(), String::new());
    for difference in differences {
        let title = format!("{} [{}]", difference.case, difference.variant);
        if case != title {
            let _ = writeln!(text, "{title}");
            (case, line) = (title, String::new());
        }
        if line != difference.line {
            let _ = writeln!(text, "  {}", excerpt(&difference.line, &difference.line));
            line.clone_from(&difference.line);
        }
        let (direct, through) = (&difference.direct, &difference.through);
        let _ = writeln!(text, "    {:<14} direct  {}", difference.field, excerpt(direct, through));
        let _ = writeln!(text, "    {:<14} Sluice  {}", "", excerpt(through, direct));
    }
    text
}

/// The part of a value around the first character that differs from the other one.
fn excerpt(value: &str, other: &str) -> String {
    let value = value.trim_end().replace('\n', " / ");
    if value.len() <= EXCERPT {
        return value;
    }
    let other = other.trim_end().replace('\n', " / ");
    let same = value.chars().zip(other.chars()).take_while(|(one, two)| one == two).count();
    let begin = if value == other { 0 } else { same.saturating_sub(EXCERPT / 2) };
    format!("...{}...", value.chars().skip(begin).take(EXCERPT).collect::<String>())
}

/// Steps that did not go as their case says, directly: the case is wrong then.
pub(super) fn wrong(jobs: &[Job], direct: &[Vec<Seen>]) -> String {
    let mut text = String::new();
    for (job, seen) in jobs.iter().zip(direct) {
        for seen in seen.iter().filter(|seen| seen.wrong).take(1) {
            let _ = writeln!(
                text,
                "{} [{}]\n  {}\n  {:?}",
                job.case.name, job.variant.name, seen.line, seen.fields.0
            );
        }
    }
    text
}
