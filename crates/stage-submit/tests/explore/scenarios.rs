//! What must hold under every schedule.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::{block_on, yield_now};
use shuttle::sync::atomic::{AtomicUsize, Ordering};

use crate::rt::Runtime;
use crate::{Close, JobError, Limits, Options, Repeat, SubmitError, Submitter};

/// Counts who is in the key, and who ever was.
#[derive(Default)]
pub struct Room {
    inside: AtomicUsize,
    pub visits: AtomicUsize,
}

impl Room {
    /// A job that waits once in the room, where nobody else may be.
    async fn visit(self: Arc<Self>) {
        self.stay(true).await;
    }

    /// A job that may or may not wait.
    async fn stay(self: Arc<Self>, waits: bool) {
        /// Leaves also if the job is dropped where it waits.
        struct Visit<'a>(&'a Room);
        impl Drop for Visit<'_> {
            fn drop(&mut self) {
                self.0.inside.fetch_sub(1, Ordering::SeqCst);
            }
        }
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two jobs of a key run");
        let _visit = Visit(&self);
        if waits {
            yield_now().await;
        }
        self.visits.fetch_add(1, Ordering::SeqCst);
    }
}

pub fn submitter() -> Submitter {
    Submitter::build(Runtime, Limits::default(), 1)
}

fn left_nothing(submitter: &Submitter) {
    let stats = submitter.stats();
    assert_eq!((stats.active, stats.keys, stats.waiting, stats.sleeping), (0, 0, 0, 0));
}

/// Producers submit to one key and await; the key is given back and taken again all the time.
pub fn arrivals_race_with_the_end_of_the_last_job() {
    let (submitter, room) = (submitter(), Arc::<Room>::default());
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let (submitter, room) = (submitter.clone(), Arc::clone(&room));
            shuttle::future::spawn(async move {
                for _ in 0..2 {
                    let job = Arc::clone(&room).visit();
                    submitter.submit(1, job).unwrap().await.unwrap();
                }
            })
        })
        .collect();
    block_on(async {
        for producer in producers {
            producer.await.unwrap();
        }
    });
    assert_eq!(room.visits.load(Ordering::SeqCst), 6);
    left_nothing(&submitter);
}

/// A handle, a key and the jobs' own ends cancel and finish at once; each job ends once.
pub fn cancellations_race_with_ends() {
    let (submitter, room) = (submitter(), Arc::<Room>::default());
    let handles: Vec<_> =
        (0..3).map(|_| submitter.submit(1, Arc::clone(&room).visit()).unwrap()).collect();
    let cancellers: Vec<_> = handles.iter().map(|handle| handle.canceller()).collect();
    let by_key = submitter.clone();
    let by_handle = shuttle::future::spawn(async move {
        cancellers[1].cancel();
        yield_now().await;
        cancellers[0].cancel();
    });
    let by_key = shuttle::future::spawn(async move { by_key.cancel_key(1) });
    let (after, late) = (submitter, room);
    block_on(async move {
        let mut completed = 0;
        for handle in handles {
            match handle.await {
                Ok(()) => completed += 1,
                Err(error) => assert_eq!(error, JobError::Cancelled),
            }
        }
        by_handle.await.unwrap();
        by_key.await.unwrap();
        assert_eq!(late.visits.load(Ordering::SeqCst), completed);
        after.submit(1, Arc::clone(&late).visit()).unwrap().await.unwrap();
        left_nothing(&after);
    });
}

/// Short jobs are taken by the handful; one among them waits, and cancellations come in between.
pub fn cancellations_race_with_handfuls() {
    let (submitter, room) = (submitter(), Arc::<Room>::default());
    let handles: Vec<_> = [true, false, false, false, false, true, false]
        .into_iter()
        .map(|waits| submitter.submit(1, Arc::clone(&room).stay(waits)).unwrap())
        .collect();
    let cancellers: Vec<_> = handles.iter().map(|handle| handle.canceller()).collect();
    let cancelling = shuttle::future::spawn(async move {
        for which in [4, 6] {
            cancellers[which].cancel();
        }
    });
    block_on(async move {
        let mut completed = 0;
        for (which, handle) in handles.into_iter().enumerate() {
            match handle.await {
                Ok(()) => completed += 1,
                Err(error) => assert_eq!((error, which | 2), (JobError::Cancelled, 6)),
            }
        }
        cancelling.await.unwrap();
        assert_eq!(room.visits.load(Ordering::SeqCst), completed);
        left_nothing(&submitter);
    });
}

/// A pause ends while other jobs come and go; runs never overlap and the job gets done.
pub fn pauses_race_with_arrivals() {
    let (submitter, room) = (submitter(), Arc::<Room>::default());
    let (mut runs, in_job) = (0, Arc::clone(&room));
    let repeating = submitter.submit_repeating(1, Options::new(), move || {
        runs += 1;
        let (visit, done) = (Arc::clone(&in_job).visit(), runs == 2);
        async move {
            visit.await;
            if done { Repeat::Done(()) } else { Repeat::Again(Duration::ZERO) }
        }
    });
    let others = submitter.clone();
    let in_other = Arc::clone(&room);
    let other = shuttle::future::spawn(async move {
        for _ in 0..2 {
            others.submit(1, Arc::clone(&in_other).visit()).unwrap().await.unwrap();
        }
    });
    block_on(async {
        repeating.unwrap().await.unwrap();
        other.await.unwrap();
    });
    assert_eq!(room.visits.load(Ordering::SeqCst), 4);
    left_nothing(&submitter);
}

/// The door closes while jobs come in: each is either refused or ends, and then none is left.
pub fn closing_races_with_arrivals(how: Close) {
    let (submitter, room) = (submitter(), Arc::<Room>::default());
    let producers: Vec<_> = [1, 1, 0]
        .into_iter()
        .map(|key| {
            let (submitter, room) = (submitter.clone(), Arc::clone(&room));
            shuttle::future::spawn(async move {
                let room = if key == 0 { Arc::default() } else { room };
                match submitter.submit(key, room.visit()) {
                    Ok(handle) => match handle.await {
                        Ok(()) => {}
                        Err(error) => assert_eq!((error, how), (JobError::Closed, Close::Abort)),
                    },
                    Err(error) => assert_eq!(error, SubmitError::Closed),
                }
            })
        })
        .collect();
    block_on(async {
        submitter.close(how).await;
        for producer in producers {
            producer.await.unwrap();
        }
        // A turn may be on its way to find the queue empty; if it never came, this would not end.
        while submitter.stats().keys > 0 {
            yield_now().await;
        }
        left_nothing(&submitter);
    });
}
