//! MySQL and MariaDB: parameters travel as what they are, and the server converts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::mysql::types::MySqlTime;
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlQueryResult,
    MySqlRow,
};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Either, Executor, Row, Statement, TypeInfo, ValueRef,
};
use stage_value::{Value, json};
use time::Time;

use crate::param::bind;
use crate::rows::{Done, Sink, json_size, named, pour};
use crate::{Error, Param, moment};

/// A connection whose statement another connection can stop.
pub(crate) struct Connection {
    pub(crate) inner: MySqlConnection,
    /// What the server calls it.
    id: u64,
    /// The bytes of a text, or of the parameters of a statement, past which the server hangs up.
    most_bytes: usize,
    marked: Arc<AtomicBool>,
    /// How long the server may work on for a connection that is closed in the middle of a statement, if nobody ends it.
    pub(crate) departure: Duration,
}

impl Connection {
    pub(crate) fn kill(&self) -> Kill {
        Kill { id: self.id, marked: Arc::clone(&self.marked) }
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }
}

/// Stops the statement of one connection.
pub(crate) struct Kill {
    id: u64,
    marked: Arc<AtomicBool>,
}

impl Kill {
    /// What another connection has to run. The own one must not be used again from now on: the statement may have ended by
    /// itself when it arrives, and it would stop the next one.
    pub(crate) fn sql(&self) -> String {
        self.marked.store(true, Ordering::Relaxed);
        format!("KILL QUERY {}", self.id)
    }

    /// What another connection has to run once the own one is closed, until the server knows of none.
    pub(crate) fn last_sql(&self) -> String {
        format!("KILL {}", self.id)
    }
}

/// Whether a server does not know of the connection that it was to end.
pub(crate) fn is_gone(error: &sqlx::Error) -> bool {
    // ER_NO_SUCH_THREAD.
    number(error) == Some(1094)
}

/// # Errors
/// The driver's own.
pub(crate) async fn connect(
    options: &MySqlConnectOptions,
    timeout: Duration,
) -> Result<Connection, sqlx::Error> {
    let mut connection = options.clone().disable_statement_logging().connect().await?;
    // MariaDB stops any statement, in seconds; MySQL those that only read, in milliseconds.
    let maria = format!("SET SESSION max_statement_time = {}", timeout.as_secs_f64());
    if connection.execute(AssertSqlSafe(maria)).await.is_err() {
        let mysql = format!("SET SESSION max_execution_time = {}", timeout.as_millis());
        connection.execute(AssertSqlSafe(mysql)).await?;
    }
    let own = connection.fetch_one("SELECT CONNECTION_ID(), @@max_allowed_packet").await?;
    let (id, most): (u64, u64) = (own.try_get_unchecked(0)?, own.try_get_unchecked(1)?);
    let most_bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let marked = Arc::default();
    Ok(Connection { inner: connection, id, most_bytes, marked, departure: timeout })
}

pub(crate) async fn run<S: Sink>(
    connection: &mut Connection,
    sql: &str,
    params: &[Param],
    sink: &mut S,
) -> Result<Done, Error> {
    let most_bytes = connection.most_bytes.saturating_sub(HEAD);
    if sql.len() > most_bytes {
        let why = format!("the server takes {most_bytes} bytes at most (max_allowed_packet)");
        return Err(Error::StatementRefused { why });
    }
    let connection = &mut connection.inner;
    let text = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
    let statement = connection.prepare(text).await.map_err(of_server)?;
    sink.columns(named(statement.columns().iter().map(Column::name))?);
    let arguments = arguments(&statement, params, most_bytes)?;
    let query = statement.query_with(arguments);
    let steps = connection.fetch_many(query);
    let finish = |done: &mut Done, result: MySqlQueryResult| {
        done.affected = result.rows_affected();
        let id = i64::try_from(result.last_insert_id()).ok();
        done.last_id = id.filter(|id| *id != 0);
    };
    pour(steps, sink, raw, column, finish, of_server).await
}

/// Bytes that a column takes at least.
fn raw(row: &MySqlRow, at: usize) -> usize {
    let bytes = row.try_get_unchecked::<&[u8], _>(at).unwrap_or_default();
    match row.column(at).type_info().name() {
        "JSON" => json_size(bytes),
        _ => bytes.len(),
    }
}

/// What travels beside a statement's text or parameters, and more.
const HEAD: usize = 64;

fn arguments(
    statement: &sqlx::mysql::MySqlStatement,
    params: &[Param],
    most_bytes: usize,
) -> Result<MySqlArguments, Error> {
    let is_finite = |param: &Param| !matches!(param, Param::Float(it) if !it.is_finite());
    if let Some(at) = params.iter().position(|param| !is_finite(param)) {
        let why = "MySQL has no infinite numbers".to_owned();
        return Err(Error::Parameter { position: at + 1, why });
    }
    bind::<sqlx::MySql>(statement.parameters().map_or(0, places), params, most_bytes)
}

fn places<T>(parameters: Either<&[T], usize>) -> usize {
    parameters.either(<[T]>::len, |count| count)
}

/// What a column holds, or why it cannot be handed out.
fn column(row: &MySqlRow, at: usize) -> Result<Value, String> {
    let raw = row.try_get_raw(at).map_err(|error| error.to_string())?;
    if raw.is_null() {
        return Ok(Value::Nil);
    }
    let info = raw.type_info().into_owned();
    match info.name() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            get(row, at).map(Value::Int)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" | "BIT" => get::<u64>(row, at).map(unsigned),
        "FLOAT" => get::<f32>(row, at).map(|value| Value::Float(value.into())),
        "DOUBLE" => get(row, at).map(Value::Float),
        // They travel as text.
        "DECIMAL" | "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT"
        | "ENUM" | "SET" | "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB"
        | "LONGBLOB" => get::<Vec<u8>>(row, at).map(|bytes| Value::Bytes(bytes.into())),
        "JSON" => get::<serde_json::Value>(row, at).map(json::from_json),
        "DATE" => date(row, at).map(|date| Value::from(moment::date_text(date))),
        "TIME" => get::<MySqlTime>(row, at).map(|time| Value::from(time_text(time))),
        // Without the zone of the session: MariaDB refuses a time with one as a parameter, and a text that is bound does not
        // tell whether its column is of times.
        "DATETIME" | "TIMESTAMP" => date(row, at).map(|at| moment::plain_text(at).into()),
        other => {
            let name = other.to_lowercase();
            Err(format!("{name} has no form in scripts; cast it to char"))
        }
    }
}

fn get<'r, T: sqlx::Decode<'r, sqlx::MySql>>(row: &'r MySqlRow, at: usize) -> Result<T, String> {
    row.try_get_unchecked(at).map_err(|error| match error {
        sqlx::Error::ColumnDecode { source, .. } => source.to_string(),
        other => other.to_string(),
    })
}

/// `2026-11-00` and the like are dates to the server alone. `0000-00-00` counts as NULL.
fn date<'r, T: sqlx::Decode<'r, sqlx::MySql>>(row: &'r MySqlRow, at: usize) -> Result<T, String> {
    get(row, at).map_err(|_| "it holds what is no date of the calendar; cast it to char".into())
}

/// A time of the day, or else a span, which may be negative or longer than a day.
fn time_text(time: MySqlTime) -> String {
    Time::try_from(time).map_or_else(|_| time.to_string(), moment::clock_text)
}

/// What does not fit a Lua integer is text.
fn unsigned(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number.to_string()), Value::Int)
}

/// The server's own stop of a statement is a timeout.
fn of_server(error: sqlx::Error) -> Error {
    match number(&error) {
        // ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL.
        Some(1969 | 3024) => Error::Timeout { limit: Duration::ZERO },
        _ => error.into(),
    }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>();
    error.map(MySqlDatabaseError::number)
}
