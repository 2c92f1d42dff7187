//! A key whose short jobs are taken by the handful: nothing of that shows.

#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use stage_submit::{Canceller, Close, Handle, JobError, Limits, Options, Repeat, Submitter};
use tokio::time::{Instant, sleep};

type Log = Arc<Mutex<Vec<u32>>>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn noted(log: &Log) -> Vec<u32> {
    log.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_gives_way_after_its_budget() {
    let submitter = Submitter::new(Limits::default().turn(8, Duration::from_secs(60)));
    let ran = Arc::new(AtomicUsize::new(0));
    let seen_by_other = Arc::new(AtomicUsize::new(0));
    for number in 0..1000 {
        let (ran, seen) = (Arc::clone(&ran), Arc::clone(&seen_by_other));
        let inner = submitter.clone();
        let job = async move {
            ran.fetch_add(1, Ordering::Relaxed);
            if number == 100 {
                let look =
                    async move { seen.store(ran.load(Ordering::Relaxed), Ordering::Relaxed) };
                inner.submit(2, look).unwrap().detach();
            }
        };
        submitter.submit(1, job).unwrap().detach();
    }
    submitter.submit(1, async {}).unwrap().await.unwrap();
    submitter.close(Close::Drain).await;
    assert_eq!(ran.load(Ordering::Relaxed), 1000);
    let seen = seen_by_other.load(Ordering::Relaxed);
    assert!((101..=109).contains(&seen), "{seen} jobs of the busy key ran before the other's");
}

/// Submits `jobs` behind a job that holds key 1 for 100 ms.
fn behind_a_long_job<F>(submitter: &Submitter, jobs: Vec<F>) -> Vec<Handle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    submitter.submit(1, sleep(ms(100))).unwrap().detach();
    jobs.into_iter().map(|job| submitter.submit(1, job).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_about_to_run_in_the_same_breath_can_still_be_cancelled() {
    let submitter = Submitter::new(Limits::default());
    let ran = Log::default();
    let cancellers: Arc<Mutex<Vec<Canceller>>> = Arc::default();
    let job = |number: u32| {
        let (ran, cancellers) = (Arc::clone(&ran), Arc::clone(&cancellers));
        async move {
            ran.lock().unwrap().push(number);
            if [0, 5, 10, 15, 20, 25, 30, 35].contains(&number) {
                cancellers.lock().unwrap()[number as usize + 2].cancel();
            }
        }
    };
    let handles = behind_a_long_job(&submitter, (0..40).map(job).collect());
    *cancellers.lock().unwrap() = handles.iter().map(|handle| handle.canceller()).collect();
    for (number, handle) in (0..).zip(handles) {
        let expected = if number % 5 == 2 { Err(JobError::Cancelled) } else { Ok(()) };
        assert_eq!(handle.await, expected, "job {number}");
    }
    assert_eq!(noted(&ran), (0..40).filter(|n| n % 5 != 2).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_free_before_the_last_job_is_dropped() {
    struct Guest(Arc<AtomicUsize>);
    impl Future for Guest {
        type Output = usize;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
            Poll::Ready(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }
    impl Drop for Guest {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let submitter = Submitter::new(Limits::default());
    let inside = Arc::<AtomicUsize>::default();
    let jobs = (0..20).map(|_| Guest(Arc::clone(&inside))).collect();
    for (number, handle) in behind_a_long_job(&submitter, jobs).into_iter().enumerate() {
        assert_eq!(handle.await, Ok(0), "guest {number} was not alone");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_taken_in_vain_keep_their_deadlines_and_can_be_cancelled() {
    let submitter = Submitter::new(Limits::default());
    let mut first = true;
    let repeating = submitter.submit_repeating(1, Options::new(), move || {
        let again = std::mem::take(&mut first);
        async move { if again { Repeat::Again(ms(50)) } else { Repeat::Done(()) } }
    });
    sleep(ms(1)).await;
    let began = Instant::now();
    let lengths = [0, 0, 0, 0, 0, 0, 0, 1000];
    let jobs = lengths.map(|length| async move {
        if length > 0 {
            sleep(ms(length)).await;
        }
    });
    let _handles = behind_a_long_job(&submitter, jobs.into());
    sleep(ms(60)).await;
    let soon = Options::new().deadline(began + ms(200));
    let late = submitter.submit_with(1, soon, async {}).unwrap();
    assert_eq!(late.await, Err(JobError::Expired));
    let repeating = repeating.unwrap();
    repeating.cancel();
    assert_eq!(repeating.await, Err(JobError::Cancelled));
    assert!(began.elapsed() < ms(300), "it waits behind the job of a second, as it did before");
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_turn_is_kept_for_a_moment_counts_as_idle() {
    let submitter = Submitter::new(Limits::default());
    let jobs = behind_a_long_job(&submitter, (0..3).map(|_| async {}).collect());
    for job in jobs {
        job.await.unwrap();
    }
    let seen = |submitter: &Submitter| (submitter.stats().keys, submitter.top_keys(1).len());
    assert_eq!(seen(&submitter), (0, 0));
    let again = submitter.submit(1, sleep(ms(1))).unwrap();
    assert_eq!((seen(&submitter), submitter.depth(1)), ((1, 1), 1));
    again.await.unwrap();
    sleep(ms(1)).await;
    assert_eq!(seen(&submitter), (0, 0));
    submitter.submit(1, async {}).unwrap().await.unwrap();
    assert_eq!(submitter.stats().at_once, 2, "the key was not given back");
}

#[tokio::test(start_paused = true)]
async fn each_wait_is_counted_once_whoever_of_a_handful_waits_in_its_turn() {
    let submitter = Submitter::new(Limits::default());
    let lengths = [0, 0, 0, 0, 5, 0, 0, 0, 0, 7, 0, 0, 0];
    let jobs = lengths.map(|length| async move {
        if length > 0 {
            sleep(ms(length)).await;
        }
    });
    let handles = behind_a_long_job(&submitter, jobs.into());
    for handle in handles {
        handle.await.unwrap();
    }
    let stats = submitter.stats();
    assert_eq!((stats.wait.count(), stats.wait.max()), (13, ms(112)));
    assert_eq!(stats.wait.sum(), ms(5 * 100 + 5 * 105 + 3 * 112));
}

#[tokio::test(start_paused = true)]
async fn all_of_a_handful_can_be_cancelled_by_key_from_one_of_them() {
    let submitter = Submitter::new(Limits::default());
    let ran = Log::default();
    let job = |number: u32| {
        let (ran, submitter) = (Arc::clone(&ran), submitter.clone());
        async move {
            ran.lock().unwrap().push(number);
            if number == 9 {
                assert!(submitter.cancel_key(1) >= 20);
            }
        }
    };
    let handles = behind_a_long_job(&submitter, (0..30).map(job).collect());
    for (number, handle) in (0..).zip(handles) {
        let expected = if number <= 9 { Ok(()) } else { Err(JobError::Cancelled) };
        assert_eq!(handle.await, expected, "job {number}");
    }
    assert_eq!(noted(&ran), (0..=9).collect::<Vec<_>>());
    assert_eq!(submitter.submit(1, async { 1 }).unwrap().await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn an_abort_by_a_job_that_goes_on_closes_those_about_to_run_after_it() {
    let submitter = Submitter::new(Limits::default());
    let inner = submitter.clone();
    let aborts = async move {
        let mut closing = std::pin::pin!(inner.close(Close::Abort));
        let polled = std::future::poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        sleep(ms(1)).await;
    };
    submitter.submit(1, sleep(ms(1))).unwrap().detach();
    for _ in 0..40 {
        submitter.submit(1, async {}).unwrap().detach();
    }
    let aborts = submitter.submit(1, aborts).unwrap();
    let after: Vec<_> = (0..40).map(|_| submitter.submit(1, async {}).unwrap()).collect();
    for handle in std::iter::once(aborts).chain(after) {
        assert_eq!(handle.await, Err(JobError::Closed));
    }
    let ended = submitter.stats().ended;
    assert_eq!((ended.closed, ended.cancelled), (41, 0));
}
