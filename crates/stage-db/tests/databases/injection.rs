//! Arguments that would be SQL if they were pasted into a statement.

use bytes::Bytes;
use stage_db::{Error, Param, Pool, Row};
use stage_value::{Map, Value, json};

use crate::places::{Place, ints, places, text};
use crate::servers::Server;

const ATTACKS: [&str; 13] = [
    "'; DROP TABLE people; --",
    "\" OR \"\"=\"",
    "' OR '1'='1",
    "\\'; DELETE FROM people; #",
    "1); DELETE FROM people; --",
    "%' UNION SELECT name FROM people --",
    "{\"}', '{}'); DELETE FROM people; --",
    "$1",
    "?",
    ":name",
    "/*",
    "x'00'",
    "한국어 \u{1F600}",
];

/// The same for bytes: some are the first half of a letter that takes the quote in, in some character set.
const BYTES: [&[u8]; 7] = [
    b"'; DROP TABLE people; --",
    b"\xbf'; DROP TABLE people; --",
    b"\xbf\\'; DROP TABLE people; --",
    b"\0'; DROP TABLE people; --",
    b"\\x27; DROP TABLE people; --",
    b"\x1a\n\r\\\"'",
    b"\xff\xfe'",
];

/// How a statement reaches a database.
#[derive(Clone, Copy, Debug)]
enum Way {
    Alone,
    InTransaction,
    Streamed,
}

const WAYS: [Way; 3] = [Way::Alone, Way::InTransaction, Way::Streamed];

async fn run(way: Way, pool: &Pool, sql: &str, params: Vec<Param>) -> Result<Vec<Row>, Error> {
    match way {
        Way::Alone => Ok(pool.query(sql, params).await?.rows),
        Way::InTransaction => {
            let transaction = pool.begin().await?;
            let found = transaction.query(sql, params).await?.rows;
            transaction.commit().await?;
            Ok(found)
        }
        Way::Streamed => {
            let mut stream = pool.stream(sql, params).await?;
            let mut found = Vec::new();
            while let Some(row) = stream.next().await? {
                found.push(row);
            }
            Ok(found)
        }
    }
}

/// A table whose third column is of the type that this database has for what is to be kept in it.
async fn people(place: &Place, kinds: [&str; 3]) -> Pool {
    let pool = place.pool(|_| {});
    let kind = place.by(kinds);
    let create =
        format!("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR(99), about {kind})");
    pool.query(create, vec![]).await.unwrap();
    pool
}

/// Writes every parameter in every way, and finds its row by it and no other one.
async fn goes_in_and_comes_out(
    place: &Place,
    pool: &Pool,
    params: &[Param],
    back: impl Fn(usize) -> Value,
    read: impl Fn(&Value) -> Value,
) {
    let insert = place.sql("INSERT INTO people (id, about) VALUES (?, ?)");
    let select = place.sql("SELECT id, about FROM people WHERE about = ?");
    for way in WAYS {
        for (at, param) in params.iter().enumerate() {
            let id = at as i64;
            run(way, pool, &insert, vec![Param::Int(id), param.clone()]).await.unwrap();
            let found = run(way, pool, &select, vec![param.clone()]).await.unwrap();
            let found: Vec<_> = found.iter().map(|row| (row[0].clone(), read(&row[1]))).collect();
            assert_eq!(found, [(Value::Int(id), back(at))], "{way:?} {param:?}");
        }
        assert_eq!(ints(pool, "SELECT count(*) AS n FROM people").await, [params.len() as i64]);
        pool.query("DELETE FROM people", vec![]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_ever_read_as_sql() {
    for place in places().await {
        let pool = people(&place, ["TEXT", "TEXT", "TEXT"]).await;
        let params = ATTACKS.map(text);
        goes_in_and_comes_out(&place, &pool, &params, |at| ATTACKS[at].into(), Value::clone).await;
        // As a number it is an error or finds nothing; it is never a statement.
        pool.query("INSERT INTO people (id) VALUES (7)", vec![]).await.unwrap();
        let by_id = place.sql("SELECT id FROM people WHERE id = ?");
        for (way, param) in WAYS.iter().flat_map(|way| params.iter().map(move |it| (way, it))) {
            let found = run(*way, &pool, &by_id, vec![param.clone()]).await;
            assert!(found.as_ref().map_or(true, Vec::is_empty), "{way:?} {param:?}: {found:?}");
        }
        assert_eq!(ints(&pool, "SELECT id FROM people").await, [7]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_are_ever_read_as_sql() {
    for place in places().await {
        let pool = people(&place, ["BLOB", "BYTEA", "VARBINARY(99)"]).await;
        let params = BYTES.map(|it| Param::Blob(Bytes::from_static(it)));
        let back = |at: usize| Value::bytes(BYTES[at]);
        goes_in_and_comes_out(&place, &pool, &params, back, Value::clone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_keys_nor_values_of_json_are_ever_read_as_sql() {
    let document = |at: usize| {
        let attack = ATTACKS[at];
        let inside = Value::Map(Map::from_iter([(attack.into(), Value::Int(1))]));
        let list = Value::list([Value::from(attack), inside]);
        Value::Map(Map::from_iter([(attack.into(), list)]))
    };
    // Where JSON is text, it comes back as that.
    let read = |about: &Value| match about {
        Value::Bytes(text) => json::from_json(serde_json::from_slice(text).unwrap()),
        other => other.clone(),
    };
    for place in places().await {
        let pool = people(&place, ["TEXT", "JSONB", "JSON"]).await;
        let params: Vec<_> = (0..ATTACKS.len()).map(|at| Param::from(document(at))).collect();
        goes_in_and_comes_out(&place, &pool, &params, document, read).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_item_of_an_array_is_ever_read_as_sql_or_as_more_than_one_item() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    pool.query("CREATE TABLE people (id int8, name text)", vec![]).await.unwrap();
    let items = ATTACKS.into_iter().chain(["", "NULL", "a,b", "{}", "}', '{", "\"", "\\\"", "(,)"]);
    let list = Value::list(items.map(Value::from));
    let param = || vec![Param::from(list.clone())];
    let count = ATTACKS.len() as i64 + 8;
    for way in WAYS {
        let insert =
            "INSERT INTO people SELECT row_number() OVER (), name FROM unnest($1::text[]) AS name";
        run(way, &pool, insert, param()).await.unwrap();
        let all = "SELECT array_agg(name ORDER BY id) AS v FROM people WHERE name = ANY($1)";
        assert_eq!(run(way, &pool, all, param()).await, Ok(vec![vec![list.clone()]]), "{way:?}");
        assert_eq!(ints(&pool, "SELECT count(*) AS n FROM people").await, [count]);
        pool.query("DELETE FROM people", vec![]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_read_as_sql_in_the_place_of_another_type() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    pool.query("CREATE TYPE mood AS ENUM ('sad', 'glad')", vec![]).await.unwrap();
    pool.query("CREATE TABLE people (id int8)", vec![]).await.unwrap();
    for kind in ["numeric", "uuid", "date", "time", "timestamptz", "int8", "bool", "mood", "int8[]"]
    {
        for attack in ATTACKS {
            let select = format!("SELECT CAST($1 AS {kind}) AS v");
            let refused = pool.query(select, vec![text(attack)]).await.unwrap_err();
            // The values of an enum are known to the server alone.
            let wanted = if kind == "mood" { "database" } else { "parameter" };
            assert_eq!(refused.kind(), wanted, "{kind} of {attack}: {refused}");
        }
    }
    assert_eq!(ints(&pool, "SELECT count(*) AS n FROM people").await, [0]);
    assert_eq!(pool.stats().connections, 1, "the connection is as good as before");
}
