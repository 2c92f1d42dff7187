//! What a user of the tokio driver may rely on, one promise per test, under virtual time.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_submit::{Close, JobError, Key, Limits, Options, Repeat, Scope, SubmitError, Submitter};
use tokio::time::{Instant, sleep};

type Log = Arc<Mutex<Vec<u32>>>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A job that takes 10 ms and then writes its number down.
fn note(log: &Log, number: u32) -> impl Future<Output = ()> + Send + 'static {
    let log = Arc::clone(log);
    async move {
        sleep(ms(10)).await;
        log.lock().unwrap().push(number);
    }
}

fn panics(message: &str) {
    panic!("{message}");
}

fn noted(log: &Log) -> Vec<u32> {
    log.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_key_run_one_after_the_other_in_order() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    let began = Instant::now();
    let handles: Vec<_> =
        (0..5).map(|n| submitter.submit("user", note(&log, n)).unwrap()).collect();
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(noted(&log), [0, 1, 2, 3, 4]);
    assert_eq!(began.elapsed(), ms(50));
}

#[tokio::test(start_paused = true)]
async fn jobs_of_different_keys_and_of_key_zero_overlap() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    let began = Instant::now();
    let mut handles: Vec<_> =
        (1..=5).map(|key| submitter.submit(key, note(&log, 0)).unwrap()).collect();
    handles.extend((0..5).map(|_| submitter.submit(Key::UNLIMITED, note(&log, 0)).unwrap()));
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(began.elapsed(), ms(10));
}

#[tokio::test(start_paused = true)]
async fn a_full_key_refuses_at_once_with_the_depth_seen() {
    let submitter = Submitter::new(Limits::default().per_key(3).total(5));
    let log = Log::default();
    for n in 0..3 {
        submitter.submit(7, note(&log, n)).unwrap().detach();
    }
    let refused = submitter.submit(7, note(&log, 9)).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull { scope: Scope::Key, depth: 3, limit: 3 });
    submitter.submit(8, note(&log, 3)).unwrap().detach();
    submitter.submit(0, note(&log, 4)).unwrap().detach();
    let refused = submitter.submit(0, note(&log, 9)).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull { scope: Scope::Total, depth: 5, limit: 5 });
    assert_eq!(submitter.stats().refused, 2);
    submitter.close(Close::Drain).await;
    assert_eq!(noted(&log).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_pauses_counts_against_the_bound_of_its_key() {
    let submitter = Submitter::new(Limits::default().per_key(1));
    let again = || async { Repeat::<()>::Again(ms(1000)) };
    let pausing = submitter.submit_repeating(1, Options::new(), again).unwrap();
    sleep(ms(1)).await;
    let refused = submitter.submit(1, async {}).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull { scope: Scope::Key, depth: 1, limit: 1 });
    pausing.cancel();
    assert_eq!(pausing.await, Err(JobError::Cancelled));
    assert_eq!(submitter.submit(1, async { 1 }).unwrap().await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_of_an_end_finds_the_place_free() {
    let submitter = Submitter::new(Limits::default().per_key(2).total(2));
    for key in [0, 7] {
        for _ in 0..10 {
            let first = submitter.submit(key, sleep(ms(1))).unwrap();
            let second = submitter.submit(key, sleep(ms(1))).unwrap();
            first.await.unwrap();
            let third = submitter.submit(key, sleep(ms(2))).unwrap();
            second.await.unwrap();
            third.await.unwrap();
        }
    }
    assert_eq!(submitter.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_held_until_the_job_ends() {
    let submitter = Submitter::new(Limits::default().bytes(100));
    let sixty = Options::new().bytes(60);
    let first = submitter.submit_with(1, sixty, sleep(ms(10))).unwrap();
    let refused = submitter.submit_with(2, sixty, sleep(ms(10))).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull { scope: Scope::Bytes, depth: 60, limit: 100 });
    let forty = Options::new().bytes(40);
    let behind = submitter.submit_with(1, forty, sleep(ms(10))).unwrap();
    assert_eq!(submitter.stats().bytes, 100);
    first.await.unwrap();
    submitter.submit_with(2, sixty, sleep(ms(10))).unwrap().await.unwrap();
    behind.await.unwrap();
    assert_eq!(submitter.stats().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_deadline_passes_in_the_queue_is_told_then_and_never_starts() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    submitter.submit(1, sleep(ms(1000))).unwrap().detach();
    let began = Instant::now();
    let late = Options::new().deadline(began + ms(50));
    let later = Options::new().deadline(began + ms(30));
    let late = submitter.submit_with(1, late, note(&log, 1)).unwrap();
    sleep(ms(1)).await;
    let later = submitter.submit_with(1, later, note(&log, 2)).unwrap();
    assert_eq!(later.await, Err(JobError::Expired));
    assert!(began.elapsed() < ms(40), "the alarm was set for the other deadline");
    assert_eq!(late.await, Err(JobError::Expired));
    assert!(began.elapsed() < ms(60), "told when it happened, not when the key was free");
    let in_time = Options::new().deadline(began + ms(2000));
    submitter.submit_with(1, in_time, note(&log, 3)).unwrap().await.unwrap();
    assert_eq!(noted(&log), [3]);
    let past = Options::new().deadline(began);
    let refused = submitter.submit_with(1, past, note(&log, 4)).unwrap_err();
    assert_eq!(refused, SubmitError::DeadlinePassed);
    assert_eq!(submitter.stats().ended.expired, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_frees_its_place_whether_it_waits_or_runs() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    let first = submitter.submit(1, note(&log, 1)).unwrap();
    let second = submitter.submit(1, note(&log, 2)).unwrap();
    let third = submitter.submit(1, note(&log, 3)).unwrap();
    second.cancel();
    assert_eq!(submitter.depth(1), 2);
    assert_eq!(second.await, Err(JobError::Cancelled));
    sleep(ms(5)).await;
    first.cancel();
    assert_eq!(first.await, Err(JobError::Cancelled));
    sleep(ms(5)).await;
    let canceller = third.canceller();
    canceller.cancel();
    assert_eq!(third.await, Err(JobError::Cancelled), "a queued job that was running");
    submitter.submit(1, note(&log, 4)).unwrap().await.unwrap();
    assert_eq!(noted(&log), [4]);
    let stats = submitter.stats();
    assert_eq!((stats.ended.cancelled, stats.ended.completed, stats.active), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_key_ends_all_its_jobs_and_no_others() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    for key in [0, 1, 2] {
        for n in 0..3 {
            submitter.submit(key, note(&log, n + 10 * key as u32)).unwrap().detach();
        }
    }
    sleep(ms(5)).await;
    assert_eq!(submitter.cancel_key(1), 3);
    assert_eq!(submitter.cancel_key(1), 1, "the running one has not been dropped yet");
    assert_eq!(submitter.cancel_key(0), 3);
    let after = submitter.submit(1, note(&log, 100)).unwrap();
    after.await.unwrap();
    submitter.close(Close::Drain).await;
    let mut noted = noted(&log);
    noted.sort_unstable();
    assert_eq!(noted, [20, 21, 22, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_job_cancelled_by_key_before_its_first_poll_never_starts() {
    let submitter = Submitter::new(Limits::default());
    let ran = Arc::new(AtomicUsize::new(0));
    for key in [0, 1] {
        let ran = Arc::clone(&ran);
        let count = async move { ran.fetch_add(1, Ordering::Relaxed) };
        let handle = submitter.submit(key, count).unwrap();
        assert_eq!(submitter.cancel_key(key), 1);
        assert_eq!(handle.await, Err(JobError::Cancelled));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_job_and_no_key() {
    let submitter = Submitter::new(Limits::default());
    for key in [0, 1] {
        let blocker = submitter.submit(key, sleep(ms(1))).unwrap();
        let at_once = submitter.submit(2 * key, async { panics("at once") }).unwrap();
        let queued = submitter.submit(key, async { panics("number 7") }).unwrap();
        let last = submitter.submit(key, async { "fine" }).unwrap();
        blocker.await.unwrap();
        let message = |text: &str| JobError::Panicked { message: text.into() };
        assert_eq!(at_once.await, Err::<(), _>(message("at once")));
        assert_eq!(queued.await, Err::<(), _>(message("number 7")));
        assert_eq!(last.await, Ok("fine"));
    }
    assert_eq!(submitter.stats().ended.panicked, 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_frees_the_key_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let submitter = Submitter::new(Limits::default());
    for _ in 0..2 {
        let bomb = Bomb;
        let job = async move {
            let _bomb = &bomb;
            sleep(ms(5)).await;
        };
        submitter.submit(1, job).unwrap().detach();
    }
    let cancelled = Bomb;
    let queued = submitter.submit(1, async move { drop(cancelled) }).unwrap();
    queued.cancel();
    assert!(matches!(queued.await, Err(JobError::Panicked { .. })));
    assert_eq!(submitter.submit(1, async { 5 }).unwrap().await, Ok(5));
    assert_eq!(submitter.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn draining_runs_what_was_accepted_and_refuses_the_rest() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    for n in 0..5 {
        submitter.submit(1, note(&log, n)).unwrap().detach();
    }
    let closing = submitter.clone();
    let closing = tokio::spawn(async move { closing.close(Close::Drain).await });
    sleep(ms(5)).await;
    assert!(submitter.is_closed());
    for key in [0, 1, 2] {
        let refused = submitter.submit(key, note(&log, 9)).unwrap_err();
        assert_eq!(refused, SubmitError::Closed);
    }
    closing.await.unwrap();
    assert_eq!(noted(&log), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn aborting_ends_waiting_running_and_pausing_jobs() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    let mut handles = Vec::new();
    for key in [0, 1, 2] {
        handles.extend((0..3).map(|n| submitter.submit(key, note(&log, n)).unwrap()));
    }
    let pausing =
        |key| submitter.submit_repeating(key, Options::new(), || async { Repeat::Again(ms(1000)) });
    handles.extend([0, 3].map(|key| pausing(key).unwrap()));
    sleep(ms(5)).await;
    submitter.close(Close::Abort).await;
    for handle in handles {
        assert_eq!(handle.await, Err(JobError::Closed));
    }
    assert_eq!(noted(&log), []);
    let stats = submitter.stats();
    assert_eq!((stats.active, stats.keys, stats.ended.closed), (0, 0, 11));
}

#[tokio::test(start_paused = true)]
async fn a_repeating_job_leaves_its_key_to_others_while_it_pauses() {
    let submitter = Submitter::new(Limits::default());
    for key in [0, 1] {
        let log = Log::default();
        let (mut runs, in_job) = (0, Arc::clone(&log));
        let repeating = submitter.submit_repeating(key, Options::new(), move || {
            runs += 1;
            in_job.lock().unwrap().push(1000 + runs);
            async move { if runs < 3 { Repeat::Again(ms(100)) } else { Repeat::Done(runs) } }
        });
        sleep(ms(50)).await;
        submitter.submit(key, note(&log, 1)).unwrap().await.unwrap();
        assert_eq!(repeating.unwrap().await, Ok(3));
        assert_eq!(noted(&log), [1001, 1, 1002, 1003]);
    }
    assert_eq!(submitter.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_comes_back_behind_the_jobs_that_wait_and_is_never_refused() {
    let submitter = Submitter::new(Limits::default().per_key(4));
    let log = Log::default();
    let (mut runs, in_job) = (0, Arc::clone(&log));
    let repeating = submitter.submit_repeating(1, Options::new(), move || {
        runs += 1;
        in_job.lock().unwrap().push(1000 + runs);
        async move { if runs < 2 { Repeat::Again(ms(15)) } else { Repeat::Done(()) } }
    });
    sleep(ms(1)).await;
    let others: Vec<_> = (0..3).map(|n| submitter.submit(1, note(&log, n)).unwrap()).collect();
    assert!(submitter.submit(1, note(&log, 9)).is_err(), "the pausing job holds its place");
    repeating.unwrap().await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(noted(&log), [1001, 0, 1, 2, 1002]);
}

#[tokio::test(start_paused = true)]
async fn a_pausing_job_is_cancelled_by_handle_and_by_key_and_ends_with_a_drain() {
    let submitter = Submitter::new(Limits::default());
    let start = || {
        let again = || async { Repeat::<()>::Again(ms(1_000_000)) };
        submitter.submit_repeating(1, Options::new(), again).unwrap()
    };
    let by_handle = start();
    sleep(ms(1)).await;
    assert_eq!(submitter.stats().sleeping, 1);
    by_handle.cancel();
    assert_eq!(by_handle.await, Err(JobError::Cancelled));
    assert_eq!(submitter.stats().keys, 0);
    let by_key = start();
    sleep(ms(1)).await;
    assert_eq!(submitter.cancel_key(1), 1);
    assert_eq!(by_key.await, Err(JobError::Cancelled));
    let drained = start();
    sleep(ms(1)).await;
    submitter.close(Close::Drain).await;
    assert_eq!(drained.await, Err(JobError::Closed));
}

#[tokio::test(start_paused = true)]
async fn statistics_say_who_waits_and_how_long() {
    let submitter = Submitter::new(Limits::default());
    let log = Log::default();
    for (key, jobs) in [(1, 2), (2, 5), (3, 3)] {
        for n in 0..jobs {
            submitter.submit(key, note(&log, n)).unwrap().detach();
        }
    }
    sleep(ms(15)).await;
    let stats = submitter.stats();
    assert_eq!((stats.active, stats.waiting, stats.keys, stats.at_once), (7, 4, 3, 3));
    let top = submitter.top_keys(2);
    let keys: Vec<_> = top.iter().map(|key| (key.key.clone(), key.depth)).collect();
    assert_eq!(keys, [(Key::from(2), 4), (Key::from(3), 2)]);
    assert!(top[0].running && top[0].head_age >= ms(15));
    submitter.close(Close::Drain).await;
    let stats = submitter.stats();
    assert_eq!((stats.ended.completed, stats.ended.total(), stats.active), (10, 10, 0));
    assert_eq!((stats.wait.count(), stats.keys), (7, 0));
    assert!(stats.wait.max() >= ms(40) && stats.run.quantile(0.5) >= ms(9));
}

#[test]
fn jobs_of_a_runtime_that_ends_are_told_and_none_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let submitter = Submitter::on(runtime.handle(), Limits::default());
    let handles: Vec<_> =
        (0..100).map(|n| submitter.submit(n % 3, std::future::pending::<()>()).unwrap()).collect();
    runtime.shutdown_timeout(Duration::from_secs(5));
    let asks = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for handle in handles {
        assert_eq!(asks.block_on(handle), Err(JobError::Cancelled));
    }
    let stats = submitter.stats();
    assert_eq!((stats.active, stats.keys), (0, 0));
}
