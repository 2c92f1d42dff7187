use std::time::Duration;

use crate::condition::Condition;

/// Why a call to a database failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused the statement.
    #[error("{message}")]
    Database {
        /// What the database says.
        message: String,
        /// The code of the SQL standard; of SQLite the one that comes nearest, if any does.
        sqlstate: Option<String>,
        /// The kind of error.
        kind: ErrorKind,
    },
    /// A parameter does not fit its place.
    #[error("parameter {position} does not fit: {why}")]
    Parameter {
        /// The place, from 1.
        position: usize,
        /// Why not.
        why: String,
    },
    /// More or fewer parameters than places.
    #[error("the statement has {wanted} places for parameters, and {given} were given")]
    Parameters {
        /// Places of the statement.
        wanted: usize,
        /// Parameters of the call.
        given: usize,
    },
    /// A column of the result cannot be handed out.
    #[error("column '{column}': {why}")]
    Column {
        /// Its name.
        column: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Two columns of the result have the same name: one of them would be lost.
    #[error("column '{column}': two columns have this name; give one another with AS")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// The result has too many rows.
    #[error("the result has more than {limit} rows: ask for fewer with LIMIT, or stream them")]
    TooManyRows {
        /// How many it may have.
        limit: usize,
    },
    /// The result, or a row of a stream, is too large.
    #[error(
        "the result has more than {limit} bytes: ask for fewer or smaller columns, or stream the rows"
    )]
    TooLarge {
        /// How many bytes it may have.
        limit: usize,
    },
    /// The statement took too long and was stopped.
    #[error(
        "the statement was stopped after {} ms, its limit: make it faster, or allow it more time",
        limit.as_millis()
    )]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// No connection was free in time.
    #[error(
        "no connection to the database was free within {} ms: try again later, or allow it more connections",
        waited.as_millis()
    )]
    Busy {
        /// How long the call has waited.
        waited: Duration,
    },
    /// Too many calls wait for a connection.
    #[error(
        "{limit} calls wait for a connection to the database already: try again later, or allow it more connections"
    )]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The database cannot be reached.
    #[error("the database cannot be reached: {why}")]
    Unreachable {
        /// Why not.
        why: String,
    },
    /// The connection broke; whether the statement took effect is unknown.
    #[error(
        "the connection to the database was lost, and whether the statement took effect is unknown: {why}"
    )]
    Lost {
        /// What happened.
        why: String,
    },
    /// The permit for the connection was refused or is gone.
    #[error("no permit for a connection: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// The statement begins or ends a transaction, or sets when that is done.
    #[error(
        "{word} is not for a pool's connection, which others use next: run a transaction instead"
    )]
    TransactionStatement {
        /// Its first word, or what it sets.
        word: &'static str,
    },
    /// The text is not one statement, or one that reaches beyond the database.
    #[error("the statement is refused: {why}")]
    StatementRefused {
        /// Why.
        why: String,
    },
    /// The transaction is over.
    #[error("the transaction is over")]
    TransactionOver,
    /// A statement of the transaction is still running.
    #[error("a statement of this transaction is still running: wait for its end first")]
    TransactionBusy,
    /// The runtime of the pool is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// What kind of error a database reports, the same for all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another row has that key already.
    Unique,
    /// A row that it refers to is missing, or others refer to this one.
    ForeignKey,
    /// A column must not be NULL.
    NotNull,
    /// A check of the table says no.
    Check,
    /// It conflicts with another transaction, and trying again may help.
    Conflict,
    /// The database has ended the connection: it is shutting down, or somebody asked for that.
    Ended,
    /// Anything else.
    Other,
}

impl Error {
    /// The code of the SQL standard, if the database gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database { sqlstate, .. } => sqlstate.as_deref(),
            Self::Timeout { .. } => Some("57014"),
            _ => None,
        }
    }

    /// One word for scripts to branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database { kind, .. } => match kind {
                ErrorKind::Unique => "unique",
                ErrorKind::ForeignKey => "foreign_key",
                ErrorKind::NotNull => "not_null",
                ErrorKind::Check => "check",
                ErrorKind::Conflict => "conflict",
                ErrorKind::Ended => "lost",
                ErrorKind::Other => "database",
            },
            Self::Parameter { .. } | Self::Parameters { .. } => "parameter",
            Self::Column { .. } | Self::DuplicateColumn { .. } => "column",
            Self::TooManyRows { .. } | Self::TooLarge { .. } => "too_large",
            Self::Timeout { .. } => "timeout",
            Self::Busy { .. } | Self::QueueFull { .. } | Self::Refused { .. } => "busy",
            Self::Unreachable { .. } => "unreachable",
            Self::Lost { .. } => "lost",
            Self::TransactionStatement { .. } | Self::TransactionOver | Self::TransactionBusy => {
                "transaction"
            }
            Self::StatementRefused { .. } => "refused",
            Self::Stopping => "stopping",
        }
    }

    /// What the connection that it happened on is good for.
    pub(crate) fn leaves(&self) -> Condition {
        match self {
            Self::Database { kind: ErrorKind::Ended, .. } => Condition::Ended,
            // A plan of before a change of the table, or one that is no longer there; only a new connection has none.
            Self::Database { sqlstate: Some(code), .. } if code == "0A000" || code == "26000" => {
                Condition::Ended
            }
            Self::Database { .. }
            | Self::Parameter { .. }
            | Self::Parameters { .. }
            | Self::DuplicateColumn { .. }
            | Self::Timeout { .. }
            | Self::TransactionStatement { .. }
            | Self::StatementRefused { .. } => Condition::Sound,
            // Whoever reads the rows has refused the next one.
            Self::Column { .. }
            | Self::TooManyRows { .. }
            | Self::TooLarge { .. }
            | Self::Stopping => Condition::Unread,
            _ => Condition::Unknown,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => of_database(&*error),
            sqlx::Error::ColumnDecode { index, source } => {
                Self::Column { column: index, why: source.to_string() }
            }
            other => Self::Lost { why: other.to_string() },
        }
    }
}

fn of_database(error: &dyn sqlx::error::DatabaseError) -> Error {
    let code = error.code().map(|code| code.into_owned());
    let kind = match error.kind() {
        sqlx::error::ErrorKind::UniqueViolation => ErrorKind::Unique,
        sqlx::error::ErrorKind::ForeignKeyViolation => ErrorKind::ForeignKey,
        sqlx::error::ErrorKind::NotNullViolation => ErrorKind::NotNull,
        sqlx::error::ErrorKind::CheckViolation => ErrorKind::Check,
        _ if is_final(error) => ErrorKind::Ended,
        _ if is_conflict(code.as_deref()) => ErrorKind::Conflict,
        _ => ErrorKind::Other,
    };
    let sqlstate = match code {
        // SQLite has numbers of its own.
        Some(code) if code.len() != 5 || code.starts_with('-') => of_kind(kind).map(str::to_owned),
        other => other,
    };
    Error::Database { message: error.message().to_owned(), sqlstate, kind }
}

/// Whether the server closes the connection behind the error.
fn is_final(error: &dyn sqlx::error::DatabaseError) -> bool {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        use sqlx::postgres::PgSeverity;
        return matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // ER_SERVER_SHUTDOWN, ER_NET_PACKET_TOO_LARGE, ER_CONNECTION_KILLED of MariaDB, ER_SESSION_WAS_KILLED and
        // ER_CLIENT_INTERACTION_TIMEOUT of MySQL.
        return matches!(error.number(), 1053 | 1153 | 1927 | 3169 | 4031);
    }
    let _ = error;
    false
}

/// Serialization failures and deadlocks; of SQLite busy and locked.
fn is_conflict(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01" | "55P03" | "5" | "6" | "261" | "517" | "773"))
}

fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Unique => Some("23505"),
        ErrorKind::ForeignKey => Some("23503"),
        ErrorKind::NotNull => Some("23502"),
        ErrorKind::Check => Some("23514"),
        ErrorKind::Conflict => Some("40001"),
        ErrorKind::Ended | ErrorKind::Other => None,
    }
}
