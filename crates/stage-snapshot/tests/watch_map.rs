//! Watches of a map's keys: a log of its versions as the model.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use stage_snapshot::{Change, Map, Watch};

/// A change that is there already.
fn ready(watch: &mut Watch<u32>) -> Option<Change<u32>> {
    match pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(change) => Some(change.unwrap()),
        Poll::Pending => None,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u32>)>),
    Insert(u8, u32),
    Remove(u8),
    Compact,
    Watch(u8),
    /// The watch of that place in the order of their begin takes what is new.
    Look(usize),
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4u8;
    let step = prop_oneof![
        3 => prop::collection::vec((key.clone(), prop::option::of(any::<u32>())), 0..4).prop_map(Step::Write),
        3 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        2 => key.clone().prop_map(Step::Remove),
        1 => Just(Step::Compact),
        2 => key.prop_map(Step::Watch),
        4 => (0..8usize).prop_map(Step::Look),
        1 => (0..8usize).prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 0..60)
}

/// A watch beside what it has to say next.
struct Watched {
    watch: Watch<u32>,
    key: u8,
    /// The newest change not taken yet, and how many came before it. No version if there was no value when the watch began:
    /// then it is the one that has removed it only if somebody watched then.
    due: Option<(Option<u64>, Option<u32>, u64)>,
}

fn note(watched: &mut [Watched], key: u8, version: u64, value: Option<u32>) {
    for watched in watched.iter_mut().filter(|watched| watched.key == key) {
        let before = watched.due.map_or(0, |(_, _, skipped)| skipped + 1);
        watched.due = Some((Some(version), value, before));
    }
}

fn run(steps: Vec<Step>) {
    let map = Map::new();
    let mut watched: Vec<Watched> = Vec::new();
    for step in steps {
        match step {
            Step::Write(writes) => {
                let writes: std::collections::BTreeMap<_, _> = writes.into_iter().collect();
                let before = map.snapshot();
                let committed = map.transaction(|tx| {
                    for (key, value) in &writes {
                        match value {
                            Some(value) => tx.insert(*key, *value),
                            None => tx.remove(*key),
                        }
                    }
                    Ok::<_, Infallible>(())
                });
                let version = committed.unwrap().version;
                for (key, value) in writes {
                    if value.is_some() || before.get(&key).is_some() {
                        note(&mut watched, key, version, value);
                    }
                }
            }
            Step::Insert(key, value) => {
                let version = map.insert(key, value);
                note(&mut watched, key, version, Some(value));
            }
            Step::Remove(key) => {
                let had = map.snapshot().get(&key).is_some();
                let version = map.remove(&key);
                if had {
                    note(&mut watched, key, version, None);
                }
            }
            Step::Compact => map.compact(),
            Step::Watch(key) => {
                let snapshot = map.snapshot();
                let due = (snapshot.written(&key), snapshot.get(&key).copied(), 0);
                watched.push(Watched { watch: map.watch(key), key, due: Some(due) });
            }
            Step::Look(place) => {
                let Some(watched) = watched.get_mut(place) else { continue };
                let due = watched.due.take();
                let seen = ready(&mut watched.watch).map(|seen| {
                    let is_known = due.is_some_and(|(version, ..)| version.is_some());
                    let value = seen.value.as_deref().copied();
                    (is_known.then_some(seen.version), value, seen.skipped)
                });
                assert_eq!(seen, due);
            }
            Step::Forget(place) if place < watched.len() => drop(watched.remove(place)),
            Step::Forget(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn watchers_hear_of_each_change_of_their_key_once_and_of_nothing_else(steps in steps()) {
        run(steps);
    }
}

#[test]
fn who_watches_a_new_key_each_time_leaves_nothing_behind_that_a_later_watch_would_meet() {
    let map = Map::new();
    for key in 0..1000 {
        assert_eq!(ready(&mut map.watch(key)).unwrap().value, None);
    }
    let mut watch = map.watch(1);
    assert_eq!(ready(&mut watch).unwrap().version, 0);
    map.insert(1, 7);
    let change = ready(&mut watch).unwrap();
    assert_eq!((change.version, change.value.as_deref(), change.skipped), (1, Some(&7), 0));
    drop(map);
    assert!(matches!(
        pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
}
