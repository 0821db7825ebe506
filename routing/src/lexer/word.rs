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
            match key(bytes) {
                $(keys::$word => Word::$word,)*
                _ => Word::Other,
            }
        }
    };
}

words! {
    All = "ALL",
    Alter = "ALTER",
    Analyze = "ANALYZE",
    And = "AND",
    As = "AS",
    Autocommit = "AUTOCOMMIT",
    Backup = "BACKUP",
    Begin = "BEGIN",
    Binary = "BINARY",
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
    Column = "COLUMN",
    Columns = "COLUMNS",
    Commit = "COMMIT",
    Connection = "CONNECTION",
    ConnectionId = "CONNECTION_ID",
    Consistent = "CONSISTENT",
    Count = "COUNT",
    Create = "CREATE",
    Database = "DATABASE",
    Databases = "DATABASES",
    Deallocate = "DEALLOCATE",
    Default = "DEFAULT",
    Delete = "DELETE",
    Desc = "DESC",
    Describe = "DESCRIBE",
    Diagnostics = "DIAGNOSTICS",
    Do = "DO",
    Drop = "DROP",
    End = "END",
    Errors = "ERRORS",
    Event = "EVENT",
    Execute = "EXECUTE",
    Exists = "EXISTS",
    Explain = "EXPLAIN",
    Extended = "EXTENDED",
    False = "FALSE",
    Fields = "FIELDS",
    Flush = "FLUSH",
    For = "FOR",
    Format = "FORMAT",
    From = "FROM",
    Full = "FULL",
    Function = "FUNCTION",
    Get = "GET",
    Global = "GLOBAL",
    Grant = "GRANT",
    Grants = "GRANTS",
    Group = "GROUP",
    Handler = "HANDLER",
    Help = "HELP",
    If = "IF",
    Import = "IMPORT",
    In = "IN",
    Index = "INDEX",
    Indexes = "INDEXES",
    Insert = "INSERT",
    Install = "INSTALL",
    Instance = "INSTANCE",
    Into = "INTO",
    Keys = "KEYS",
    Kill = "KILL",
    LastInsertId = "LAST_INSERT_ID",
    Load = "LOAD",
    Local = "LOCAL",
    Lock = "LOCK",
    Mysql = "MYSQL",
    Names = "NAMES",
    Next = "NEXT",
    No = "NO",
    Null = "NULL",
    Off = "OFF",
    On = "ON",
    One = "ONE",
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
    Processlist = "PROCESSLIST",
    Purge = "PURGE",
    Query = "QUERY",
    Read = "READ",
    Recover = "RECOVER",
    Recursive = "RECURSIVE",
    Release = "RELEASE",
    Rename = "RENAME",
    Repair = "REPAIR",
    Replace = "REPLACE",
    Replicas = "REPLICAS",
    Reset = "RESET",
    Resignal = "RESIGNAL",
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
    Signal = "SIGNAL",
    Snapshot = "SNAPSHOT",
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
    Using = "USING",
    Value = "VALUE",
    Values = "VALUES",
    View = "VIEW",
    Warnings = "WARNINGS",
    With = "WITH",
    Work = "WORK",
    Write = "WRITE",
    Xa = "XA",
    ;
    InformationSchema = "INFORMATION_SCHEMA",
    PerformanceSchema = "PERFORMANCE_SCHEMA",
    SqlCalcFoundRows = "SQL_CALC_FOUND_ROWS",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case() {
        assert_eq!(lookup(b"SeLeCt"), Word::Select);
        assert_eq!(lookup(b"information_schema"), Word::InformationSchema);
        assert_eq!(lookup(b"selects"), Word::Other);
        assert_eq!(lookup("ſelect".as_bytes()), Word::Other);
        assert_eq!(lookup(b""), Word::Other);
    }
}
