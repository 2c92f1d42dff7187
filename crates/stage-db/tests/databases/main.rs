//! Against real databases: PostgreSQL and MariaDB as Debian packages them, and SQLite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod everywhere;
mod injection;
mod mariadb;
mod outages;
mod places;
mod postgres;
mod servers;
mod sqlite;
mod transactions;
