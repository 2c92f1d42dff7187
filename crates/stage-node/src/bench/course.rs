use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::BenchError;
use super::load::Load;
use super::tally::Tally;

/// When the calls of a load are to begin, which of them have, and what has come of them.
pub(super) struct Course {
    load: Load,
    begun: Instant,
    /// How many calls may have begun by now.
    released: AtomicU64,
    /// A permit for each call that is due and has not begun.
    due: Semaphore,
    /// The next call to begin.
    next: AtomicU64,
    all: Mutex<Tally>,
    /// Of the second that runs.
    second: Mutex<Tally>,
}

/// A call that has begun. One that is dropped before it has ended was given up.
pub(super) struct UnderWay<'a> {
    course: &'a Course,
    /// When it was to begin.
    begins: Instant,
    has_ended: bool,
}

impl Course {
    /// # Errors
    /// If there is no histogram.
    pub(super) fn begin(load: Load) -> Result<Self, BenchError> {
        Ok(Self {
            load,
            begun: Instant::now(),
            released: AtomicU64::new(0),
            due: Semaphore::new(0),
            next: AtomicU64::new(0),
            all: Mutex::new(empty()?),
            second: Mutex::new(empty()?),
        })
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Lets the calls begin that are due; whether there will be more.
    pub(super) fn release(&self) -> bool {
        let planned = self.load.planned(self.load.duration);
        let due = self.load.due_by(self.begun.elapsed()).min(planned);
        let released = self.released.fetch_max(due, Ordering::Relaxed);
        self.due.add_permits(usize::try_from(due.saturating_sub(released)).unwrap_or(usize::MAX));
        due < planned && !self.due.is_closed()
    }

    /// The next call, once the time has come for it; `None` at the end.
    pub(super) async fn next(&self) -> Option<UnderWay<'_>> {
        let begins = if self.load.rate.is_none() {
            let now = Instant::now();
            if now >= self.begun + self.load.duration || self.due.is_closed() {
                return None;
            }
            now
        } else {
            self.due.acquire().await.ok()?.forget();
            self.begun + self.load.due(self.next.fetch_add(1, Ordering::Relaxed))
        };
        Some(UnderWay { course: self, begins, has_ended: false })
    }

    /// Writes a line each second while the load lasts.
    pub(super) async fn tell(&self, progress: &mut dyn Write) -> Result<(), BenchError> {
        let end = self.begun + self.load.duration;
        let mut seconds = 0;
        loop {
            let next = (self.begun + Duration::from_secs(seconds + 1)).min(end);
            tokio::time::sleep_until(next).await;
            if next >= end {
                return Ok(());
            }
            seconds += 1;
            let line = {
                let mut second = locked(&self.second);
                let (done, failed) = (second.done(), second.failed());
                let p99 = second.percentile_ms(99.0);
                second.clear();
                format!("{seconds:>4} s  {done:>8} done  {failed:>6} failed   p99 {p99:>9.3} ms")
            };
            writeln!(progress, "{line}")?;
        }
    }

    /// No call begins any more; how long the load has lasted.
    pub(super) fn end(&self) -> Duration {
        self.due.close();
        self.begun.elapsed()
    }

    /// Whether the load has had its time, or was interrupted.
    fn is_over(&self) -> bool {
        self.due.is_closed() || self.begun.elapsed() > self.load.duration
    }

    /// What all calls came to; those that were due and have not begun count with the time they have waited.
    pub(super) fn sum_up(&self, lasted: Duration) -> Result<Tally, BenchError> {
        let mut all = std::mem::replace(&mut *locked(&self.all), empty()?);
        all.lasted = lasted.min(self.load.duration);
        for number in self.next.load(Ordering::Relaxed)..self.load.planned(all.lasted) {
            all.leaves_unsent(lasted.saturating_sub(self.load.due(number)));
        }
        Ok(all)
    }
}

impl UnderWay<'_> {
    /// The call has ended, well or with a reason and what was said.
    pub(super) fn ends(mut self, outcome: &Result<(), (&'static str, String)>) {
        self.has_ended = true;
        let took = self.begins.elapsed();
        let is_late = self.course.is_over();
        for tally in [&self.course.all, &self.course.second] {
            let mut tally = locked(tally);
            match outcome {
                Ok(()) if is_late => tally.succeeds_late(took),
                Ok(()) => tally.succeeds(took),
                Err((reason, why)) => tally.fails(reason, why, took),
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            locked(&self.course.all).gives_up(self.begins.elapsed());
        }
    }
}

fn empty() -> Result<Tally, BenchError> {
    Tally::new().map_err(|error| BenchError::Failed(error.to_string()))
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
