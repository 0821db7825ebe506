//! mysql_async. Never here: what a result should be.

use std::time::Duration;

use mysql_async::prelude::*;
use mysql_async::{
    Conn, IsolationLevel, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts, TxOpts,
    Value as Sql,
};
use serde_json::{Value, json};

use crate::shown::{self, Parameter};
use crate::{Login, Outcome};

pub struct Connection(Conn);

fn options(login: &Login) -> OptsBuilder {
    let tls =
        SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    OptsBuilder::default()
        .ip_or_hostname(&login.host)
        .tcp_port(login.port)
        .user(Some(&login.user))
        .pass(Some(&login.password))
        .db_name(login.database.as_deref())
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .ssl_opts((login.tls == Some(true)).then_some(tls))
}

fn described(error: mysql_async::Error) -> Value {
    match error {
        mysql_async::Error::Server(server) => json!([server.code, server.state, server.message]),
        other => json!(other.to_string().chars().take(300).collect::<String>()),
    }
}

fn value(value: Sql) -> Value {
    match value {
        Sql::NULL => Value::Null,
        Sql::Bytes(raw) => shown::bytes(&raw),
        other => json!({ "binary": format!("{other:?}") }),
    }
}

macro_rules! results {
    ($result:expr) => {{
        let mut result = $result;
        let mut all = Vec::new();
        loop {
            let columns: Vec<Value> = result
                .columns_ref()
                .iter()
                .map(|c| {
                    json!([
                        c.name_str(), c.org_name_str(), c.table_str(), c.schema_str(), c.column_length(),
                        c.character_set(), c.flags().bits(), c.decimals(), format!("{:?}", c.column_type())
                    ])
                })
                .collect();
            if columns.is_empty() && result.is_empty() {
                let about = json!([result.affected_rows(), result.last_insert_id(), result.warnings(), result.info()]);
                all.push(json!({ "ok": about }));
                break;
            }
            let rows: Result<Vec<mysql_async::Row>, _> = result.collect().await;
            match rows {
                Ok(rows) => {
                    let rows = rows.into_iter().map(|row| row.unwrap().into_iter().map(value).collect()).collect();
                    all.push(json!({ "columns": columns, "rows": shown::rows(rows) }));
                }
                Err(error) => {
                    all.push(json!({ "error": described(error) }));
                    break;
                }
            }
            if result.is_empty() {
                break;
            }
        }
        Ok(Value::Array(all))
    }};
}

impl Connection {
    pub async fn open(login: &Login) -> Result<Self, Value> {
        Conn::new(Opts::from(options(login))).await.map(Self).map_err(described)
    }

    pub fn id(&self) -> u64 {
        self.0.id().into()
    }

    pub async fn query(&mut self, sql: &str) -> Outcome {
        results!(self.0.query_iter(sql).await.map_err(described)?)
    }

    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Outcome {
        let values: Vec<Sql> = params.iter().map(|spec| bound(shown::parameter(spec))).collect();
        let values = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
        results!(self.0.exec_iter(sql, values).await.map_err(described)?)
    }

    pub async fn transaction(&mut self, plan: &Value) -> Outcome {
        let mut how = TxOpts::new();
        how.with_isolation_level(level(plan)).with_readonly(plan["read_only"].as_bool());
        let mut transaction = self.0.start_transaction(how).await.map_err(described)?;
        let mut all = Vec::new();
        for sql in plan["queries"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let outcome: Outcome = match transaction.query_iter(sql).await {
                Ok(result) => results!(result),
                Err(error) => Err(described(error)),
            };
            all.push(outcome.unwrap_or_else(|error| json!({ "error": error })));
        }
        match plan["end"].as_str() {
            Some("commit") => transaction.commit().await,
            _ => transaction.rollback().await,
        }
        .map_err(described)?;
        Ok(Value::Array(all))
    }

    pub async fn special(&mut self, step: &Value) -> Outcome {
        if step.get("ping").is_some() {
            return self.0.ping().await.map(|()| json!("pong")).map_err(described);
        }
        if step.get("reset").is_some() {
            return self.0.reset().await.map(|done| json!(done)).map_err(described);
        }
        if let Some(user) = step["change_user"].as_str() {
            let to = mysql_async::ChangeUserOpts::default().with_user(Some(user.to_owned()));
            return self.0.change_user(to).await.map(|()| json!("changed")).map_err(described);
        }
        Ok(json!("unsupported"))
    }
}

fn level(plan: &Value) -> Option<IsolationLevel> {
    match plan["isolation"].as_str()? {
        "READ UNCOMMITTED" => Some(IsolationLevel::ReadUncommitted),
        "READ COMMITTED" => Some(IsolationLevel::ReadCommitted),
        "REPEATABLE READ" => Some(IsolationLevel::RepeatableRead),
        _ => Some(IsolationLevel::Serializable),
    }
}

fn bound(parameter: Parameter) -> Sql {
    match parameter {
        Parameter::Null => Sql::NULL,
        Parameter::Int(number) => Sql::Int(number),
        Parameter::Float(number) => Sql::Double(number),
        Parameter::Bytes(raw) => Sql::Bytes(raw),
        Parameter::Text(text) => Sql::Bytes(text.into_bytes()),
    }
}

/// Many tasks with transactions on the few connections of a pool.
pub async fn pooled(login: &Login, plan: &Value) -> Outcome {
    let number = |name: &str| plan[name].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    let limits = PoolConstraints::new(1, number("connections")).ok_or("no pool")?;
    let pool = Pool::new(options(login).pool_opts(PoolOpts::default().with_constraints(limits)));
    let statement = format!("INSERT INTO {} (worker) VALUES (?)", plan["table"].as_str().unwrap_or_default());
    let workers = (0..number("workers")).map(|worker| {
        let (pool, statement, rounds) = (pool.clone(), statement.clone(), number("rounds"));
        tokio::spawn(async move {
            for _ in 0..rounds {
                let mut transaction = pool.start_transaction(TxOpts::new()).await.map_err(described)?;
                transaction.exec_drop(&statement, (worker,)).await.map_err(described)?;
                transaction.commit().await.map_err(described)?;
            }
            Ok::<_, Value>(json!("done"))
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.push(worker.await.map_err(|lost| json!(lost.to_string()))?.unwrap_or_else(|error| error));
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), pool.disconnect()).await; // it may hold what a check abandoned
    Ok(Value::Array(all))
}
