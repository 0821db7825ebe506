//! What a statement asks about the statement before it, and its text with the answers put in: for a session
//! that has left the connection on which that statement ran.
//!
//! This file must never answer by itself: it reads and writes text only.

#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use crate::functions::{FunctionKind, function};
use crate::lexer::{LexMode, Lexer, Token, TokenKind, Word};

/// What is asked about the statement before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `SHOW WARNINGS`, `SHOW ERRORS`: the conditions themselves.
    Conditions(Which, Page),
    /// `SHOW COUNT(*) WARNINGS`, `SHOW COUNT(*) ERRORS`.
    Count(Which),
    /// `ROW_COUNT()`, `FOUND_ROWS()`, `@@warning_count` or `@@error_count` in a query.
    Values(Asked),
    /// `GET DIAGNOSTICS`.
    Diagnostics,
}

/// Which conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Notes, warnings and errors.
    All,
    /// Errors only.
    Errors,
}

/// `LIMIT` of SHOW WARNINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// So many are left out.
    pub offset: usize,
    /// At most so many are shown.
    pub count: usize,
}

impl Page {
    /// Everything.
    pub const ALL: Self = Self { offset: 0, count: usize::MAX };
}

/// Which values a query asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `ROW_COUNT()`.
    pub row_count: bool,
    /// `FOUND_ROWS()`.
    pub found_rows: bool,
    /// `@@warning_count` or `@@error_count`.
    pub counts: bool,
}

/// The answers. What is not known stays a question to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `ROW_COUNT()`.
    pub row_count: Option<i64>,
    /// `FOUND_ROWS()`.
    pub found_rows: Option<u64>,
    /// `@@warning_count`.
    pub warnings: Option<u64>,
    /// `@@error_count`.
    pub errors: Option<u64>,
}

impl Question {
    /// What this statement asks, if it asks about the one before it in a form that is known.
    #[must_use]
    pub fn read(text: &[u8], mode: LexMode) -> Option<Self> {
        let tokens = Tokens::of(text, mode);
        match tokens.word(0)? {
            Word::Show => tokens.show(),
            Word::Get => Some(Self::Diagnostics),
            _ => {
                let mut asked = Asked::default();
                for at in 0..tokens.list.len() {
                    match tokens.value(at) {
                        Some((Value::RowCount, _)) => asked.row_count = true,
                        Some((Value::FoundRows, _)) => asked.found_rows = true,
                        Some((Value::Warnings | Value::Errors, _)) => asked.counts = true,
                        None => {}
                    }
                }
                (asked != Asked::default()).then_some(Self::Values(asked))
            }
        }
    }

    /// Whether a server can be asked once more after it: the conditions stay as they are.
    #[must_use]
    pub const fn keeps_conditions(self) -> bool {
        match self {
            Self::Conditions(..) | Self::Count(_) | Self::Diagnostics => true,
            Self::Values(_) => false,
        }
    }
}

/// Whether a text that answers with rows says with their number what FOUND_ROWS() tells: a query does. Of SHOW and
/// others the server's own ways decide.
#[must_use]
pub fn counts_rows(text: &[u8], mode: LexMode) -> bool {
    // So most of them begin, and they are asked for each time.
    if text.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"SELECT ")) {
        return true;
    }
    let words = [Word::Select, Word::Table, Word::Values, Word::With];
    Lexer::new(text, mode)
        .find(|token| token.kind != TokenKind::Punctuation(b'('))
        .is_some_and(|first| matches!(first.kind, TokenKind::Word(word) if words.contains(&word)))
}

/// The query with what is known put in its places. Columns keep their names.
#[must_use]
pub fn put_in(text: &[u8], mode: LexMode, values: &Values) -> Vec<u8> {
    let tokens = Tokens::of(text, mode);
    let mut new = Vec::with_capacity(text.len() + 64);
    let mut copied = 0;
    for item in tokens.select_list() {
        let mut at = item.first;
        let mut replaced = false;
        while at < item.end {
            let Some((value, length)) = tokens.value(at) else {
                at += 1;
                continue;
            };
            let (begin, end) = (tokens.start(at), tokens.end(at + length - 1));
            at += length;
            let Some(literal) = literal(value, values) else { continue };
            new.extend_from_slice(text.get(copied..begin).unwrap_or_default());
            new.extend_from_slice(literal.as_bytes());
            (copied, replaced) = (end, true);
        }
        if replaced && !tokens.has_alias(&item) {
            let (begin, end) = (tokens.start(item.first), tokens.end(item.end - 1));
            new.extend_from_slice(text.get(copied..end).unwrap_or_default());
            new.extend_from_slice(b" AS `");
            for &byte in text.get(begin..end).unwrap_or_default() {
                new.extend_from_slice(if byte == b'`' { b"``" } else { std::slice::from_ref(&byte) });
            }
            new.push(b'`');
            copied = end;
        }
    }
    new.extend_from_slice(text.get(copied..).unwrap_or_default());
    new
}

/// In the type that the server gives it, and FOUND_ROWS() with its warning that it is deprecated.
fn literal(value: Value, values: &Values) -> Option<String> {
    match value {
        Value::RowCount => values.row_count.map(|count| format!("CAST({count} AS SIGNED)")),
        Value::FoundRows => {
            values.found_rows.map(|count| format!("CAST(IF(FOUND_ROWS() IS NULL, 0, {count}) AS SIGNED)"))
        }
        Value::Warnings => values.warnings.map(system_variable),
        Value::Errors => values.errors.map(system_variable),
    }
}

/// Unlike a number, a system variable may be NULL.
fn system_variable(count: u64) -> String {
    format!("CAST(IF(TRUE, {count}, NULL) AS UNSIGNED)")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    RowCount,
    FoundRows,
    Warnings,
    Errors,
}

/// One column of the select list: the tokens from `first` to before `end`.
struct Item {
    first: usize,
    end: usize,
}

struct Tokens<'a> {
    text: &'a [u8],
    list: Vec<Token>,
}

const OPEN: TokenKind = TokenKind::Punctuation(b'(');
const CLOSE: TokenKind = TokenKind::Punctuation(b')');
const COMMA: TokenKind = TokenKind::Punctuation(b',');

/// Words that end a select list.
const BEHIND_LIST: [&[u8]; 10] =
    [b"FROM", b"WHERE", b"LIMIT", b"ORDER", b"UNION", b"GROUP", b"HAVING", b"INTO", b"EXCEPT", b"INTERSECT"];

impl<'a> Tokens<'a> {
    fn of(text: &'a [u8], mode: LexMode) -> Self {
        let list = Lexer::new(text, mode).filter(|token| token.kind != TokenKind::Semicolon).collect();
        Self { text, list }
    }

    fn kind(&self, at: usize) -> Option<TokenKind> {
        self.list.get(at).map(|token| token.kind)
    }

    fn word(&self, at: usize) -> Option<Word> {
        match self.kind(at)? {
            TokenKind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn bytes(&self, at: usize) -> &'a [u8] {
        let span = self.list.get(at).map(|token| token.span).unwrap_or_default();
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn start(&self, at: usize) -> usize {
        self.list.get(at).map_or(0, |token| token.span.start)
    }

    fn end(&self, at: usize) -> usize {
        self.list.get(at).map_or(0, |token| token.span.end)
    }

    fn is_name(&self, at: usize, name: &[u8]) -> bool {
        matches!(self.kind(at), Some(TokenKind::Word(_))) && self.bytes(at).eq_ignore_ascii_case(name)
    }

    fn number(&self, at: usize) -> Option<usize> {
        match self.kind(at)? {
            TokenKind::Number => std::str::from_utf8(self.bytes(at)).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The value asked for at this token, and of how many tokens the question is.
    fn value(&self, at: usize) -> Option<(Value, usize)> {
        let bytes = self.bytes(at);
        if self.kind(at)? == TokenKind::SystemVariable {
            let name = bytes.strip_prefix(b"@@")?;
            let name = name.rsplit(|&byte| byte == b'.').next()?;
            let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
            return match (is(b"warning_count"), is(b"error_count")) {
                (true, _) => Some((Value::Warnings, 1)),
                (false, true) => Some((Value::Errors, 1)),
                (false, false) => None,
            };
        }
        let called = self.kind(at + 1) == Some(OPEN) && self.kind(at + 2) == Some(CLOSE);
        if !called || function(bytes) != FunctionKind::LastStatement {
            return None;
        }
        let row_count = bytes.eq_ignore_ascii_case(b"ROW_COUNT");
        Some((if row_count { Value::RowCount } else { Value::FoundRows }, 3))
    }

    /// What `SHOW` asks.
    fn show(&self) -> Option<Question> {
        let which = |at: usize| match self.word(at) {
            Some(Word::Warnings) => Some(Which::All),
            Some(Word::Errors) => Some(Which::Errors),
            _ => None,
        };
        if self.word(1) == Some(Word::Count) {
            return which(5).filter(|_| self.list.len() == 6).map(Question::Count);
        }
        let which = which(1)?;
        let page = match self.list.len() {
            2 => Page::ALL,
            length if self.is_name(2, b"LIMIT") => {
                let first = self.number(3)?;
                match length {
                    4 => Page { offset: 0, count: first },
                    6 if self.kind(4) == Some(COMMA) => Page { offset: first, count: self.number(5)? },
                    6 if self.is_name(4, b"OFFSET") => Page { offset: self.number(5)?, count: first },
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some(Question::Conditions(which, page))
    }

    /// The columns of a query that begins with SELECT.
    fn select_list(&self) -> Vec<Item> {
        let mut items = Vec::new();
        if self.word(0) != Some(Word::Select) {
            return items;
        }
        let (mut first, mut depth) = (1, 0_u32);
        for at in 1..=self.list.len() {
            let kind = self.kind(at);
            match kind {
                Some(OPEN) => depth += 1,
                Some(CLOSE) => depth = depth.saturating_sub(1),
                _ => {}
            }
            let over = kind.is_none() || BEHIND_LIST.iter().any(|word| self.is_name(at, word));
            if (over || kind == Some(COMMA)) && (depth == 0 || kind.is_none()) {
                if at > first {
                    items.push(Item { first, end: at });
                }
                first = at + 1;
            }
            if over && depth == 0 {
                break;
            }
        }
        items
    }

    /// Whether the column has a name of its own, with or without AS.
    fn has_alias(&self, item: &Item) -> bool {
        let names = |at: usize| {
            matches!(self.kind(at), Some(TokenKind::Word(_) | TokenKind::Quoted | TokenKind::Text))
        };
        let Some(last) = item.end.checked_sub(1) else { return false };
        let Some(before) = last.checked_sub(1).filter(|&before| before >= item.first && names(last)) else {
            return false;
        };
        match self.kind(before) {
            Some(CLOSE | TokenKind::Number | TokenKind::SystemVariable) => true,
            Some(TokenKind::Word(Word::As)) => true,
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Question> {
        Question::read(text.as_bytes(), LexMode::default())
    }

    fn filled(text: &str) -> String {
        let values = Values { row_count: Some(-1), found_rows: Some(7), warnings: Some(2), errors: Some(1) };
        String::from_utf8(put_in(text.as_bytes(), LexMode::default(), &values)).unwrap_or_default()
    }

    #[test]
    fn every_question_is_read() {
        let page = |offset, count| Page { offset, count };
        let conditions = |which, page| Some(Question::Conditions(which, page));
        assert_eq!(read("show warnings"), conditions(Which::All, Page::ALL));
        assert_eq!(read("SHOW /* all */ ERRORS LIMIT 3;"), conditions(Which::Errors, page(0, 3)));
        assert_eq!(read("SHOW WARNINGS LIMIT 2, 5"), conditions(Which::All, page(2, 5)));
        assert_eq!(read("SHOW WARNINGS LIMIT 5 OFFSET 2"), conditions(Which::All, page(2, 5)));
        assert_eq!(read("SHOW COUNT(*) ERRORS"), Some(Question::Count(Which::Errors)));
        assert_eq!(read("GET DIAGNOSTICS @n = NUMBER"), Some(Question::Diagnostics));
        let counts = Asked { counts: true, ..Asked::default() };
        assert_eq!(read("SELECT @@session.Warning_Count"), Some(Question::Values(counts)));
        let both = Asked { row_count: true, found_rows: true, counts: false };
        assert_eq!(read("SELECT row_count ( ), FOUND_ROWS() + 1"), Some(Question::Values(both)));
        for other in ["SHOW TABLES", "SELECT 1", "SHOW WARNINGS LIMIT ?", "SELECT ROW_COUNT(1)", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn answers_are_put_in_and_columns_keep_their_names() {
        assert_eq!(filled("SELECT ROW_COUNT()"), "SELECT CAST(-1 AS SIGNED) AS `ROW_COUNT()`");
        assert_eq!(
            filled("SELECT 'after, all', ROW_COUNT( ) -- why\n, 1"),
            "SELECT 'after, all', CAST(-1 AS SIGNED) AS `ROW_COUNT( )` -- why\n, 1"
        );
        assert_eq!(
            filled("SELECT ROW_COUNT() n, @@error_count AS e, @@warning_count"),
            "SELECT CAST(-1 AS SIGNED) n, CAST(IF(TRUE, 1, NULL) AS UNSIGNED) AS e, \
             CAST(IF(TRUE, 2, NULL) AS UNSIGNED) AS `@@warning_count`"
        );
        assert_eq!(
            filled("SELECT IF(ROW_COUNT() > 0, 'a', `b`) FROM t WHERE x = 1"),
            "SELECT IF(CAST(-1 AS SIGNED) > 0, 'a', `b`) AS `IF(ROW_COUNT() > 0, 'a', ``b``)` FROM t WHERE x = 1"
        );
        assert_eq!(
            filled("SELECT FOUND_ROWS() AS total"),
            "SELECT CAST(IF(FOUND_ROWS() IS NULL, 0, 7) AS SIGNED) AS total"
        );
        assert_eq!(filled("SELECT 1"), "SELECT 1");
    }

    #[test]
    fn what_is_not_known_stays_a_question() {
        let text = b"SELECT ROW_COUNT()";
        assert_eq!(put_in(text, LexMode::default(), &Values::default()), text);
    }

    #[test]
    fn queries_count_their_rows() {
        for query in
            ["SELECT 1", " ((SELECT 1) UNION SELECT 2)", "/* x */ TABLE t", "WITH a AS (SELECT 1) TABLE a"]
        {
            assert!(counts_rows(query.as_bytes(), LexMode::default()), "{query}");
        }
        for other in ["SHOW TABLES", "EXPLAIN SELECT 1", "CALL p()", ""] {
            assert!(!counts_rows(other.as_bytes(), LexMode::default()), "{other}");
        }
    }
}
