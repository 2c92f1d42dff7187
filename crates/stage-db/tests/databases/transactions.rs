//! Transactions on every database: all of one takes effect or nothing.

use std::time::Duration;

use stage_db::{Error, Param};
use tokio::sync::oneshot;

use crate::places::{Place, ints, places};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_effect_whole_or_not_at_all() {
    for place in places().await {
        let pool = place.pool(|_| {});
        pool.query("CREATE TABLE t (id BIGINT PRIMARY KEY)", vec![]).await.unwrap();
        let insert = place.sql("INSERT INTO t VALUES (?)");
        let add = |id| (insert.clone(), vec![Param::Int(id)]);

        let committed = pool.begin().await.unwrap();
        for id in [1, 2] {
            let (sql, params) = add(id);
            committed.query(sql, params).await.unwrap();
        }
        committed.commit().await.unwrap();
        assert_eq!(committed.commit().await, Err(Error::TransactionOver));
        let late = committed.query("SELECT 1 AS one", vec![]).await;
        assert_eq!(late, Err(Error::TransactionOver));

        let rolled_back = pool.begin().await.unwrap();
        let (sql, params) = add(3);
        rolled_back.query(sql, params).await.unwrap();
        rolled_back.roll_back().await.unwrap();

        let dropped = pool.begin().await.unwrap();
        let (sql, params) = add(4);
        dropped.query(sql, params).await.unwrap();
        drop(dropped);

        let failed = pool.begin().await.unwrap();
        let (sql, params) = add(5);
        failed.query(sql, params).await.unwrap();
        let (sql, params) = add(1);
        let taken = failed.query(sql.clone(), params).await.unwrap_err();
        assert_eq!((taken.kind(), taken.sqlstate().map(|it| &it[..2])), ("unique", Some("23")));
        // What follows is refused with the reason, and so is the commit.
        assert_eq!(failed.query(sql, vec![Param::Int(6)]).await, Err(taken.clone()));
        assert_eq!(failed.commit().await, Err(taken));

        let (sql, params) = add(7);
        pool.query(sql, params).await.unwrap();
        assert_eq!(ints(&pool, "SELECT id FROM t ORDER BY id").await, [1, 2, 7]);
        assert_eq!(pool.stats().transactions, 4);
    }
}

/// A row that a transaction changes. Whoever changes it next waits for that one's end, in vain if there is none.
async fn with_a_row(place: &Place) -> stage_db::Pool {
    let others = place.pool(|_| {});
    let engine = place.by(["", "", " ENGINE=InnoDB"]);
    let create = format!("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT){engine}");
    others.query(create, vec![]).await.unwrap();
    others.query("INSERT INTO t VALUES (1, 0)", vec![]).await.unwrap();
    others
}

const CHANGE: &str = "UPDATE t SET v = v + 10 WHERE id = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_past_its_time_takes_its_transaction_with_it() {
    let limit = Duration::from_millis(300);
    let past = Error::Timeout { limit };
    for place in places().await {
        let others = with_a_row(&place).await;
        let pool = place.pool(|config| (config.connections, config.timeout) = (1, limit));
        let reading = format!("SELECT 2 AS id FROM {}", place.endless());
        let writing = format!("INSERT INTO t SELECT 2, 2 FROM {}", place.endless());
        for (sql, commits) in [(&reading, true), (&reading, false), (&writing, true)] {
            let transaction = pool.begin().await.unwrap();
            transaction.query(CHANGE, vec![]).await.unwrap();
            assert_eq!(transaction.query(sql.as_str(), vec![]).await, Err(past.clone()), "{sql}");
            assert_eq!(transaction.query("SELECT 1", vec![]).await, Err(past.clone()), "{sql}");
            match commits {
                true => assert_eq!(transaction.commit().await, Err(past.clone()), "{sql}"),
                false => drop(transaction),
            }
            // Its row is free for others, and what its connection does next is of no transaction.
            others.query("UPDATE t SET v = v + 1 WHERE id = 1", vec![]).await.unwrap();
            pool.query("UPDATE t SET v = v + 1 WHERE id = 1", vec![]).await.unwrap();
        }
        assert_eq!(ints(&others, "SELECT v FROM t").await, [6]);
        assert_eq!((pool.stats().connections, pool.stats().timeouts), (1, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_owner_ends_without_a_word_is_rolled_back() {
    for place in places().await {
        let others = with_a_row(&place).await;
        // MariaDB is asked over the other one to stop a statement.
        let pool = place.pool(|config| config.connections = 2);
        let waiting = format!("SELECT 1 AS one FROM {}", place.endless());
        for in_a_statement in [false, true] {
            let before = pool.stats().statements;
            let (changed, has_changed) = oneshot::channel();
            let (owned, waiting) = (pool.clone(), waiting.clone());
            let owner = tokio::spawn(async move {
                let transaction = owned.begin().await.unwrap();
                transaction.query(CHANGE, vec![]).await.unwrap();
                changed.send(()).unwrap();
                if in_a_statement {
                    drop(transaction.query(waiting, vec![]).await);
                }
                std::future::pending::<()>().await;
            });
            has_changed.await.unwrap();
            while in_a_statement && pool.stats().statements < before + 2 {
                tokio::task::yield_now().await;
            }
            owner.abort();
            others.query("UPDATE t SET v = v + 1 WHERE id = 1", vec![]).await.unwrap();
        }
        assert_eq!(ints(&others, "SELECT v FROM t").await, [2]);
        assert_eq!(ints(&pool, "SELECT v FROM t").await, [2]);
    }
}
