//! Cases as text. `cases/README.md` has the grammar.
//!
//! Never here: running one.

use std::path::Path;

use sluice_protocol::Capabilities;

use super::values::{Value, parse_values};

/// Who a session logs in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// One of the two writers, by the number of the case: cases that run side by side share connections.
    Writer,
    /// Reads the fixture; it never writes, so its reads may go to replicas at once.
    Reader,
    /// May do everything.
    Admin,
}

/// Which capabilities a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) capabilities: Capabilities,
}

const BASE: Capabilities = Capabilities::TRANSACTIONS
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_DATA)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS);
const SEVERAL: Capabilities = BASE.union(Capabilities::MULTI_STATEMENTS);
const NO_EOF: Capabilities = SEVERAL.union(Capabilities::DEPRECATE_EOF);
const MODERN: Capabilities = NO_EOF.union(Capabilities::SESSION_TRACK);

/// Every client there is.
pub(super) const VARIANTS: [Variant; 12] = [
    Variant { name: "modern", capabilities: MODERN },
    Variant { name: "classic", capabilities: SEVERAL },
    Variant { name: "trackers", capabilities: SEVERAL.union(Capabilities::SESSION_TRACK) },
    Variant { name: "quiet", capabilities: NO_EOF },
    Variant {
        name: "single",
        capabilities: BASE.union(Capabilities::DEPRECATE_EOF).union(Capabilities::SESSION_TRACK),
    },
    Variant { name: "found", capabilities: MODERN.union(Capabilities::FOUND_ROWS) },
    Variant { name: "attributes", capabilities: MODERN.union(Capabilities::QUERY_ATTRIBUTES) },
    Variant { name: "metadata", capabilities: MODERN.union(Capabilities::OPTIONAL_RESULTSET_METADATA) },
    Variant { name: "spaces", capabilities: MODERN.union(Capabilities::IGNORE_SPACE) },
    Variant { name: "compressed", capabilities: MODERN.union(Capabilities::COMPRESS) },
    Variant { name: "noschema", capabilities: MODERN.union(Capabilities::NO_SCHEMA) },
    Variant { name: "oneresult", capabilities: Capabilities::TRANSACTIONS.union(Capabilities::PLUGIN_AUTH) },
];
/// What a case runs with if it does not say: the newest and the oldest client.
const USUAL: [&str; 2] = ["modern", "classic"];

/// How a step's answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    /// All of it.
    All,
    /// All but the rows: they tell of time, servers or ids.
    Shape,
    /// Nothing: it only prepares the scene.
    Nothing,
}

/// What a session does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Query {
        sql: String,
        attributes: Vec<(String, Value)>,
    },
    Infile {
        sql: String,
        data: String,
    },
    /// Sends a query and does not wait.
    Send(String),
    /// Reads the answer to it.
    Receive,
    /// Asks again and again until the first value is 1.
    Await(String),
    Prepared(PreparedAction),
    Ping,
    Statistics,
    Debug,
    Quit,
    ResetConnection,
    ChangeUser {
        user: String,
        schema: String,
    },
    InitDb(String),
    SetOption(u16),
    FieldList {
        table: String,
        pattern: String,
    },
    Kill(String),
    /// Payload in hex; the answer is one packet.
    Raw(String),
    /// Connects and compares what the greeting says.
    Greeting,
}

/// What it does with a prepared statement, by the case's name for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PreparedAction {
    Prepare { name: String, sql: String },
    Execute { name: String, values: Vec<Value>, cursor: u8, typed: bool, attributes: Vec<(String, Value)> },
    Fetch { name: String, rows: u32 },
    Long { name: String, parameter: u16, data: String },
    Reset(String),
    Close(String),
}

/// One line of a case, understood.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) compare: Compare,
    /// A server has to refuse it; a step that does not say so has to succeed.
    pub(super) fails: bool,
}

/// A case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) variants: Vec<Variant>,
    pub(super) account: Account,
    /// It changes something global, so nothing else runs beside it.
    pub(super) alone: bool,
    /// Connection ids in its values are the sessions' own.
    pub(super) ids: bool,
    /// It is left out under switchovers.
    pub(super) quiet: bool,
    /// As written; [`step`] reads them when their placeholders are filled.
    pub(super) lines: Vec<String>,
}

/// A member of a family: name and statement.
type Member = (String, String);

#[derive(Default)]
struct Draft {
    name: String,
    family: bool,
    members: Vec<Member>,
    head: Vec<String>,
    lines: Vec<String>,
}

/// All cases of a folder, in the order of files and lines.
pub(super) fn read_all(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        cases.extend(parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two cases of one name");
    }
    cases
}

/// The cases of one text.
pub(super) fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut draft = Draft::default();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(more) = line.trim_start().strip_prefix("| ") {
            let last = draft.lines.last_mut().ok_or("a continuation of nothing")?;
            last.push('\n');
            last.push_str(more);
        } else if line.starts_with(' ') {
            draft.lines.push(line.trim().to_owned());
        } else if let Some(name) = line.strip_prefix("case: ") {
            finish(&mut draft, &mut cases)?;
            draft = Draft { name: name.trim().to_owned(), ..Draft::default() };
        } else if let Some(name) = line.strip_prefix("family: ") {
            finish(&mut draft, &mut cases)?;
            draft = Draft { name: name.trim().to_owned(), family: true, ..Draft::default() };
        } else if let Some(member) = line.strip_prefix("member: ") {
            let (name, sql) = member.split_once(" = ").ok_or_else(|| format!("no = in {line:?}"))?;
            draft.members.push((name.trim().to_owned(), sql.trim().to_owned()));
        } else {
            draft.head.push(line.trim().to_owned());
        }
    }
    finish(&mut draft, &mut cases)?;
    Ok(cases)
}

fn finish(draft: &mut Draft, cases: &mut Vec<Case>) -> Result<(), String> {
    let draft = std::mem::take(draft);
    if draft.name.is_empty() {
        return Ok(());
    }
    if !draft.family {
        cases.push(case(&draft.name, &draft.head, &draft.lines, None)?);
    }
    for (name, sql) in &draft.members {
        cases.push(case(&format!("{} / {name}", draft.name), &draft.head, &draft.lines, Some(sql))?);
    }
    Ok(())
}

fn case(name: &str, head: &[String], lines: &[String], member: Option<&String>) -> Result<Case, String> {
    let mut case = Case {
        name: name.to_owned(),
        variants: chosen(&USUAL.join(" "))?,
        account: Account::Writer,
        alone: false,
        ids: false,
        quiet: false,
        lines: Vec::new(),
    };
    for line in head {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("variants", names) => case.variants = chosen(names)?,
            ("account", "reader") => case.account = Account::Reader,
            ("account", "admin") => case.account = Account::Admin,
            ("alone", _) => case.alone = true,
            ("ids", _) => case.ids = true,
            ("not under switchovers", _) => case.quiet = true,
            _ => return Err(format!("{name}: {line:?}?")),
        }
    }
    for line in lines {
        let line = member.map_or_else(|| line.clone(), |sql| line.replace("{statement}", sql));
        step(&with_sample_ids(&line)).ok_or_else(|| format!("{name}: {line:?}?"))?;
        case.lines.push(line);
    }
    Ok(case)
}

/// The line with a number in place of each `{id:SESSION}`.
fn with_sample_ids(line: &str) -> String {
    let mut parts = line.split("{id:");
    let mut sample = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        sample.push('1');
        sample.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    sample
}

fn chosen(names: &str) -> Result<Vec<Variant>, String> {
    let find = |name: &str| VARIANTS.iter().find(|variant| variant.name == name).copied();
    names.split_whitespace().map(|name| find(name).ok_or_else(|| format!("no variant {name}"))).collect()
}

/// Reads one line.
pub(super) fn step(line: &str) -> Option<Step> {
    let (head, argument) = match line.split_once(": ") {
        Some((head, argument)) => (head, argument.trim().to_owned()),
        None => (line.strip_suffix(':').unwrap_or(line), String::new()),
    };
    let mut words = head.split_whitespace();
    let session = words.next()?;
    let mut words: Vec<&str> = words.collect();
    let fails = words.first() == Some(&"fails");
    words.drain(..usize::from(fails));
    let (compare, words) = match words.as_slice() {
        ["shape", rest @ ..] => (Compare::Shape, rest),
        ["quietly", rest @ ..] => (Compare::Nothing, rest),
        rest => (if session == "admin" { Compare::Nothing } else { Compare::All }, rest),
    };
    let action = action(words, argument)?;
    let compare = if matches!(action, Action::Await(_)) { Compare::Nothing } else { compare };
    Some(Step { action, compare, fails })
}

fn action(words: &[&str], argument: String) -> Option<Action> {
    let none = Vec::new;
    Some(match words {
        [] => Action::Query { sql: argument, attributes: none() },
        ["with", list] => Action::Query { sql: argument, attributes: attributes(list)? },
        ["infile", data] => Action::Infile { sql: argument, data: (*data).to_owned() },
        ["send"] => Action::Send(argument),
        ["receive"] => Action::Receive,
        ["await"] => Action::Await(argument),
        ["prepare", name] => {
            Action::Prepared(PreparedAction::Prepare { name: (*name).to_owned(), sql: argument })
        }
        ["execute" | "cursor" | "again", name, list @ ..] => Action::Prepared(PreparedAction::Execute {
            name: (*name).to_owned(),
            values: parse_values(&argument)?,
            cursor: u8::from(words.first() == Some(&"cursor")),
            typed: words.first() != Some(&"again"),
            attributes: attributes(list.first().unwrap_or(&""))?,
        }),
        ["fetch", name] => {
            Action::Prepared(PreparedAction::Fetch { name: (*name).to_owned(), rows: argument.parse().ok()? })
        }
        ["long", name, parameter] => Action::Prepared(PreparedAction::Long {
            name: (*name).to_owned(),
            parameter: parameter.parse().ok()?,
            data: argument,
        }),
        ["reset", name] => Action::Prepared(PreparedAction::Reset((*name).to_owned())),
        ["close", name] => Action::Prepared(PreparedAction::Close((*name).to_owned())),
        ["ping"] => Action::Ping,
        ["statistics"] => Action::Statistics,
        ["debug"] => Action::Debug,
        ["quit"] => Action::Quit,
        ["clean"] => Action::ResetConnection,
        ["become", user] => Action::ChangeUser { user: (*user).to_owned(), schema: argument },
        ["initdb"] => Action::InitDb(argument),
        ["option"] => Action::SetOption(argument.parse().ok()?),
        ["fields", table] => Action::FieldList { table: (*table).to_owned(), pattern: argument },
        ["kill"] => Action::Kill(argument),
        ["raw"] => Action::Raw(argument),
        ["greeting"] => Action::Greeting,
        _ => return None,
    })
}

/// `name=value,name=value`; values as in [`parse_values`].
fn attributes(list: &str) -> Option<Vec<(String, Value)>> {
    let parse = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), parse_values(value)?.pop()?))
    };
    list.split(',').filter(|pair| !pair.is_empty()).map(parse).collect()
}
