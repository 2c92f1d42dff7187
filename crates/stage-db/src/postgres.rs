//! PostgreSQL: the server says what type each parameter and column has, and this converts to that.

mod decode;
mod encode;

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Either, Executor, Row, Statement};

use stage_value::Value;

use crate::rows::{Done, Sink, named, pour};
use crate::{Error, Param};

/// # Errors
/// The driver's own.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    timeout: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let timeout = timeout.as_millis().to_string();
    let options = options.clone().options([
        ("statement_timeout", timeout.as_str()),
        // A server that nobody listens to any more stops by itself.
        ("client_connection_check_interval", "1000"),
    ]);
    options.disable_statement_logging().connect().await
}

pub(crate) async fn run<S: Sink>(
    connection: &mut PgConnection,
    sql: &str,
    params: &[Param],
    sink: &mut S,
) -> Result<Done, Error> {
    let statement = connection.prepare(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql))).await?;
    sink.columns(named(statement.columns().iter().map(Column::name))?);
    let arguments = arguments(&statement, params)?;
    let query = statement.query_with(arguments);
    let steps = connection.fetch_many(query);
    let finish = |done: &mut Done, result: PgQueryResult| done.affected = result.rows_affected();
    pour(steps, sink, column, finish, of_server).await
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
