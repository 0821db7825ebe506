//! Reading one table of the file: typed values with their lines, and every mistake noted on the way.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::problem::{Problem, did_you_mean};

/// Units of sizes and what they are in bytes.
const SIZE_UNITS: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A size in the largest unit that gives a whole number.
pub(super) fn size_text(bytes: usize) -> String {
    let unit = SIZE_UNITS.iter().rev().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Where settings come from besides the text: the only environment that parsing may look at.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'s> {
    /// Relative paths of the file begin here.
    pub(super) base_dir: &'s Path,
    /// Looks up an environment variable.
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
}

/// The text being read, and the mistakes found so far.
pub(super) struct Notes<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    /// Line of the first password that stands in the text itself.
    pub(super) inline_secret: Cell<Option<usize>>,
    pub(super) surroundings: Surroundings<'t>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(text: &'t str, surroundings: Surroundings<'t>) -> Self {
        Self { text, problems: RefCell::default(), inline_secret: Cell::new(None), surroundings }
    }

    /// The line (from 1) of a byte offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn report(&self, line: Option<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { line, message: message.into() });
    }

    /// All mistakes, in the order of the file; what is missing comes last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems.dedup();
        problems
    }
}

/// A value with the line it was read from.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// One table. Absent tables read as empty ones.
pub(super) struct Section<'t> {
    notes: &'t Notes<'t>,
    path: String,
    line: Option<usize>,
    table: Option<&'t DeTable<'t>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'t> Section<'t> {
    pub(super) fn root(notes: &'t Notes<'t>, table: &'t DeTable<'t>) -> Self {
        Self { notes, path: String::new(), line: None, table: Some(table), asked: RefCell::default() }
    }

    /// Whether the table stands in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the table has this key, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    /// The line of the table's header.
    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    pub(super) fn notes(&self) -> &'t Notes<'t> {
        self.notes
    }

    fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// How a key of this table is called in messages.
    pub(super) fn label(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("[{}] {key}", self.path) }
    }

    /// Notes a mistake in the value of `key`.
    pub(super) fn bad(&self, key: &str, line: usize, message: &str) {
        self.notes.report(Some(line), format!("{}: {message}", self.label(key)));
    }

    /// Notes that `key` is missing.
    pub(super) fn missing(&self, key: &str, message: &str) {
        self.notes.report(self.line, format!("{} is missing: {message}", self.label(key)));
    }

    fn value(&self, key: &'static str) -> Option<Located<&'t DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        Some(Located { value: value.get_ref(), line: self.notes.line(value.span().start) })
    }

    fn wrong_type(&self, key: &str, found: &Located<&DeValue<'_>>, expected: &str) {
        let found_type = found.value.type_str();
        self.bad(key, found.line, &format!("expected {expected}, found {found_type}"));
    }

    pub(super) fn child(&self, key: &'static str) -> Section<'t> {
        let found = self.value(key);
        let table = found.as_ref().and_then(|found| found.value.as_table());
        if let (Some(found), None) = (&found, table) {
            self.wrong_type(key, found, "a table");
        }
        let line = found.map(|found| found.line);
        Section { notes: self.notes, path: self.child_path(key), line, table, asked: RefCell::default() }
    }

    /// The tables of an array of tables.
    pub(super) fn children(&self, key: &'static str) -> Vec<Section<'t>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let Some(array) = found.value.as_array() else {
            self.wrong_type(key, &found, &format!("tables headed [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array.iter() {
            let line = self.notes.line(element.span().start);
            match element.get_ref().as_table() {
                Some(table) => sections.push(Section {
                    notes: self.notes,
                    path: format!("[{}]", self.child_path(key)),
                    line: Some(line),
                    table: Some(table),
                    asked: RefCell::default(),
                }),
                None => self.bad(key, line, "expected a table"),
            }
        }
        sections
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Located<String>> {
        let found = self.value(key)?;
        let Some(text) = found.value.as_str() else {
            self.wrong_type(key, &found, "text in quotes");
            return None;
        };
        if text.trim().is_empty() {
            self.bad(key, found.line, "is empty");
            return None;
        }
        Some(Located { value: text.to_owned(), line: found.line })
    }

    /// A text that has to be there; `None` has been noted.
    pub(super) fn required_text(&self, key: &'static str, meaning: &str) -> Option<Located<String>> {
        if self.table.is_none_or(|table| table.get(key).is_none()) {
            self.asked.borrow_mut().push(key);
            self.missing(key, meaning);
            return None;
        }
        self.text(key)
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Located<Vec<String>>> {
        let found = self.value(key)?;
        let Some(array) = found.value.as_array() else {
            self.wrong_type(key, &found, "a list of texts");
            return None;
        };
        let mut texts = Vec::new();
        for element in array.iter() {
            match element.get_ref().as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.bad(key, self.notes.line(element.span().start), "expected text in quotes"),
            }
        }
        Some(Located { value: texts, line: found.line })
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.value(key) else { return default };
        found.value.as_bool().unwrap_or_else(|| {
            self.wrong_type(key, &found, "true or false");
            default
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<usize>, default: usize) -> usize {
        let Some(found) = self.value(key) else { return default };
        let Some(integer) = found.value.as_integer() else {
            self.wrong_type(key, &found, "a whole number");
            return default;
        };
        match usize::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                self.bad(key, found.line, &format!("must be from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// `"auto"` (as `None`) or a whole number.
    pub(super) fn number_or_auto(&self, key: &'static str) -> Option<Located<u16>> {
        let found = self.value(key)?;
        if found.value.as_str() == Some("auto") {
            return None;
        }
        let number = found
            .value
            .as_integer()
            .and_then(|integer| u16::from_str_radix(integer.as_str(), integer.radix()).ok());
        if number.is_none() {
            self.wrong_type(key, &found, "\"auto\" or a small whole number");
        }
        number.map(|value| Located { value, line: found.line })
    }

    /// A size such as `"512MiB"`, within `range`, in bytes.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<usize>, default: usize) -> usize {
        let Some(found) = self.value(key) else { return default };
        let text = found.value.as_str().map(str::trim);
        let bytes = text.and_then(|text| {
            SIZE_UNITS.iter().find_map(|(unit, bytes)| {
                let number: usize = text.strip_suffix(unit)?.trim_end().parse().ok()?;
                number.checked_mul(*bytes)
            })
        });
        match bytes {
            Some(bytes) if range.contains(&bytes) => bytes,
            Some(_) => {
                let (from, to) = (size_text(*range.start()), size_text(*range.end()));
                self.bad(key, found.line, &format!("must be from {from} to {to}"));
                default
            }
            None => {
                self.wrong_type(key, &found, "a size in quotes, such as \"512MiB\" or \"2GiB\"");
                default
            }
        }
    }

    /// A duration such as `"2s"`, within `range`.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(found) = self.value(key) else { return default };
        let Some(text) = found.value.as_str() else {
            self.wrong_type(key, &found, "a duration in quotes, such as \"2s\" or \"500ms\"");
            return default;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => duration,
            Ok(_) => {
                let (from, to) = (*range.start(), *range.end());
                let (from, to) = (humantime::format_duration(from), humantime::format_duration(to));
                self.bad(key, found.line, &format!("must be from {from} to {to}"));
                default
            }
            Err(error) => {
                self.bad(key, found.line, &format!("\"{text}\" is not a duration such as \"2s\": {error}"));
                default
            }
        }
    }

    /// One of a few words. A word that stands for `None` belongs to a later version.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, Option<T>)],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else { return default };
        match words.iter().find(|(word, _)| *word == text.value) {
            Some((_, Some(value))) => *value,
            Some((_, None)) => {
                self.bad(key, text.line, &format!("\"{}\": {NOT_YET}", text.value));
                default
            }
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let message = format!("\"{}\" is none of {}", text.value, known.join(", "));
                self.bad(key, text.line, &(message + &suggestion(&text.value, &known)));
                default
            }
        }
    }

    /// An address to listen on, `IP:port`.
    pub(super) fn listen_address(&self, key: &'static str) -> Option<Located<SocketAddr>> {
        let text = self.text(key)?;
        match text.value.parse() {
            Ok(value) => Some(Located { value, line: text.line }),
            Err(_) => {
                let message = format!("\"{}\" is not IP:port, such as \"0.0.0.0:3306\"", text.value);
                self.bad(key, text.line, &message);
                None
            }
        }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.into_inner();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let name = key.get_ref();
            if asked.iter().any(|known| known == name) {
                continue;
            }
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            let message = format!("unknown key \"{name}\"{place}{}", suggestion(name, &asked));
            self.notes.report(Some(self.notes.line(key.span().start)), message);
        }
    }
}

/// What is said of a value that a later version will understand.
pub(super) const NOT_YET: &str = "not supported yet in this version";

fn suggestion(word: &str, known: &[&str]) -> String {
    did_you_mean(word, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}
