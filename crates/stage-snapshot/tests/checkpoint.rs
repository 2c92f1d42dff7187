//! Checkpoints that are torn, corrupt, or written by a process that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use stage_snapshot::{Checkpoint, LoadError, Periodic, SaveError, Store};

const NAMES: [&str; 3] = ["a", "b", "c"];
const KILLS: usize = 200;
const FILE: &str = "STAGE_SNAPSHOT_TEST_FILE";
/// The process that is started to save is to stop amid a save.
const STOPS: &str = "STAGE_SNAPSHOT_TEST_STOPS";
/// What says that it does.
const AMID: &str = "amid a save";

fn set_all(store: &Store<u64>, n: u64) {
    let run = store.transaction(|tx| {
        NAMES.iter().for_each(|name| tx.set(name, n));
        Ok::<_, Infallible>(())
    });
    run.unwrap();
}

fn encode(n: &u64) -> Vec<u8> {
    n.to_le_bytes().repeat(2000)
}

/// Large enough that most of the time of a save is spent within the write of it, where a kill is to fall.
fn encode_long(n: &u64) -> Vec<u8> {
    n.to_le_bytes().repeat(30_000)
}

fn saved(checkpoint: &Checkpoint, n: u64) {
    save_all(checkpoint, n, encode).unwrap();
}

fn save_all(
    checkpoint: &Checkpoint,
    n: u64,
    encode: impl Fn(&u64) -> Vec<u8>,
) -> Result<(), SaveError> {
    let store = Store::new();
    set_all(&store, n);
    checkpoint.save(&store.snapshot(), |name| NAMES.contains(&name), encode)
}

/// The one number that all names have.
fn loaded(checkpoint: &Checkpoint) -> (u64, Option<LoadError>) {
    loaded_as(checkpoint, encode)
}

fn loaded_as(checkpoint: &Checkpoint, encode: fn(&u64) -> Vec<u8>) -> (u64, Option<LoadError>) {
    let restored = checkpoint.load().unwrap().unwrap();
    let first = restored.entries["a"].first_chunk().unwrap();
    let n = u64::from_le_bytes(*first);
    assert_eq!(restored.entries.len(), NAMES.len());
    let whole = encode(&n);
    assert!(restored.entries.values().all(|value| *value == whole));
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

/// Saves the name `a` alone, often.
fn keep_a(
    store: &Arc<Store<u64>>,
    path: &Path,
    saved: impl FnMut(Result<u64, SaveError>) + Send + 'static,
) -> Periodic {
    let (store, checkpoint) = (Arc::clone(store), Checkpoint::new(path));
    let each = Duration::from_millis(1);
    Periodic::start(store, checkpoint, |name| name == "a", each, encode, saved).unwrap()
}

#[test]
fn what_is_not_chosen_is_no_reason_to_save() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::new());
    set_all(&store, 1);
    let (tell, told) = mpsc::channel();
    let path = folder.path().join("state");
    let periodic = keep_a(&store, &path, move |saved| tell.send(saved.unwrap()).unwrap());
    assert_eq!(told.recv().unwrap(), 1);
    let write = |name: &str, n| store.update(name, |_| Ok::<_, Infallible>(Some(n))).unwrap();
    for n in 0..50 {
        write("b", n);
        std::thread::sleep(Duration::from_millis(2));
    }
    let written = write("a", 2);
    assert!(told.recv().unwrap() >= written);
    write("b", 50);
    store.compare_and_set("a", Some(written), None).unwrap();
    drop(periodic);
    // Once because it is gone, and never because of the other.
    assert_eq!(told.into_iter().count(), 1);
    // So what was saved before is still what is beside it.
    let last = Checkpoint::new(folder.path().join("state.last")).load().unwrap().unwrap();
    assert_eq!(last.entries["a"], encode(&2));
}

#[test]
fn a_panic_of_who_hears_of_a_save_does_not_end_the_saving() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::new());
    set_all(&store, 1);
    let (tell, told) = mpsc::channel();
    let path = folder.path().join("state");
    let periodic = keep_a(&store, &path, move |saved| {
        tell.send(saved.unwrap()).unwrap();
        panic!("on purpose");
    });
    assert_eq!(told.recv().unwrap(), 1);
    set_all(&store, 2);
    assert_eq!(told.recv().unwrap(), 2);
    set_all(&store, 3);
    drop(periodic);
    let saved = Checkpoint::new(&path).load().unwrap().unwrap();
    assert_eq!((saved.version, &saved.entries["a"]), (3, &encode(&3)));
}

/// Saves on and on and says what is saved, when the test below starts it in a process of its own.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let checkpoint = Checkpoint::new(path);
    if std::env::var_os(STOPS).is_some() {
        let stop = |n: &u64| {
            println!("\n{AMID}");
            std::thread::sleep(Duration::from_secs(60));
            encode(n)
        };
        save_all(&checkpoint, 1, stop).unwrap();
    }
    let begin = checkpoint.load().unwrap().map_or(0, |_| loaded_as(&checkpoint, encode_long).0);
    for n in begin + 1.. {
        save_all(&checkpoint, n, encode_long).unwrap();
        println!("\nsaved {n}");
    }
}

/// Starts a process that saves, and what it says.
fn saving(path: &Path, stops: bool) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_that_saves_until_it_is_killed", "--nocapture"]);
    child.env(FILE, path).stdout(Stdio::piped());
    if stops {
        child.env(STOPS, "1");
    }
    let mut child = child.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

/// Kills a saving process after a while, and returns the last number it had reported.
fn kill_one(path: &Path, random: &mut fastrand::Rng) -> u64 {
    let (mut child, lines) = saving(path, false);
    let mut reports = lines.filter_map(|line| {
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
    let (mut before, mut amid, mut torn) = (0, 0, 0);
    let whole = 3 * encode_long(&0).len() as u64;
    for _ in 0..KILLS {
        let reported = kill_one(&path, &mut random);
        if let Ok(begun) = fs::metadata(folder.path().join("state.new")) {
            amid += 1;
            torn += usize::from(begun.len() < whole);
        }
        let (n, refused) = loaded_as(&checkpoint, encode_long);
        // The one in the making may be there already; what was reported must be.
        assert!(reported > before && (n == reported || n == reported + 1), "{reported} {n}");
        assert!(refused.is_none());
        before = n;
    }
    println!("{amid} of {KILLS} kills fell within a save, {torn} of them within a write");
    assert!(amid > 0, "no kill fell within a save");
    assert!(torn > 0, "no kill fell within a write");
}

#[test]
fn a_save_beside_another_one_of_the_same_file_is_refused_and_tears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (checkpoint, other) = (Checkpoint::new(&path), Checkpoint::new(&path));
    let refused = std::cell::Cell::new(0);
    let while_encoding = |n: &u64| {
        let error = save_all(&other, 9, encode).unwrap_err();
        assert!(matches!(error, SaveError::Busy { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("let each process save to a file of its own"), "{error}");
        refused.set(refused.get() + 1);
        encode(n)
    };
    save_all(&checkpoint, 1, while_encoding).unwrap();
    assert_eq!((refused.get(), loaded(&checkpoint).0), (3, 1));
    save_all(&other, 2, encode).unwrap();
    assert_eq!(loaded(&checkpoint).0, 2);
}

#[test]
fn a_save_beside_that_of_another_process_is_refused_until_that_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let checkpoint = Checkpoint::new(&path);
    let (mut child, mut lines) = saving(&path, true);
    assert!(lines.any(|line| line == AMID));
    assert!(matches!(save_all(&checkpoint, 2, encode), Err(SaveError::Busy { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    save_all(&checkpoint, 3, encode).unwrap();
    assert!(matches!(loaded(&checkpoint), (3, None)));
}
