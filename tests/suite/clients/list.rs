//! The clients, how each is started, and what may differ.
//!
//! Never here: forgiving a difference without its reason.

/// How a client program is started.
pub(super) struct Client {
    /// For people, and for [`KNOWN`].
    pub(super) name: &'static str,
    /// Which part of `tests/clients/install` it needs.
    pub(super) part: Option<&'static str>,
    /// The program, relative to the checkout if it has a `/`.
    pub(super) program: &'static str,
    /// Its arguments: a script in `tests/clients`, and what the script has to be told.
    pub(super) arguments: &'static [&'static str],
}

const PYTHON: &str = ".tools/python/bin/python";
const DEBIAN_PYTHON: &str = ".tools/debian-python/bin/python";
const PHP: &str = ".tools/php/bin/php";

pub(super) static CLIENTS: &[Client] = &[
    Client { name: "mysql", part: None, program: "python3", arguments: &["mysql_client.py"] },
    Client { name: "PyMySQL", part: Some("python"), program: PYTHON, arguments: &["pymysql_client.py"] },
    Client {
        name: "mysql-connector-python",
        part: Some("python"),
        program: PYTHON,
        arguments: &["connector_client.py"],
    },
    Client { name: "mysql2", part: Some("node"), program: "node", arguments: &["mysql2_client.js"] },
    Client {
        name: "mysql-connector-python C",
        part: Some("debian-python"),
        program: DEBIAN_PYTHON,
        arguments: &["connector_client.py", "--compiled"],
    },
    Client { name: "go-sql-driver", part: Some("go"), program: ".tools/go/bin/client", arguments: &[] },
    Client { name: "PHP mysqli", part: Some("php"), program: PHP, arguments: &["mysqli_client.php"] },
    Client { name: "PHP PDO", part: Some("php"), program: PHP, arguments: &["pdo_client.php"] },
    Client {
        name: "Connector/J (MariaDB)",
        part: Some("java"),
        program: ".tools/java/bin/java",
        arguments: &["JavaClient"],
    },
    Client {
        name: "mysqlclient",
        part: Some("debian-python"),
        program: DEBIAN_PYTHON,
        arguments: &["mysqlclient_client.py"],
    },
    Client {
        name: "Ruby mysql2",
        part: Some("ruby"),
        program: ".tools/ruby/bin/ruby",
        arguments: &["ruby_client.rb"],
    },
    Client {
        name: "Perl DBD::mysql",
        part: Some("perl"),
        program: ".tools/perl/bin/perl",
        arguments: &["perl_client.pl"],
    },
];

/// Differences that are as they should be: client, check, why.
pub(super) const KNOWN: &[(&str, &str, &str)] = &[
    (
        "mysqlclient",
        "large_row_at_packet_size",
        "directly, MariaDB Connector/C 3.4.10 loses the connection when a row of exactly one full packet comes over \
         TLS in the pieces that MySQL cuts; Sluice cuts other pieces, and it is well",
    ),
    (
        "mysql-connector-python",
        "compressed_large",
        "its pure form takes for granted that a packet spans at most two compressed frames, which the protocol does \
         not promise; Sluice sends more of them, since it never waits for a whole packet",
    ),
    (
        "Connector/J (MariaDB)",
        "unknown_account",
        "servers answer unknown accounts with a plugin chosen by chance, among them sha256_password, which this \
         driver does not have",
    ),
];
