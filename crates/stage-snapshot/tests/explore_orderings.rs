//! What a map's reader may see of its writer's stores under the memory model: the sources of a generation,
//! on loom's atomics.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used)]

use foldhash::fast::RandomState;
use loom::sync::Arc;
use loom::thread;

#[path = "../src/arena.rs"]
mod arena;
#[path = "../src/generation.rs"]
mod generation;
#[path = "../src/link.rs"]
mod link;
#[path = "../src/slot.rs"]
mod slot;
#[path = "explore/orderings.rs"]
mod sync;

use generation::{Entry, Generation, State};

const ENTRIES: u32 = 2;

/// What a map's writer does for a commit of both keys.
fn commit(generation: &Generation<u8, u32>, version: u32) {
    for key in 0..ENTRIES {
        let entry = Entry { key: key as u8, value: Some(version) };
        let found = generation.slot(&entry.key, generation.hash(&entry.key));
        let place = ENTRIES * (version - 1) + key + 1;
        let after = State { version: u64::from(version), entries: ENTRIES.min(place) };
        generation.push(place, found, entry, after);
    }
    generation.publish(ENTRIES * version);
}

/// The versions that the keys have in the newest snapshot, which has to be complete.
fn read(generation: &Generation<u8, u32>) -> u64 {
    let upto = generation.published();
    let state = generation.state(upto);
    let written = [0u8, 1].map(|key| generation.written(&key, upto).unwrap_or(0));
    let values = [0u8, 1].map(|key| generation.find(&key, upto).and_then(|entry| entry.value));
    let value = (state.version > 0).then_some(state.version as u32);
    assert_eq!(values, [value; 2], "a value is not of its version");
    assert_eq!(written, [state.version; 2], "a commit was seen in part");
    assert_eq!(state.entries, if state.version == 0 { 0 } else { ENTRIES });
    state.version
}

fn explore(scenario: impl Fn(Arc<Generation<u8, u32>>) + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    // One for all runs, which have to be alike.
    let hasher = RandomState::default();
    model.check(move || {
        let mut generation = Generation::for_keys(0, hasher.clone());
        generation.lay_out(usize::MAX);
        generation.begin(State::default());
        scenario(Arc::new(generation));
    });
}

#[test]
fn a_version_that_is_seen_is_complete() {
    explore(|generation| {
        let writing = Arc::clone(&generation);
        let writer = thread::spawn(move || (1..=2).for_each(|version| commit(&writing, version)));
        let first = read(&generation);
        assert!(read(&generation) >= first, "time went back");
        writer.join().unwrap();
        assert_eq!(read(&generation), 2);
    });
}

#[test]
fn who_sees_that_memory_is_retired_sees_the_last_of_it() {
    explore(|generation| {
        let writing = Arc::clone(&generation);
        let writer = thread::spawn(move || {
            commit(&writing, 1);
            writing.retire();
        });
        if generation.is_retired() {
            assert_eq!(read(&generation), 1);
        }
        writer.join().unwrap();
    });
}
