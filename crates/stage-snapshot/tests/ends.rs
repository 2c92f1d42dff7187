//! What ends with a write, or without one, may use the store or map: it ends once others may write again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::Duration;

use stage_snapshot::{Map, Store};

/// A transaction computes so often while others may write, and then once more while they wait.
const ATTEMPTS: usize = 16;
/// A key and a name that have no value.
const ABSENT: u32 = u32::MAX;

/// Fails if `run` panics or waits for itself.
fn in_time(run: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        run();
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(20)).expect("a run that neither panics nor waits");
}

/// A value that asks its store and its map for something when it ends, as does each of its clones.
struct Curious {
    store: Weak<Store<Curious>>,
    map: Weak<Map<u32, Curious>>,
    ended: Arc<AtomicU64>,
    /// To clone it panics.
    is_fragile: Arc<AtomicBool>,
}

impl Clone for Curious {
    fn clone(&self) -> Self {
        assert!(!self.is_fragile.load(Ordering::Relaxed), "on purpose");
        let (store, map) = (self.store.clone(), self.map.clone());
        let (ended, is_fragile) = (Arc::clone(&self.ended), Arc::clone(&self.is_fragile));
        Self { store, map, ended, is_fragile }
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            drop(store.watch("absent"));
        }
        if let Some(map) = self.map.upgrade() {
            drop(map.watch(ABSENT));
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Curious {
    fn of(store: Weak<Store<Self>>, map: Weak<Map<u32, Self>>) -> Self {
        Self { store, map, ended: Arc::default(), is_fragile: Arc::default() }
    }

    fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

/// A map, and what to clone values for it from.
fn curious_map() -> (Arc<Map<u32, Curious>>, Curious) {
    let map = Arc::new(Map::new());
    let value = Curious::of(Weak::new(), Arc::downgrade(&map));
    (map, value)
}

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[test]
fn a_value_that_comes_too_late_for_a_compare_and_set_may_use_the_map() {
    in_time(|| {
        let (map, value) = curious_map();
        map.compare_and_set(0, None, Some(value.clone())).unwrap();
        assert!(map.compare_and_set(0, None, Some(value.clone())).is_err());
        assert_eq!(value.ended(), 1);
    });
}

#[test]
fn what_a_failed_transaction_of_a_store_wrote_may_use_it_though_others_wait() {
    for panicking in [false, true] {
        in_time(move || {
            let store = Arc::new(Store::new());
            let value = Curious::of(Arc::downgrade(&store), Weak::new());
            let mut attempts = 0;
            let failed = catch_unwind(AssertUnwindSafe(|| {
                store.transaction(|tx| {
                    tx.get("n");
                    tx.set("m", value.clone());
                    attempts += 1;
                    if attempts > ATTEMPTS {
                        assert!(!panicking, "on purpose");
                        return Err("no");
                    }
                    store.update("n", |_| Ok(Some(value.clone())))
                })
            }));
            assert_eq!((failed.is_err(), store.stats().queued), (panicking, 1));
            assert!(store.snapshot().get("m").is_none());
            assert_eq!(value.ended() as usize, 2 * ATTEMPTS);
        });
    }
}

#[test]
fn what_a_failed_transaction_of_a_map_wrote_may_use_it_though_others_wait() {
    for panicking in [false, true] {
        in_time(move || {
            let (map, value) = curious_map();
            let mut attempts = 0;
            let failed = catch_unwind(AssertUnwindSafe(|| {
                map.transaction(|tx| {
                    tx.get(&0);
                    tx.insert(1, value.clone());
                    attempts += 1;
                    if attempts > ATTEMPTS {
                        assert!(!panicking, "on purpose");
                        return Err("no");
                    }
                    map.insert(0, value.clone());
                    Ok(())
                })
            }));
            assert_eq!((failed.is_err(), map.stats().queued), (panicking, 1));
            assert!(map.snapshot().get(&1).is_none());
            assert_eq!(value.ended() as usize, ATTEMPTS + 1);
        });
    }
}

#[test]
fn a_value_whose_weighing_panics_may_use_the_store_though_others_wait() {
    in_time(|| {
        let is_heavy = Arc::new(AtomicBool::new(false));
        let weigh = Arc::clone(&is_heavy);
        let store = Store::new().weighing(move |_| {
            assert!(!weigh.load(Ordering::Relaxed), "on purpose");
            1
        });
        let store = Arc::new(store);
        let value = Curious::of(Arc::downgrade(&store), Weak::new());
        let mut attempts = 0;
        assert!(panics(|| {
            let run = store.update("n", |_| {
                attempts += 1;
                if attempts <= ATTEMPTS {
                    store.update("n", |_| Ok::<_, Infallible>(Some(value.clone()))).unwrap();
                }
                is_heavy.store(attempts > ATTEMPTS, Ordering::Relaxed);
                Ok::<_, Infallible>(Some(value.clone()))
            });
            run.unwrap();
        }));
        assert_eq!(store.snapshot().number(), ATTEMPTS as u64);
    });
}

#[test]
fn the_last_value_of_a_key_that_is_watched_no_more_may_use_the_map() {
    in_time(|| {
        let (map, value) = curious_map();
        map.insert(0, value.clone());
        let watches = (map.watch(0), map.watch(0));
        drop(watches);
        map.insert(0, value.clone());
        assert_eq!(value.ended(), 1, "the clone that was watched");
        // As many as are worth a sweep, several times.
        for key in 1..500 {
            map.insert(key, value.clone());
            drop(map.watch(key));
        }
        assert!(value.ended() > 200);
    });
}

#[test]
fn what_a_move_to_new_memory_throws_away_may_use_the_map() {
    in_time(|| {
        let (map, value) = curious_map();
        for n in 0..4000 {
            map.insert(n % 50, value.clone());
            if n % 777 == 0 {
                map.compact();
            }
        }
        // Many keys at once, at different moments of a move: it has no room for them, and is given up.
        for updates in (2000..2200).step_by(8) {
            let (map, value) = curious_map();
            (0..1000).for_each(|key| _ = map.insert(key, value.clone()));
            (0..updates).for_each(|n| _ = map.insert(n % 1000, value.clone()));
            let inserted = map.transaction(|tx| {
                (5000..5700).for_each(|key| tx.insert(key, value.clone()));
                Ok::<_, Infallible>(())
            });
            inserted.unwrap();
            (0..2000).for_each(|n| _ = map.insert(n % 1000, value.clone()));
        }
    });
}

#[test]
fn a_clone_that_panics_leaves_nothing_that_waits_for_its_own_map() {
    in_time(|| {
        let (map, value) = curious_map();
        let mut failed = 0;
        let mut watch = map.watch(3);
        for n in 0..4000u32 {
            let new = value.clone();
            value.is_fragile.store(n % 5 == 0, Ordering::Relaxed);
            failed += u32::from(panics(|| _ = map.insert(n % 50, new)));
            value.is_fragile.store(false, Ordering::Relaxed);
            if n == 2000 {
                watch = map.watch(5);
            }
        }
        drop(watch);
        assert!(failed > 10);
        assert_eq!(map.stats().generations_alive, 1);
    });
}
