use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::connection::Source;

/// A database, and what is not exceeded with it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database is.
    pub database: Database,
    /// Connections at a time. An SQLite database in memory has one, whatever this says.
    pub connections: u32,
    /// How long a statement may take. The server stops it then; one that does not answer a second later
    /// loses its connection.
    pub timeout: Duration,
    /// How long a call waits for a connection, be it that all are in use or that the server is away.
    pub wait: Duration,
    /// Calls that wait for a connection; more are refused at once.
    pub waiting: usize,
    /// Rows of a result.
    pub rows: usize,
    /// Bytes of a result, and of one row of a stream.
    pub bytes: usize,
    /// How long a connection may idle before it is closed.
    pub idle: Duration,
    /// How long a connection is used before another one takes its place.
    pub lifetime: Duration,
}

/// Why an address names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address begins with none of the known schemes.
    #[error(
        "'{scheme}' is no kind of database: the address begins with postgres:, mysql:, mariadb: or \
         sqlite:"
    )]
    Scheme {
        /// What stands before the first colon.
        scheme: String,
    },
    /// The rest of the address is wrong. The text does not repeat it: it may hold a password.
    #[error("the address of the database is wrong: {why}")]
    Address {
        /// What is wrong with it.
        why: String,
    },
    /// This build has no driver for the database.
    #[error("built without the feature '{feature}' of stage-db")]
    Feature {
        /// The feature that it needs.
        feature: &'static str,
    },
}

impl Config {
    /// The defaults for an address: `postgres://USER:PASSWORD@HOST/NAME`, `mysql://...` (MariaDB too),
    /// `sqlite:FILE` or `sqlite::memory:`.
    ///
    /// A relative file is looked for from `folder`; one that is not there is created, unless the address
    /// ends in a `?mode=` that says otherwise.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(address: &str, folder: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            database: Database(Source::parse(address, folder)?),
            connections: 8,
            timeout: Duration::from_secs(5),
            wait: Duration::from_secs(1),
            waiting: 10_000,
            rows: 10_000,
            bytes: 16 << 20,
            idle: Duration::from_secs(60),
            lifetime: Duration::from_secs(1800),
        })
    }
}

/// Where a database is, and how to sign in.
#[derive(Clone)]
pub struct Database(pub(crate) Source);

impl Database {
    /// The file of an SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.0.file()
    }
}

impl fmt::Debug for Database {
    /// Without what it takes to sign in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.0.kind()).finish()
    }
}
