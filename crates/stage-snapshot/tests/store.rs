//! Snapshots and updates: a model, and threads that try to tear or lose a value.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use stage_snapshot::{Snapshot, Store};

#[derive(Clone, Debug)]
enum Step {
    /// One name.
    Write(u8, Option<u32>),
    /// Several at once, each after a read of it; the last one that is not to be kept fails all of it.
    Together(Vec<(u8, Option<u32>)>, bool),
    /// A name if it is as it was at one of the snapshots so far.
    Exchange(u8, prop::sample::Index, Option<u32>),
    Hold,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = || (0u8..4, any::<Option<u32>>());
    let several = proptest::collection::vec(change(), 0..5);
    let step = prop_oneof![
        3 => change().prop_map(|(name, value)| Step::Write(name, value)),
        3 => (several, any::<bool>()).prop_map(|(changes, keep)| Step::Together(changes, keep)),
        3 => (0u8..4, any::<prop::sample::Index>(), any::<Option<u32>>())
            .prop_map(|(name, at, value)| Step::Exchange(name, at, value)),
        2 => Just(Step::Hold),
    ];
    proptest::collection::vec(step, 0..64)
}

/// What each name has, and the version that wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    version: u64,
    names: BTreeMap<String, (u32, u64)>,
}

impl Model {
    /// A version more, in which these names have changed.
    fn change(&mut self, changes: &[(u8, Option<u32>)]) {
        self.version += 1;
        for (name, value) in changes {
            match value {
                Some(value) => self.names.insert(named(*name), (*value, self.version)),
                None => self.names.remove(&named(*name)),
            };
        }
    }

    fn of(snapshot: &Snapshot<u32>) -> Self {
        let written = |name: &str| snapshot.written(name).unwrap();
        let entry = |(name, value): (&str, &u32)| (name.to_owned(), (*value, written(name)));
        Self { version: snapshot.number(), names: snapshot.iter().map(entry).collect() }
    }

    fn value(&self, name: u8) -> Option<u32> {
        self.names.get(&named(name)).map(|(value, _)| *value)
    }

    fn written(&self, name: u8) -> Option<u64> {
        self.names.get(&named(name)).map(|(_, written)| *written)
    }
}

fn named(name: u8) -> String {
    format!("n{name}")
}

/// Does one step to both; whatever it returns must be what the model says.
fn take(step: Step, store: &Store<u32>, model: &mut Model, held: &mut Vec<(Snapshot<u32>, Model)>) {
    match step {
        Step::Write(name, value) => {
            let expected = model.value(name);
            let update = store.update(&named(name), |old| {
                assert_eq!(old.copied(), expected);
                Ok::<_, Infallible>(value)
            });
            model.change(&[(name, value)]);
            assert_eq!(update, Ok(model.version));
        }
        Step::Together(changes, keep) => {
            let run = store.transaction(|transaction| {
                let mut within = model.clone();
                for (name, value) in &changes {
                    assert_eq!(transaction.get(&named(*name)).copied(), within.value(*name));
                    match value {
                        Some(value) => transaction.set(&named(*name), *value),
                        None => transaction.remove(&named(*name)),
                    }
                    within.change(&[(*name, *value)]);
                }
                if keep { Ok(()) } else { Err("given up") }
            });
            if keep && !changes.is_empty() {
                model.change(&changes);
            }
            let committed = run.map(|committed| committed.version);
            assert_eq!(committed, if keep { Ok(model.version) } else { Err("given up") });
        }
        Step::Exchange(name, at, value) => {
            let expected = at.get(held).1.written(name);
            let exchanged = store.compare_and_set(&named(name), expected, value);
            if expected == model.written(name) {
                model.change(&[(name, value)]);
                assert_eq!(exchanged.ok(), Some(model.version));
            } else {
                assert_eq!(exchanged.unwrap_err().written, model.written(name));
            }
        }
        Step::Hold => held.push((store.snapshot(), model.clone())),
    }
}

proptest! {
    #[test]
    fn every_held_snapshot_stays_what_the_model_was_then(steps in steps()) {
        let store = Store::new();
        let mut model = Model::default();
        let mut held = vec![(store.snapshot(), model.clone())];
        for step in steps {
            take(step, &store, &mut model, &mut held);
        }
        held.push((store.snapshot(), model));
        for (snapshot, model) in held {
            prop_assert_eq!(Model::of(&snapshot), model);
        }
    }
}

#[test]
fn no_update_of_any_writer_is_lost() {
    let store = Arc::new(Store::new());
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for _ in 0..1000 {
                    store
                        .update("n", |old| Ok::<_, Infallible>(Some(old.unwrap_or(&0) + 1)))
                        .unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(store.snapshot().get("n"), Some(&8000));
}

#[test]
fn a_reader_never_sees_a_later_name_without_the_earlier_one() {
    let store = Arc::new(Store::new());
    let writer = thread::spawn({
        let store = Arc::clone(&store);
        move || {
            for n in 0..20_000u64 {
                store.update("first", |_| Ok::<_, Infallible>(Some(n))).unwrap();
                store.update("second", |_| Ok::<_, Infallible>(Some(n))).unwrap();
            }
        }
    });
    let mut last = 0;
    while last < 19_999 {
        let snapshot = store.snapshot();
        let first = snapshot.get("first").copied().unwrap_or(0);
        let second = snapshot.get("second").copied().unwrap_or(0);
        assert!(first == second || first == second + 1, "{first} {second}");
        assert!(second >= last);
        last = second;
    }
    writer.join().unwrap();
}

#[test]
fn an_update_that_keeps_losing_queues_and_wins() {
    let store = Store::new();
    let attempts = Cell::new(0);
    store
        .update("n", |old: Option<&u32>| {
            attempts.set(attempts.get() + 1);
            if attempts.get() <= 16 {
                let rival =
                    |rival: Option<&u32>| Ok::<_, Infallible>(Some(rival.unwrap_or(&0) + 100));
                store.update("n", rival).unwrap();
            }
            Ok::<_, Infallible>(Some(old.unwrap_or(&0) + 1))
        })
        .unwrap();
    assert_eq!(attempts.get(), 17);
    assert_eq!(store.snapshot().get("n"), Some(&1601));
}

#[test]
fn the_stats_of_a_store_wait_for_no_update_that_makes_the_others_wait() {
    let store = Arc::new(Store::new().weighing(|_| 3));
    let mut attempts = 0;
    let update = store.update("n", |_: Option<&u32>| {
        attempts += 1;
        if attempts <= 16 {
            store.update("n", |_| Ok::<_, Infallible>(Some(attempts))).unwrap();
            return Ok::<_, Infallible>(None);
        }
        let (tell, told) = mpsc::channel();
        let here = Arc::clone(&store);
        thread::spawn(move || tell.send(here.stats()).unwrap());
        let stats = told.recv_timeout(Duration::from_secs(10)).expect("stats that do not wait");
        assert_eq!((stats.versions_alive, stats.bytes_alive, stats.commits), (1, Some(3), 16));
        assert_eq!((stats.conflicts, stats.queued), (16, 1));
        Ok(Some(0))
    });
    assert_eq!((update, attempts), (Ok(17), 17));
}

#[test]
fn an_update_that_panics_while_it_makes_the_others_wait_lets_them_go_on() {
    let store = Store::new();
    let attempts = Cell::new(0);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.update("n", |_: Option<&u32>| {
            attempts.set(attempts.get() + 1);
            assert!(attempts.get() <= 16, "on purpose");
            let next = |old: Option<&u32>| Ok::<_, Infallible>(Some(old.unwrap_or(&0) + 1));
            store.update("n", next).unwrap();
            Ok::<_, Infallible>(None)
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.snapshot().get("n"), Some(&16));
    assert_eq!(store.stats().queued, 1);
    store.update("n", |_| Ok::<_, Infallible>(Some(17))).unwrap();
    assert_eq!(store.snapshot().get("n"), Some(&17));
}

#[test]
fn an_update_that_fails_or_panics_changes_nothing() {
    let store = Store::new();
    store.update("n", |_| Ok::<_, &str>(Some(1))).unwrap();
    assert_eq!(store.update("n", |_| Err("no")), Err("no"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.update("n", |_| -> Result<Option<i32>, &str> { panic!("on purpose") })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.snapshot().get("n"), Some(&1));
    assert_eq!(store.snapshot().number(), 1);
    assert_eq!(store.update("n", |old| Ok::<_, &str>(old.map(|n| n + 1))), Ok(2));
}
