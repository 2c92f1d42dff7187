//! Snapshots and updates: a model, and threads that try to tear or lose a value.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use stage_snapshot::{Snapshot, Store};

#[derive(Clone, Debug)]
enum Step {
    Write(u8, Option<u32>),
    Hold,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0u8..4, any::<Option<u32>>()).prop_map(|(name, value)| Step::Write(name, value));
    proptest::collection::vec(prop_oneof![4 => write, 1 => Just(Step::Hold)], 0..64)
}

fn contents(snapshot: &Snapshot<u32>) -> BTreeMap<String, u32> {
    snapshot.iter().map(|(name, value)| (name.to_owned(), *value)).collect()
}

proptest! {
    #[test]
    fn every_held_snapshot_stays_what_the_model_was_then(steps in steps()) {
        let store = Store::new();
        let mut model = BTreeMap::new();
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Write(name, value) => {
                    let name = format!("n{name}");
                    store.update(&name, |old| {
                        assert_eq!(old.copied(), model.get(&name).copied());
                        Ok::<_, Infallible>(value)
                    }).unwrap();
                    match value {
                        Some(value) => model.insert(name, value),
                        None => model.remove(&name),
                    };
                }
                Step::Hold => held.push((store.snapshot(), model.clone())),
            }
        }
        held.push((store.snapshot(), model));
        for (snapshot, model) in held {
            prop_assert_eq!(contents(&snapshot), model);
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
