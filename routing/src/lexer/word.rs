//! The keywords that a decision hangs on. All other words are [`Word::Other`].
//!
//! This file must never hold a list of everything MySQL knows: only what is matched somewhere.

/// Words longer than this are not in the fast table.
const FAST: usize = 16;

/// The upper-case letters of a short word as one number. ASCII only: other bytes keep their value.
const fn key(word: &[u8]) -> u128 {
    let mut key = 0u128;
    let mut rest = word;
    while let [byte, tail @ ..] = rest {
        key = (key << 8) | byte.to_ascii_uppercase() as u128;
        rest = tail;
    }
    key
}

/// [`key`], of at most [`FAST`] bytes, without looking at each.
fn key_at_once(word: &[u8]) -> u128 {
    let mut bytes = [0; FAST];
    if let Some(end) = bytes.len().checked_sub(word.len()).and_then(|begin| bytes.get_mut(begin..)) {
        end.copy_from_slice(word);
    }
    bytes.make_ascii_uppercase();
    u128::from_be_bytes(bytes)
}

macro_rules! words {
    ($($word:ident = $text:literal,)* ; $($long:ident = $long_text:literal,)*) => {
        /// A keyword, by the unquoted text of a token in any case.
        #[allow(missing_docs, reason = "each is the keyword of its name")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Word { $($word,)* $($long,)* Other }

        #[allow(non_upper_case_globals, reason = "named like the variants they stand for")]
        mod keys { $(pub(super) const $word: u128 = super::key($text.as_bytes());)* }

        /// The keyword that `bytes` spell.
        pub(super) fn lookup(bytes: &[u8]) -> Word {
            if bytes.len() > FAST {
                $(if bytes.eq_ignore_ascii_case($long_text.as_bytes()) { return Word::$long; })*
                return Word::Other;
            }
            match key_at_once(bytes) {
                $(keys::$word => Word::$word,)*
                _ => Word::Other,
            }
        }
    };
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_the_same_in_one_step(word in proptest::collection::vec(any::<u8>(), 0..=FAST)) {
            prop_assert_eq!(key_at_once(&word), key(&word));
        }
    }

    #[test]
    fn words_are_found_in_any_case() {
        assert_eq!(lookup(b"SeLeCt"), Word::Select);
        assert_eq!(lookup(b"information_schema"), Word::InformationSchema);
        assert_eq!(lookup(b"selects"), Word::Other);
        assert_eq!(lookup("ſelect".as_bytes()), Word::Other);
        assert_eq!(lookup(b""), Word::Other);
    }
}
