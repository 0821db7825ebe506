//! The clients, how each is started, and what may differ.
//!
//! Never here: forgiving a difference without its reason.

/// What a client program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `tests/clients/checks.json`, where errors are results like others.
    Driver,
    /// Its own migrations and workloads, where no error is expected.
    Framework,
}

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
    /// What it runs.
    pub(super) kind: Kind,
}

const fn driver(
    name: &'static str,
    part: Option<&'static str>,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Client {
    Client { name, part, program, arguments, kind: Kind::Driver }
}

const fn framework(
    name: &'static str,
    part: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Client {
    Client { name, part: Some(part), program, arguments, kind: Kind::Framework }
}

const PYTHON: &str = ".tools/python/bin/python";
const DEBIAN_PYTHON: &str = ".tools/debian-python/bin/python";
const PHP: &str = ".tools/php/bin/php";

const RUST: &str = ".tools/rust/debug/sluice-rust-clients";

pub(super) static CLIENTS: &[Client] = &[
    driver("mysql", None, "python3", &["mysql_client.py"]),
    driver("libmysqlclient", Some("c"), ".tools/c/bin/client", &[]),
    driver("MariaDB Connector/C", Some("c-mariadb"), ".tools/c-mariadb/bin/client", &[]),
    driver("PyMySQL", Some("python"), PYTHON, &["pymysql_client.py"]),
    driver("aiomysql", Some("python"), PYTHON, &["aiomysql_client.py"]),
    driver("mysql-connector-python", Some("python"), PYTHON, &["connector_client.py"]),
    driver("mysql2", Some("node"), "node", &["mysql2_client.js"]),
    driver(
        "mysql-connector-python C",
        Some("debian-python"),
        DEBIAN_PYTHON,
        &["connector_client.py", "--compiled"],
    ),
    driver("mysqlclient", Some("debian-python"), DEBIAN_PYTHON, &["mysqlclient_client.py"]),
    driver("go-sql-driver", Some("go"), ".tools/go/bin/client", &[]),
    driver("PHP mysqli", Some("php"), PHP, &["mysqli_client.php"]),
    driver("PHP PDO", Some("php"), PHP, &["pdo_client.php"]),
    driver("Connector/J (MariaDB)", Some("java"), ".tools/java/bin/java", &["JavaClient"]),
    driver("Ruby mysql2", Some("ruby"), ".tools/ruby/bin/ruby", &["ruby_client.rb"]),
    driver("Perl DBD::mysql", Some("perl"), ".tools/perl/bin/perl", &["perl_client.pl"]),
    driver("mysql_async", Some("rust"), RUST, &["--driver", "mysql_async"]),
    driver("sqlx", Some("rust"), RUST, &["--driver", "sqlx"]),
    framework("SQLAlchemy", "python", PYTHON, &["frameworks/sqlalchemy_app.py"]),
    framework(
        "SQLAlchemy on Connector",
        "python",
        PYTHON,
        &["frameworks/sqlalchemy_app.py", "--driver", "mysqlconnector"],
    ),
    framework("Sequelize", "node", "node", &["frameworks/sequelize_app.js"]),
];

const DECOY: &str = "servers answer unknown accounts with a plugin chosen by chance, among them sha256_password, which this \
                     driver does not have";

/// Differences that are as they should be, or are explained: client, check, why.
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
         not promise; Sluice sends more of them, since it never waits for a whole packet. It takes for granted as well \
         that no frame ends within a packet's header, and so fails directly on any longer result of many rows",
    ),
    ("Connector/J (MariaDB)", "unknown_account", DECOY),
    ("mysql_async", "unknown_account", DECOY),
];
