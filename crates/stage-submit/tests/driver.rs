//! Random histories on the tokio driver, under virtual time: whatever is submitted and cancelled,
//! each job ends once, runs of a key are in order and never overlap, and nothing is left.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use stage_submit::{Close, Handle, JobError, Key, Limits, Options, Submitter};
use tokio::time::{Instant, sleep};

#[derive(Clone, Debug)]
enum Op {
    /// `millis` zero: the job ends without waiting. `deadline` only for some.
    Submit {
        key: i64,
        millis: u64,
        deadline: Option<u64>,
    },
    Cancel {
        which: usize,
    },
    CancelKey {
        key: i64,
    },
    Yield,
    Sleep {
        millis: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let millis = prop_oneof![6 => Just(0), 1 => 1_u64..10];
    let submit = (1_i64..3, millis, prop::option::weighted(0.1, 1_u64..20));
    prop_oneof![
        20 => submit.prop_map(|(key, millis, deadline)| Op::Submit { key, millis, deadline }),
        2 => any::<usize>().prop_map(|which| Op::Cancel { which }),
        1 => (1_i64..3).prop_map(|key| Op::CancelKey { key }),
        2 => Just(Op::Yield),
        1 => (1_u64..15).prop_map(|millis| Op::Sleep { millis }),
    ]
}

/// What the jobs of a key did: who is inside, and who started and ended, in order.
#[derive(Debug, Default)]
struct Seen {
    inside: usize,
    started: Vec<usize>,
    ended: Vec<usize>,
}

type Book = Arc<Mutex<BTreeMap<i64, Seen>>>;

async fn job(book: Book, key: i64, number: usize, millis: u64) {
    /// Leaves the key however the job ends.
    struct Inside(Book, i64);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.lock().unwrap().get_mut(&self.1).unwrap().inside -= 1;
        }
    }
    {
        let mut book = book.lock().unwrap();
        let seen = book.entry(key).or_default();
        assert_eq!(seen.inside, 0, "two jobs of a key run");
        seen.inside += 1;
        seen.started.push(number);
    }
    let _inside = Inside(Arc::clone(&book), key);
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
    book.lock().unwrap().get_mut(&key).unwrap().ended.push(number);
}

async fn play(ops: Vec<Op>, turn: u32) {
    let submitter = Submitter::new(Limits::default().turn(turn, Duration::MAX));
    let book = Book::default();
    let mut handles: Vec<(i64, Handle<()>)> = Vec::new();
    let mut cancelled = Vec::new();
    for op in ops {
        match op {
            Op::Submit { key, millis, deadline } => {
                let work = job(Arc::clone(&book), key, handles.len(), millis);
                let mut options = Options::new();
                if let Some(after) = deadline {
                    options = options.deadline(Instant::now() + Duration::from_millis(after));
                }
                handles.push((key, submitter.submit_with(key, options, work).unwrap()));
                cancelled.push(deadline.is_some().then_some(JobError::Expired));
            }
            Op::Cancel { which } if !handles.is_empty() => {
                let which = which % handles.len();
                handles[which].1.cancel();
                cancelled[which] = Some(JobError::Cancelled);
            }
            Op::Cancel { .. } => {}
            Op::CancelKey { key } => {
                submitter.cancel_key(key);
                let of_key = handles.iter().enumerate().filter(|(_, (other, _))| *other == key);
                of_key.for_each(|(which, _)| cancelled[which] = Some(JobError::Cancelled));
            }
            Op::Yield => tokio::task::yield_now().await,
            Op::Sleep { millis } => sleep(Duration::from_millis(millis)).await,
        }
    }
    submitter.close(Close::Drain).await;
    let accepted = handles.len() as u64;
    for (number, (key, handle)) in handles.into_iter().enumerate() {
        let ended = book.lock().unwrap().entry(key).or_default().ended.contains(&number);
        match handle.await {
            Ok(()) => assert!(ended, "job {number} has a result and did not run"),
            Err(JobError::Expired) => {
                let started = book.lock().unwrap()[&key].started.contains(&number);
                assert!(!started && cancelled[number].is_some(), "job {number}");
            }
            Err(error) => {
                assert_eq!(Some(error), cancelled[number], "job {number}");
                assert!(!ended, "job {number} ran to its end and was cancelled");
            }
        }
    }
    for seen in book.lock().unwrap().values() {
        assert!(seen.started.is_sorted(), "out of order: {:?}", seen.started);
    }
    // A turn may have to find out that its queue is empty.
    tokio::task::yield_now().await;
    let stats = submitter.stats();
    assert_eq!((stats.active, stats.keys, stats.waiting), (0, 0, 0));
    assert_eq!(stats.ended.total(), accepted);
    assert!(submitter.top_keys(10).is_empty());
    assert_eq!(submitter.depth(Key::from(1)), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_job_ends_once_in_order_and_alone(
        ops in prop::collection::vec(op(), 1..150),
        turn in 1_u32..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(ops, turn));
    }
}

/// The same on real threads, where arrivals, ends and cancellations do race.
#[test]
fn racing_threads_lose_nothing() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let submitter = Submitter::new(Limits::default());
        let book = Book::default();
        let producer = |producer: usize| {
            let (submitter, book) = (submitter.clone(), Arc::clone(&book));
            tokio::spawn(async move {
                let mut completed = 0;
                for round in 0..50 {
                    let start = |n: usize| {
                        let number = producer * 1_000_000 + round * 100 + n;
                        let millis = u64::from(n == 7 && round % 10 == 0);
                        let work = job(Arc::clone(&book), (n % 2) as i64 + 1, number, millis);
                        submitter.submit((n % 2) as i64 + 1, work).unwrap()
                    };
                    let handles: Vec<_> = (0..20).map(start).collect();
                    handles[round % 20].cancel();
                    for handle in handles {
                        completed += usize::from(handle.await.is_ok());
                    }
                }
                completed
            })
        };
        let producers: Vec<_> = (0..4).map(producer).collect();
        let mut completed = 0;
        for producer in producers {
            completed += producer.await.unwrap();
        }
        submitter.close(Close::Drain).await;
        let ended: usize = book.lock().unwrap().values().map(|seen| seen.ended.len()).sum();
        assert_eq!(ended, completed);
        assert_eq!(submitter.stats().ended.completed, completed as u64);
        assert!(completed >= 4 * 50 * 19);
    });
}
