//! Bytes per key: a million keys that are all busy at once, and what is left afterwards, beside
//! the map of mutexes that never forgets a key. Prints a table; nothing is timed.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use stage_submit::{Limits, Submitter};
use tokio::sync::{Mutex, Semaphore};

const KEYS: i64 = 1_000_000;

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: all work is the system allocator's; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("{:<26}{:>12}{:>12}", "bytes per key", "all busy", "all idle");
        let before = LIVE.load(Ordering::Relaxed);
        let gate = Arc::new(Semaphore::new(0));
        let (busy, idle) = stop_and_go(&gate, before, |gate| {
            tokio::spawn(async move { drop(gate.acquire().await) })
        })
        .await;
        println!("{:<26}{busy:>12}{idle:>12}", "tokio::spawn, no key");

        let limits = Limits::default().total(usize::MAX);
        let submitter = Submitter::new(limits);
        let before = LIVE.load(Ordering::Relaxed);
        let gate = Arc::new(Semaphore::new(0));
        let mut key = 0;
        let (busy, idle) = stop_and_go(&gate, before, |gate| {
            key += 1;
            submitter.submit(key, async move { drop(gate.acquire().await) }).unwrap()
        })
        .await;
        println!("{:<26}{busy:>12}{idle:>12}", "stage-submit");

        let locks: Arc<DashMap<i64, Arc<Mutex<()>>>> = Arc::default();
        let before = LIVE.load(Ordering::Relaxed);
        let gate = Arc::new(Semaphore::new(0));
        let mut key = 0;
        let (busy, idle) = stop_and_go(&gate, before, |gate| {
            key += 1;
            let lock = Arc::clone(&locks.entry(key).or_default());
            tokio::spawn(async move {
                let _guard = lock.lock().await;
                drop(gate.acquire().await);
            })
        })
        .await;
        println!("{:<26}{busy:>12}{idle:>12}", "DashMap of tokio mutexes");
    });
}

/// Starts a job per key that waits for `gate`; bytes per key then, and when all have ended.
async fn stop_and_go<H: Future>(
    gate: &Arc<Semaphore>,
    before: usize,
    mut start: impl FnMut(Arc<Semaphore>) -> H,
) -> (usize, usize) {
    let mut handles = Vec::with_capacity(KEYS as usize);
    for _ in 0..KEYS {
        handles.push(start(Arc::clone(gate)));
    }
    let per_key = || LIVE.load(Ordering::Relaxed).saturating_sub(before) / KEYS as usize;
    // Let every job run up to the gate.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let busy = per_key();
    gate.add_permits(KEYS as usize);
    for handle in handles {
        handle.await;
    }
    (busy, per_key())
}
