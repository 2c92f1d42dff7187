//! Destructors are the job's code: they run under its key, and their panics are its own.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stage_submit::{JobError, Limits, Options, Repeat, Submitter};
use tokio::time::{Instant, sleep};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

/// Notes when it is dropped how many jobs its key has; none means that the key is free.
struct Look(Submitter, Arc<AtomicUsize>);

impl Drop for Look {
    fn drop(&mut self) {
        self.1.store(self.0.depth(1), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_key_is_not_free_before_a_cancelled_job_is_dropped() {
    let submitter = Submitter::new(Limits::default());
    let depth = Arc::new(AtomicUsize::new(usize::MAX));
    submitter.submit(1, tokio::task::yield_now()).unwrap().detach();
    let look = Look(submitter.clone(), Arc::clone(&depth));
    let (begins, begun) = tokio::sync::oneshot::channel();
    let cancelled = submitter.submit(1, async move {
        let _look = look;
        begins.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let cancelled = cancelled.unwrap();
    begun.await.unwrap();
    let soon = Options::new().deadline(Instant::now() + ms(20));
    let late = submitter.submit_with(1, soon, async {}).unwrap();
    // Nobody looks at the clock meanwhile, so the turn finds the next job late by itself.
    std::thread::sleep(ms(40));
    cancelled.cancel();
    assert_eq!(cancelled.await, Err(JobError::Cancelled));
    assert_eq!(late.await, Err(JobError::Expired));
    assert_ne!(depth.load(Ordering::Relaxed), 0, "the key was free while its job was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_free_before_a_repeating_job_is_dropped() {
    let submitter = Submitter::new(Limits::default());
    let depth = Arc::new(AtomicUsize::new(usize::MAX));
    let look = Look(submitter.clone(), Arc::clone(&depth));
    let repeating = submitter.submit_repeating(1, Options::new(), move || {
        let _look = &look;
        async { Repeat::Done(3) }
    });
    assert_eq!(repeating.unwrap().await, Ok(3));
    assert_eq!(depth.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_a_repeating_job_owns_ends_no_other_job() {
    let submitter = Submitter::new(Limits::default());
    submitter.submit(1, sleep(ms(1))).unwrap().detach();
    let before: Vec<_> = (0..3).map(|n| submitter.submit(1, async move { n }).unwrap()).collect();
    let bomb = Bomb;
    let bombed = submitter.submit_repeating(1, Options::new(), move || {
        let _bomb = &bomb;
        async { Repeat::Done(()) }
    });
    let after: Vec<_> = (0..40).map(|n| submitter.submit(1, async move { n }).unwrap()).collect();
    for (n, handle) in before.into_iter().enumerate() {
        assert_eq!(handle.await, Ok(n));
    }
    assert!(matches!(bombed.unwrap().await, Err(JobError::Panicked { .. })));
    for (n, handle) in after.into_iter().enumerate() {
        assert_eq!(handle.await, Ok(n));
    }
    assert_eq!(submitter.stats().ended.panicked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_an_expired_job_owns_leaves_the_alarm_on() {
    let submitter = Submitter::new(Limits::default());
    let began = Instant::now();
    submitter.submit(1, sleep(ms(1000))).unwrap().detach();
    let bomb = Bomb;
    let first = Options::new().deadline(began + ms(10));
    let bombed = submitter.submit_repeating(1, first, move || {
        let _bomb = &bomb;
        async { Repeat::Done(()) }
    });
    let second = Options::new().deadline(began + ms(50));
    let late = submitter.submit_with(1, second, async {}).unwrap();
    assert!(matches!(bombed.unwrap().await, Err(JobError::Panicked { .. })));
    assert_eq!(late.await, Err(JobError::Expired));
    assert!(began.elapsed() < ms(60), "told when the key was free, not when it happened");
}
