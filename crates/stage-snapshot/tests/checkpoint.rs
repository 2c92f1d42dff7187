//! Checkpoints that are torn, corrupt, or written by a process that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use stage_snapshot::{Checkpoint, LoadError, Periodic, SaveError, Store};

const NAMES: [&str; 3] = ["a", "b", "c"];
const KILLS: usize = 200;
const FILE: &str = "STAGE_SNAPSHOT_TEST_FILE";

fn set_all(store: &Store<u64>, n: u64) {
    let run = store.transaction(|tx| {
        NAMES.iter().for_each(|name| tx.set(name, n));
        Ok::<_, Infallible>(())
    });
    run.unwrap();
}

/// Large enough that a write of it can be cut in two.
fn encode(n: &u64) -> Vec<u8> {
    n.to_le_bytes().repeat(2000)
}

fn saved(checkpoint: &Checkpoint, n: u64) {
    let store = Store::new();
    set_all(&store, n);
    checkpoint.save(&store.snapshot(), |name| NAMES.contains(&name), encode).unwrap();
}

/// The one number that all names have.
fn loaded(checkpoint: &Checkpoint) -> (u64, Option<LoadError>) {
    let restored = checkpoint.load().unwrap().unwrap();
    let first = restored.entries["a"].first_chunk().unwrap();
    let n = u64::from_le_bytes(*first);
    assert_eq!(restored.entries.len(), NAMES.len());
    assert!(restored.entries.values().all(|value| *value == encode(&n)));
    (n, restored.refused)
}

#[test]
fn what_was_saved_comes_back_and_only_the_names_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path().join("state"));
    assert!(checkpoint.load().unwrap().is_none());
    let store = Store::new();
    set_all(&store, 7);
    checkpoint.save(&store.snapshot(), |name| ["b", "absent"].contains(&name), encode).unwrap();
    let restored = checkpoint.load().unwrap().unwrap();
    assert_eq!(restored.version, 1);
    assert_eq!(restored.entries.into_iter().collect::<Vec<_>>(), [("b".to_owned(), encode(&7))]);
}

#[test]
fn every_torn_or_changed_file_is_refused_and_the_last_good_one_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let checkpoint = Checkpoint::new(&path);
    saved(&checkpoint, 1);
    saved(&checkpoint, 2);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(997) {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(loaded(&checkpoint), (1, Some(LoadError::Corrupt { .. }))), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(matches!(loaded(&checkpoint), (1, Some(LoadError::Corrupt { .. }))), "bit at {at}");
    }
}

#[test]
fn a_corrupt_file_never_displaces_a_good_one_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let checkpoint = Checkpoint::new(&path);
    saved(&checkpoint, 1);
    saved(&checkpoint, 2);
    fs::write(&path, "noise").unwrap();
    saved(&checkpoint, 3);
    assert_eq!(fs::read(folder.path().join("state.corrupt")).unwrap(), b"noise");
    assert!(matches!(loaded(&checkpoint), (3, None)));
    fs::write(&path, "noise").unwrap();
    assert!(matches!(loaded(&checkpoint), (1, Some(_))));
}

#[test]
fn a_file_that_is_gone_is_told_of_when_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let checkpoint = Checkpoint::new(&path);
    saved(&checkpoint, 1);
    saved(&checkpoint, 2);
    fs::remove_file(&path).unwrap();
    let (n, refused) = loaded(&checkpoint);
    assert_eq!(n, 1);
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("state is missing, but not the one before it"), "{refused}");
}

#[test]
fn an_encoding_that_panics_is_told_of_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path().join("state"));
    let store = Arc::new(Store::new());
    set_all(&store, 1);
    let (tell, told) = mpsc::channel();
    let report = move |saved: Result<u64, SaveError>| {
        drop(tell.send(saved.map_err(|error| error.to_string())));
    };
    let has_failed = AtomicBool::new(false);
    let encode = move |n: &u64| {
        assert!(has_failed.swap(true, Ordering::Relaxed), "the first one fails");
        encode(n)
    };
    let each = Duration::from_millis(1);
    let periodic = Periodic::start(store, checkpoint.clone(), |_| true, each, encode, report);
    let first = told.recv().unwrap().unwrap_err();
    assert!(first.contains("could not be encoded: that panicked"), "{first}");
    assert_eq!(told.recv().unwrap(), Ok(1));
    drop(periodic);
    assert!(matches!(loaded(&checkpoint), (1, None)));
}

#[test]
fn with_no_good_file_the_error_names_the_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    fs::write(&path, "STGSNAP1 and then too little to be true, though long enough").unwrap();
    let error = Checkpoint::new(&path).load().unwrap_err().to_string();
    assert!(error.contains("state is torn or corrupt: its checksum does not match"), "{error}");
}

#[test]
fn a_periodic_checkpoint_saves_now_and_then_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path().join("state"));
    for (interval, waits) in [(Duration::from_millis(1), true), (Duration::from_secs(3600), false)]
    {
        let store = Arc::new(Store::new());
        set_all(&store, 1);
        let (tell, told) = mpsc::channel();
        let report = move |saved: Result<u64, _>| tell.send(saved.unwrap()).unwrap();
        let periodic = Periodic::start(
            Arc::clone(&store),
            checkpoint.clone(),
            |name: &str| NAMES.contains(&name),
            interval,
            encode,
            report,
        );
        let periodic = periodic.unwrap();
        if waits {
            assert_eq!(told.recv().unwrap(), 1);
        }
        set_all(&store, 2);
        drop(periodic);
        assert_eq!(told.into_iter().last(), Some(2));
        assert!(matches!(loaded(&checkpoint), (2, None)));
    }
}

/// Saves on and on and says what is saved, when the test below starts it in a process of its own.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let checkpoint = Checkpoint::new(path);
    let begin = checkpoint.load().unwrap().map_or(0, |_| loaded(&checkpoint).0);
    for n in begin + 1.. {
        saved(&checkpoint, n);
        println!("\nsaved {n}");
    }
}

/// Kills a saving process after a while, and returns the last number it had reported.
fn kill_one(path: &Path, random: &mut fastrand::Rng) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_saves_until_it_is_killed", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reports = lines.map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("saved ").and_then(|number| number.parse::<u64>().ok())
    });
    let mut last = reports.next().expect("a process that saves");
    for _ in 0..random.u8(0..4) {
        last = reports.next().unwrap();
    }
    std::thread::sleep(Duration::from_micros(random.u64(0..2000)));
    child.kill().unwrap();
    child.wait().unwrap();
    reports.last().unwrap_or(last)
}

#[test]
fn a_process_killed_while_it_saves_always_leaves_a_complete_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let checkpoint = Checkpoint::new(&path);
    let mut random = fastrand::Rng::with_seed(7);
    let mut before = 0;
    for _ in 0..KILLS {
        let reported = kill_one(&path, &mut random);
        let (n, refused) = loaded(&checkpoint);
        // The one in the making may be there already; what was reported must be.
        assert!(reported > before && (n == reported || n == reported + 1), "{reported} {n}");
        assert!(refused.is_none());
        before = n;
    }
}
