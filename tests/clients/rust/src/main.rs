//! Rust's mysql_async and sqlx (`--driver`). Runs checks.json and prints one JSON line per check, as interpreter.py does
//! for Python clients.
//!
//! Never here: what a result should be. The runner compares two runs.

mod async_driver;
mod shown;
mod sqlx_driver;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};

/// A statement that is not gone by then was not killed.
const KILL_SECONDS: u64 = 30;
/// An answer that takes longer is one of its own.
const SILENCE: Duration = Duration::from_secs(90);

/// What a step gives: its result, or what to show of its error.
type Outcome = Result<Value, Value>;

/// Where and as whom to log in, and what a `connect` step asks for besides.
#[derive(Clone, Debug)]
struct Login {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: Option<String>,
    tls: Option<bool>,
}

/// One connection of one of the drivers.
enum Client {
    Async(Box<async_driver::Connection>),
    Sqlx(Box<sqlx_driver::Connection>),
}

macro_rules! on {
    ($client:expr, $connection:ident => $call:expr) => {
        match $client {
            Client::Async($connection) => $call,
            Client::Sqlx($connection) => $call,
        }
    };
}

impl Client {
    async fn open(driver: &str, login: &Login) -> Result<Self, Value> {
        match driver {
            "sqlx" => Ok(Self::Sqlx(Box::new(sqlx_driver::Connection::open(login).await?))),
            _ => Ok(Self::Async(Box::new(async_driver::Connection::open(login).await?))),
        }
    }

    async fn query(&mut self, sql: &str) -> Outcome {
        on!(self, connection => connection.query(sql).await)
    }

    async fn execute(&mut self, sql: &str, params: &[Value]) -> Outcome {
        on!(self, connection => connection.execute(sql, params).await)
    }
}

/// One check: its own connections.
struct Check<'a> {
    driver: &'a str,
    login: &'a Login,
    connections: HashMap<String, Client>,
}

impl Check<'_> {
    async fn connection(&mut self, name: &str, login: &Login) -> Result<&mut Client, Value> {
        if !self.connections.contains_key(name) {
            let opened = Client::open(self.driver, login).await?;
            self.connections.insert(name.to_owned(), opened);
        }
        self.connections.get_mut(name).ok_or(Value::Null)
    }

    async fn run(&mut self, step: &Value) -> Value {
        match tokio::time::timeout(SILENCE, self.step(step)).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => json!({ "error": error }),
            Err(_) => json!(format!("no answer within {} s", SILENCE.as_secs())),
        }
    }

    async fn step(&mut self, step: &Value) -> Outcome {
        let login = self.login.clone();
        if let Some(more) = step.get("connect") {
            if more.get("compress").is_some() || more.get("charset").is_some() {
                return Ok(json!("unsupported"));
            }
            return self
                .connection("other", &login.with(more))
                .await?
                .query("SELECT DATABASE(), CURRENT_USER()")
                .await;
        }
        if let Some(name) = step["open"].as_str() {
            self.connection(name, &login).await?;
            return Ok(json!("open"));
        }
        if let Some(sql) = step["kill_query"].as_str() {
            return self.kill_query(sql).await;
        }
        if let Some(plan) = step.get("pool") {
            return match self.driver {
                "sqlx" => sqlx_driver::pooled(&login, plan).await,
                _ => async_driver::pooled(&login, plan).await,
            };
        }
        let name = step["on"].as_str().unwrap_or("a");
        let client = self.connection(name, &login).await?;
        if let Some(sql) = step["query"].as_str() {
            return match step.get("big") {
                Some(big) => client.query(&sql.replacen("$big", &shown::repeated(big), 1)).await,
                None => client.query(sql).await,
            };
        }
        if let (Some(sql), Some(params)) = (step["execute"].as_str(), step["params"].as_array()) {
            return client.execute(sql, params).await;
        }
        if let Some(plan) = step.get("transaction") {
            return on!(client, connection => connection.transaction(plan).await);
        }
        if let (Some(sql), Some(rows)) = (step["bulk"]["sql"].as_str(), step["bulk"]["rows"].as_array()) {
            let mut all = Vec::new();
            for row in rows.iter().filter_map(Value::as_array) {
                all.push(client.execute(sql, row).await?);
            }
            return Ok(Value::Array(all));
        }
        on!(client, connection => connection.special(step).await)
    }

    /// KILL QUERY again and again until the statement is gone: one that has not begun yet is not hurt by a KILL.
    async fn kill_query(&mut self, sql: &str) -> Outcome {
        let login = self.login.clone();
        self.connection("a", &login).await?;
        let mut killer = Client::open(self.driver, &login).await?;
        let mut victim = self.connections.remove("a").ok_or(Value::Null)?;
        let number = match &mut victim {
            Client::Async(connection) => connection.id(),
            Client::Sqlx(connection) => connection.id().await?,
        };
        let text = sql.to_owned();
        let mut running =
            tokio::spawn(async move { victim.query(&text).await.map(|result| (result, victim)) });
        for _ in 0..KILL_SECONDS * 10 {
            let _ = killer.query(&format!("KILL QUERY {number}")).await;
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(100), &mut running).await {
                return match ended {
                    Ok(result) => result.map(|(shown, _)| shown),
                    Err(lost) => Err(json!(lost.to_string())),
                };
            }
        }
        Ok(json!(format!("not killed within {KILL_SECONDS} s")))
    }
}

impl Login {
    fn with(mut self, more: &Value) -> Self {
        if let Some(user) = more["user"].as_str() {
            user.clone_into(&mut self.user);
        }
        if let Some(password) = more["password"].as_str() {
            password.clone_into(&mut self.password);
        }
        if let Some(database) = more.get("database") {
            self.database = database.as_str().map(str::to_owned);
        }
        self.tls = more["tls"].as_bool();
        self
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut options, mut names) = (HashMap::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(name) => _ = options.insert(name.to_owned(), arguments.next().unwrap_or_default()),
            None => names.push(argument),
        }
    }
    let mut option = |name: &str, default: &str| options.remove(name).unwrap_or_else(|| default.to_owned());
    let driver = option("driver", "mysql_async");
    let login = Login {
        host: option("host", "127.0.0.1"),
        port: option("port", "").parse()?,
        user: option("user", "clients"),
        password: option("password", ""),
        database: Some(option("database", "clients")),
        tls: None,
    };
    println!("{}", json!({ "version": format!("{driver} {}", locked(&driver)) }));
    let path = std::env::var("CHECKS_JSON").unwrap_or_else(|_| "tests/clients/checks.json".into());
    let checks: Vec<Value> = serde_json::from_slice(&std::fs::read(path)?)?;
    for check in checks {
        let name = check["check"].as_str().unwrap_or_default();
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut run = Check { driver: &driver, login: &login, connections: HashMap::new() };
        let mut results = Vec::new();
        for step in check["steps"].as_array().into_iter().flatten() {
            results.push(run.run(step).await);
        }
        println!("{}", json!({ "check": name, "result": results }));
    }
    Ok(())
}

/// The version of a crate that this program was built with.
fn locked(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let wanted = format!("name = \"{name}\"");
    lines.by_ref().find(|line| *line == wanted);
    lines.next().and_then(|line| line.split('"').nth(1)).unwrap_or("unknown")
}
