//! One connection, whichever database is behind it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Executor;

use crate::rows::{Done, Sink};
use crate::{ConfigError, Error, Param};

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Source {
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    #[cfg(feature = "mysql")]
    MySql(Box<sqlx::mysql::MySqlConnectOptions>),
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

impl Source {
    pub(crate) fn parse(address: &str, folder: &Path) -> Result<Self, ConfigError> {
        let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "postgres" | "postgresql" => Self::postgres(address),
            "mysql" | "mariadb" => Self::mysql(address),
            "sqlite" => Self::sqlite(address, folder),
            _ => Err(ConfigError::Scheme { scheme: scheme.chars().take(32).collect() }),
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres(address: &str) -> Result<Self, ConfigError> {
        parsed(address).map(|options| Self::Postgres(Box::new(options)))
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: &str) -> Result<Self, ConfigError> {
        Err(ConfigError::Feature { feature: "postgres" })
    }

    #[cfg(feature = "mysql")]
    fn mysql(address: &str) -> Result<Self, ConfigError> {
        parsed(address).map(|options| Self::MySql(Box::new(options)))
    }

    #[cfg(not(feature = "mysql"))]
    fn mysql(_: &str) -> Result<Self, ConfigError> {
        Err(ConfigError::Feature { feature: "mysql" })
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(address: &str, folder: &Path) -> Result<Self, ConfigError> {
        let options = crate::sqlite::options(parsed(address)?, address, folder);
        Ok(Self::Sqlite(Box::new(options)))
    }

    #[cfg(not(feature = "sqlite"))]
    fn sqlite(_: &str, _: &Path) -> Result<Self, ConfigError> {
        Err(ConfigError::Feature { feature: "sqlite" })
    }

    /// Refuses a statement that would change its connection for whoever gets it next, or that reaches what is not of the
    /// database.
    ///
    /// # Errors
    /// [`Error::TransactionStatement`], [`Error::StatementRefused`].
    pub(crate) fn check(&self, sql: &str) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => crate::statement::Dialect::POSTGRES.check(sql),
            #[cfg(feature = "mysql")]
            Self::MySql(_) => crate::statement::Dialect::MYSQL.check(sql),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => crate::sqlite::statement::check(sql),
        }
    }

    /// What to call it in logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "mysql")]
            Self::MySql(_) => "mysql",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Whether the database ends with its connection.
    pub(crate) fn is_in_memory(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => crate::sqlite::is_in_memory(options),
            #[allow(unreachable_patterns, reason = "there is one without the other drivers")]
            _ => false,
        }
    }

    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                (!self.is_in_memory()).then(|| options.get_filename().to_owned())
            }
            #[allow(unreachable_patterns, reason = "there is one without the other drivers")]
            _ => None,
        }
    }

    /// Opens a connection that stops statements after `timeout`.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<Connection, sqlx::Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                crate::postgres::connect(options, timeout).await.map(Connection::Postgres)
            }
            #[cfg(feature = "mysql")]
            Self::MySql(options) => {
                crate::mysql::connect(options, timeout).await.map(Connection::MySql)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                crate::sqlite::Connection::open(options, timeout).await.map(Connection::Sqlite)
            }
        }
    }
}

fn parsed<T: std::str::FromStr<Err = sqlx::Error>>(address: &str) -> Result<T, ConfigError> {
    address.parse().map_err(|error: sqlx::Error| {
        let why = match error {
            sqlx::Error::Configuration(why) => why.to_string(),
            other => other.to_string(),
        };
        ConfigError::Address { why }
    })
}

/// Many times what a server takes that has processors to spare.
const PARTING: Duration = Duration::from_millis(50);

/// An open connection.
pub(crate) enum Connection {
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Connection),
    #[cfg(feature = "mysql")]
    MySql(crate::mysql::Connection),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Connection),
}

/// How the statement of a connection is stopped from elsewhere.
pub(crate) enum Stop {
    /// By closing the connection, which the server notices.
    #[cfg(feature = "postgres")]
    Close,
    /// By a statement on another connection.
    #[cfg(feature = "mysql")]
    Kill(crate::mysql::Kill),
    /// By making its next step fail.
    #[cfg(feature = "sqlite")]
    Interrupt(crate::sqlite::Interrupt),
}

/// Calls the same function on whichever connection it is.
macro_rules! on {
    ($connection:expr, $inner:ident => $call:expr) => {
        match $connection {
            #[cfg(feature = "postgres")]
            Connection::Postgres(crate::postgres::Connection { inner: $inner, .. }) => $call,
            #[cfg(feature = "mysql")]
            Connection::MySql(crate::mysql::Connection { inner: $inner, .. }) => $call,
            #[cfg(feature = "sqlite")]
            Connection::Sqlite(crate::sqlite::Connection { inner: $inner, .. }) => $call,
        }
    };
}

impl Connection {
    /// Runs a statement to its end, or to the error of its sink, which leaves the rest of the result to be read.
    pub(crate) async fn run<S: Sink>(
        &mut self,
        sql: &str,
        params: &[Param],
        sink: &mut S,
    ) -> Result<Done, Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => crate::postgres::run(&mut own.inner, sql, params, sink).await,
            #[cfg(feature = "mysql")]
            Self::MySql(own) => crate::mysql::run(own, sql, params, sink).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(inner) => inner.run(sql, params, sink).await,
        }
    }

    /// How to stop the statement that runs next.
    pub(crate) fn stop(&self) -> Stop {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Stop::Close,
            #[cfg(feature = "mysql")]
            Self::MySql(inner) => Stop::Kill(inner.kill()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(inner) => Stop::Interrupt(inner.interrupt()),
        }
    }

    /// Whether its last statement may be stopped late, when another one already runs.
    pub(crate) fn is_marked(&self) -> bool {
        match self {
            #[cfg(feature = "mysql")]
            Self::MySql(inner) => inner.is_marked(),
            #[allow(unreachable_patterns, reason = "there is none without the other drivers")]
            _ => false,
        }
    }

    /// How long one that is closed in the middle of a statement counts as used: the server may work on for it.
    pub(crate) fn departure(&self) -> Duration {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.departure,
            #[cfg(feature = "mysql")]
            Self::MySql(own) => own.departure,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Duration::ZERO,
        }
    }

    /// How long the server may count one that has said good-bye: it ends its process or thread for it after that, and the
    /// drivers do not tell when it has.
    pub(crate) fn parting(&self) -> Duration {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Duration::ZERO,
            #[allow(unreachable_patterns, reason = "there is none without the other drivers")]
            _ => PARTING,
        }
    }

    /// Runs a statement that returns nothing.
    #[cfg(feature = "mysql")]
    pub(crate) async fn execute(&mut self, sql: String) -> Result<(), sqlx::Error> {
        on!(self, inner => inner.execute(sqlx::AssertSqlSafe(sql)).await.map(drop))
    }

    /// Begins or ends a transaction, which nothing stops.
    pub(crate) async fn step(&mut self, step: Step) -> Result<(), sqlx::Error> {
        let sql = match step {
            // A transaction that begins as a reader and then writes may find that it cannot.
            #[cfg(feature = "sqlite")]
            Step::Begin if matches!(self, Self::Sqlite(_)) => "BEGIN IMMEDIATE",
            Step::Begin => "BEGIN",
            Step::Commit => "COMMIT",
            Step::RollBack => "ROLLBACK",
        };
        let done = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(own) => own.inner.execute(sql).await.map(drop),
            #[cfg(feature = "mysql")]
            Self::MySql(own) => own.inner.execute(sql).await.map(drop),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(own) => own.step(sql).await,
        };
        match done {
            #[cfg(feature = "sqlite")]
            Err(error) if crate::sqlite::was_rolled_back(&error) => match step {
                Step::RollBack => Ok(()),
                Step::Begin | Step::Commit => Err(error),
            },
            done => done,
        }
    }

    /// Whether a result that is left in its middle leaves nothing behind: there is no wire that holds the
    /// rest of it.
    pub(crate) fn forgets_results(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => true,
            #[allow(unreachable_patterns, reason = "there is one without the other drivers")]
            _ => false,
        }
    }

    pub(crate) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        on!(self, inner => sqlx::Connection::ping(inner).await)
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        on!(self, inner => sqlx::Connection::close(inner).await)
    }
}

/// What begins or ends a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Begin,
    Commit,
    RollBack,
}
