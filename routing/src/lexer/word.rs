//! The keywords that a decision hangs on. All other words are [`Word::Other`].
//!
//! This file must never hold a list of everything MySQL knows: only what is matched somewhere.

/// Words longer than this are not in the table.
const FAST: usize = 16;

/// What letters of both cases have in common. Of all bytes that can be in a word only letters and `_` become those of a
/// keyword by it, and each becomes its own.
const FOLD: u128 = u128::from_le_bytes([0xdf; FAST]);

/// A short word as one number, the first byte as its lowest, without the case of its letters.
const fn key(word: &[u8]) -> u128 {
    let mut key = 0u128;
    let mut rest = word;
    while let [head @ .., byte] = rest {
        key = (key << 8) | *byte as u128;
        rest = head;
    }
    key & FOLD
}

/// [`key`] of the `length` bytes, at most [`FAST`], that begin at `start`: without looking at each, as far as the text is
/// long enough for it.
#[inline]
fn key_at_once(text: &[u8], start: usize, length: usize) -> u128 {
    let rest = text.get(start..).unwrap_or_default();
    let loaded = match (rest.first_chunk(), text.last_chunk()) {
        (Some(chunk), _) => u128::from_le_bytes(*chunk),
        (None, Some(chunk)) => u128::from_le_bytes(*chunk).checked_shr(bits(FAST - rest.len())).unwrap_or(0),
        (None, None) => return key(rest.get(..length).unwrap_or_default()),
    };
    loaded & FOLD & u128::MAX.checked_shr(bits(FAST.saturating_sub(length))).unwrap_or(0)
}

/// Of so many bytes, which are at most [`FAST`].
#[allow(clippy::cast_possible_truncation, reason = "at most 128")]
const fn bits(bytes: usize) -> u32 {
    8 * bytes as u32
}

/// Places of the table: four times as many as words, so that most other words meet an empty one.
const PLACES: usize = 512;

/// Where the search for a key begins.
#[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
const fn place(key: u128) -> usize {
    let folded = key as u64 ^ (key >> 64) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES.ilog2())) as usize
}

/// For every place one more than the number of the word that is there, or 0; a taken place is passed over.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "done by the compiler")]
const fn places(words: &[(u128, Word)]) -> [u8; PLACES] {
    assert!(words.len() < u8::MAX as usize);
    let mut places = [0; PLACES];
    let mut number = 0;
    while number < words.len() {
        let mut at = place(words[number].0);
        while places[at] != 0 {
            at = (at + 1) % PLACES;
        }
        number += 1;
        places[at] = number as u8;
    }
    places
}

macro_rules! words {
    ($($word:ident = $text:literal,)* ; $($long:ident = $long_text:literal,)*) => {
        /// A keyword, by the unquoted text of a token in any case.
        #[allow(missing_docs, reason = "each is the keyword of its name")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Word { $($word,)* $($long,)* Other }

        static SHORT: &[(u128, Word)] = &[$((key($text.as_bytes()), Word::$word),)*];

        fn long(word: &[u8]) -> Word {
            $(if word.eq_ignore_ascii_case($long_text.as_bytes()) { return Word::$long; })*
            Word::Other
        }
    };
}

static TAKEN: [u8; PLACES] = places(SHORT);

/// The keyword that the bytes from `start` to `end` spell.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a place is below the number of places")]
pub(super) fn lookup(text: &[u8], start: usize, end: usize) -> Word {
    let length = end.saturating_sub(start);
    if length > FAST {
        return long(text.get(start..end).unwrap_or_default());
    }
    let key = key_at_once(text, start, length);
    let mut at = place(key);
    while let Some((known, word)) = SHORT.get(usize::from(TAKEN[at]).wrapping_sub(1)) {
        if *known == key {
            return *word;
        }
        at = (at + 1) % PLACES;
    }
    Word::Other
}

words! {
    Alter = "ALTER",
    Analyze = "ANALYZE",
    As = "AS",
    Backup = "BACKUP",
    Begin = "BEGIN",
    Binlog = "BINLOG",
    Cache = "CACHE",
    Call = "CALL",
    Chain = "CHAIN",
    Change = "CHANGE",
    Character = "CHARACTER",
    Charset = "CHARSET",
    Check = "CHECK",
    Checksum = "CHECKSUM",
    Clone = "CLONE",
    Close = "CLOSE",
    Collation = "COLLATION",
    Columns = "COLUMNS",
    Commit = "COMMIT",
    Connection = "CONNECTION",
    ConnectionId = "CONNECTION_ID",
    Count = "COUNT",
    Create = "CREATE",
    Database = "DATABASE",
    Databases = "DATABASES",
    Deallocate = "DEALLOCATE",
    Default = "DEFAULT",
    Delete = "DELETE",
    Desc = "DESC",
    Describe = "DESCRIBE",
    Do = "DO",
    Drop = "DROP",
    Errors = "ERRORS",
    Execute = "EXECUTE",
    Exists = "EXISTS",
    Explain = "EXPLAIN",
    Extended = "EXTENDED",
    False = "FALSE",
    Fields = "FIELDS",
    Flush = "FLUSH",
    For = "FOR",
    Format = "FORMAT",
    Full = "FULL",
    Function = "FUNCTION",
    Get = "GET",
    Global = "GLOBAL",
    Grant = "GRANT",
    Grants = "GRANTS",
    Handler = "HANDLER",
    Help = "HELP",
    If = "IF",
    Import = "IMPORT",
    Index = "INDEX",
    Indexes = "INDEXES",
    Insert = "INSERT",
    Install = "INSTALL",
    Instance = "INSTANCE",
    Into = "INTO",
    Keys = "KEYS",
    Kill = "KILL",
    Load = "LOAD",
    Local = "LOCAL",
    Lock = "LOCK",
    Mysql = "MYSQL",
    Names = "NAMES",
    No = "NO",
    Null = "NULL",
    Only = "ONLY",
    Open = "OPEN",
    Optimize = "OPTIMIZE",
    Partitions = "PARTITIONS",
    Password = "PASSWORD",
    Persist = "PERSIST",
    PersistOnly = "PERSIST_ONLY",
    Prepare = "PREPARE",
    Privileges = "PRIVILEGES",
    Procedure = "PROCEDURE",
    Purge = "PURGE",
    Query = "QUERY",
    Read = "READ",
    Recover = "RECOVER",
    Recursive = "RECURSIVE",
    Release = "RELEASE",
    Rename = "RENAME",
    Repair = "REPAIR",
    Replace = "REPLACE",
    Reset = "RESET",
    Resource = "RESOURCE",
    Restart = "RESTART",
    Revoke = "REVOKE",
    Role = "ROLE",
    Rollback = "ROLLBACK",
    Savepoint = "SAVEPOINT",
    Schema = "SCHEMA",
    Schemas = "SCHEMAS",
    Select = "SELECT",
    Session = "SESSION",
    Set = "SET",
    Share = "SHARE",
    Show = "SHOW",
    Shutdown = "SHUTDOWN",
    Start = "START",
    Status = "STATUS",
    Stop = "STOP",
    Sys = "SYS",
    Table = "TABLE",
    Tables = "TABLES",
    Temporary = "TEMPORARY",
    To = "TO",
    Transaction = "TRANSACTION",
    Trigger = "TRIGGER",
    Triggers = "TRIGGERS",
    True = "TRUE",
    Truncate = "TRUNCATE",
    Uninstall = "UNINSTALL",
    Unlock = "UNLOCK",
    Update = "UPDATE",
    Use = "USE",
    User = "USER",
    Value = "VALUE",
    Values = "VALUES",
    Variables = "VARIABLES",
    View = "VIEW",
    Warnings = "WARNINGS",
    With = "WITH",
    Work = "WORK",
    Xa = "XA",
    ;
    InformationSchema = "INFORMATION_SCHEMA",
    PerformanceSchema = "PERFORMANCE_SCHEMA",
    SqlCalcFoundRows = "SQL_CALC_FOUND_ROWS",
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a failed step fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::super::bytes::in_word;
    use super::*;

    proptest! {
        #[test]
        fn keys_are_the_same_in_one_step(
            text in proptest::collection::vec(any::<u8>(), 0..40),
            start in 0usize..40,
            length in 0..=FAST,
        ) {
            let start = start.min(text.len());
            let length = length.min(text.len() - start);
            prop_assert_eq!(key_at_once(&text, start, length), key(&text[start..start + length]));
        }

        #[test]
        fn a_word_is_the_same_wherever_it_stands(before in "[ -~]{0,20}", behind in "[ -~]{0,20}", word in "[A-Za-z_]{1,24}") {
            let text = format!("{before}{word}{behind}");
            let there = lookup(text.as_bytes(), before.len(), before.len() + word.len());
            prop_assert_eq!(there, word_of(word.as_bytes()));
        }
    }

    fn word_of(bytes: &[u8]) -> Word {
        lookup(bytes, 0, bytes.len())
    }

    #[test]
    fn every_word_of_the_table_is_found_and_nothing_beside_it() {
        for (key, word) in SHORT {
            let text: Vec<u8> = key.to_le_bytes().into_iter().take_while(|byte| *byte != 0).collect();
            assert_eq!(word_of(&text), *word);
            assert_eq!(word_of(&[&text[..], b"_"].concat()), Word::Other);
            for (at, other) in (0..text.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut near = text.clone();
                near[at] = other;
                let same = near.eq_ignore_ascii_case(&text);
                assert!(!in_word(other) || same == (word_of(&near) == *word), "{near:?}");
            }
        }
    }

    #[test]
    fn words_are_found_in_any_case() {
        assert_eq!(word_of(b"SeLeCt"), Word::Select);
        assert_eq!(word_of(b"information_schema"), Word::InformationSchema);
        assert_eq!(word_of(b"selects"), Word::Other);
        assert_eq!(word_of("ſelect".as_bytes()), Word::Other);
        assert_eq!(word_of(b""), Word::Other);
    }
}
