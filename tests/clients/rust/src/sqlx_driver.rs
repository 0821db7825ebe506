//! sqlx. `query` is a plain text (`raw_sql`), `execute` a prepared statement that sqlx caches by its text. Never here:
//! what a result should be.

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlRow, MySqlSslMode,
};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection as _, Either, Executor, MySql, Row, TypeInfo};

use crate::shown::{self, Parameter};
use crate::{Login, Outcome};

pub struct Connection(MySqlConnection);

fn options(login: &Login) -> MySqlConnectOptions {
    let mode = match login.tls {
        None => MySqlSslMode::Preferred,
        Some(true) => MySqlSslMode::Required,
        Some(false) => MySqlSslMode::Disabled,
    };
    let options = MySqlConnectOptions::new()
        .host(&login.host)
        .port(login.port)
        .username(&login.user)
        .password(&login.password)
        .ssl_mode(mode)
        .disable_statement_logging();
    match &login.database {
        Some(database) => options.database(database),
        None => options,
    }
}

fn described(error: sqlx::Error) -> Value {
    match &error {
        sqlx::Error::Database(server) => {
            json!([server.code(), server.message(), format!("{:?}", server.kind())])
        }
        other => json!(other.to_string()),
    }
}

fn row(row: &MySqlRow) -> Value {
    let values = row.columns().iter().enumerate().map(|(index, column)| {
        let value: Result<Option<Vec<u8>>, _> = row.try_get_unchecked(index);
        let value = match value {
            Ok(Some(raw)) => shown::bytes(&raw),
            Ok(None) => Value::Null,
            Err(error) => json!({ "undecoded": error.to_string() }),
        };
        json!([column.name(), column.type_info().name(), value])
    });
    Value::Array(values.collect())
}

/// Rows and the counts at the end of each result, as they come.
async fn results<'q>(
    connection: &'q mut MySqlConnection,
    query: impl sqlx::Execute<'q, MySql> + 'q,
) -> Outcome {
    let (mut all, mut rows) = (Vec::new(), Vec::new());
    let mut stream = connection.fetch_many(query);
    loop {
        match stream.try_next().await {
            Ok(Some(Either::Left(end))) => {
                let rows = shown::rows(std::mem::take(&mut rows));
                all.push(
                    json!({ "rows": rows, "affected": end.rows_affected(), "id": end.last_insert_id() }),
                );
            }
            Ok(Some(Either::Right(next))) => rows.push(row(&next)),
            Ok(None) => return Ok(Value::Array(all)),
            Err(error) if all.is_empty() => return Err(described(error)),
            Err(error) => {
                all.push(json!({ "error": described(error) }));
                return Ok(Value::Array(all));
            }
        }
    }
}

impl Connection {
    pub async fn open(login: &Login) -> Result<Self, Value> {
        options(login).connect().await.map(Self).map_err(described)
    }

    pub async fn id(&mut self) -> Result<u64, Value> {
        sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut self.0).await.map_err(described)
    }

    pub async fn query(&mut self, sql: &str) -> Outcome {
        results(&mut self.0, sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await
    }

    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Outcome {
        let query =
            params.iter().fold(sqlx::query(AssertSqlSafe(sql.to_owned())), |query, spec| bound(query, spec));
        results(&mut self.0, query).await
    }

    pub async fn transaction(&mut self, plan: &Value) -> Outcome {
        if let Some(level) = plan["isolation"].as_str() {
            self.query(&format!("SET TRANSACTION ISOLATION LEVEL {level}")).await?;
        }
        let begin = if plan["read_only"] == true { "START TRANSACTION READ ONLY" } else { "BEGIN" };
        let mut transaction = self.0.begin_with(begin).await.map_err(described)?;
        let mut all = Vec::new();
        for sql in plan["queries"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let outcome = results(&mut transaction, sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
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
        Ok(json!("unsupported")) // sqlx has no calls for the rest
    }
}

fn bound<'q>(query: Query<'q, MySql, MySqlArguments>, spec: &Value) -> Query<'q, MySql, MySqlArguments> {
    match shown::parameter(spec) {
        Parameter::Null => query.bind(None::<String>),
        Parameter::Int(number) => query.bind(number),
        Parameter::Float(number) => query.bind(number),
        Parameter::Bytes(raw) => query.bind(raw),
        Parameter::Text(text) => query.bind(text),
    }
}

/// Many tasks with transactions on the few connections of a pool.
pub async fn pooled(login: &Login, plan: &Value) -> Outcome {
    let number = |name: &str| plan[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let pool = MySqlPoolOptions::new().max_connections(number("connections"));
    let pool = pool.connect_with(options(login)).await.map_err(described)?;
    let statement = format!("INSERT INTO {} (worker) VALUES (?)", plan["table"].as_str().unwrap_or_default());
    let workers = (0..number("workers")).map(|worker| {
        let (pool, statement, rounds) = (pool.clone(), statement.clone(), number("rounds"));
        tokio::spawn(async move {
            for _ in 0..rounds {
                let mut transaction = pool.begin().await.map_err(described)?;
                let insert = sqlx::query(AssertSqlSafe(statement.clone())).bind(worker);
                insert.execute(&mut *transaction).await.map_err(described)?;
                transaction.commit().await.map_err(described)?;
            }
            Ok::<_, Value>(json!("done"))
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.push(worker.await.map_err(|lost| json!(lost.to_string()))?.unwrap_or_else(|error| error));
    }
    pool.close().await;
    Ok(Value::Array(all))
}
