//! What holds on every database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stage_db::{Admission, Config, Error, Gate, Param, Permit, Pool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::places::{ints, places, text};
use crate::servers::{config, until_there_are};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_connection_waits_so_long_and_no_longer() {
    for place in places().await {
        let pool = place.pool(|config| {
            (config.connections, config.waiting) = (1, 2);
            config.wait = Duration::from_secs(1);
        });
        let held = pool.begin().await.unwrap();
        let (one, two) = (pool.clone(), pool.clone());
        let waits = [one, two]
            .map(|pool| tokio::spawn(async move { pool.query("SELECT 1 AS one", vec![]).await }));
        while pool.stats().waiting < 2 {
            tokio::task::yield_now().await;
        }
        let third = pool.query("SELECT 1 AS one", vec![]).await;
        assert_eq!(third, Err(Error::QueueFull { limit: 2 }));
        for waited in waits {
            let waited = waited.await.unwrap();
            assert_eq!(waited, Err(Error::Busy { waited: Duration::from_secs(1) }));
        }
        held.roll_back().await.unwrap();
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
        assert_eq!(pool.stats().refused, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_past_its_bounds_is_refused_and_a_stream_takes_any_number_of_rows() {
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n";
    for place in places().await {
        let pool = place.pool(|config| (config.rows, config.bytes) = (100, 4096));
        assert_eq!(pool.query(numbers, vec![]).await, Err(Error::TooManyRows { limit: 100 }));
        let mut stream = pool.stream(numbers, vec![]).await.unwrap();
        assert_eq!(stream.columns().len(), 1);
        let mut sum = 0;
        while let Some(row) = stream.next().await.unwrap() {
            sum += row[0].as_int().unwrap();
        }
        assert_eq!(sum, 900 * 901 / 2);

        let large = text(&"x".repeat(5000));
        let echo =
            place.sql(place.by(["SELECT ? AS t", "SELECT CAST(? AS TEXT) AS t", "SELECT ? AS t"]));
        let refused = Err(Error::TooLarge { limit: 4096 });
        assert_eq!(pool.query(echo.as_str(), vec![large.clone()]).await, refused);
        let mut stream = pool.stream(echo, vec![large]).await.unwrap();
        assert_eq!(stream.next().await, Err(Error::TooLarge { limit: 4096 }));

        // One that is not read to its end gives its connection up.
        for _ in 0..20 {
            let mut stream = pool.stream(numbers, vec![]).await.unwrap();
            stream.next().await.unwrap();
        }
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_are_refused_with_what_is_wrong() {
    for place in places().await {
        let pool = place.pool(|_| {});
        let two = place.sql("SELECT CAST(? AS CHAR(9)) AS a, CAST(? AS CHAR(9)) AS b");
        let one = pool.query(two, vec![Param::Int(1)]).await;
        assert_eq!(one, Err(Error::Parameters { wanted: 2, given: 1 }));
        let twice = pool.query("SELECT 1 AS a, 2 AS a", vec![]).await.unwrap_err();
        assert!(matches!(twice, Error::DuplicateColumn { column } if column == "a"));
        for sql in ["BEGIN", "-- x\ncommit", "ROLLBACK TO x"] {
            let refused = pool.query(sql, vec![]).await.unwrap_err();
            assert!(matches!(refused, Error::TransactionStatement { .. }), "{sql}: {refused}");
        }
        let second = pool.query("SELECT 1 AS one; DROP TABLE no_such_table", vec![]).await;
        assert!(second.is_err());
        let wrong = pool.query("SELEC 1", vec![]).await.unwrap_err();
        assert_eq!(wrong.kind(), "database", "{wrong}");
        assert_eq!(pool.query("", vec![]).await.map(|it| it.rows.len()).unwrap_or(0), 0);
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_neither_its_place_nor_its_connection_behind() {
    for place in places().await {
        let pool = place.pool(|config| config.connections = 1);
        let held = pool.begin().await.unwrap();
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.query("SELECT 1 AS one", vec![]).await }
        });
        while pool.stats().waiting < 1 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        while pool.stats().waiting > 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
        assert_eq!(pool.stats().statements, 1);
    }
}

/// Permits of a semaphore, with the most that were out at a time.
struct Counted {
    permits: Arc<Semaphore>,
    out: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Out(
    #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit,
    Arc<AtomicUsize>,
);

impl Permit for Out {
    fn is_held(&self) -> bool {
        true
    }

    fn ended(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate for Counted {
    fn admit(&self) -> Admission {
        let (permits, out, most) = (self.permits.clone(), self.out.clone(), self.most.clone());
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(|error| error.to_string())?;
            most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Ok(Box::new(Out(permit, out)) as Box<dyn Permit>)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_behind_one_gate_share_its_permits_and_each_gets_its_turn() {
    for place in places().await {
        let gate = Arc::new(Counted {
            permits: Arc::new(Semaphore::new(2)),
            out: Arc::default(),
            most: Arc::default(),
        });
        let pools: Vec<Pool> = (0..3)
            .map(|_| {
                let config = Config {
                    connections: 2,
                    wait: Duration::from_secs(10),
                    idle: Duration::from_millis(50),
                    lifetime: Duration::from_millis(100),
                    ..place.config.clone()
                };
                Pool::new(config, Some(gate.clone()), Handle::current())
            })
            .collect();
        let calls: Vec<_> = (0..120)
            .map(|at| {
                let pool = pools[at % 3].clone();
                tokio::spawn(async move { pool.query("SELECT 1 AS one", vec![]).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(gate.most.load(Ordering::SeqCst), 2);
        // Idle connections give their permits back by themselves.
        while gate.out.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A permit that ends when it is told to.
struct Revoked(watch::Receiver<bool>);

impl Permit for Revoked {
    fn is_held(&self) -> bool {
        !*self.0.borrow()
    }

    fn ended(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut revoked = self.0.clone();
        Box::pin(async move { drop(revoked.wait_for(|it| *it).await) })
    }
}

impl Gate for Revoked {
    fn admit(&self) -> Admission {
        let permit = Self(self.0.clone());
        Box::pin(async move { Ok(Box::new(permit) as Box<dyn Permit>) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_with_its_permit_in_a_transaction_and_while_it_idles() {
    for place in places().await {
        let watcher = place.pool(|_| {});
        watcher.query("CREATE TABLE t (id BIGINT)", vec![]).await.unwrap();
        let (revoke, revoked) = watch::channel(false);
        let config = Config { connections: 2, ..place.config.clone() };
        let pool = Pool::new(config, Some(Arc::new(Revoked(revoked))), Handle::current());
        let transaction = pool.begin().await.unwrap();
        let insert = place.sql("INSERT INTO t VALUES (?)");
        transaction.query(insert, vec![Param::Int(1)]).await.unwrap();
        // And one that idles.
        pool.query("SELECT 1 AS one", vec![]).await.unwrap();
        if let Some(counting) = place.counting() {
            until_there_are(3, &watcher, counting).await;
        }
        revoke.send_replace(true);
        if let Some(counting) = place.counting() {
            until_there_are(1, &watcher, counting).await;
        }
        // A writer of SQLite would wait for the one before.
        watcher.query("INSERT INTO t VALUES (2)", vec![]).await.unwrap();
        assert_eq!(transaction.commit().await.unwrap_err().kind(), "busy");
        assert_eq!(ints(&watcher, "SELECT id FROM t").await, [2]);
        revoke.send_replace(false);
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
    }
}

#[test]
fn an_address_that_names_no_database_is_refused_without_showing_its_password() {
    for (address, says) in [
        ("", "no kind of database"),
        ("oracle://x", "'oracle' is no kind of database"),
        ("postgres://u:secret@host:notaport/x", "address of the database is wrong"),
        ("mysql://u:secret@[::1/x", "address of the database is wrong"),
        ("sqlite:x.db?mode=never", "address of the database is wrong"),
    ] {
        let error = Config::new(address, Path::new("")).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{address}: {error}");
    }
    assert_eq!(config("sqlite::memory:").database.file(), None);
    let file = Config::new("sqlite:a.db", Path::new("/srv")).unwrap().database.file();
    assert_eq!(file.as_deref(), Some(Path::new("/srv/a.db")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_read_too_slowly_is_past_its_time_and_no_fault_of_the_database() {
    for place in places().await {
        let limit = Duration::from_millis(100);
        let pool = place.pool(|config| config.timeout = limit);
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n";
        let mut rows = pool.stream(numbers, vec![]).await.unwrap();
        while pool.stats().timeouts == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let end = loop {
            match rows.next().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert_eq!(end, Err(Error::Timeout { limit }));
    }
}
