#![doc = include_str!("../README.md")]

mod condition;
mod config;
mod connection;
mod error;
mod gate;
mod live;
#[cfg(any(feature = "mysql", feature = "postgres"))]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "only PostgreSQL is told times in its own form")
)]
mod moment;
mod param;
mod pool;
mod rows;
mod statement;
mod stats;
mod stream;
mod transaction;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use config::{Config, ConfigError, Database};
pub use error::{Error, ErrorKind};
pub use gate::{Admission, Gate, Permit};
pub use param::Param;
pub use pool::Pool;
pub use rows::{Columns, Row, Rows};
pub use stats::Stats;
pub use stream::RowStream;
pub use transaction::Transaction;
