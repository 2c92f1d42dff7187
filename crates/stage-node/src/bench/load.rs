use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::BenchError;
use super::course::Course;
use super::tally::Tally;

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

/// What is loaded. Cloning gives the same.
pub(super) trait Call: Clone + Send + 'static {
    /// One call; if it fails, the reason and what was said.
    fn call(
        &self,
        random: &mut fastrand::Rng,
    ) -> impl Future<Output = Result<(), (&'static str, String)>> + Send;
}

/// How long calls that are under way at the end are waited for: longer than any may take, so that they end by
/// themselves.
const PATIENCE: Duration = Duration::from_secs(7);

/// How long the planner sleeps when nothing is due.
const LOOK: Duration = Duration::from_micros(50);

/// Runs the calls to their end, or until the process is interrupted.
///
/// # Errors
/// If the progress cannot be written.
pub(super) async fn run(
    target: &impl Call,
    load: Load,
    progress: &mut dyn Write,
) -> Result<Tally, BenchError> {
    let course = Arc::new(Course::begin(load)?);
    let planner = Arc::clone(&course);
    // On a thread of its own: its sleep is finer than a runtime's.
    std::thread::spawn(move || {
        while planner.release() {
            std::thread::sleep(LOOK);
        }
    });
    let interrupted = async {
        // Without the signal nobody can interrupt it so.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    drive(&course, target, interrupted, progress).await
}

/// Calls the target along a course whose calls somebody releases.
async fn drive(
    course: &Arc<Course>,
    target: &impl Call,
    interrupted: impl Future<Output = ()>,
    progress: &mut dyn Write,
) -> Result<Tally, BenchError> {
    let mut callers = JoinSet::new();
    for _ in 0..course.load().concurrency {
        callers.spawn(call_on(Arc::clone(course), target.clone()));
    }
    tokio::select! {
        told = course.tell(progress) => told?,
        // Whoever interrupts wants to see what there is.
        () = interrupted => {}
    }
    let lasted = course.end();
    let ended = async { while callers.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        // Each of them counts as given up.
        callers.shutdown().await;
    }
    course.sum_up(lasted)
}

/// Begins one call after another.
async fn call_on(course: Arc<Course>, target: impl Call) {
    let mut random = fastrand::Rng::new();
    while let Some(call) = course.next().await {
        let outcome = target.call(&mut random).await;
        call.ends(&outcome);
    }
}

impl Load {
    /// When a call is to begin, from the beginning of the load.
    pub(super) fn due(&self, number: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(number as f64 / rate))
    }

    /// How many calls are to have begun by then.
    pub(super) fn due_by(&self, elapsed: Duration) -> u64 {
        // Within 2^53, which is more than any load has.
        self.rate.map_or(0, |rate| (elapsed.as_secs_f64() * rate) as u64 + 1)
    }

    /// How many calls are planned for a load that lasts so long.
    pub(super) fn planned(&self, lasted: Duration) -> u64 {
        self.rate.map_or(0, |rate| (rate * lasted.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests;
