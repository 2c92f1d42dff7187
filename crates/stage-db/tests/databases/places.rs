//! The databases that a test goes through, one after the other.

use std::time::Duration;

use stage_db::{Config, Param, Pool};
use stage_value::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::servers::Server;

/// A database of a test's own.
pub(crate) struct Place {
    pub(crate) config: Config,
    dialect: Dialect,
    /// Keeps the database there.
    _held: Held,
}

#[derive(Clone, Copy, Debug)]
enum Dialect {
    Sqlite,
    Postgres,
    MariaDb,
}

enum Held {
    Folder(#[expect(dead_code, reason = "held for its drop")] TempDir),
    Server(#[expect(dead_code, reason = "held for its drop")] Server),
}

pub(crate) async fn places() -> Vec<Place> {
    let folder = TempDir::new().unwrap();
    let file = Config {
        wait: Duration::from_secs(5),
        ..Config::new("sqlite:test.db", folder.path()).unwrap()
    };
    let (postgres, mariadb) = tokio::join!(Server::postgres(&[]), Server::mariadb());
    vec![
        Place { config: file, dialect: Dialect::Sqlite, _held: Held::Folder(folder) },
        Place {
            config: postgres.config(),
            dialect: Dialect::Postgres,
            _held: Held::Server(postgres),
        },
        Place { config: mariadb.config(), dialect: Dialect::MariaDb, _held: Held::Server(mariadb) },
    ]
}

impl Place {
    pub(crate) fn pool(&self, change: impl FnOnce(&mut Config)) -> Pool {
        let mut config = self.config.clone();
        change(&mut config);
        Pool::new(config, None, Handle::current())
    }

    /// What is written in one way for SQLite, in another one for PostgreSQL and in a third one for MariaDB.
    pub(crate) fn by<T>(&self, [sqlite, postgres, mariadb]: [T; 3]) -> T {
        match self.dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
            Dialect::MariaDb => mariadb,
        }
    }

    /// A statement with `?` as this database writes it.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let numbered = self.by([true, true, false]);
        let mut parts = sql.split('?');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (at, part) in (1..).zip(parts) {
            text += &if numbered { format!("${at}") } else { "?".to_owned() };
            text += part;
        }
        text
    }

    /// Tells how many connections of clients there are.
    pub(crate) fn counting(&self) -> Option<&'static str> {
        self.by([
            None,
            Some(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'",
            ),
            Some("SELECT count(*) AS n FROM information_schema.processlist WHERE user = 'root'"),
        ])
    }

    /// What `FROM` waits for in vain.
    pub(crate) fn endless(&self) -> &'static str {
        self.by([
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n) AS e",
            "pg_sleep(60) AS e",
            "(SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b WHERE a.seq * b.seq = 7) AS e",
        ])
    }
}

pub(crate) async fn ints(pool: &Pool, sql: &str) -> Vec<i64> {
    let rows = pool.query(sql, vec![]).await.unwrap();
    rows.rows.iter().map(|row| row[0].as_int().unwrap()).collect()
}

pub(crate) fn text(text: &str) -> Param {
    Param::from(Value::from(text))
}
