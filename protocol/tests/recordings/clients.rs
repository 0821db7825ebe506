//! The clients that were recorded, and what is known of each without looking at this crate.

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The file's name.
    pub(crate) name: &'static str,
    /// What it said and what it was answered.
    pub(crate) recording: &'static str,
    /// What it agrees on with the server, beyond what all do: in the order of bits.
    features: [&'static str; 3],
    /// Its commands, those of the first connection included.
    pub(crate) commands: &'static [&'static str],
    /// Answers that are relayed, and how many of them are the same from a backend connection.
    pub(crate) answers: (usize, usize),
}

impl Client {
    /// The capabilities as they are printed.
    pub(crate) fn capabilities(&self) -> String {
        let [low, middle, high] = self.features;
        format!(
            "{low}|MULTI_STATEMENTS|MULTI_RESULTS|{middle}PLUGIN_AUTH|CONNECT_ATTRS|PLUGIN_AUTH_LENENC_DATA{high}"
        )
    }
}

/// All of them.
pub(crate) const CLIENTS: &[Client] = &[
    Client {
        name: "mysql",
        recording: include_str!("mysql.txt"),
        features: [
            USUAL,
            "PS_MULTI_RESULTS|",
            "|SESSION_TRACK|DEPRECATE_EOF|QUERY_ATTRIBUTES|MULTI_FACTOR_AUTHENTICATION",
        ],
        commands: &["QUERY*3 QUIT", "QUERY*20 INIT_DB QUERY*3 STATISTICS RESET_CONNECTION QUERY QUIT"],
        answers: (30, 30),
    },
    Client {
        name: "connector_c",
        recording: include_str!("connector_c.txt"),
        features: [
            USUAL,
            "PS_MULTI_RESULTS|",
            "|SESSION_TRACK|DEPRECATE_EOF|QUERY_ATTRIBUTES|MULTI_FACTOR_AUTHENTICATION",
        ],
        commands: &[
            "QUERY*2 QUIT",
            "QUERY*2 PING QUERY PING QUERY",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_RESET STMT_EXECUTE STMT_RESET STMT_EXECUTE STMT_RESET STMT_CLOSE",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_RESET STMT_CLOSE",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_RESET STMT_CLOSE",
            "PING STMT_PREPARE PING QUERY*3 PING QUERY*2 PING QUERY*3 PING QUERY*2 PING*2 QUERY",
            "INIT_DB RESET_CONNECTION QUERY*2 CHANGE_USER QUERY*2 PING QUERY QUIT",
        ],
        answers: (54, 54),
    },
    Client {
        name: "connector",
        recording: include_str!("connector.txt"),
        features: [USUAL, "", "|QUERY_ATTRIBUTES|MULTI_FACTOR_AUTHENTICATION"],
        commands: &[
            "QUERY*2 QUIT",
            "QUERY*2 PING QUERY PING QUERY",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_RESET STMT_EXECUTE STMT_RESET STMT_EXECUTE STMT_CLOSE",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_CLOSE",
            "PING STMT_PREPARE STMT_RESET STMT_EXECUTE STMT_CLOSE",
            "PING STMT_PREPARE PING STMT_PREPARE STMT_RESET STMT_SEND_LONG_DATA STMT_EXECUTE STMT_CLOSE",
            "STMT_PREPARE STMT_EXECUTE STMT_FETCH*3 STMT_CLOSE PING*2 QUERY*4 PING QUERY*2 PING QUERY*3 PING QUERY*2",
            "PING*2 QUERY INIT_DB RESET_CONNECTION QUERY*3 CHANGE_USER QUERY*3 PING QUERY QUIT",
        ],
        answers: (64, 25),
    },
    Client {
        name: "pymysql",
        recording: include_str!("pymysql.txt"),
        features: [USUAL, "", ""],
        commands: &["QUERY*2 QUIT", "QUERY*14 PING QUERY*2 INIT_DB QUERY QUIT"],
        answers: (21, 2),
    },
    Client {
        name: "mysql2",
        recording: include_str!("mysql2.txt"),
        features: [
            "LONG_PASSWORD|FOUND_ROWS|LONG_FLAG|CONNECT_WITH_DB|ODBC|LOCAL_FILES|IGNORE_SPACE|PROTOCOL_41|\
             IGNORE_SIGPIPE|TRANSACTIONS|RESERVED|SECURE_CONNECTION",
            "",
            "|SESSION_TRACK|QUERY_ATTRIBUTES|MULTI_FACTOR_AUTHENTICATION",
        ],
        commands: &[
            "QUIT",
            "QUERY*2 STMT_PREPARE STMT_EXECUTE*3 STMT_CLOSE*2 STMT_PREPARE STMT_EXECUTE*2",
            "STMT_PREPARE*2 STMT_EXECUTE QUERY*9 PING QUERY*2 RESET_CONNECTION STMT_CLOSE*2 CHANGE_USER QUERY QUIT",
        ],
        answers: (26, 13),
    },
];

/// What most say.
const USUAL: &str =
    "LONG_PASSWORD|LONG_FLAG|CONNECT_WITH_DB|LOCAL_FILES|PROTOCOL_41|TRANSACTIONS|SECURE_CONNECTION";
