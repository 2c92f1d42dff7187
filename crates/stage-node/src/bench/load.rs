use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::BenchError;
use super::tally::Tally;
use super::target::Target;

/// How many calls there are, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Calls in a second; `None`: the next begins when one is done.
    pub rate: Option<f64>,
    /// Calls that are under way at a time, at most.
    pub concurrency: usize,
    /// How long.
    pub duration: Duration,
}

/// How long calls that are under way at the end are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the planner sleeps when nothing is due.
const LOOK: Duration = Duration::from_micros(50);

/// When the calls are to begin, and which of them have.
struct Course {
    load: Load,
    begun: Instant,
    /// The next call to begin.
    next: AtomicU64,
    /// A permit for each call that is due and has not begun.
    due: Semaphore,
    all: Mutex<Tally>,
    /// Of the second that runs.
    second: Mutex<Tally>,
}

/// Runs the calls to their end, or until the process is interrupted.
///
/// # Errors
/// If the progress cannot be written.
pub(super) async fn run(
    target: &Target,
    load: Load,
    progress: &mut dyn Write,
) -> Result<Tally, BenchError> {
    let tally = || Tally::new().map_err(|error| BenchError::Failed(error.to_string()));
    let course = Arc::new(Course {
        load,
        begun: Instant::now(),
        next: AtomicU64::new(0),
        due: Semaphore::new(0),
        all: Mutex::new(tally()?),
        second: Mutex::new(tally()?),
    });
    if let Some(rate) = load.rate {
        let course = Arc::clone(&course);
        std::thread::spawn(move || course.plan(rate));
    }
    let mut callers = JoinSet::new();
    for _ in 0..load.concurrency {
        callers.spawn(call_on(Arc::clone(&course), target.clone()));
    }
    tokio::select! {
        told = course.tell(progress) => told?,
        // Whoever interrupts wants to see what there is.
        _ = tokio::signal::ctrl_c() => {}
    }
    let lasted = course.begun.elapsed();
    course.due.close();
    let ended = async { while callers.join_next().await.is_some() {} };
    let finished = tokio::time::timeout(PATIENCE, ended).await;
    if finished.is_err() {
        callers.abort_all();
    }
    course.sum_up(lasted)
}

/// Begins one call after another.
async fn call_on(course: Arc<Course>, target: Target) {
    let mut random = fastrand::Rng::new();
    while let Some(begins) = course.next().await {
        let outcome = target.call(&mut random).await;
        let took = begins.elapsed();
        for tally in [&course.all, &course.second] {
            let mut tally = locked(tally);
            match &outcome {
                Ok(()) => tally.succeeds(took),
                Err((reason, why)) => tally.fails(reason, why),
            }
        }
    }
}

impl Course {
    /// When the next call was to begin, once that time has come; `None` at the end.
    async fn next(&self) -> Option<Instant> {
        if self.load.rate.is_none() {
            let now = Instant::now();
            return (now < self.begun + self.load.duration).then_some(now);
        }
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.begun + self.load.due(number))
    }

    /// Says which calls are due, on a thread of its own: its sleep is finer than a runtime's.
    fn plan(&self, rate: f64) {
        let total = (rate * self.load.duration.as_secs_f64()) as u64;
        let mut released = 0;
        while released < total && !self.due.is_closed() {
            let due = self.load.due_by(self.begun.elapsed()).min(total);
            self.due.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
            released = due;
            std::thread::sleep(LOOK);
        }
    }

    /// Writes a line each second while the load lasts.
    async fn tell(&self, progress: &mut dyn Write) -> Result<(), BenchError> {
        let end = self.begun + self.load.duration;
        let mut seconds = 0;
        loop {
            let next = (self.begun + Duration::from_secs(seconds + 1)).min(end);
            tokio::time::sleep_until(next.into()).await;
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

    /// What all calls came to; those that were due and have not begun count with the time they have waited.
    fn sum_up(&self, lasted: Duration) -> Result<Tally, BenchError> {
        let empty = Tally::new().map_err(|error| BenchError::Failed(error.to_string()))?;
        let mut all = std::mem::replace(&mut *locked(&self.all), empty);
        all.lasted = lasted.min(self.load.duration);
        if let Some(rate) = self.load.rate {
            let planned = (rate * all.lasted.as_secs_f64()) as u64;
            for number in self.next.load(Ordering::Relaxed)..planned {
                all.leaves_unsent(lasted.saturating_sub(self.load.due(number)));
            }
        }
        Ok(all)
    }
}

impl Load {
    /// When a call is to begin, from the beginning of the load.
    fn due(&self, number: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(number as f64 / rate))
    }

    /// How many calls are to have begun by then.
    fn due_by(&self, elapsed: Duration) -> u64 {
        // Within 2^53, which is more than any load has.
        self.rate.map_or(0, |rate| (elapsed.as_secs_f64() * rate) as u64 + 1)
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_even_distances_and_the_first_at_once() {
        let load = Load { rate: Some(1000.0), concurrency: 1, duration: Duration::from_secs(1) };
        assert_eq!(load.due(0), Duration::ZERO);
        assert_eq!(load.due(500), Duration::from_millis(500));
        assert_eq!(load.due_by(Duration::ZERO), 1);
        assert_eq!(load.due_by(Duration::from_micros(9_999)), 10);
        for number in 0..1000 {
            assert!(load.due_by(load.due(number) + Duration::from_micros(1)) > number);
        }
    }
}
