//! PostgreSQL.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use stage_db::{Config, Error, Param, Pool};
use stage_value::{Map, Value};
use tokio::runtime::Handle;

use crate::servers::{Server, config, until_there_are};

fn text(text: &str) -> Param {
    Param::from(Value::from(text))
}

fn object() -> Value {
    Value::Map(Map::from_iter([
        ("a".into(), Value::list([Value::Int(1), Value::from("x")])),
        ("b".into(), Value::Float(0.5)),
    ]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_past_the_bounds_is_refused_before_it_is_converted() {
    let server = Server::postgres(&[]).await;
    let bytes = 4 << 20;
    let pool = Pool::new(Config { bytes, ..server.config() }, None, Handle::current());
    let refused = Err(Error::TooLarge { limit: bytes });
    for document in [
        // Names do not count once they are converted, so only what came over the wire is too large.
        "jsonb_build_object(repeat('k', 6000000), 1)",
        "json_build_object(repeat('k', 6000000), 1)",
        // Less came over the wire.
        "(SELECT jsonb_agg(0) FROM generate_series(1, 1000000))",
    ] {
        let sql = format!("SELECT {document} AS v");
        assert_eq!(pool.query(sql.as_str(), vec![]).await.map(drop), refused, "{document}");
        let mut stream = pool.stream(sql, vec![]).await.unwrap();
        assert_eq!(stream.next().await.map(drop), refused, "{document}");
    }
    let below = "SELECT jsonb_build_object(repeat('k', 4000000), 1) AS v";
    assert_eq!(pool.query(below, vec![]).await.unwrap().rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_in_and_comes_out() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    pool.query("CREATE TYPE mood AS ENUM ('sad', 'glad')", vec![]).await.unwrap();
    pool.query("CREATE DOMAIN age AS int CHECK (value >= 0)", vec![]).await.unwrap();
    let same = |kind, param: Param, back| (kind, param, back);
    let long = "-12345678901234567890.00100";
    let cases = [
        same("int8", Param::Null, Value::Nil),
        same("bool", Param::Bool(true), Value::Bool(true)),
        same("int2", Param::Int(-32768), Value::Int(-32768)),
        same("int4", Param::Float(7.0), Value::Int(7)),
        same("int8", Param::Int(i64::MAX), Value::Int(i64::MAX)),
        same("oid", Param::Int(4_000_000_000), Value::Int(4_000_000_000)),
        same("float4", Param::Float(0.25), Value::Float(0.25)),
        same("float8", Param::Int(3), Value::Float(3.0)),
        same("float8", Param::Float(f64::INFINITY), Value::Float(f64::INFINITY)),
        same("numeric", text(long), Value::from(long)),
        same("numeric(10,2)", Param::Float(1.5), Value::from("1.50")),
        same("numeric", Param::Int(-5), Value::from("-5")),
        same("text", text("한국어 '\"\\"), Value::from("한국어 '\"\\")),
        same("varchar(5)", Param::Int(42), Value::from("42")),
        same("char(3)", text("a"), Value::from("a  ")),
        same("bytea", Param::Blob(Bytes::from(vec![0, 255])), Value::bytes([0, 255])),
        same("bytea", text("abc"), Value::from("abc")),
        same("json", Param::from(object()), object()),
        same(
            "jsonb",
            text("[1, null, true]"),
            Value::list([Value::Int(1), Value::Nil, Value::Bool(true)]),
        ),
        same("jsonb", Param::Int(5), Value::Int(5)),
        same(
            "timestamptz",
            text("2026-11-23T19:00:00.25+09:00"),
            Value::from("2026-11-23T10:00:00.25Z"),
        ),
        same("timestamptz", Param::Int(1_795_428_000), Value::from("2026-11-23T10:00:00Z")),
        same("timestamp", text("2026-11-23 10:00:00"), Value::from("2026-11-23T10:00:00")),
        same("date", text("2026-11-23"), Value::from("2026-11-23")),
        same("time", text("10:20:30.5"), Value::from("10:20:30.5")),
        same(
            "uuid",
            text("67E55044-10B1-426F-9247-BB680E5FE0C8"),
            Value::from("67e55044-10b1-426f-9247-bb680e5fe0c8"),
        ),
        same("mood", text("glad"), Value::from("glad")),
        same("age", Param::Int(3), Value::Int(3)),
        same(
            "int8[]",
            Param::from(Value::list([Value::Int(1), Value::Int(2)])),
            Value::list([Value::Int(1), Value::Int(2)]),
        ),
        same(
            "text[]",
            Param::from(Value::list([Value::from("a")])),
            Value::list([Value::from("a")]),
        ),
        same("float4", Param::Float(f64::NEG_INFINITY), Value::Float(f64::NEG_INFINITY)),
        same("numeric", text("NaN"), Value::from("NaN")),
        same("numeric", Param::Float(f64::NEG_INFINITY), Value::from("-Infinity")),
        same("\"char\"", text("x"), Value::from("x")),
        same("name", text("kim"), Value::from("kim")),
        same("timestamptz", text("infinity"), Value::from("infinity")),
        same("timestamp", text("-infinity"), Value::from("-infinity")),
        same("date", text("-infinity"), Value::from("-infinity")),
        same("date", text("-0043-03-15"), Value::from("-0043-03-15")),
        same("time", text("24:00:00"), Value::from("24:00:00")),
        same("interval", text("P1Y2DT3.5S"), Value::from("P12M2DT3.5S")),
    ];
    for (kind, param, back) in cases {
        let rows = pool.query(format!("SELECT CAST($1 AS {kind}) AS v"), vec![param.clone()]).await;
        assert_eq!(rows.map(|it| it.rows), Ok(vec![vec![back]]), "{kind} of {param:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_in_and_come_out_as_arrays_of_every_type_that_has_them() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    pool.query("CREATE TYPE mood AS ENUM ('sad', 'glad')", vec![]).await.unwrap();
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    for (kind, items) in [
        ("bool", vec![Value::Bool(true), Value::Bool(false)]),
        ("int2", vec![Value::Int(-1)]),
        ("int4", vec![Value::Int(1), Value::Int(2)]),
        ("int8", vec![Value::Int(i64::MIN)]),
        ("float4", vec![Value::Float(0.5)]),
        ("float8", vec![Value::Float(0.1), Value::Float(2.0)]),
        ("text", vec![Value::from("한"), Value::from("")]),
        ("varchar", vec![Value::from("a"), Value::from("b")]),
        ("char(3)", vec![Value::from("a  ")]),
        ("name", vec![Value::from("kim")]),
        ("mood", vec![Value::from("glad"), Value::from("sad")]),
        ("uuid", vec![Value::from(uuid)]),
        ("varchar", vec![]),
        ("int8", vec![]),
    ] {
        let list = Value::list(items);
        let sql = format!("SELECT CAST($1 AS {kind}[]) AS v");
        let rows = pool.query(sql, vec![Param::from(list.clone())]).await;
        assert_eq!(rows.map(|it| it.rows), Ok(vec![vec![list]]), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_server_can_make_comes_out_too() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    for (sql, back) in [
        ("'NaN'::numeric", "NaN"),
        ("'-Infinity'::numeric", "-Infinity"),
        ("0.000::numeric", "0.000"),
        ("1e-20::numeric", "0.00000000000000000001"),
        ("'infinity'::timestamptz", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("interval '1 year 2 days 3.5 seconds'", "P12M2DT3.5S"),
        ("'x'::\"char\"", "x"),
        ("'name'::name", "name"),
    ] {
        let rows = pool.query(format!("SELECT {sql} AS v"), vec![]).await;
        assert_eq!(rows.map(|it| it.rows), Ok(vec![vec![Value::from(back)]]), "{sql}");
    }
    let rows = pool.query("SELECT pg_sleep(0) AS v", vec![]).await.unwrap();
    assert_eq!(rows.rows, [vec![Value::Nil]]);
    for (sql, says) in [
        ("'200000-01-01'::timestamptz", "cast it to text"),
        ("'200000-01-01'::date", "cast it to text"),
        ("'127.0.0.1'::inet", "inet has no form in scripts; cast it to text"),
        ("ARRAY[1, NULL]", "holds NULL"),
        ("'(1,2)'::point", "cast it to text"),
    ] {
        let error = pool.query(format!("SELECT {sql} AS v"), vec![]).await.unwrap_err();
        assert!(error.to_string().contains(says) && error.to_string().contains("'v'"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_its_place_is_refused_before_it_is_sent() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    for (kind, param, says) in [
        ("int2", Param::Int(40_000), "out of the range of int2"),
        ("int4", Param::Float(0.5), "type int4, and this is a float"),
        ("int8", text("5"), "type int8, and this is text"),
        ("bool", Param::Int(1), "this is an integer"),
        ("numeric", text("1e1000000000"), "without exponent"),
        ("numeric", text("ninth"), "no number"),
        ("text", text("a\0b"), "zero bytes"),
        ("text", Param::Bool(true), "this is a boolean"),
        ("uuid", text("x"), "no uuid"),
        ("timestamptz", text("yesterday"), "no timestamptz"),
        ("timestamptz", Param::Float(f64::NAN), "out of range"),
        ("json", text("{"), "not JSON"),
        ("jsonb", Param::Float(f64::NAN), "no NaN"),
        ("float4", Param::Float(1e300), "out of the range of float4"),
        ("float4[]", Param::from(Value::list([Value::Float(-1e300)])), "out of the range"),
        ("interval", text("3 days"), "P1M2DT3.5S"),
        ("inet", text("127.0.0.1"), "cast it"),
        ("int8[]", Param::Int(1), "an array"),
    ] {
        let error =
            pool.query(format!("SELECT CAST($1 AS {kind}) AS v"), vec![param]).await.unwrap_err();
        assert!(matches!(error, Error::Parameter { position: 1, .. }), "{kind}: {error}");
        assert!(error.to_string().contains(says), "{kind}: {error}");
    }
    assert_eq!(pool.stats().connections, 1, "the connection is as good as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_past_its_time_is_stopped_by_the_server() {
    let server = Server::postgres(&[]).await;
    let limit = Duration::from_millis(300);
    let pool = Pool::new(Config { timeout: limit, ..server.config() }, None, Handle::current());
    let error = pool.query("SELECT pg_sleep(60) AS v", vec![]).await.unwrap_err();
    assert_eq!((&error, error.sqlstate()), (&Error::Timeout { limit }, Some("57014")));
    // It is the same connection that goes on: the server has nothing left to do.
    let busy = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    assert_eq!(pool.query(busy, vec![]).await.unwrap().rows, [vec![Value::Int(0)]]);
    assert_eq!((pool.stats().connections, pool.stats().timeouts), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_for_a_table_before_it_begins_is_past_its_time_as_well() {
    let server = Server::postgres(&[]).await;
    let limit = Duration::from_millis(300);
    let pool = Pool::new(Config { timeout: limit, ..server.config() }, None, Handle::current());
    let holder = server.pool();
    holder.query("CREATE TABLE t (id int)", vec![]).await.unwrap();
    let transaction = holder.begin().await.unwrap();
    transaction.query("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", vec![]).await.unwrap();
    let waited = pool.query("SELECT * FROM t", vec![]).await;
    assert_eq!(waited, Err(Error::Timeout { limit }));
    assert_eq!(pool.stats().timeouts, 1);
    transaction.roll_back().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_statements_somebody_closed_is_replaced() {
    let server = Server::postgres(&[]).await;
    let config = Config { connections: 1, ..server.config() };
    let pool = Pool::new(config, None, Handle::current());
    let close = "CREATE FUNCTION close() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$";
    pool.query(close, vec![]).await.unwrap();
    pool.query("SELECT 1 AS a", vec![]).await.unwrap();
    pool.query("SELECT close() AS a", vec![]).await.ok();
    // The driver takes its own for granted once.
    pool.query("SELECT 1 AS a", vec![]).await.ok();
    pool.query("SELECT 1 AS a", vec![]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_cannot_be_left_to_the_server() {
    let server = Server::postgres(&["max_prepared_transactions=2"]).await;
    let pool = server.pool();
    let transaction = pool.begin().await.unwrap();
    let prepared = transaction.query("PREPARE TRANSACTION 'x'", vec![]).await;
    assert!(matches!(prepared, Err(Error::StatementRefused { .. })), "{prepared:?}");
    transaction.commit().await.unwrap();
    let left = pool.query("SELECT count(*) AS n FROM pg_prepared_xacts", vec![]).await.unwrap();
    assert_eq!(left.rows, [vec![Value::Int(0)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_gigabyte_is_refused() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    // The server itself makes none that is larger.
    let error = pool.query("SELECT repeat('x', 1100000000) AS a", vec![]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("54000"), "{error}");
    let error = pool.query("SELECT repeat('x', 100000000) AS a", vec![]).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { limit: 16 << 20 });
    assert_eq!(pool.query("SELECT 1 AS one", vec![]).await.unwrap().rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_under_a_known_statement_costs_one_error_at_most() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    pool.query("CREATE TABLE t (a int)", vec![]).await.unwrap();
    pool.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    pool.query("SELECT * FROM t", vec![]).await.unwrap();
    pool.query("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'", vec![]).await.unwrap();
    let first = pool.query("SELECT * FROM t", vec![]).await;
    assert!(
        first.as_ref().err().is_none_or(|error| error.sqlstate() == Some("0A000")),
        "{first:?}"
    );
    let second = pool.query("SELECT * FROM t", vec![]).await.unwrap();
    assert_eq!(second.rows, [vec![Value::Int(1), Value::from("x")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_no_connection_left_is_waited_for() {
    let server = Server::postgres(&["max_connections=5", "superuser_reserved_connections=0"]).await;
    let pool = Pool::new(
        Config { connections: 12, wait: Duration::from_secs(10), ..server.config() },
        None,
        Handle::current(),
    );
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.query("SELECT pg_sleep(0.05) AS v", vec![]).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// How many statements of the test's own are running.
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' \
               AND pid <> pg_backend_pid()";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_is_stopped_at_the_server_long_before_its_time() {
    let server = Server::postgres(&[]).await;
    let watcher = server.pool();
    watcher.query("CREATE TABLE t (v int)", vec![]).await.unwrap();
    let limits = Config { connections: 3, timeout: Duration::from_secs(60), ..server.config() };
    let pool = Pool::new(limits, None, Handle::current());
    let transaction = pool.begin().await.unwrap();
    transaction.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
    let alone = pool.clone();
    let waiting = [
        tokio::spawn(async move { drop(alone.query("SELECT pg_sleep(60)", vec![]).await) }),
        tokio::spawn(async move { drop(transaction.query("SELECT pg_sleep(60)", vec![]).await) }),
    ];
    let mut rows =
        pool.stream("SELECT 1 UNION ALL SELECT 2 FROM pg_sleep(60)", vec![]).await.unwrap();
    until_there_are(3, &watcher, ASLEEP).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop(rows.next());
    drop(rows);
    until_there_are(0, &watcher, ASLEEP).await;
    // The pool has its connections back, and nothing of the transaction took effect.
    let found = pool.query("SELECT count(*) FROM t", vec![]).await.unwrap();
    assert_eq!(found.rows[0][0].as_int(), Some(0));
}

async fn process(pool: &Pool) -> Value {
    pool.query("SELECT pg_backend_pid() AS pid", vec![]).await.unwrap().rows[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_read_to_its_end_costs_no_connection() {
    let server = Server::postgres(&[]).await;
    // Less than a connection that is closed counts as used.
    let wait = Duration::from_millis(700);
    let limits = Config { connections: 1, wait, rows: 10, ..server.config() };
    let pool = Pool::new(limits, None, Handle::current());
    let parent = "CREATE TABLE p (id int PRIMARY KEY)";
    pool.query(parent, vec![]).await.unwrap();
    let child = "CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
    pool.query(child, vec![]).await.unwrap();
    let before = process(&pool).await;
    let many = "SELECT i FROM generate_series(1, 1000) AS s(i)";
    let late = "SELECT 1000 / (1000 - i) AS n FROM generate_series(1, 1000) AS s(i)";
    for (sql, kind) in [
        ("SELECT 1 AS a, 2 AS a", "column"),
        ("SELECT '127.0.0.1'::inet AS a FROM generate_series(1, 1000)", "column"),
        (many, "too_large"),
        (late, "too_large"),
    ] {
        assert_eq!(pool.query(sql, vec![]).await.unwrap_err().kind(), kind, "{sql}");
        assert_eq!(process(&pool).await, before, "{sql}");
    }
    let mut stream = pool.stream(many, vec![]).await.unwrap();
    stream.next().await.unwrap();
    drop(stream);
    assert_eq!(process(&pool).await, before);
    let transaction = pool.begin().await.unwrap();
    transaction.query("INSERT INTO c VALUES (1)", vec![]).await.unwrap();
    assert_eq!(transaction.commit().await.unwrap_err().kind(), "foreign_key");
    assert_eq!(process(&pool).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_just_before_the_end_costs_no_connection() {
    let server = Server::postgres(&[]).await;
    let wait = Duration::from_millis(700);
    let limits = Config { connections: 1, wait, ..server.config() };
    // A machine with other work to do may be slow once, but not each time.
    for _ in 0..5 {
        let pool = Pool::new(limits.clone(), None, Handle::current());
        let before = process(&pool).await;
        let soon = tokio::spawn({
            let pool = pool.clone();
            async move { pool.query("SELECT pg_sleep(0.05) AS v", vec![]).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        soon.abort();
        let found = pool.query("SELECT pg_backend_pid() AS pid", vec![]).await;
        if found.is_ok_and(|found| found.rows[0][0] == before) {
            return;
        }
    }
    panic!("its connection was closed each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_ended_is_not_handed_to_the_next_caller() {
    let server = Server::postgres(&[]).await;
    let watcher = server.pool();
    let wait = Duration::from_millis(700);
    let limits = Config { connections: 1, wait, ..server.config() };
    let pool = Pool::new(limits, None, Handle::current());
    let asleep = tokio::spawn({
        let pool = pool.clone();
        async move { pool.query("SELECT pg_sleep(60)", vec![]).await }
    });
    until_there_are(1, &watcher, ASLEEP).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'";
    watcher.query(end, vec![]).await.unwrap();
    let error = asleep.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), ("lost", Some("57P01")), "{error}");
    for _ in 0..3 {
        process(&pool).await;
    }
}

/// A way to a server on which connections that begin with settings are refused. Returns its port.
fn without_settings(server: SocketAddr, refusal: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || drop(pass(client.unwrap(), server, refusal)));
        }
    });
    port
}

fn pass(mut client: TcpStream, server: SocketAddr, refusal: &str) -> io::Result<()> {
    let begin = |client: &mut TcpStream| -> io::Result<Vec<u8>> {
        let mut message = vec![0; 4];
        client.read_exact(&mut message)?;
        let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
        message.resize(length as usize, 0);
        client.read_exact(&mut message[4..])?;
        Ok(message)
    };
    let mut message = begin(&mut client)?;
    // It asks for TLS first.
    if message.len() == 8 {
        client.write_all(b"N")?;
        message = begin(&mut client)?;
    }
    if String::from_utf8_lossy(&message).contains("client_connection_check_interval") {
        let text = format!("SFATAL\0VFATAL\0C{refusal}\0Munknown setting\0\0");
        client.write_all(b"E")?;
        client.write_all(&(text.len() as u32 + 4).to_be_bytes())?;
        return client.write_all(text.as_bytes());
    }
    let mut server = TcpStream::connect(server)?;
    server.write_all(&message)?;
    let (mut back, mut forth) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || io::copy(&mut back, &mut forth));
    io::copy(&mut client, &mut server).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_settings_at_the_beginning_has_them_by_statements() {
    let server = Server::postgres(&[]).await;
    let own = format!(":{}/", server.socket().port());
    for refusal in ["42704", "08P01"] {
        let port = without_settings(server.socket(), refusal);
        let address = server.address().replace(&own, &format!(":{port}/"));
        let pool = Pool::new(config(&address), None, Handle::current());
        for (setting, value) in
            [("statement_timeout", "5s"), ("client_connection_check_interval", "900ms")]
        {
            let rows = pool.query(format!("SHOW {setting}"), vec![]).await.unwrap();
            assert_eq!(rows.rows, [vec![Value::from(value)]]);
        }
    }
}
