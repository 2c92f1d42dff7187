//! PostgreSQL: the server says what type each parameter and column has, and this converts to that.

mod decode;
mod encode;
mod interval;
mod texts;

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgQueryResult, PgRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Either, Executor, Row, Statement, TypeInfo, ValueRef,
};

use stage_value::Value;

use crate::rows::{Done, Sink, json_size, named, pour};
use crate::{Error, Param};

/// A connection that stops its statements, also those that nobody waits for if the server can.
pub(crate) struct Connection {
    pub(crate) inner: PgConnection,
    /// How long the server may work on for a connection that is closed in the middle of a statement.
    pub(crate) departure: Duration,
}

/// In milliseconds. It stops within a second together with the time in which a statement may end by itself.
const CHECK_INTERVAL: &str = "900";

/// How long a server may take to notice that a client has gone in the middle of a statement.
const DEPARTURE: Duration = Duration::from_millis(1500);

/// # Errors
/// The driver's own.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    timeout: Duration,
) -> Result<Connection, sqlx::Error> {
    let options = options.clone().disable_statement_logging();
    let limit = timeout.as_millis().to_string();
    let with_settings = options.clone().options([
        ("statement_timeout", limit.as_str()),
        // A server that nobody listens to any more stops by itself.
        ("client_connection_check_interval", CHECK_INTERVAL),
    ]);
    match with_settings.connect().await {
        Ok(inner) => Ok(Connection { inner, departure: DEPARTURE }),
        Err(error) if refuses_settings(&error) => set_up(options, timeout).await,
        Err(error) => Err(error),
    }
}

/// Whether it is about a setting: PostgreSQL before 14 does not know all of them, some systems cannot notice that a client has
/// gone, and PgBouncer takes no settings when a connection begins.
fn refuses_settings(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42704" | "22023" | "08P01"))
}

/// Connects without settings and makes them by statements.
async fn set_up(options: PgConnectOptions, timeout: Duration) -> Result<Connection, sqlx::Error> {
    let mut inner = options.extra_float_digits(None).connect().await?;
    let limit = format!("SET statement_timeout = {}", timeout.as_millis());
    inner.execute(AssertSqlSafe(limit)).await?;
    let check = format!("SET client_connection_check_interval = {CHECK_INTERVAL}");
    let departure = match inner.execute(AssertSqlSafe(check)).await {
        Ok(_) => DEPARTURE,
        // It works on until the statement's time is over.
        Err(sqlx::Error::Database(_)) => timeout.max(DEPARTURE),
        Err(error) => return Err(error),
    };
    Ok(Connection { inner, departure })
}

pub(crate) async fn run<S: Sink>(
    connection: &mut PgConnection,
    sql: &str,
    params: &[Param],
    sink: &mut S,
) -> Result<Done, Error> {
    let text = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
    let statement = connection.prepare(text).await.map_err(of_server)?;
    sink.columns(named(statement.columns().iter().map(Column::name))?);
    let arguments = arguments(&statement, params)?;
    let query = statement.query_with(arguments);
    let steps = connection.fetch_many(query);
    let finish = |done: &mut Done, result: PgQueryResult| done.affected = result.rows_affected();
    pour(steps, sink, raw, column, finish, of_server).await
}

/// Bytes that a column takes at least.
fn raw(row: &PgRow, at: usize) -> usize {
    let Ok(raw) = row.try_get_raw(at) else { return 0 };
    let bytes = raw.as_bytes().unwrap_or_default();
    match raw.type_info().name() {
        "JSON" | "JSONB" => json_size(bytes),
        _ => bytes.len(),
    }
}

fn column(row: &PgRow, at: usize) -> Result<Value, String> {
    row.try_get_raw(at).map_err(|error| error.to_string()).and_then(decode::value)
}

fn arguments(
    statement: &sqlx::postgres::PgStatement,
    params: &[Param],
) -> Result<PgArguments, Error> {
    let types = match statement.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    if types.len() != params.len() {
        return Err(Error::Parameters { wanted: types.len(), given: params.len() });
    }
    let mut arguments = PgArguments::default();
    for (at, (wanted, param)) in types.iter().zip(params).enumerate() {
        encode::add(&mut arguments, wanted, param)
            .map_err(|why| Error::Parameter { position: at + 1, why })?;
    }
    Ok(arguments)
}

/// The server's own stop of a statement is a timeout.
fn of_server(error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Database { sqlstate: Some(code), .. } if code == "57014" => {
            Error::Timeout { limit: Duration::ZERO }
        }
        other => other,
    }
}
