//! What must hold under every schedule.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use shuttle::future::{block_on, yield_now};
use shuttle::sync::atomic::{AtomicUsize, Ordering};

use crate::rt::Runtime;
use crate::{Close, Handle, JobError, Limits, Options, Repeat, SubmitError, Submitter};

/// Counts who is in the key, and who ever was.
#[derive(Default)]
pub struct Room {
    inside: AtomicUsize,
    pub visits: AtomicUsize,
}

impl Room {
    /// A job that waits once in the room, where nobody else may be.
    fn visit(self: Arc<Self>) -> Visit {
        self.stay(true)
    }

    /// A job that may or may not wait.
    fn stay(self: Arc<Self>, waits: bool) -> Visit {
        Visit { room: self, waits: usize::from(waits), entered: false }
    }

    /// A job that never ends by itself.
    fn settle(self: Arc<Self>) -> Visit {
        Visit { room: self, waits: usize::MAX, entered: false }
    }
}

/// It leaves the room when it is dropped, not when it is done: a key must not be free before that.
struct Visit {
    room: Arc<Room>,
    waits: usize,
    entered: bool,
}

impl Future for Visit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.entered, true) {
            let inside = self.room.inside.fetch_add(1, Ordering::SeqCst);
            assert_eq!(inside, 0, "two jobs of a key run");
        }
        if self.waits == usize::MAX {
            return Poll::Pending;
        }
        if self.waits > 0 {
            self.waits -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.room.visits.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.entered {
            self.room.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

pub fn submitter() -> Submitter {
    Submitter::build(Runtime, Limits::default(), 1)
}

async fn left_nothing(submitter: &Submitter) {
    // A turn may be on its way to find its queue empty; if it never came, this would not end.
    while submitter.stats().keys > 0 {
        yield_now().await;
    }
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
    block_on(left_nothing(&submitter));
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
        left_nothing(&after).await;
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
        left_nothing(&submitter).await;
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
    block_on(left_nothing(&submitter));
}

/// Jobs with a key and one without come for the only place there is: one may be refused too many,
/// none admitted.
pub fn the_last_place_is_given_once() {
    let submitter = Submitter::build(Runtime, Limits::default().total(1), 1);
    let rivals: Vec<_> = [1, 0, 1, 1]
        .into_iter()
        .map(|key| {
            let submitter = submitter.clone();
            let job = Arc::<Room>::default().settle();
            shuttle::future::spawn(async move { submitter.submit(key, job).map(Handle::detach) })
        })
        .collect();
    block_on(async {
        let mut admitted = 0;
        for rival in rivals {
            admitted += usize::from(rival.await.unwrap().is_ok());
        }
        assert!(admitted <= 1, "{admitted} jobs have the only place");
        assert_eq!(submitter.stats().active, admitted as u64);
        submitter.close(Close::Abort).await;
        left_nothing(&submitter).await;
    });
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
        left_nothing(&submitter).await;
    });
}

/// Jobs that would wait for ever are reached wherever they are when all is aborted, or their key
/// is cancelled.
pub fn interruptions_race_with_the_first_wait(by_key: bool) {
    let submitter = submitter();
    let handles: Vec<_> = [1, 0, 2, 2]
        .into_iter()
        .map(|key| submitter.submit(key, Arc::<Room>::default().settle()).unwrap())
        .collect();
    block_on(async {
        if by_key {
            yield_now().await;
            let cancelled: usize = (0..3).map(|key| submitter.cancel_key(key)).sum();
            assert_eq!(cancelled, 4);
        } else {
            submitter.close(Close::Abort).await;
        }
        let expected = if by_key { JobError::Cancelled } else { JobError::Closed };
        for handle in handles {
            assert_eq!(handle.await, Err(expected.clone()));
        }
    });
}
