//! SQLite: columns have no type of their own, so each value is handed out as what it is.

pub(crate) mod statement;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteQueryResult, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Executor, Row, Statement, TypeInfo, ValueRef};
use stage_value::Value;

use crate::param::bind;
use crate::rows::{Done, Sink, named, pour};
use crate::{Error, Param};
use statement::Change;

/// What an address leaves open: where relative files are, and what suits a server.
pub(crate) fn options(
    options: SqliteConnectOptions,
    address: &str,
    folder: &Path,
) -> SqliteConnectOptions {
    if is_in_memory(&options) {
        return options;
    }
    let file = folder.join(options.get_filename());
    let options = options.filename(file).synchronous(SqliteSynchronous::Normal);
    let options = match address.contains("immutable=") {
        true => options,
        // Readers and the writer do not wait for each other.
        false => options.journal_mode(SqliteJournalMode::Wal),
    };
    match address.contains("mode=") {
        true => options,
        false => options.create_if_missing(true),
    }
}

pub(crate) fn is_in_memory(options: &SqliteConnectOptions) -> bool {
    let name = options.get_filename().to_string_lossy();
    name == ":memory:" || name.starts_with("file:sqlx-in-memory") || name.is_empty()
}

/// A connection whose statements end at a deadline.
pub(crate) struct Connection {
    pub(crate) inner: SqliteConnection,
    timeout: Duration,
    deadline: Arc<Deadline>,
}

/// When the statement that runs is to end, in microseconds from a start.
struct Deadline {
    start: Instant,
    micros: AtomicU64,
}

impl Deadline {
    fn set(&self, timeout: Option<Duration>) {
        let micros = timeout.map_or(u64::MAX, |timeout| self.now() + timeout.as_micros() as u64);
        self.micros.store(micros, Ordering::Relaxed);
    }

    fn pass(&self) {
        self.micros.store(PASSED, Ordering::Relaxed);
    }

    fn was_passed(&self) -> bool {
        self.micros.load(Ordering::Relaxed) == PASSED
    }

    fn is_ahead(&self) -> bool {
        self.now() < self.micros.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// No deadline that a statement has by itself: the clock starts when its connection is opened.
const PASSED: u64 = 0;

/// Makes the statement of one connection fail.
pub(crate) struct Interrupt(Arc<Deadline>);

impl Interrupt {
    pub(crate) fn stop(&self) {
        self.0.pass();
    }
}

/// Steps of SQLite's machine between two looks at the clock: about 0.1 ms.
const STEPS: i32 = 10_000;

/// How long the engine itself waits for another writer: meanwhile it hears of nothing else.
const SLICE: Duration = Duration::from_millis(20);

impl Connection {
    /// # Errors
    /// The driver's own.
    pub(crate) async fn open(
        options: &SqliteConnectOptions,
        timeout: Duration,
    ) -> Result<Self, sqlx::Error> {
        let options = options.clone().busy_timeout(timeout).disable_statement_logging();
        let mut inner = options.connect().await?;
        // From now on it looks itself whether it is to wait on.
        let slice = format!("PRAGMA busy_timeout = {}", SLICE.as_millis());
        inner.execute(AssertSqlSafe(slice)).await?;
        let deadline =
            Arc::new(Deadline { start: Instant::now(), micros: AtomicU64::new(u64::MAX) });
        let watched = Arc::clone(&deadline);
        inner.lock_handle().await?.set_progress_handler(STEPS, move || watched.is_ahead());
        Ok(Self { inner, timeout, deadline })
    }

    pub(crate) async fn run<S: Sink>(
        &mut self,
        sql: &str,
        params: &[Param],
        sink: &mut S,
    ) -> Result<Done, Error> {
        self.deadline.set(Some(self.timeout));
        loop {
            match run(&mut self.inner, sql, params, sink).await {
                // It has done nothing yet.
                Err(error) if is_locked(&error) && self.deadline.is_ahead() => {}
                Err(error) if self.deadline.was_passed() => {
                    let is_stopped = matches!(error, Error::Timeout { .. }) || is_locked(&error);
                    return Err(if is_stopped { Error::Stopping } else { error });
                }
                result => return result,
            }
        }
    }

    /// Begins or ends a transaction. Nothing stops that but the end of whoever asked, while another one writes.
    pub(crate) async fn step(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.deadline.set(None);
        let start = Instant::now();
        loop {
            match self.inner.execute(sql).await {
                Err(error)
                    if code(&error).as_deref() == Some(BUSY)
                        && !self.deadline.was_passed()
                        && start.elapsed() < self.timeout => {}
                done => return done.map(drop),
            }
        }
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(Arc::clone(&self.deadline))
    }
}

async fn run<S: Sink>(
    connection: &mut SqliteConnection,
    sql: &str,
    params: &[Param],
    sink: &mut S,
) -> Result<Done, Error> {
    let text = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
    let prepared = connection.prepare(text).await.map_err(of_engine)?;
    sink.columns(named(prepared.columns().iter().map(Column::name))?);
    let places = prepared.parameters().map_or(0, |it| it.either(<[_]>::len, |count| count));
    let is_nan = |param: &Param| matches!(param, Param::Float(number) if number.is_nan());
    if let Some(at) = params.iter().position(is_nan) {
        let why = "SQLite has no NaN, and would keep NULL".to_owned();
        return Err(Error::Parameter { position: at + 1, why });
    }
    let arguments = bind::<sqlx::Sqlite>(places, params, usize::MAX)?;
    let query = prepared.query_with(arguments);
    let steps = connection.fetch_many(query);
    // The engine counts for the last statement of its connection that changed rows, which need not be this one.
    let change = statement::change(sql);
    let finish = |done: &mut Done, result: SqliteQueryResult| {
        if change != Change::None {
            done.affected += result.rows_affected();
        }
        if change == Change::Insert && done.affected > 0 {
            done.last_id = Some(result.last_insert_rowid());
        }
    };
    // Nothing becomes larger than it is.
    pour(steps, sink, |_, _| 0, column, finish, of_engine).await
}

fn column(row: &SqliteRow, at: usize) -> Result<Value, String> {
    let raw = row.try_get_raw(at).map_err(|error| error.to_string())?;
    if raw.is_null() {
        return Ok(Value::Nil);
    }
    let info = raw.type_info().into_owned();
    match info.name() {
        "INTEGER" => get(row, at).map(Value::Int),
        "REAL" => get(row, at).map(Value::Float),
        _ => get::<Vec<u8>>(row, at).map(|bytes| Value::Bytes(bytes.into())),
    }
}

fn get<'r, T: sqlx::Decode<'r, sqlx::Sqlite>>(row: &'r SqliteRow, at: usize) -> Result<T, String> {
    row.try_get_unchecked(at).map_err(|error| match error {
        sqlx::Error::ColumnDecode { source, .. } => source.to_string(),
        other => other.to_string(),
    })
}

/// Whether there was no transaction to be ended. A statement that writes and is interrupted takes its transaction back by
/// itself.
pub(crate) fn was_rolled_back(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.message().ends_with("no transaction is active"))
}

/// An interrupt comes from the deadline alone.
fn of_engine(error: sqlx::Error) -> Error {
    match code(&error).as_deref() {
        Some("9") => Error::Timeout { limit: Duration::ZERO },
        _ => error.into(),
    }
}

/// Another connection writes.
const BUSY: &str = "5";

/// What the engine says then.
const LOCKED: &str = "database is locked";

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()))
}

/// Whether a statement found that another connection writes.
fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Database { message, .. } if message == LOCKED)
}
