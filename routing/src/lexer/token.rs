//! The words of the lexer: modes, spans, tokens, oddities.
//!
//! This file must never hold behaviour beyond small questions about its own values.

use super::Word;

/// How the server would cut the session's text into tokens; follows `sql_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LexMode {
    /// What a backslash means in strings.
    pub strings: Strings,
    /// What `"` encloses.
    pub double_quotes: DoubleQuotes,
    /// Whether bytes of the client's character set can be told apart at all.
    pub charset: ClientCharset,
}

/// What a backslash means in strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strings {
    /// It escapes the next byte (the default).
    #[default]
    BackslashEscapes,
    /// An ordinary character: `NO_BACKSLASH_ESCAPES`.
    BackslashIsPlain,
}

/// What `"` encloses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DoubleQuotes {
    /// A string (the default).
    #[default]
    Text,
    /// An identifier: `ANSI_QUOTES`.
    Identifier,
}

/// Whether `character_set_client` can be read byte by byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientCharset {
    /// An ASCII byte always means that ASCII character (utf8mb4, latin1 and most others).
    #[default]
    Plain,
    /// The second byte of a character can look like a backslash or a quote (big5, gbk, gb18030, sjis,
    /// cp932): the text is not read, everything goes to the primary.
    TrailBytes,
}

impl LexMode {
    /// This mode with what `sql_mode` (the variable's text as the server reports it) says.
    #[must_use]
    pub fn with_sql_mode(self, sql_mode: &[u8]) -> Self {
        let has = |name: &[u8]| sql_mode.split(|&byte| byte == b',').any(|m| m.eq_ignore_ascii_case(name));
        Self {
            strings: if has(b"NO_BACKSLASH_ESCAPES") {
                Strings::BackslashIsPlain
            } else {
                Strings::BackslashEscapes
            },
            double_quotes: if has(b"ANSI_QUOTES") || has(b"ANSI") {
                DoubleQuotes::Identifier
            } else {
                DoubleQuotes::Text
            },
            ..self
        }
    }

    /// This mode with what `character_set_client` (the character set's name) says.
    #[must_use]
    pub fn with_client_charset(self, name: &[u8]) -> Self {
        let unsafe_names: [&[u8]; 5] = [b"big5", b"gbk", b"gb18030", b"sjis", b"cp932"];
        let trail = unsafe_names.iter().any(|unsafe_name| name.eq_ignore_ascii_case(unsafe_name));
        Self { charset: if trail { ClientCharset::TrailBytes } else { ClientCharset::Plain }, ..self }
    }
}

/// A range of bytes of the statement's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands, quotes and `@` included.
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted identifier or keyword.
    Word(Word),
    /// An identifier in backticks (or `"` under ANSI_QUOTES).
    Quoted,
    /// A string literal, with its `N`, `x` or `b` if it has one.
    Text,
    /// A number literal.
    Number,
    /// `@name`.
    UserVariable,
    /// `@@name`, `@@global.name`.
    SystemVariable,
    /// `:=`
    Assign,
    /// `?`
    Placeholder,
    /// `;`
    Semicolon,
    /// Any other single byte.
    Punctuation(u8),
    /// Something no server accepts: an unterminated string or comment, a NUL byte.
    Broken,
}

/// Why a text can't be trusted to mean what the tokens say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// A string, quoted identifier or comment does not end.
    Unterminated,
    /// A NUL byte outside strings.
    NulByte,
    /// A comment that only some server versions execute (`/*!90000 ... */`, `/*M! ... */`).
    VersionComment,
    /// An optimizer hint with quotes: the server may see its end elsewhere.
    QuoteInHint,
    /// A number that runs into letters (`1e5FOR`): servers end the number in the middle.
    NumberIntoWord,
}
