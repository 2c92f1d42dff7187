//! A map under explored schedules: its own sources, on shuttle's locks and atomics.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, future, thread};

#[path = "../src/arena.rs"]
mod arena;
#[path = "../src/generation.rs"]
mod generation;
#[path = "../src/history.rs"]
mod history;
#[path = "../src/link.rs"]
mod link;
#[path = "../src/map.rs"]
mod map;
#[path = "../src/map_snapshot.rs"]
mod map_snapshot;
#[path = "../src/map_transaction.rs"]
mod map_transaction;
#[path = "../src/map_writing.rs"]
mod map_writing;
#[path = "../src/reclaim.rs"]
mod reclaim;
#[path = "../src/renewal.rs"]
mod renewal;
#[path = "../src/slot.rs"]
mod slot;
#[path = "../src/snapshot.rs"]
mod snapshot;
#[path = "../src/store.rs"]
mod store;
#[path = "explore/sync.rs"]
mod sync;
#[path = "../src/transaction.rs"]
mod transaction;
#[path = "../src/watch.rs"]
mod watch;
#[path = "../src/weigh.rs"]
mod weigh;

use history::Stats;
use map::Map;
use map_snapshot::{MapReader, MapSnapshot};
use map_transaction::MapTransaction;
use snapshot::Snapshot;
use store::{Conflict, Store};
use transaction::{Committed, Transaction};
use watch::{Change, Watch};

const SCHEDULES: usize = 300;
/// Points at which a rare schedule departs from a plain one.
const DEPARTURES: usize = 3;
const SEED: u64 = 0x57A6E;

fn explore(scenario: fn()) {
    let uniform = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(uniform, Config::new()).run(scenario);
    let rare = PctScheduler::new_from_seed(SEED, DEPARTURES, SCHEDULES);
    Runner::new(rare, Config::new()).run(scenario);
}

/// Moves one from key 0 to key 1, both read and written.
fn transfer(map: &Map<u8, i64>) {
    let moved = map.transaction(|tx| {
        let (a, b) = (*tx.get(&0).unwrap_or(&0), *tx.get(&1).unwrap_or(&0));
        tx.insert(0, a - 1);
        tx.insert(1, b + 1);
        Ok::<_, Infallible>(())
    });
    moved.unwrap();
}

fn value(snapshot: &MapSnapshot<u8, i64>, key: u8) -> i64 {
    *snapshot.get(&key).unwrap_or(&0)
}

#[test]
fn transfers_between_keys_are_neither_lost_nor_seen_torn() {
    explore(|| {
        let map = Arc::new(Map::new());
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let map = Arc::clone(&map);
                thread::spawn(move || (0..2).for_each(|_| transfer(&map)))
            })
            .collect();
        let mut reader = map.reader();
        let mut last = 0;
        for n in 0..4 {
            let snapshot = if n % 2 == 0 { reader.newest() } else { &map.snapshot() };
            assert_eq!(value(snapshot, 0) + value(snapshot, 1), 0);
            assert!(snapshot.number() >= last, "time went back");
            last = snapshot.number();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(value(&map.snapshot(), 1), 4);
        assert_eq!(map.stats().commits, 4);
    });
}

/// What a reader sees of a map: each key's value, twice, and how many there are.
fn seen(snapshot: &MapSnapshot<u8, u64>) -> BTreeMap<u8, u64> {
    let seen: BTreeMap<u8, u64> = snapshot.iter().map(|(key, value)| (*key, *value)).collect();
    assert_eq!(snapshot.len(), seen.len());
    assert!((0..8).all(|key| snapshot.get(&key) == seen.get(&key)));
    seen
}

/// The writer counts its writes in the values, so a version's number says what it has to contain.
fn expected(version: u64) -> BTreeMap<u8, u64> {
    let first = version.saturating_sub(3).max(1);
    (first..=version).map(|n| ((n % 4) as u8, n)).collect()
}

#[test]
fn a_version_is_complete_and_stays_so_while_the_map_moves_to_new_memory() {
    explore(|| {
        let map = Arc::new(Map::new());
        let writer = Arc::clone(&map);
        let writer = thread::spawn(move || {
            for n in 1..=6u64 {
                assert_eq!(writer.insert((n % 4) as u8, n), n);
                if n % 2 == 0 {
                    writer.compact();
                }
            }
        });
        let mut reader = map.reader();
        let held = map.snapshot();
        let before = seen(&held);
        let mut last = held.number();
        assert_eq!(before, expected(last));
        for _ in 0..3 {
            let newest = reader.newest();
            assert!(newest.number() >= last, "time went back");
            last = newest.number();
            assert_eq!(seen(newest), expected(last));
        }
        assert_eq!(seen(&held), before);
        writer.join().unwrap();
        assert_eq!(reader.newest().number(), 6);
    });
}

#[test]
fn what_a_thread_was_told_of_it_also_sees() {
    explore(|| {
        let map = Arc::new(Map::<u8, u64>::new());
        let mut reader = map.reader();
        let writer = Arc::clone(&map);
        let (tell, told) = shuttle::sync::mpsc::channel();
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                tell.send(writer.insert(0, n)).unwrap();
                writer.compact();
            }
        });
        while let Ok(version) = told.recv() {
            assert!(reader.newest().number() >= version);
            assert!(map.snapshot().number() >= version);
        }
        writer.join().unwrap();
    });
}

#[test]
fn many_writes_renew_a_map_bit_by_bit_and_a_held_snapshot_stays() {
    explore(|| {
        let map = Arc::new(Map::<u8, u64>::new());
        (1..=70).for_each(|n| _ = map.insert((n % 4) as u8, n));
        let writer = Arc::clone(&map);
        let writer = thread::spawn(move || {
            (71..=120).for_each(|n| _ = writer.insert((n % 4) as u8, n));
        });
        let held = map.snapshot();
        let before = seen(&held);
        assert_eq!(before, expected(held.number()));
        let mut reader = map.reader();
        for _ in 0..3 {
            let newest = reader.newest();
            assert_eq!(seen(newest), expected(newest.number()));
        }
        assert_eq!(seen(&held), before);
        writer.join().unwrap();
        assert_eq!(seen(reader.newest()), expected(120));
        assert!(map.stats().outdated < 100, "the map was never renewed");
    });
}

#[test]
fn one_of_two_that_expect_the_same_version_of_a_key_writes() {
    explore(|| {
        let map = Arc::new(Map::new());
        let rival = Arc::clone(&map);
        let rival = thread::spawn(move || rival.compare_and_set(0, None, Some(1)).is_ok());
        let here = map.compare_and_set(0, None, Some(2)).is_ok();
        assert!(here != rival.join().unwrap());
        assert_eq!(value(&map.snapshot(), 0), if here { 2 } else { 1 });
    });
}

#[test]
fn a_watcher_of_a_key_that_begins_amid_writes_counts_every_write_and_ends_with_the_newest() {
    explore(|| {
        let map = Arc::new(Map::new());
        let writer = Arc::clone(&map);
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                writer.insert(0, n);
                writer.compact();
            }
        });
        let mut watch = map.watch(0);
        let first = future::block_on(watch.next()).unwrap();
        writer.join().unwrap();
        let (mut version, mut seen) = (first.version, 0);
        while version < 3 {
            let change = future::block_on(watch.next()).unwrap();
            assert!(change.version > version, "out of order");
            assert_eq!(change.value.as_deref(), Some(&change.version));
            seen += 1 + change.skipped;
            version = change.version;
        }
        assert_eq!(seen + first.version, 3, "a write was not counted");
    });
}
