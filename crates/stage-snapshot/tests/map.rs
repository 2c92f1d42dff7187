//! Maps: a history of versions as the model, conflicts, and memory that is shed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use stage_snapshot::{Conflict, Map, MapSnapshot};

/// A version as the model has it: its number, and the value and the last writer of each key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    number: u64,
    entries: BTreeMap<u16, (u64, u32)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes of several keys at once; those of one key are single writes.
    Write(Vec<(u16, Option<u32>)>),
    Update(u16),
    Hold,
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0u16..80, proptest::option::weighted(0.7, any::<u32>()));
    let one = proptest::collection::vec(write.clone(), 1);
    let several = proptest::collection::vec(write, 2..90);
    let step = prop_oneof![
        60 => one.prop_map(Step::Write),
        2 => several.prop_map(Step::Write),
        20 => (0u16..4).prop_map(Step::Update),
        10 => Just(Step::Hold),
        1 => Just(Step::Compact),
    ];
    proptest::collection::vec(step, 0..500)
}

impl Model {
    /// A write changes something unless it removes what is not there.
    fn write(&mut self, writes: &[(u16, Option<u32>)]) {
        let writes: BTreeMap<u16, Option<u32>> = writes.iter().copied().collect();
        let changes =
            |(key, value): (&u16, &Option<u32>)| value.is_some() || self.entries.contains_key(key);
        self.number += u64::from(writes.iter().any(changes));
        for (key, value) in writes {
            match value {
                Some(value) => _ = self.entries.insert(key, (self.number, value)),
                None => _ = self.entries.remove(&key),
            }
        }
    }
}

fn write(map: &Map<u16, u32>, writes: &[(u16, Option<u32>)]) -> u64 {
    match *writes {
        [(key, Some(value))] => map.insert(key, value),
        [(key, None)] => map.remove(&key),
        _ => {
            let run = map.transaction(|tx| {
                for &(key, value) in writes {
                    match value {
                        Some(value) => tx.insert(key, value),
                        None => tx.remove(key),
                    }
                    assert_eq!(tx.get(&key).copied(), value);
                }
                Ok::<_, Infallible>(())
            });
            run.unwrap().version
        }
    }
}

fn seen(snapshot: &MapSnapshot<u16, u32>) -> Model {
    let entry = |(key, value): (&u16, &u32)| (*key, (snapshot.written(key).unwrap(), *value));
    let model = Model { number: snapshot.number(), entries: snapshot.iter().map(entry).collect() };
    assert_eq!(snapshot.len(), model.entries.len());
    for key in 0..80 {
        assert_eq!(snapshot.get(&key), model.entries.get(&key).map(|(_, value)| value));
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_held_snapshot_of_a_map_stays_what_the_model_was_then(steps in steps()) {
        let (map, mut model) = (Map::new(), Model::default());
        let mut held = Vec::new();
        let mut reader = map.reader();
        for step in steps {
            match step {
                Step::Write(writes) => {
                    model.write(&writes);
                    prop_assert_eq!(write(&map, &writes), model.number);
                }
                Step::Update(key) => {
                    let old = model.entries.get(&key).map(|(_, value)| *value);
                    let next = old.map_or(Some(0), |n| n.checked_add(1));
                    map.update(key, |found| {
                        assert_eq!(found.copied(), old);
                        Ok::<_, Infallible>(next)
                    }).unwrap();
                    model.write(&[(key, next)]);
                }
                Step::Hold => held.push((map.snapshot(), model.clone())),
                Step::Compact => {
                    map.compact();
                    prop_assert_eq!(map.stats().outdated, 0);
                }
            }
            prop_assert_eq!(reader.newest().number(), model.number);
        }
        prop_assert_eq!(&seen(reader.newest()), &model);
        prop_assert_eq!(map.stats().entries, model.entries.len());
        held.push((map.snapshot(), model));
        for (snapshot, model) in held {
            prop_assert_eq!(seen(&snapshot.clone()), model);
        }
    }
}

#[test]
fn a_map_grows_and_shrinks_entry_by_entry_and_in_one_transaction() {
    const MANY: u32 = 20_000;
    let unknown = (0..MANY).filter(|_| true);
    let map: Map<u32, u32> = unknown.chain(0..10).map(|n| (n, n)).collect();
    assert_eq!((map.snapshot().len(), map.snapshot().number()), (MANY as usize, 1));
    (MANY..2 * MANY).for_each(|n| _ = map.insert(n, n));
    let full = map.snapshot();
    (0..2 * MANY).filter(|n| n % 100 > 0).for_each(|n| _ = map.remove(&n));
    let empty = map.snapshot();
    assert!((0..2 * MANY).all(|n| full.get(&n) == Some(&n)));
    assert!((0..2 * MANY).all(|n| empty.get(&n).is_some() == (n % 100 == 0)));
    assert_eq!((full.len(), empty.len(), empty.iter().count()), (40_000, 400, 400));
}

#[test]
fn a_map_made_of_many_entries_keeps_none_of_the_memory_it_grew_out_of() {
    let made: [Map<u32, u32>; 3] = [
        Map::from_iter([(1, 1)]),
        Map::from_iter((0..100_000).map(|n| (n, n))),
        // Of unknown size, so it grows as they come.
        Map::from_iter((0..100_000).filter(|_| true).map(|n| (n, n))),
    ];
    for map in made {
        let stats = map.stats();
        assert_eq!((stats.generations_alive, stats.held_for, stats.commits), (1, None, 1));
        assert_eq!((stats.entries, stats.outdated), (map.snapshot().len(), 0));
    }
}

#[test]
fn a_snapshot_finds_its_value_behind_any_number_of_later_writes() {
    let map = Map::new();
    map.insert("other", 0);
    let held: Vec<_> = (0..20_000)
        .filter_map(|n| {
            map.insert("hot", n);
            (n % 7 == 0 || n < 100).then(|| (n, map.snapshot()))
        })
        .collect();
    assert!(held.iter().all(|(n, snapshot)| snapshot.get("hot") == Some(n)));
}

#[test]
fn no_update_of_any_writer_of_a_map_is_lost() {
    let map = Arc::new(Map::new());
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let map = Arc::clone(&map);
            thread::spawn(move || {
                for n in 0..2000 {
                    let add = |old: Option<&u64>| Ok::<_, Infallible>(Some(old.unwrap_or(&0) + 1));
                    map.update(n % 3, add).unwrap();
                    map.insert(1000 + writer, n);
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let sum: u64 = (0..3).map(|key| *map.snapshot().get(&key).unwrap()).sum();
    assert_eq!((sum, map.stats().commits), (8000, 16_000));
}

#[test]
fn a_change_of_a_key_that_was_only_read_makes_a_transaction_run_again() {
    let map: Map<&str, i32> = Map::from_iter([("limit", 10), ("absent soon", 1)]);
    let mut runs = 0;
    let run = map.transaction(|tx| {
        runs += 1;
        let limit = *tx.get(&"limit").unwrap();
        match runs {
            1 => _ = map.insert("limit", 20),
            2 => _ = map.insert("unrelated", 1),
            _ => {}
        }
        tx.insert("used", limit);
        Ok::<_, Infallible>(())
    });
    run.unwrap();
    assert_eq!((runs, map.snapshot().get("used")), (2, Some(&20)));
    assert_eq!(map.stats().conflicts, 1);
}

#[test]
fn an_update_of_a_map_that_keeps_losing_queues_and_wins() {
    let map = Map::new();
    let mut attempts = 0;
    let update = map.update(0, |old: Option<&u32>| {
        attempts += 1;
        if attempts <= 16 {
            map.insert(0, attempts * 100);
        }
        Ok::<_, Infallible>(Some(old.unwrap_or(&0) + 1))
    });
    update.unwrap();
    assert_eq!((attempts, map.snapshot().get(&0), map.stats().queued), (17, Some(&1601), 1));
}

#[test]
fn the_stats_of_a_map_wait_for_no_update_that_makes_the_others_wait() {
    let map = Arc::new(Map::new());
    let mut attempts = 0;
    let update = map.update(0, |_: Option<&u32>| {
        attempts += 1;
        if attempts <= 16 {
            map.insert(0, attempts);
            return Ok::<_, Infallible>(None);
        }
        let (tell, told) = mpsc::channel();
        let here = Arc::clone(&map);
        thread::spawn(move || tell.send(here.stats()).unwrap());
        let stats = told.recv_timeout(Duration::from_secs(10)).expect("stats that do not wait");
        assert_eq!((stats.entries, stats.outdated, stats.commits), (1, 15, 16));
        assert_eq!((stats.conflicts, stats.queued), (16, 1));
        Ok(Some(0))
    });
    assert_eq!((update, attempts), (Ok(17), 17));
}

#[test]
fn compare_and_set_writes_a_key_only_over_the_version_it_expects() {
    let map = Map::new();
    assert_eq!(map.compare_and_set("n", None, Some(1)), Ok(1));
    assert_eq!(map.compare_and_set("n", None, Some(2)), Err(Conflict { written: Some(1) }));
    map.insert("other", 0);
    // What a version number means outlasts the memory it was made in.
    map.compact();
    assert_eq!(map.compare_and_set("n", Some(1), None), Ok(3));
    assert_eq!(map.compare_and_set("n", Some(1), Some(9)), Err(Conflict { written: None }));
    assert_eq!((map.remove("n"), map.snapshot().number()), (3, 3));
}

#[test]
fn a_transaction_of_a_map_that_fails_or_panics_leaves_every_key_alone() {
    let map = Map::from_iter([("a", 1)]);
    let failed = map.transaction(|tx| {
        tx.insert("a", 2);
        tx.insert("b", 2);
        Err::<(), _>("no")
    });
    assert_eq!(failed, Err("no"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        map.transaction(|tx| -> Result<(), &str> {
            tx.insert("a", 2);
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(map.snapshot().number(), 1);
    assert_eq!(map.snapshot().iter().collect::<Vec<_>>(), [(&"a", &1)]);
}

/// A value whose clone panics when told to.
struct Fragile(u32, Arc<AtomicBool>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.1.load(Ordering::Relaxed), "on purpose");
        Self(self.0, Arc::clone(&self.1))
    }
}

#[test]
fn a_clone_that_panics_while_memory_is_renewed_loses_nothing() {
    let (map, fails) = (Map::new(), Arc::new(AtomicBool::new(false)));
    let mut model = BTreeMap::new();
    let mut panics = 0;
    for n in 0..4000u32 {
        fails.store(n % 5 == 0, Ordering::Relaxed);
        let value = Fragile(n, Arc::clone(&fails));
        match catch_unwind(AssertUnwindSafe(|| map.insert(n % 50, value))) {
            Ok(_) => _ = model.insert(n % 50, n),
            Err(_) => panics += 1,
        }
        let snapshot = map.snapshot();
        assert!(model.iter().all(|(key, n)| snapshot.get(key).unwrap().0 == *n), "after {n}");
    }
    assert!(panics > 10 && map.stats().generations_alive == 1);
}

#[test]
fn outdated_writes_are_freed_once_no_snapshot_needs_them() {
    let map = Map::new();
    let value = Arc::new(());
    (0..100).for_each(|key| _ = map.insert(key, Arc::clone(&value)));
    let held = map.snapshot();
    (0..10_000).for_each(|n| _ = map.insert(n % 100, Arc::clone(&value)));
    let stats = map.stats();
    assert!(stats.outdated <= 300, "{stats:?}");
    assert_eq!(stats.generations_alive, 2);
    assert!(stats.held_for.is_some());
    // What one renewal may leave, that of the held snapshot, and one in the making.
    assert!(Arc::strong_count(&value) <= 800, "{}", Arc::strong_count(&value));
    drop(held);
    map.compact();
    assert_eq!(Arc::strong_count(&value), 101);
    assert_eq!(map.stats().generations_alive, 1);
}

/// A map that has had many keys and has few: its index is far larger than what is in it.
fn shrunk(keys: u32, left: u32) -> Map<u32, u32> {
    let map = Map::from_iter((0..keys).map(|key| (key, key)));
    let removed = map.transaction(|tx| {
        (left..keys).for_each(|key| tx.remove(key));
        Ok::<_, Infallible>(())
    });
    removed.unwrap();
    map
}

fn insert_at_once(map: &Map<u32, u32>, keys: Range<u32>) {
    let inserted = map.transaction(|tx| {
        keys.clone().for_each(|key| tx.insert(key, key));
        Ok::<_, Infallible>(())
    });
    inserted.unwrap();
}

fn has_all(map: &Map<u32, u32>, keys: impl Iterator<Item = u32>) {
    let snapshot = map.snapshot();
    let mut count = 0;
    for key in keys {
        count += 1;
        assert_eq!(snapshot.get(&key), Some(&key));
    }
    assert_eq!(snapshot.iter().count(), count);
}

#[test]
fn a_map_that_has_shrunk_takes_any_number_of_new_keys() {
    for (keys, left) in [(1000, 10), (100_000, 100), (100_000, 0)] {
        let map = shrunk(keys, left);
        let new = 1_000_000..1_050_000;
        new.clone().for_each(|key| _ = map.insert(key, key));
        has_all(&map, (0..left).chain(new));
    }
}

#[test]
fn a_map_of_few_keys_that_came_many_times_takes_any_number_of_new_ones() {
    let map = Map::from_iter((0..100_000).map(|n| (n % 10, n % 10)));
    (10..20_000).for_each(|key| _ = map.insert(key, key));
    has_all(&map, 0..20_000);
}

#[test]
fn many_keys_may_come_at_once_at_any_moment_of_a_renewal() {
    for updates in 1900..2200 {
        let map = Map::new();
        (0..1000).for_each(|key| _ = map.insert(key, key));
        (0..updates).for_each(|n| _ = map.insert(n % 1000, n % 1000));
        insert_at_once(&map, 5000..5700);
        (0..300).for_each(|n| _ = map.insert(n, n));
        insert_at_once(&map, 6000..6700);
        (0..2000).for_each(|n| _ = map.insert(n % 1000, n % 1000));
        has_all(&map, (0..1000).chain(5000..5700).chain(6000..6700));
    }
}

/// Tells on which thread it was freed.
#[derive(Clone)]
struct Witness(#[allow(dead_code)] Arc<Telling>);
struct Telling(mpsc::Sender<thread::ThreadId>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).ok();
    }
}

#[test]
fn a_maps_reclaimer_frees_away_from_the_thread_that_lets_go() {
    for (map, away) in [(Map::new(), false), (Map::with_reclaimer().unwrap(), true)] {
        let (freed, told) = mpsc::channel();
        map.insert("giant", Witness(Arc::new(Telling(freed))));
        let held = map.snapshot();
        map.remove("giant");
        map.compact();
        assert!(told.try_recv().is_err());
        drop(held);
        assert_eq!(told.recv().unwrap() != thread::current().id(), away);
    }
}
