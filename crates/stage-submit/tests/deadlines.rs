//! A job that has not started by its deadline never starts, whatever it waited for.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stage_submit::{JobError, Limits, Options, Repeat, Submitter};
use tokio::time::{Instant, sleep};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn within(millis: u64) -> Options {
    Options::new().deadline(Instant::now() + ms(millis))
}

#[tokio::test]
async fn a_job_that_no_worker_got_to_in_time_never_starts() {
    let submitter = Submitter::new(Limits::default());
    let ran = Arc::new(AtomicUsize::new(0));
    let count = || {
        let ran = Arc::clone(&ran);
        async move { ran.fetch_add(1, Ordering::Relaxed) }
    };
    let once = [0, 1, 2].map(|key| submitter.submit_with(key, within(20), count()).unwrap());
    let again = [0, 3].map(|key| {
        let ran = Arc::clone(&ran);
        let make = move || {
            let runs = ran.fetch_add(1, Ordering::Relaxed);
            async move { Repeat::Done(runs) }
        };
        submitter.submit_repeating(key, within(20), make).unwrap()
    });
    // The only worker is busy.
    std::thread::sleep(ms(40));
    for handle in once.into_iter().chain(again) {
        assert_eq!(handle.await, Err(JobError::Expired));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(submitter.stats().ended.expired, 5);
}

#[tokio::test]
async fn a_job_that_a_busy_key_held_back_at_the_end_of_its_turn_never_starts_late() {
    let submitter = Submitter::new(Limits::default().turn(1, Duration::MAX));
    submitter.submit(1, tokio::task::yield_now()).unwrap().detach();
    let inner = submitter.clone();
    let last_of_turn = submitter.submit(1, async move {
        inner.submit(2, async { std::thread::sleep(ms(200)) }).unwrap().detach();
    });
    let late = submitter.submit_with(1, within(100), async {}).unwrap();
    let after = submitter.submit(1, async { 1 }).unwrap();
    last_of_turn.unwrap().await.unwrap();
    assert_eq!(late.await, Err(JobError::Expired));
    assert_eq!(after.await, Ok(1));
    assert_eq!(submitter.stats().ended.expired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_started_in_time_is_not_cut_short() {
    let submitter = Submitter::new(Limits::default());
    for key in [0, 1, 1] {
        let slow = submitter.submit_with(key, within(150), sleep(ms(100)));
        slow.unwrap().detach();
        let mut runs = 0;
        let repeating = submitter.submit_repeating(key, within(250), move || {
            runs += 1;
            async move { if runs < 3 { Repeat::Again(ms(200)) } else { Repeat::Done(runs) } }
        });
        let long = submitter.submit_with(key, within(350), sleep(ms(500))).unwrap();
        assert_eq!(repeating.unwrap().await, Ok(3));
        assert_eq!(long.await, Ok(()));
    }
    assert_eq!(submitter.stats().ended.expired, 0);
}
