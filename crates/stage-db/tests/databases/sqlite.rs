//! SQLite.

use std::time::Duration;

use bytes::Bytes;
use stage_db::{Config, Error, Param, Pool};
use stage_value::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::servers::config;

fn memory() -> Pool {
    Pool::new(config("sqlite::memory:"), None, Handle::current())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_comes_back_as_it_went() {
    let pool = memory();
    pool.query("CREATE TABLE t (v)", vec![]).await.unwrap();
    let json = Value::Map(Map::from_iter([("a".into(), Value::list([Value::Int(1)]))]));
    for (param, back, kind) in [
        (Param::Null, Value::Nil, "null"),
        (Param::Bool(true), Value::Int(1), "integer"),
        (Param::Int(i64::MIN), Value::Int(i64::MIN), "integer"),
        (Param::Float(-0.5), Value::Float(-0.5), "real"),
        (Param::Float(f64::INFINITY), Value::Float(f64::INFINITY), "real"),
        (Param::from(Value::from("한국어\0x")), Value::from("한국어\0x"), "text"),
        (Param::from(Value::bytes([0xff, 0, 1])), Value::bytes([0xff, 0, 1]), "blob"),
        (Param::Blob(Bytes::from("text")), Value::from("text"), "blob"),
        (Param::from(Value::from("")), Value::from(""), "text"),
        (Param::from(json), Value::from("{\"a\":[1]}"), "text"),
    ] {
        pool.query("DELETE FROM t", vec![]).await.unwrap();
        pool.query("INSERT INTO t VALUES ($1)", vec![param.clone()]).await.unwrap();
        let rows = pool.query("SELECT v, typeof(v) AS kind FROM t", vec![]).await.unwrap();
        assert_eq!(rows.rows, [vec![back, Value::from(kind)]], "{param:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_declared_as_dates_and_truths_are_what_they_hold() {
    let pool = memory();
    let create = "CREATE TABLE t (b BOOLEAN, d DATETIME, n NUMERIC, id INTEGER PRIMARY KEY)";
    pool.query(create, vec![]).await.unwrap();
    let insert = "INSERT INTO t (b, d, n) VALUES (true, '2026-11-23 10:00:00', 1.5)";
    let done = pool.query(insert, vec![]).await.unwrap();
    assert_eq!((done.affected, done.last_id), (1, Some(1)));
    let rows = pool.query("SELECT b, d, n FROM t", vec![]).await.unwrap();
    let row = vec![Value::Int(1), Value::from("2026-11-23 10:00:00"), Value::Float(1.5)];
    assert_eq!(rows.rows, [row]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_tells_what_it_changed_and_not_what_the_one_before_it_did() {
    let pool = memory();
    let done = async |sql: &str| {
        let done = pool.query(sql, vec![]).await.unwrap();
        (done.affected, done.last_id)
    };
    assert_eq!(done("CREATE TABLE t (id INTEGER PRIMARY KEY, v)").await, (0, None));
    assert_eq!(done("INSERT INTO t (v) VALUES (1), (2), (3)").await, (3, Some(3)));
    assert_eq!(done("CREATE TABLE u (id INTEGER PRIMARY KEY)").await, (0, None));
    assert_eq!(done("SELECT v FROM t").await, (0, None));
    assert_eq!(done("UPDATE t SET v = v + 1 WHERE id < 3").await, (2, None));
    assert_eq!(done("INSERT OR IGNORE INTO t (id) VALUES (1)").await, (0, None));
    assert_eq!(done("REPLACE INTO t (id) VALUES (1)").await, (1, Some(1)));
    assert_eq!(
        done("WITH x(i) AS (SELECT 9) INSERT INTO t (id) SELECT i FROM x").await,
        (1, Some(9))
    );
    assert_eq!(
        done("WITH x(i) AS (SELECT 9) DELETE FROM t WHERE id IN (SELECT i FROM x)").await,
        (1, None)
    );
    assert_eq!(done("WITH x(i) AS (SELECT 9) SELECT i FROM x").await, (0, None));
    assert_eq!(done("; DELETE FROM t WHERE id = 1 RETURNING v").await, (1, None));
    let nan = pool.query("SELECT $1 AS v", vec![Param::Float(f64::NAN)]).await;
    assert!(matches!(nan, Err(Error::Parameter { position: 1, .. })), "{nan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_computes_for_too_long_is_stopped_and_the_next_one_runs() {
    let limit = Duration::from_millis(200);
    let pool =
        Pool::new(Config { timeout: limit, ..config("sqlite::memory:") }, None, Handle::current());
    pool.query("CREATE TABLE t (id INTEGER)", vec![]).await.unwrap();
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS m FROM n";
    assert_eq!(pool.query(endless, vec![]).await, Err(Error::Timeout { limit }));
    // In a transaction it takes the transaction with it.
    let transaction = pool.begin().await.unwrap();
    transaction.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    assert_eq!(transaction.query(endless, vec![]).await, Err(Error::Timeout { limit }));
    assert_eq!(transaction.commit().await, Err(Error::Timeout { limit }));
    let rows = pool.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(0)]]);
    assert_eq!(pool.stats().timeouts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_gigabyte_is_refused() {
    let pool = memory();
    pool.query("CREATE TABLE t (v)", vec![]).await.unwrap();
    // The engine itself makes none that is larger, and finds that out before it takes the memory.
    for sql in ["SELECT zeroblob(1100000000) AS v", "INSERT INTO t VALUES (zeroblob(1100000000))"] {
        let refused = pool.query(sql, vec![]).await.unwrap_err();
        assert_eq!(refused.to_string(), "string or blob too big", "{sql}");
    }
    let large = "SELECT randomblob(100000000) AS v";
    let limit = 16 << 20;
    assert_eq!(pool.query(large, vec![]).await, Err(Error::TooLarge { limit }));
    let mut rows = pool.stream(large, vec![]).await.unwrap();
    assert_eq!(rows.next().await, Err(Error::TooLarge { limit }));
    drop(rows);
    let rows = pool.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(0)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_memory_outlives_results_that_are_left_in_their_middle() {
    let pool = memory();
    pool.query("CREATE TABLE t (id INTEGER)", vec![]).await.unwrap();
    pool.query("INSERT INTO t VALUES (1), (2), (3)", vec![]).await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    pool.stream(endless, vec![]).await.unwrap().next().await.unwrap();
    let error = pool.query(endless, vec![]).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRows { .. }), "{error}");
    let left = pool.begin().await.unwrap();
    left.query("DELETE FROM t", vec![]).await.unwrap();
    drop(left);
    let rows = pool.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(3)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_created_once_and_writers_of_it_queue() {
    let folder = TempDir::new().unwrap();
    let config = Config {
        wait: Duration::from_secs(10),
        ..Config::new("sqlite:a.db", folder.path()).unwrap()
    };
    let pool = Pool::new(config.clone(), None, Handle::current());
    pool.query("CREATE TABLE t (n INTEGER)", vec![]).await.unwrap();
    pool.query("INSERT INTO t VALUES (0)", vec![]).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let transaction = pool.begin().await.unwrap();
                    let rows = transaction.query("SELECT n FROM t", vec![]).await.unwrap();
                    let next = rows.rows[0][0].as_int().unwrap() + 1;
                    transaction.query("UPDATE t SET n = $1", vec![Param::Int(next)]).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let again = Pool::new(config, None, Handle::current());
    let rows = again.query("SELECT n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(80)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_nobody_waits_for_do_not_wait_for_the_writer_before_them() {
    let folder = TempDir::new().unwrap();
    let config = Config {
        connections: 3,
        timeout: Duration::from_secs(3600),
        wait: Duration::from_secs(60),
        ..Config::new("sqlite:a.db", folder.path()).unwrap()
    };
    let pool = Pool::new(config, None, Handle::current());
    pool.query("CREATE TABLE t (n INTEGER)", vec![]).await.unwrap();
    let writer = pool.begin().await.unwrap();
    writer.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    let (one, two) = (pool.clone(), pool.clone());
    let waiting = [
        tokio::spawn(async move { one.query("INSERT INTO t VALUES (2)", vec![]).await.is_ok() }),
        tokio::spawn(async move { two.begin().await.is_ok() }),
    ];
    while pool.stats().connections - pool.stats().idle < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    // It needs one of their connections.
    let rows = pool.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(0)]]);
    writer.commit().await.unwrap();
    let rows = pool.query("SELECT n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(1)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_waits_for_another_one_takes_its_turn_or_is_told_that_it_is_locked() {
    let folder = TempDir::new().unwrap();
    let config = Config::new("sqlite:a.db", folder.path()).unwrap();
    let pool = Pool::new(config.clone(), None, Handle::current());
    let hasty = Config { timeout: Duration::from_millis(200), ..config };
    let hasty = Pool::new(hasty, None, Handle::current());
    pool.query("CREATE TABLE t (n INTEGER)", vec![]).await.unwrap();
    let writer = pool.begin().await.unwrap();
    for locked in [
        hasty.query("INSERT INTO t VALUES (1)", vec![]).await.map(drop),
        hasty.begin().await.map(drop),
    ] {
        assert_eq!(locked.unwrap_err().kind(), "conflict");
    }
    let patient = pool.clone();
    let insert =
        tokio::spawn(async move { patient.query("INSERT INTO t VALUES (1)", vec![]).await });
    while pool.stats().statements < 2 {
        tokio::task::yield_now().await;
    }
    writer.commit().await.unwrap();
    assert_eq!(insert.await.unwrap().unwrap().affected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_is_named_as_the_reason() {
    let config =
        Config { wait: Duration::from_millis(300), ..config("sqlite:/no/such/folder/a.db") };
    let pool = Pool::new(config, None, Handle::current());
    let error = pool.query("SELECT 1 AS one", vec![]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { why } if why.contains("unable to open")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_is_stopped_and_the_database_in_memory_stays() {
    let long = Duration::from_secs(3600);
    let limits = Config { timeout: long, wait: long, ..config("sqlite::memory:") };
    let pool = Pool::new(limits, None, Handle::current());
    pool.query("CREATE TABLE t (v)", vec![]).await.unwrap();
    let endless = "INSERT INTO t WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n) \
                   SELECT max(v) FROM n";
    for in_transaction in [false, true] {
        let before = pool.stats().statements;
        let caller = pool.clone();
        let asked = tokio::spawn(async move {
            match in_transaction {
                false => caller.query(endless, vec![]).await.map(drop),
                true => caller.begin().await?.query(endless, vec![]).await.map(drop),
            }
        });
        while pool.stats().statements == before {
            tokio::task::yield_now().await;
        }
        asked.abort();
        // It is the only connection: this would wait for the statement's end, which is an hour away.
        let found = pool.query("SELECT count(*) FROM t", vec![]).await.unwrap();
        assert_eq!(found.rows[0][0].as_int(), Some(0));
    }
    assert_eq!(pool.stats().timeouts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reaches_a_file_beside_the_database() {
    let folder = TempDir::new().unwrap();
    let pool =
        Pool::new(Config::new("sqlite:a.db", folder.path()).unwrap(), None, Handle::current());
    pool.query("CREATE TABLE t (id INTEGER)", vec![]).await.unwrap();
    let beside = folder.path().join("beside.db");
    let path = Param::from(Value::from(beside.to_str().unwrap()));
    for sql in ["ATTACH $1 AS y", "/* x */ VACUUM INTO $1", "SELECT 1 AS a; ATTACH $1 AS y"] {
        let refused = pool.query(sql, vec![path.clone()]).await.unwrap_err();
        assert_eq!(refused.kind(), "refused", "{sql}");
        let refused = pool.stream(sql, vec![path.clone()]).await.unwrap_err();
        assert_eq!(refused.kind(), "refused", "{sql}");
        let transaction = pool.begin().await.unwrap();
        let refused = transaction.query(sql, vec![path.clone()]).await.unwrap_err();
        assert_eq!(refused.kind(), "refused", "{sql}");
    }
    assert!(!beside.exists());
    // It would give whoever asks the address of a function, and take one.
    let leaked = pool.query("SELECT fts3_tokenizer($1)", vec![Value::from("simple").into()]).await;
    assert_eq!(leaked.unwrap_err().kind(), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_statement_ends_no_transaction() {
    let folder = TempDir::new().unwrap();
    let pool =
        Pool::new(Config::new("sqlite:a.db", folder.path()).unwrap(), None, Handle::current());
    pool.query("CREATE TABLE t (id INTEGER)", vec![]).await.unwrap();
    pool.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    let transaction = pool.begin().await.unwrap();
    for sql in ["DELETE FROM t; COMMIT", "DELETE FROM t WHERE id <> $a('); COMMIT --')"] {
        let refused = transaction.query(sql, vec![]).await.unwrap_err();
        assert_eq!(refused.kind(), "refused", "{sql}");
    }
    transaction.roll_back().await.unwrap();
    for sql in ["SELECT 1 AS a; BEGIN IMMEDIATE", "SELECT 1 AS a;\0"] {
        assert_eq!(pool.query(sql, vec![]).await.unwrap_err().kind(), "refused", "{sql:?}");
    }
    let rows = pool.query("SELECT count(*) AS n FROM t; -- all of them;", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(1)]]);
    // The statements of a trigger are its own.
    let trigger = "CREATE TRIGGER more AFTER INSERT ON t WHEN new.id < 5 BEGIN \
                   INSERT INTO t VALUES (new.id + 10); DELETE FROM t WHERE id = 1; END;";
    pool.query(trigger, vec![]).await.unwrap();
    pool.query("INSERT INTO t VALUES (3)", vec![]).await.unwrap();
    let rows = pool.query("SELECT id FROM t ORDER BY id", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(3)], vec![Value::Int(13)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_takes_the_transaction_back_and_no_more() {
    let pool = memory();
    pool.query("CREATE TABLE p (id INTEGER PRIMARY KEY)", vec![]).await.unwrap();
    let child = "CREATE TABLE c (id INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
    pool.query(child, vec![]).await.unwrap();
    let transaction = pool.begin().await.unwrap();
    transaction.query("INSERT INTO c VALUES (1)", vec![]).await.unwrap();
    assert_eq!(transaction.commit().await.unwrap_err().kind(), "foreign_key");
    let rows = pool.query("SELECT count(*) AS n FROM c", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(0)]]);
}
