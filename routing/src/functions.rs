//! What calling a native function means for routing. A name that is not here is a stored function or a
//! loadable one and may do anything.
//!
//! This file must never guess: a function is pure only if it stands in the list.

/// What a word before `(` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// Same answer on any server that has the same data; leaves nothing behind.
    Pure,
    /// Not a function: a keyword that may stand before `(`.
    Keyword,
    /// Answers about the statement before: `FOUND_ROWS()`, `ROW_COUNT()`.
    LastStatement,
    /// `CONNECTION_ID()`: the proxy knows the id that the client knows.
    ConnectionId,
    /// `LAST_INSERT_ID()`, `LAST_INSERT_ID(n)`.
    LastInsertId,
    /// `GET_LOCK()`.
    GetLock,
    /// `RELEASE_LOCK()`.
    ReleaseLock,
    /// `RELEASE_ALL_LOCKS()`.
    ReleaseAllLocks,
    /// Locks of the locking service and of version tokens.
    ServiceLock,
    /// Answers about this very server, its files or its replication.
    ServerBound,
    /// Sequences of MariaDB: they write.
    Sequence,
    /// Not native: stored or loadable.
    Unknown,
}

/// The longest name in the lists.
const LONGEST: usize = 34;

/// What `name` before a `(` means; any case.
pub(crate) fn function(name: &[u8]) -> FunctionKind {
    let mut upper = [0u8; LONGEST];
    // A longer one is nobody we know, and is not hashed.
    let Some(upper) = upper.get_mut(..name.len()) else { return FunctionKind::Unknown };
    if let Some(kind) = listed(name) {
        return kind;
    }
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    special(upper)
}

/// Places of the table of both lists: several times as many as names, so that most other names meet an empty one.
const PLACES: usize = 2048;

/// Where the search for a name begins; the same for both cases.
const fn place(name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ (*byte & 0xdf) as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    (hash ^ (hash >> 15)) as usize % PLACES
}

/// For every place one more than the number of the name that is there, counted through both lists, or 0. A taken place is
/// passed over.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "done by the compiler")]
static TAKEN: [u16; PLACES] = {
    let mut taken = [0; PLACES];
    let mut number = 0;
    while number < PURE.len() + KEYWORDS.len() {
        let name = if number < PURE.len() { PURE[number] } else { KEYWORDS[number - PURE.len()] };
        let mut at = place(name.as_bytes());
        while taken[at] != 0 {
            at = (at + 1) % PLACES;
        }
        number += 1;
        taken[at] = number as u16;
    }
    taken
};

/// What a name means that stands in one of the lists.
#[allow(clippy::indexing_slicing, reason = "a place is below the number of places")]
fn listed(name: &[u8]) -> Option<FunctionKind> {
    let mut at = place(name);
    loop {
        let number = usize::from(TAKEN[at]).wrapping_sub(1);
        let (known, kind) = match PURE.get(number) {
            Some(known) => (known, FunctionKind::Pure),
            None => (KEYWORDS.get(number.wrapping_sub(PURE.len()))?, FunctionKind::Keyword),
        };
        if name.eq_ignore_ascii_case(known.as_bytes()) {
            return Some(kind);
        }
        at = (at + 1) % PLACES;
    }
}

fn special(upper: &[u8]) -> FunctionKind {
    match upper {
        b"FOUND_ROWS" | b"ROW_COUNT" => FunctionKind::LastStatement,
        b"CONNECTION_ID" => FunctionKind::ConnectionId,
        b"LAST_INSERT_ID" => FunctionKind::LastInsertId,
        b"GET_LOCK" => FunctionKind::GetLock,
        b"RELEASE_LOCK" => FunctionKind::ReleaseLock,
        b"RELEASE_ALL_LOCKS" => FunctionKind::ReleaseAllLocks,
        b"SERVICE_GET_READ_LOCKS"
        | b"SERVICE_GET_WRITE_LOCKS"
        | b"SERVICE_RELEASE_LOCKS"
        | b"VERSION_TOKENS_LOCK_EXCLUSIVE"
        | b"VERSION_TOKENS_LOCK_SHARED"
        | b"VERSION_TOKENS_UNLOCK" => FunctionKind::ServiceLock,
        b"VERSION"
        | b"UUID_SHORT"
        | b"LOAD_FILE"
        | b"IS_FREE_LOCK"
        | b"IS_USED_LOCK"
        | b"MASTER_POS_WAIT"
        | b"SOURCE_POS_WAIT"
        | b"WAIT_FOR_EXECUTED_GTID_SET"
        | b"WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS"
        | b"MASTER_GTID_WAIT"
        | b"ICU_VERSION"
        | b"PS_CURRENT_THREAD_ID"
        | b"PS_THREAD_ID"
        | b"VALIDATE_PASSWORD_STRENGTH"
        | b"ROLES_GRAPHML" => FunctionKind::ServerBound,
        b"NEXTVAL" | b"LASTVAL" | b"SETVAL" => FunctionKind::Sequence,
        _ => FunctionKind::Unknown,
    }
}

/// Native functions that give the same answer anywhere, sorted. All are native in 9.7.4 except MD5, SHA and SHA1,
/// which older servers have and newer ones offer as a component of the same meaning.
#[rustfmt::skip]
static PURE: &[&str] = &[
    "ABS", "ACOS", "ADDDATE", "ADDTIME", "AES_DECRYPT", "AES_ENCRYPT", "ANY_VALUE", "ASCII", "ASIN", "ATAN",
    "ATAN2", "AVG", "BENCHMARK", "BIN", "BIN_TO_UUID", "BIT_AND", "BIT_COUNT", "BIT_LENGTH", "BIT_OR",
    "BIT_XOR", "CAST", "CEIL", "CEILING", "CHAR", "CHARACTER_LENGTH", "CHARSET", "CHAR_LENGTH", "COALESCE",
    "COERCIBILITY", "COLLATION", "COMPRESS", "CONCAT", "CONCAT_WS", "CONV", "CONVERT", "CONVERT_TZ", "COS",
    "COT", "COUNT", "CRC32", "CUME_DIST", "CURDATE", "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_TIME",
    "CURRENT_TIMESTAMP", "CURRENT_USER", "CURTIME", "DATABASE", "DATE", "DATEDIFF", "DATE_ADD",
    "DATE_FORMAT", "DATE_SUB", "DAY", "DAYNAME", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "DEFAULT",
    "DEGREES", "DENSE_RANK", "ELT", "EXP", "EXPORT_SET", "EXTRACT", "EXTRACTVALUE", "FIELD",
    "FIND_IN_SET", "FIRST_VALUE", "FLOOR", "FORMAT", "FORMAT_BYTES", "FORMAT_PICO_TIME", "FROM_BASE64",
    "FROM_DAYS", "FROM_UNIXTIME", "FROM_VECTOR", "GEOMCOLLECTION", "GEOMETRYCOLLECTION", "GET_FORMAT",
    "GREATEST", "GROUPING", "GROUP_CONCAT", "GTID_SUBSET", "GTID_SUBTRACT", "HEX", "HOUR", "IF", "IFNULL",
    "INET6_ATON", "INET6_NTOA", "INET_ATON", "INET_NTOA", "INSERT", "INSTR", "INTERVAL", "ISNULL",
    "IS_IPV4", "IS_IPV4_COMPAT", "IS_IPV4_MAPPED", "IS_IPV6", "IS_UUID", "JSON_ARRAY", "JSON_ARRAYAGG",
    "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT", "JSON_CONTAINS", "JSON_CONTAINS_PATH", "JSON_DEPTH",
    "JSON_EXTRACT", "JSON_INSERT", "JSON_KEYS", "JSON_LENGTH", "JSON_MERGE", "JSON_MERGE_PATCH",
    "JSON_MERGE_PRESERVE", "JSON_OBJECT", "JSON_OBJECTAGG", "JSON_OVERLAPS", "JSON_PRETTY", "JSON_QUOTE",
    "JSON_REMOVE", "JSON_REPLACE", "JSON_SCHEMA_VALID", "JSON_SCHEMA_VALIDATION_REPORT", "JSON_SEARCH",
    "JSON_SET", "JSON_STORAGE_FREE", "JSON_STORAGE_SIZE", "JSON_TABLE", "JSON_TYPE", "JSON_UNQUOTE",
    "JSON_VALID", "JSON_VALUE", "LAG", "LAST_DAY", "LAST_VALUE", "LCASE", "LEAD", "LEAST", "LEFT", "LENGTH",
    "LINESTRING", "LN", "LOCALTIME", "LOCALTIMESTAMP", "LOCATE", "LOG", "LOG10", "LOG2", "LOWER", "LPAD",
    "LTRIM", "MAKEDATE", "MAKETIME", "MAKE_SET", "MATCH", "MAX", "MBRCONTAINS", "MBRCOVEREDBY", "MBRCOVERS",
    "MBRDISJOINT", "MBREQUALS", "MBRINTERSECTS", "MBROVERLAPS", "MBRTOUCHES", "MBRWITHIN", "MD5",
    "MICROSECOND", "MID", "MIN", "MINUTE", "MOD", "MONTH", "MONTHNAME", "MULTILINESTRING", "MULTIPOINT",
    "MULTIPOLYGON", "NAME_CONST", "NOW", "NTH_VALUE", "NTILE", "NULLIF", "OCT", "OCTET_LENGTH", "ORD",
    "PERCENT_RANK", "PERIOD_ADD", "PERIOD_DIFF", "PI", "POINT", "POLYGON", "POSITION", "POW", "POWER",
    "QUARTER", "QUOTE", "RADIANS", "RAND", "RANDOM_BYTES", "RANK", "REGEXP_INSTR", "REGEXP_LIKE",
    "REGEXP_REPLACE", "REGEXP_SUBSTR", "REPEAT", "REPLACE", "REVERSE", "RIGHT", "ROUND", "ROW_NUMBER",
    "RPAD", "RTRIM", "SCHEMA", "SECOND", "SEC_TO_TIME", "SESSION_USER", "SHA", "SHA1", "SHA2", "SIGN",
    "SIN", "SLEEP", "SOUNDEX", "SPACE", "SQRT", "STATEMENT_DIGEST", "STATEMENT_DIGEST_TEXT", "STD",
    "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "STRCMP", "STRING_TO_VECTOR", "STR_TO_DATE", "ST_AREA",
    "ST_ASBINARY", "ST_ASGEOJSON", "ST_ASTEXT", "ST_ASWKB", "ST_ASWKT", "ST_BUFFER", "ST_BUFFER_STRATEGY",
    "ST_CENTROID", "ST_COLLECT", "ST_CONTAINS", "ST_CONVEXHULL", "ST_CROSSES", "ST_DIFFERENCE",
    "ST_DIMENSION", "ST_DISJOINT", "ST_DISTANCE", "ST_DISTANCE_SPHERE", "ST_ENDPOINT", "ST_ENVELOPE",
    "ST_EQUALS", "ST_EXTERIORRING", "ST_FRECHETDISTANCE", "ST_GEOHASH", "ST_GEOMCOLLFROMTEXT",
    "ST_GEOMCOLLFROMTXT", "ST_GEOMCOLLFROMWKB", "ST_GEOMETRYCOLLECTIONFROMTEXT",
    "ST_GEOMETRYCOLLECTIONFROMWKB", "ST_GEOMETRYFROMTEXT", "ST_GEOMETRYFROMWKB", "ST_GEOMETRYN",
    "ST_GEOMETRYTYPE", "ST_GEOMFROMGEOJSON", "ST_GEOMFROMTEXT", "ST_GEOMFROMWKB", "ST_HAUSDORFFDISTANCE",
    "ST_INTERIORRINGN", "ST_INTERSECTION", "ST_INTERSECTS", "ST_ISCLOSED", "ST_ISEMPTY", "ST_ISSIMPLE",
    "ST_ISVALID", "ST_LATFROMGEOHASH", "ST_LATITUDE", "ST_LENGTH", "ST_LINEFROMTEXT", "ST_LINEFROMWKB",
    "ST_LINEINTERPOLATEPOINT", "ST_LINEINTERPOLATEPOINTS", "ST_LINESTRINGFROMTEXT", "ST_LINESTRINGFROMWKB",
    "ST_LONGFROMGEOHASH", "ST_LONGITUDE", "ST_MAKEENVELOPE", "ST_MLINEFROMTEXT", "ST_MLINEFROMWKB",
    "ST_MPOINTFROMTEXT", "ST_MPOINTFROMWKB", "ST_MPOLYFROMTEXT", "ST_MPOLYFROMWKB",
    "ST_MULTILINESTRINGFROMTEXT", "ST_MULTILINESTRINGFROMWKB", "ST_MULTIPOINTFROMTEXT",
    "ST_MULTIPOINTFROMWKB", "ST_MULTIPOLYGONFROMTEXT", "ST_MULTIPOLYGONFROMWKB", "ST_NUMGEOMETRIES",
    "ST_NUMINTERIORRING", "ST_NUMINTERIORRINGS", "ST_NUMPOINTS", "ST_OVERLAPS", "ST_POINTATDISTANCE",
    "ST_POINTFROMGEOHASH", "ST_POINTFROMTEXT", "ST_POINTFROMWKB", "ST_POINTN", "ST_POLYFROMTEXT",
    "ST_POLYFROMWKB", "ST_POLYGONFROMTEXT", "ST_POLYGONFROMWKB", "ST_SIMPLIFY", "ST_SRID", "ST_STARTPOINT",
    "ST_SWAPXY", "ST_SYMDIFFERENCE", "ST_TOUCHES", "ST_TRANSFORM", "ST_UNION", "ST_VALIDATE", "ST_WITHIN",
    "ST_X", "ST_Y", "SUBDATE", "SUBSTR", "SUBSTRING", "SUBSTRING_INDEX", "SUBTIME", "SUM", "SYSDATE",
    "SYSTEM_USER", "TAN", "TIME", "TIMEDIFF", "TIMESTAMP", "TIMESTAMPADD", "TIMESTAMPDIFF", "TIME_FORMAT",
    "TIME_TO_SEC", "TO_BASE64", "TO_DAYS", "TO_SECONDS", "TO_VECTOR", "TRIM", "TRUNCATE", "UCASE",
    "UNCOMPRESS", "UNCOMPRESSED_LENGTH", "UNHEX", "UNIX_TIMESTAMP", "UPDATEXML", "UPPER", "USER",
    "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP", "UUID", "UUID_TO_BIN", "VARIANCE", "VAR_POP", "VAR_SAMP",
    "VECTOR_DIM", "VECTOR_TO_STRING", "WEEK", "WEEKDAY", "WEEKOFYEAR", "WEIGHT_STRING", "YEAR", "YEARWEEK",
];

/// Keywords and type names that may stand before `(` in a query, sorted.
#[rustfmt::skip]
static KEYWORDS: &[&str] = &[
    "AGAINST", "ALL", "AND", "ANY", "AS", "ASC", "BETWEEN", "BINARY", "BY", "CASE", "CHARACTER", "COLUMNS",
    "CROSS", "DATETIME", "DEC", "DECIMAL", "DESC", "DISTINCT", "DISTINCTROW", "DIV", "DO", "DOUBLE", "ELSE",
    "ESCAPE", "EXCEPT", "EXISTS", "EXPLAIN", "FLOAT", "FOR", "FORCE", "FROM", "HAVING", "IGNORE", "IN",
    "INDEX", "INNER", "INT", "INTEGER", "INTERSECT", "IS", "JOIN", "KEY", "LATERAL", "LIKE", "LIMIT",
    "NCHAR", "NESTED", "NOT", "NUMERIC", "OF", "OFFSET", "ON", "OR", "ORDER", "OVER", "PARTITION", "PATH",
    "REAL", "REGEXP", "RETURNING", "RLIKE", "ROLLUP", "ROW", "SELECT", "SET", "SIGNED", "SOME", "SOUNDS",
    "STRAIGHT_JOIN", "TABLE", "THEN", "UNION", "UNIQUE", "UNSIGNED", "USE", "USING", "VALUE", "VALUES",
    "VARCHAR", "WHEN", "WHERE", "WITH", "XOR",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_apart() {
        for list in [PURE, KEYWORDS] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|name| name.len() <= LONGEST));
        }
        assert!(PURE.iter().all(|name| KEYWORDS.binary_search(name).is_err()));
        assert!(PURE.iter().chain(KEYWORDS).all(|name| special(name.as_bytes()) == FunctionKind::Unknown));
    }

    #[test]
    fn every_name_of_the_lists_is_found_and_nothing_near_it() {
        for (list, kind) in [(PURE, FunctionKind::Pure), (KEYWORDS, FunctionKind::Keyword)] {
            for name in list {
                assert_eq!(listed(name.as_bytes()), Some(kind));
                assert_eq!(listed(name.to_ascii_lowercase().as_bytes()), Some(kind));
                for near in
                    [format!("{name} "), format!("{name}\0"), format!(" {name}"), name.replace('_', "\x7f")]
                {
                    assert!(near == *name || listed(near.as_bytes()).is_none(), "{near:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(function(b"count"), FunctionKind::Pure);
        assert_eq!(function(b"Get_Lock"), FunctionKind::GetLock);
        assert_eq!(function(b"exists"), FunctionKind::Keyword);
        assert_eq!(function(b"my_function"), FunctionKind::Unknown);
        assert_eq!(function(&[b'x'; 200]), FunctionKind::Unknown);
    }
}
