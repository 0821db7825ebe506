//! What speaks against a statement anywhere in its text, seen token by token in constant memory.
//!
//! This file must never let something it doesn't know pass as harmless.
#![allow(clippy::wildcard_enum_match_arm, reason = "keywords not named here are one case: not that one")]

use crate::functions::{FunctionKind, function};
use crate::lexer::{Token, TokenKind, Word};
use crate::variables;

/// Something seen in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A word of INSERT, UPDATE, DELETE or REPLACE.
    Changes,
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    Locks,
    Into,
    IntoUserVariable,
    /// `:=` other than that of SET.
    AssignsInline,
    UserVariable,
    SystemVariable,
    /// `@@session_track_...`
    TrackerVariable,
    /// `SQL_CALC_FOUND_ROWS`
    FoundRows,
    LastStatement,
    ConnectionId,
    LastInsertId,
    SetsLastInsertId,
    TakesLock,
    ReleasesLock,
    ReleasesAllLocks,
    ServiceLock,
    ServerFunction,
    UnknownFunction,
    Sequence,
    ServerSchema,
}

/// What the next token would be taken for wrongly without the parser's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Nothing,
    /// A `(` begins a list of columns, not the arguments of a function.
    Columns,
    /// A `:=` is SET's own.
    Assignment,
}

/// Everything seen so far in the current statement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    signs: u32,
    last: Seen,
    before: Seen,
    /// Whether the last token can mean something together with the next one.
    weight: Weight,
    depth: u32,
    /// The depth at which a WITH list names its tables, while it does.
    with_list: Option<u32>,
    expected: Expected,
}

/// Whether a token can mean something together with the one behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Weight {
    /// It can't: most names, numbers, strings and marks.
    #[default]
    None,
    Some,
}

/// An earlier token as far as later ones need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    kind: Option<TokenKind>,
    function: Option<FunctionKind>,
    schema: Schema,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Schema {
    Server,
    Information,
    #[default]
    Other,
}

impl Default for Seen {
    fn default() -> Self {
        Self { kind: None, function: None, schema: Schema::Other }
    }
}

impl Seen {
    fn is(self, kind: TokenKind) -> bool {
        self.kind == Some(kind)
    }

    fn is_word(self, word: Word) -> bool {
        self.kind == Some(TokenKind::Word(word))
    }
}

const OPEN: TokenKind = TokenKind::Punctuation(b'(');
const CLOSE: TokenKind = TokenKind::Punctuation(b')');
const DOT: TokenKind = TokenKind::Punctuation(b'.');
const COMMA: TokenKind = TokenKind::Punctuation(b',');

impl Features {
    pub(super) fn has(self, sign: Sign) -> bool {
        self.signs & (1 << sign as u32) != 0
    }

    /// Whether nothing was seen.
    pub(super) fn none(self) -> bool {
        self.signs == 0
    }

    fn add(&mut self, sign: Sign) {
        self.signs |= 1 << sign as u32;
    }

    /// A `(` that comes next begins a list of columns.
    pub(super) fn expect_columns(&mut self) {
        self.expected = Expected::Columns;
    }

    /// A `:=` that comes next is SET's own.
    pub(super) fn expect_assignment(&mut self) {
        self.expected = Expected::Assignment;
    }

    /// Takes note of the next token of the statement. `bytes` is its text. The token after it is `next`. `vouched`: the owner
    /// vouches for the stored function of this name.
    #[inline]
    pub(super) fn see<'a>(
        &mut self,
        token: Token,
        bytes: impl Fn() -> &'a [u8],
        next: Option<TokenKind>,
        vouched: bool,
    ) {
        if self.weight == Weight::Some {
            self.see_after_last(token.kind, bytes());
        }
        let mut now = Seen { kind: Some(token.kind), ..Seen::default() };
        let mut weight = Weight::None;
        match token.kind {
            TokenKind::Word(Word::Other) => {
                if next == Some(OPEN) {
                    now.function = Some(self.call(bytes(), vouched));
                }
            }
            TokenKind::Word(word) => {
                self.see_word(word);
                now.schema = schema_of_word(word);
                weight = weight_of_word(word, now.schema);
                if next == Some(OPEN) {
                    now.function = Some(self.call(bytes(), vouched));
                }
            }
            TokenKind::Quoted => {
                let name = unquoted(bytes());
                now.schema = schema_of_name(name);
                if now.schema == Schema::Server {
                    weight = Weight::Some;
                }
                if next == Some(OPEN) {
                    now.function = Some(self.call(name, vouched));
                }
            }
            TokenKind::UserVariable => self.add(Sign::UserVariable),
            TokenKind::SystemVariable => self.see_system_variable(bytes()),
            TokenKind::Assign if self.expected == Expected::Assignment => {}
            TokenKind::Assign => self.add(Sign::AssignsInline),
            OPEN => {
                self.depth += 1;
                if self.last.function == Some(FunctionKind::LastInsertId) {
                    weight = Weight::Some;
                }
            }
            CLOSE => self.depth = self.depth.saturating_sub(1),
            DOT if self.last.schema == Schema::Information => weight = Weight::Some,
            TokenKind::Text
            | TokenKind::Number
            | TokenKind::Placeholder
            | TokenKind::Semicolon
            | TokenKind::Punctuation(_)
            | TokenKind::Broken => {}
        }
        self.expected = Expected::Nothing;
        (self.before, self.last, self.weight) = (self.last, now, weight);
    }

    /// What the token says together with those before it.
    fn see_after_last(&mut self, kind: TokenKind, bytes: &[u8]) {
        let (last, before) = (self.last, self.before);
        if kind == DOT && last.schema == Schema::Server {
            self.add(Sign::ServerSchema);
        }
        let Some(last) = last.kind else { return };
        match last {
            TokenKind::Word(Word::Insert | Word::Replace) if kind != OPEN => self.add(Sign::Changes),
            TokenKind::Word(Word::Into) if kind == TokenKind::UserVariable => {
                self.add(Sign::IntoUserVariable);
            }
            OPEN if before.function == Some(FunctionKind::LastInsertId) && kind != CLOSE => {
                self.add(Sign::SetsLastInsertId);
            }
            DOT if before.schema == Schema::Information && variables::is_server_table(unquoted(bytes)) => {
                self.add(Sign::ServerSchema);
            }
            TokenKind::Word(Word::For) if kind == TokenKind::Word(Word::Share) => self.add(Sign::Locks),
            TokenKind::Word(Word::Value) if kind == TokenKind::Word(Word::For) => {
                self.add(Sign::Sequence);
            }
            _ => {}
        }
    }

    fn see_word(&mut self, word: Word) {
        if self.with_list == Some(self.depth) && ends_with_list(word) {
            self.with_list = None;
        }
        if word == Word::With && (self.last.kind.is_none() || self.last.is(OPEN)) {
            self.with_list = Some(self.depth);
        }
        match word {
            Word::Update if self.last.is_word(Word::For) => self.add(Sign::Locks),
            Word::Update | Word::Delete => self.add(Sign::Changes),
            Word::Lock => self.add(Sign::Locks),
            Word::Into => self.add(Sign::Into),
            Word::SqlCalcFoundRows => self.add(Sign::FoundRows),
            _ => {}
        }
    }

    /// `SELECT @@warning_count` asks about the last statement; all others about the session or the server.
    fn see_system_variable(&mut self, bytes: &[u8]) {
        let name = bytes.strip_prefix(b"@@").unwrap_or(bytes);
        let name = name.rsplit(|&byte| byte == b'.').next().unwrap_or(name);
        let about_last: [&[u8]; 2] = [b"warning_count", b"error_count"];
        if about_last.iter().any(|variable| name.eq_ignore_ascii_case(variable)) {
            self.add(Sign::LastStatement);
        } else {
            self.add(Sign::SystemVariable);
        }
        if variables::variable(name) == variables::Variable::Tracker {
            self.add(Sign::TrackerVariable);
        }
    }

    /// A name with `(` behind it: most are native functions, some begin a list of columns.
    fn call(&mut self, name: &[u8], vouched: bool) -> FunctionKind {
        if self.expected == Expected::Columns || self.names_common_table() {
            return FunctionKind::Keyword;
        }
        let kind = match if self.last.is(DOT) { FunctionKind::Unknown } else { function(name) } {
            FunctionKind::Unknown if vouched => FunctionKind::Pure,
            kind => kind,
        };
        match kind {
            FunctionKind::Pure | FunctionKind::Keyword => {}
            FunctionKind::LastStatement => self.add(Sign::LastStatement),
            FunctionKind::ConnectionId => self.add(Sign::ConnectionId),
            FunctionKind::LastInsertId => self.add(Sign::LastInsertId),
            FunctionKind::GetLock => self.add(Sign::TakesLock),
            FunctionKind::ReleaseLock => self.add(Sign::ReleasesLock),
            FunctionKind::ReleaseAllLocks => self.add(Sign::ReleasesAllLocks),
            FunctionKind::ServiceLock => self.add(Sign::ServiceLock),
            FunctionKind::ServerBound => self.add(Sign::ServerFunction),
            FunctionKind::Sequence => self.add(Sign::Sequence),
            FunctionKind::Unknown => self.add(Sign::UnknownFunction),
        }
        kind
    }

    /// `WITH a (x) AS (...), b (y) AS (...)`: whether a name here is that of a common table.
    fn names_common_table(&self) -> bool {
        let after_comma = self.last.is(COMMA) && self.before.is(CLOSE);
        self.with_list == Some(self.depth)
            && (self.last.is_word(Word::With) || self.last.is_word(Word::Recursive) || after_comma)
    }
}

/// Whether [`Features::see_after_last`] looks at what stands behind this word.
fn weight_of_word(word: Word, schema: Schema) -> Weight {
    match word {
        Word::Insert | Word::Replace | Word::Into | Word::For | Word::Value => Weight::Some,
        _ if schema == Schema::Server => Weight::Some,
        _ => Weight::None,
    }
}

fn ends_with_list(word: Word) -> bool {
    matches!(word, Word::Select | Word::Table | Word::Values | Word::Update | Word::Delete)
}

fn schema_of_word(word: Word) -> Schema {
    match word {
        Word::Mysql | Word::Sys | Word::PerformanceSchema => Schema::Server,
        Word::InformationSchema => Schema::Information,
        _ => Schema::Other,
    }
}

fn schema_of_name(name: &[u8]) -> Schema {
    if name.eq_ignore_ascii_case(b"information_schema") {
        Schema::Information
    } else if variables::is_server_schema(name) {
        Schema::Server
    } else {
        Schema::Other
    }
}

/// The inside of a quoted identifier; other text as it is.
fn unquoted(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'`', inner @ .., b'`'] | [b'"', inner @ .., b'"'] => inner,
        _ => bytes,
    }
}
