//! MariaDB, which speaks the protocol of MySQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stage_db::{Admission, Config, Error, Gate, Param, Permit, Pool};
use stage_value::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::places::ints;
use crate::servers::{Server, until_there_are};

fn text(text: &str) -> Param {
    Param::from(Value::from(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_in_and_comes_out() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    let object = Value::Map(Map::from_iter([("a".into(), Value::list([Value::Int(1)]))]));
    for (kind, param, back) in [
        ("INT", Param::Null, Value::Nil),
        ("BOOLEAN", Param::Bool(true), Value::Int(1)),
        ("TINYINT", Param::Int(-128), Value::Int(-128)),
        ("BIGINT", Param::Int(i64::MIN), Value::Int(i64::MIN)),
        ("BIGINT UNSIGNED", text("18446744073709551615"), Value::from("18446744073709551615")),
        ("INT UNSIGNED", Param::Int(4_000_000_000), Value::Int(4_000_000_000)),
        ("FLOAT", Param::Float(0.25), Value::Float(0.25)),
        ("DOUBLE", Param::Float(-1e300), Value::Float(-1e300)),
        (
            "DECIMAL(30,5)",
            text("-1234567890123456789.00100"),
            Value::from("-1234567890123456789.00100"),
        ),
        ("VARCHAR(20)", text("한국어 '\"\\"), Value::from("한국어 '\"\\")),
        ("LONGTEXT", text(""), Value::from("")),
        ("VARBINARY(9)", Param::Blob(Bytes::from(vec![0, 255])), Value::bytes([0, 255])),
        ("BLOB", Param::from(Value::bytes([0xfe, 1])), Value::bytes([0xfe, 1])),
        ("JSON", Param::from(object), Value::from("{\"a\":[1]}")),
        ("DATE", text("2026-11-23"), Value::from("2026-11-23")),
        ("DATE", text("0000-00-00"), Value::Nil),
        ("TIME", text("10:20:30"), Value::from("10:20:30")),
        ("TIME", text("-00:30:00"), Value::from("-0:30:00")),
        ("TIME(3)", text("100:00:00.250"), Value::from("100:00:00.25")),
        ("DATETIME(3)", text("2026-11-23 10:00:00.250"), Value::from("2026-11-23T10:00:00.25")),
        ("TIMESTAMP", text("2026-11-23 10:00:00"), Value::from("2026-11-23T10:00:00")),
        ("TIMESTAMP", Param::Int(0), Value::Nil),
        ("YEAR", Param::Int(2026), Value::Int(2026)),
        ("ENUM('a','b')", text("b"), Value::from("b")),
        ("SET('a','b')", text("a,b"), Value::from("a,b")),
        ("SMALLINT", Param::Int(-32768), Value::Int(-32768)),
        ("MEDIUMINT UNSIGNED", Param::Int(16_777_215), Value::Int(16_777_215)),
        ("BIT(9)", Param::Int(257), Value::Int(257)),
        ("CHAR(3)", text("a"), Value::from("a")),
        ("TINYTEXT", text("a"), Value::from("a")),
        ("MEDIUMTEXT", text("a"), Value::from("a")),
        ("BINARY(3)", Param::Blob(Bytes::from("a")), Value::bytes(*b"a\0\0")),
        ("LONGBLOB", Param::Blob(Bytes::from(vec![0; 70_000])), Value::bytes(vec![0; 70_000])),
        ("INET6", text("::1"), Value::from("::1")),
        (
            "UUID",
            text("67E55044-10B1-426F-9247-BB680E5FE0C8"),
            Value::from("67e55044-10b1-426f-9247-bb680e5fe0c8"),
        ),
    ] {
        pool.query(
            format!("CREATE OR REPLACE TABLE t (v {kind} NULL) CHARACTER SET utf8mb4"),
            vec![],
        )
        .await
        .unwrap();
        pool.query("INSERT INTO t VALUES (?)", vec![param.clone()]).await.unwrap();
        let rows = pool.query("SELECT v FROM t", vec![]).await;
        assert_eq!(rows.map(|it| it.rows), Ok(vec![vec![back]]), "{kind} of {param:?}");
    }
    let create = "CREATE OR REPLACE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)";
    pool.query(create, vec![]).await.unwrap();
    let done = pool.query("INSERT INTO t (v) VALUES (?)", vec![Param::Int(1)]).await.unwrap();
    assert_eq!((done.affected, done.last_id), (1, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_was_read_goes_back_in_and_finds_its_row() {
    let server = Server::mariadb_with(&["default-time-zone=+09:00"]).await;
    let pool = server.pool();
    for (kind, written, read) in [
        ("TIMESTAMP", "2026-11-23 10:00:00", "2026-11-23T10:00:00"),
        ("TIMESTAMP(6)", "2026-11-23 10:00:00.000250", "2026-11-23T10:00:00.00025"),
        ("DATETIME", "2026-11-23 00:00:00", "2026-11-23T00:00:00"),
        ("DATETIME(6)", "9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999"),
        ("DATE", "1000-01-01", "1000-01-01"),
        ("TIME", "23:59:59", "23:59:59"),
        ("TIME(6)", "10:20:30.000001", "10:20:30.000001"),
        ("TIME(6)", "-100:20:30.500000", "-100:20:30.5"),
        // Text stays as it was given, whatever it looks like.
        ("VARCHAR(30)", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
        ("VARCHAR(30)", "2026-11-23T10:00:00.250", "2026-11-23T10:00:00.250"),
    ] {
        let create = format!("CREATE OR REPLACE TABLE t (v {kind} NULL)");
        pool.query(create, vec![]).await.unwrap();
        pool.query("INSERT INTO t VALUES (?)", vec![text(written)]).await.unwrap();
        let rows = pool.query("SELECT v FROM t", vec![]).await.unwrap().rows;
        assert_eq!(rows, [[Value::from(read)]], "{kind}");
        let back = Param::from(rows[0][0].clone());
        pool.query("INSERT INTO t VALUES (?)", vec![back.clone()]).await.unwrap();
        let rows = pool.query("SELECT v FROM t WHERE v = ?", vec![back.clone()]).await.unwrap();
        assert_eq!(rows.rows, vec![vec![Value::from(read)]; 2], "{kind}");
        let updated = pool.query("UPDATE t SET v = ? WHERE v = ?", vec![back.clone(), back]).await;
        assert!(updated.is_ok(), "{kind}: {updated:?}");
    }
    // Both ways are in UTC, whatever zone the server has.
    let moment = "SELECT UNIX_TIMESTAMP(CAST(? AS DATETIME)) AS n, NOW() = UTC_TIMESTAMP() AS utc";
    let rows = pool.query(moment, vec![text("2026-11-23T10:00:00")]).await.unwrap().rows;
    assert_eq!(rows, [[Value::Int(1_795_428_000), Value::Int(1)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_form_is_refused_with_the_cast_that_gives_it_one() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    for (kind, value) in
        [("DATE", "'2026-11-00'"), ("DATETIME", "'2026-00-00'"), ("POINT", "POINT(1, 2)")]
    {
        let create = format!("CREATE OR REPLACE TABLE t (v {kind} NULL)");
        pool.query(create, vec![]).await.unwrap();
        pool.query(format!("INSERT INTO t VALUES ({value})"), vec![]).await.unwrap();
        let refused = pool.query("SELECT v FROM t", vec![]).await.unwrap_err().to_string();
        assert!(refused.contains("'v'") && refused.contains("cast it to char"), "{refused}");
    }
    assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_has_its_code() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    pool.query("CREATE TABLE p (id INT PRIMARY KEY) ENGINE=InnoDB", vec![]).await.unwrap();
    pool.query(
        "CREATE TABLE c (id INT NOT NULL, FOREIGN KEY (id) REFERENCES p(id)) ENGINE=InnoDB",
        vec![],
    )
    .await
    .unwrap();
    pool.query("INSERT INTO p VALUES (1)", vec![]).await.unwrap();
    for (sql, kind, code) in [
        ("INSERT INTO p VALUES (1)", "unique", Some("23000")),
        ("INSERT INTO c VALUES (9)", "foreign_key", Some("23000")),
        ("INSERT INTO c VALUES (NULL)", "not_null", Some("23000")),
        ("SELECT * FROM nowhere", "database", Some("42S02")),
    ] {
        let error = pool.query(sql, vec![]).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (kind, code), "{sql}");
    }
    let refused = pool.query("SELECT ? AS v", vec![Param::Float(f64::NAN)]).await.unwrap_err();
    assert_eq!(refused.kind(), "parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_past_its_time_is_stopped_by_the_server() {
    let server = Server::mariadb().await;
    let limit = Duration::from_millis(300);
    let pool = Pool::new(Config { timeout: limit, ..server.config() }, None, Handle::current());
    let error = pool.query("SELECT count(*) AS n FROM seq_1_to_1000000 a, seq_1_to_1000000 b WHERE a.seq * b.seq = 7", vec![]).await.unwrap_err();
    assert_eq!(error, Error::Timeout { limit });
    assert_eq!(pool.query("SELECT 1 AS one", vec![]).await.unwrap().rows, [vec![Value::Int(1)]]);
    assert_eq!(pool.stats().timeouts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_gigabyte_is_refused() {
    let server = Server::mariadb_with(&["max_allowed_packet=1G"]).await;
    let pool = server.pool();
    let large = "SELECT REPEAT('x', 100000000) AS a";
    let refused = Err(Error::TooLarge { limit: 16 << 20 });
    assert_eq!(pool.query(large, vec![]).await, refused);
    assert_eq!(pool.stream(large, vec![]).await.unwrap().next().await.map(drop), refused.map(drop));
    // The server itself makes none that is larger: it reads NULL in its place, and writes nothing.
    let huge = pool.query("SELECT REPEAT('x', 1100000000) AS a", vec![]).await.unwrap();
    assert_eq!(huge.rows, [vec![Value::Nil]]);
    pool.query("CREATE TABLE t (v LONGTEXT)", vec![]).await.unwrap();
    let insert = "INSERT INTO t VALUES (REPEAT('x', 1100000000))";
    let refused = pool.query(insert, vec![]).await.unwrap_err();
    assert!(refused.to_string().contains("larger than max_allowed_packet"), "{refused}");
    assert_eq!(pool.query("SELECT 1 AS one", vec![]).await.unwrap().rows, [vec![Value::Int(1)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_server_takes_is_refused_and_the_connection_is_as_good_as_before() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    pool.query("CREATE TABLE t (v LONGBLOB)", vec![]).await.unwrap();
    let of = |bytes| vec![Param::Blob(Bytes::from(vec![b'x'; bytes]))];
    let most = 16 << 20;
    let insert = "INSERT INTO t VALUES (?)";
    for bytes in [most, 20 << 20] {
        let refused = pool.query(insert, of(bytes)).await.unwrap_err();
        assert!(matches!(refused, Error::Parameter { position: 1, .. }), "{refused}");
        let halves = [of(bytes / 2), of(bytes / 2)].concat();
        let refused =
            pool.query("SELECT LENGTH(?) AS a, LENGTH(?) AS b", halves).await.unwrap_err();
        assert!(matches!(refused, Error::Parameter { position: 2, .. }), "{refused}");
        let key = Value::from("x".repeat(bytes));
        let document = vec![Param::from(Value::list([key]))];
        assert_eq!(pool.query(insert, document).await.unwrap_err().kind(), "parameter");
        let text = format!("SELECT '{}' AS v", "x".repeat(bytes));
        assert_eq!(pool.query(text.as_str(), vec![]).await.unwrap_err().kind(), "refused");
        assert_eq!(pool.stream(text, vec![]).await.unwrap_err().kind(), "refused");
        let transaction = pool.begin().await.unwrap();
        transaction.query(insert, of(1)).await.unwrap();
        let refused = transaction.query(insert, of(bytes)).await.unwrap_err();
        assert_eq!(refused.kind(), "parameter");
        assert_eq!(transaction.commit().await, Err(refused));
    }
    // What is just smaller goes through.
    pool.query(insert, of(most - 100)).await.unwrap();
    let text = format!("SELECT LENGTH('{}') AS n", "x".repeat(most - 100));
    assert_eq!(ints(&pool, &text).await, [most as i64 - 100]);
    assert_eq!(ints(&pool, "SELECT LENGTH(v) AS n FROM t").await, [most as i64 - 100]);
    assert_eq!(pool.stats().connections, 1, "the connection is as good as before");
}

/// How many statements of the test's own are running.
const ASLEEP: &str = "SELECT count(*) FROM information_schema.processlist \
               WHERE info LIKE '%SLEEP(60)%' AND id <> connection_id()";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_is_stopped_over_another_connection_of_the_pool() {
    let server = Server::mariadb().await;
    let watcher = server.pool();
    watcher.query("CREATE TABLE t (v INT)", vec![]).await.unwrap();
    let timeout = Duration::from_secs(60);
    let limits = Config { connections: 4, timeout, wait: timeout, ..server.config() };
    let pool = Pool::new(limits, None, Handle::current());
    let transaction = pool.begin().await.unwrap();
    transaction.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    let (alone, streamed) = (pool.clone(), pool.clone());
    let waiting = [
        tokio::spawn(async move { drop(alone.query("SELECT SLEEP(60)", vec![]).await) }),
        tokio::spawn(async move { drop(transaction.query("SELECT SLEEP(60)", vec![]).await) }),
        tokio::spawn(async move {
            let mut rows = streamed.stream("SELECT SLEEP(60)", vec![]).await.unwrap();
            drop(rows.next().await);
        }),
    ];
    until_there_are(3, &watcher, ASLEEP).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until_there_are(0, &watcher, ASLEEP).await;
    // The pool has its connections back, those that were asked to stop closed, and nothing of the
    // transaction took effect.
    let asks = (0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.query("SELECT count(*) + SLEEP(0.1) FROM t", vec![]).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        let found = ask.await.unwrap().unwrap();
        assert_eq!(found.rows[0][0].as_int(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_keeps_a_connection_from_committing_for_the_next_one() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    pool.query("CREATE TABLE t (id INT) ENGINE=InnoDB", vec![]).await.unwrap();
    for sql in ["SET autocommit = 0", "SET SESSION autocommit = OFF", "SET @@autocommit = 0"] {
        let refused = pool.query(sql, vec![]).await.unwrap_err();
        assert_eq!(refused, Error::TransactionStatement { word: "SET autocommit" }, "{sql}");
        assert!(refused.to_string().contains("run a transaction instead"), "{refused}");
        pool.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    }
    assert_eq!(ints(&server.pool(), "SELECT count(*) AS n FROM t").await, [3]);
}

/// Permits that end when they are told to, and tell how many are out.
#[derive(Default)]
struct Revocable {
    revoked: watch::Sender<u64>,
    out: Arc<AtomicUsize>,
}

struct Revoked {
    revoked: watch::Receiver<u64>,
    of: u64,
    out: Arc<AtomicUsize>,
}

impl Gate for Revocable {
    fn admit(&self) -> Admission {
        let of = *self.revoked.borrow();
        self.out.fetch_add(1, Ordering::SeqCst);
        let permit = Revoked { revoked: self.revoked.subscribe(), of, out: self.out.clone() };
        Box::pin(async move { Ok(Box::new(permit) as Box<dyn Permit>) })
    }
}

impl Permit for Revoked {
    fn is_held(&self) -> bool {
        *self.revoked.borrow() == self.of
    }

    fn ended(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut revoked = self.revoked.clone();
        Box::pin(async move { drop(revoked.wait_for(|it| *it != self.of).await) })
    }
}

impl Drop for Revoked {
    fn drop(&mut self) {
        self.out.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_permit_ends_is_stopped_before_its_place_is_free() {
    let server = Server::mariadb().await;
    let watcher = server.pool();
    watcher.query("CREATE TABLE t (v INT) ENGINE=InnoDB", vec![]).await.unwrap();
    // With one connection nobody can ask for the statement's end, so its place is held for its `timeout`.
    for (connections, timeout) in [(2, Duration::from_secs(60)), (1, Duration::from_secs(3))] {
        let gate = Arc::new(Revocable::default());
        let limits = Config { connections, timeout, ..server.config() };
        let pool = Pool::new(limits, Some(gate.clone()), Handle::current());
        let transaction = pool.begin().await.unwrap();
        transaction.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
        let running = tokio::spawn(async move {
            transaction.query("SELECT SLEEP(60)", vec![]).await.unwrap_err()
        });
        until_there_are(1, &watcher, ASLEEP).await;
        gate.revoked.send_modify(|it| *it += 1);
        assert_eq!(running.await.unwrap().kind(), "busy");
        loop {
            let out = gate.out.load(Ordering::SeqCst);
            let asleep = ints(&watcher, ASLEEP).await[0];
            assert!(asleep == 0 || out > 0, "it runs without a permit");
            // The one that has asked has a permit of its own.
            if asleep == 0 && out < connections as usize {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(ints(&pool, "SELECT count(*) AS n FROM t").await, [0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_comment_hides_the_end_of_a_transaction() {
    let server = Server::mariadb().await;
    let pool = server.pool();
    pool.query("CREATE TABLE t (id INT) ENGINE=InnoDB", vec![]).await.unwrap();
    for sql in ["# x\nCOMMIT", "/*! COMMIT */", "/*M!99999 x */ COMMIT", "/* /* */ COMMIT"] {
        let transaction = pool.begin().await.unwrap();
        transaction.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
        let refused = transaction.query(sql, vec![]).await.unwrap_err();
        assert!(matches!(refused.kind(), "transaction" | "refused"), "{sql}: {refused}");
        transaction.roll_back().await.unwrap();
    }
    let rows = pool.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Int(0)]]);
}
