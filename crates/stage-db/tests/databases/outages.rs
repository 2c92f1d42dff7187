//! Servers that die and come back.

use std::time::Duration;

use stage_db::{Config, Error, Pool};
use tokio::runtime::Handle;

use crate::places::ints;
use crate::servers::{Server, until_there_are};

/// A server, a statement that takes it a minute, and how it counts those that run.
async fn servers() -> [(Server, &'static str, &'static str); 2] {
    let (postgres, mariadb) = tokio::join!(Server::postgres(&[]), Server::mariadb());
    let of_postgres = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                       AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    let of_mariadb = "SELECT count(*) FROM information_schema.processlist \
                      WHERE info LIKE '%SLEEP(60)%' AND id <> connection_id()";
    [
        (postgres, "SELECT pg_sleep(60) AS v", of_postgres),
        (mariadb, "SELECT SLEEP(60) AS v", of_mariadb),
    ]
}

fn impatient(server: &Server) -> Pool {
    let wait = Duration::from_secs(1);
    let limits = Config { wait, timeout: Duration::from_secs(60), ..server.config() };
    Pool::new(limits, None, Handle::current())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_a_statement_is_an_error_and_is_found_again_when_it_is_back() {
    for (mut server, sleep, asleep) in servers().await {
        let pool = impatient(&server);
        pool.query("CREATE TABLE t (id INT)", vec![]).await.unwrap();
        let [alone, streaming] = [pool.clone(), pool.clone()];
        let alone = tokio::spawn(async move { alone.query(sleep, vec![]).await.map(drop) });
        let streaming = tokio::spawn(async move {
            let mut rows = streaming.stream(sleep, vec![]).await?;
            rows.next().await.map(drop)
        });
        until_there_are(2, &pool, asleep).await;
        server.kill();
        for ended in [alone, streaming] {
            let error = ended.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), "lost", "{error}");
        }
        // The connection that has idled is found broken, and no other one can be made.
        for kinds in [["lost", "unreachable"], ["unreachable"; 2]] {
            let error = pool.query("SELECT 1 AS one", vec![]).await.unwrap_err();
            assert!(kinds.contains(&error.kind()), "{error}");
        }
        server.start_again().await;
        assert_eq!(ints(&pool, "SELECT count(*) AS n FROM t").await, [0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_takes_transactions_with_it_and_keeps_what_was_committed() {
    for (mut server, sleep, asleep) in servers().await {
        let (pool, watcher) = (impatient(&server), server.pool());
        pool.query("CREATE TABLE t (id INT)", vec![]).await.unwrap();
        let committed = pool.begin().await.unwrap();
        committed.query("INSERT INTO t VALUES (1)", vec![]).await.unwrap();
        committed.commit().await.unwrap();
        let [idle, busy] = [pool.begin().await.unwrap(), pool.begin().await.unwrap()];
        for transaction in [&idle, &busy] {
            transaction.query("INSERT INTO t VALUES (2)", vec![]).await.unwrap();
        }
        let busy = tokio::spawn(async move {
            let error = busy.query(sleep, vec![]).await.unwrap_err();
            assert_eq!(busy.commit().await, Err(error.clone()));
            error
        });
        until_there_are(1, &watcher, asleep).await;
        server.kill();
        let error = busy.await.unwrap();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        server.start_again().await;
        // It is not begun anew behind the back of whoever has it.
        let error = idle.query("INSERT INTO t VALUES (3)", vec![]).await.unwrap_err();
        assert_eq!(error.kind(), "lost", "{error}");
        assert!(idle.commit().await.is_err());
        assert_eq!(ints(&pool, "SELECT id FROM t").await, [1]);
    }
}
