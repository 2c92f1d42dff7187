//! Several names at once, compare-and-set, watches, tables and what is kept alive.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::thread;

use proptest::prelude::*;
use stage_snapshot::{Cell, Conflict, Store, Table};

fn set(store: &Store<i64>, name: &str, value: i64) -> u64 {
    store.update(name, |_| Ok::<_, Infallible>(Some(value))).unwrap()
}

#[test]
fn transfers_between_names_never_show_a_torn_sum() {
    let store = Arc::new(Store::new());
    set(&store, "a", 1000);
    set(&store, "b", 1000);
    let writers: Vec<_> = (1..=2)
        .map(|amount| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for _ in 0..5000 {
                    store
                        .transaction(|tx| {
                            let (a, b) = (*tx.get("a").unwrap(), *tx.get("b").unwrap());
                            tx.set("a", a - amount);
                            tx.set("b", b + amount);
                            Ok::<_, Infallible>(())
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let snapshot = store.snapshot();
        assert_eq!(snapshot.get("a").unwrap() + snapshot.get("b").unwrap(), 2000);
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(store.snapshot().get("b"), Some(&16_000));
}

#[test]
fn a_transaction_reads_its_own_writes_and_removals() {
    let store = Store::new();
    let committed = store.transaction(|tx| {
        assert_eq!(tx.get("n"), None);
        tx.set("n", 1);
        assert_eq!(tx.get("n"), Some(&1));
        tx.remove("n");
        assert_eq!(tx.get("n"), None);
        tx.set("m", 2);
        Ok::<_, Infallible>("done")
    });
    let committed = committed.unwrap();
    assert_eq!((committed.version, committed.result), (1, "done"));
    assert_eq!(store.snapshot().iter().collect::<Vec<_>>(), [("m", &2)]);
}

#[test]
fn a_change_of_a_name_that_was_only_read_makes_a_transaction_run_again() {
    let store = Store::new();
    set(&store, "limit", 10);
    let mut runs = 0;
    let run = store.transaction(|tx| {
        runs += 1;
        let limit = *tx.get("limit").unwrap();
        if runs == 1 {
            set(&store, "limit", 20);
        }
        tx.set("used", limit);
        Ok::<_, Infallible>(())
    });
    run.unwrap();
    assert_eq!((runs, store.snapshot().get("used")), (2, Some(&20)));
}

#[test]
fn a_transaction_that_fails_or_panics_leaves_every_name_alone() {
    let store = Store::new();
    set(&store, "a", 1);
    let failed = store.transaction(|tx| {
        tx.set("a", 2);
        tx.set("b", 2);
        Err::<(), _>("no")
    });
    assert_eq!(failed, Err("no"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.transaction(|tx| -> Result<(), &str> {
            tx.set("a", 2);
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.snapshot().number(), 1);
    assert_eq!(store.snapshot().iter().collect::<Vec<_>>(), [("a", &1)]);
}

#[test]
fn compare_and_set_writes_only_over_the_version_it_expects() {
    let store = Store::new();
    assert_eq!(store.compare_and_set("n", None, Some(1)), Ok(1));
    assert_eq!(store.compare_and_set("n", None, Some(2)), Err(Conflict { written: Some(1) }));
    set(&store, "other", 0);
    assert_eq!(store.compare_and_set("n", Some(1), None), Ok(3));
    assert_eq!(store.compare_and_set("n", Some(1), Some(9)), Err(Conflict { written: None }));
    assert_eq!(store.snapshot().get("n"), None);
}

#[tokio::test]
async fn a_watcher_sees_changes_in_order_and_knows_how_many_it_skipped() {
    let store = Store::new();
    let mut watch = store.watch("n");
    let first = watch.next().await.unwrap();
    assert_eq!((first.version, first.value, first.skipped), (0, None, 0));
    set(&store, "n", 1);
    set(&store, "other", 1);
    let next = watch.next().await.unwrap();
    assert_eq!((next.version, next.value.as_deref(), next.skipped), (1, Some(&1), 0));
    (2..=5).for_each(|n| _ = set(&store, "n", n));
    let newest = watch.next().await.unwrap();
    assert_eq!((newest.version, newest.value.as_deref(), newest.skipped), (6, Some(&5), 3));
    let mut late = store.watch("n");
    let value = late.next().await.unwrap();
    assert_eq!((value.version, value.value.as_deref(), value.skipped), (6, Some(&5), 0));
    store.compare_and_set("n", Some(6), None).unwrap();
    drop(store);
    assert!(watch.next().await.unwrap().value.is_none());
    assert!(watch.next().await.is_none());
}

#[test]
fn held_versions_are_counted_and_the_oldest_is_named() {
    let store = Store::new();
    set(&store, "n", 1);
    let old = store.snapshot();
    (0..500).for_each(|n| _ = set(&store, "n", n));
    let newer = store.snapshot();
    set(&store, "n", 0);
    let stats = store.stats();
    assert_eq!((stats.versions_alive, stats.oldest_held), (3, Some(1)));
    assert!(stats.held_for.is_some());
    drop(old);
    assert_eq!(store.stats().oldest_held, Some(newer.number()));
    drop(newer);
    let stats = store.stats();
    assert_eq!((stats.versions_alive, stats.oldest_held, stats.held_for), (1, None, None));
}

/// Tells on which thread it was freed.
struct Witness(mpsc::Sender<thread::ThreadId>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).ok();
    }
}

#[test]
fn a_reclaimer_frees_away_from_the_thread_that_lets_go_even_if_nobody_writes_again() {
    for (store, away) in [(Store::new(), false), (Store::with_reclaimer().unwrap(), true)] {
        let (freed, told) = mpsc::channel();
        let mut witness = Some(Witness(freed));
        store.update("giant", |_| Ok::<_, Infallible>(witness.take())).unwrap();
        let held = store.snapshot();
        store.update("giant", |_| Ok::<_, Infallible>(None)).unwrap();
        assert!(told.try_recv().is_err());
        drop(held);
        assert_eq!(told.recv().unwrap() != thread::current().id(), away);
    }
}

/// A value that asks its store and its cell for something when it ends.
struct Curious {
    store: std::sync::Weak<Store<Curious>>,
    cell: std::sync::Weak<Cell<Option<Curious>>>,
    ended: Arc<std::sync::atomic::AtomicU64>,
}

impl Drop for Curious {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            drop(store.watch("n"));
        }
        if let Some(cell) = self.cell.upgrade() {
            assert!(cell.update(|_| Err(())).is_err());
        }
        self.ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_a_write_replaces_may_use_the_store_or_the_cell_when_it_ends() {
    let (store, cell) = (Arc::new(Store::new()), Arc::new(Cell::new(None)));
    let ended = Arc::default();
    let curious = || Curious {
        store: Arc::downgrade(&store),
        cell: Arc::downgrade(&cell),
        ended: Arc::clone(&ended),
    };
    for _ in 0..3 {
        store.update("n", |_| Ok::<_, Infallible>(Some(curious()))).unwrap();
        cell.set(Some(curious()));
        cell.update(|_| Ok::<_, Infallible>(Some(curious()))).unwrap();
    }
    let written = store.snapshot().written("n");
    store.compare_and_set("n", written, None).unwrap();
    assert_eq!(ended.load(std::sync::atomic::Ordering::Relaxed), 8);
}

#[test]
fn a_cell_is_set_only_over_the_value_that_was_seen() {
    let cell = Cell::new(1);
    let seen = cell.load();
    assert!(cell.compare_and_set(&seen, 2).is_ok());
    // The same number again is another value.
    cell.set(1);
    let newer = cell.compare_and_set(&seen, 3).unwrap_err();
    assert_eq!((*seen, *newer, *cell.load()), (1, 1, 1));
    assert!(cell.compare_and_set(&newer, 3).is_ok());
    assert_eq!(*cell.load(), 3);
}

#[test]
fn a_cell_keeps_what_was_loaded_and_loses_no_update() {
    let cell = Arc::new(Cell::new(0));
    let before = cell.load();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                (0..1000).for_each(|_| cell.update(|n| Ok::<_, Infallible>(n + 1)).unwrap());
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!((*before, *cell.load()), (0, 4000));
    assert_eq!(cell.update(|_| Err("no")), Err("no"));
    cell.set(1);
    assert_eq!(*cell.load_full(), 1);
}

proptest! {
    #[test]
    fn every_clone_of_a_table_stays_what_the_model_was_then(
        steps in proptest::collection::vec((0u8..32, any::<Option<u8>>(), any::<bool>()), 0..200),
    ) {
        let (mut table, mut model) = (Table::new(), HashMap::new());
        let mut held = Vec::new();
        for (key, value, hold) in steps {
            match value {
                Some(value) => {
                    table.insert(key, value);
                    model.insert(key, value);
                }
                None => prop_assert_eq!(table.remove(&key), model.remove(&key).is_some()),
            }
            if hold {
                held.push((table.clone(), model.clone()));
            }
        }
        held.push((table, model));
        for (table, model) in held {
            prop_assert_eq!(table.len(), model.len());
            prop_assert!((0..32).all(|key| table.get(&key) == model.get(&key)));
            prop_assert!(table.iter().all(|(key, value)| model.get(key) == Some(value)));
        }
    }
}
