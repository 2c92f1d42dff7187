//! Users who come whether or not those before them are done.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::ways::Service;

/// What arrives and when.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) users: i64,
    /// Arrivals in a second, at random moments.
    pub(crate) rate: f64,
    pub(crate) time: Duration,
    /// Whether each hundredth user runs a transaction of a second instead of a login.
    pub(crate) slow: bool,
}

/// How long the logins of the others took, from the moment that each was to begin.
pub(crate) struct Outcome {
    /// All of them.
    pub(crate) all: Sample,
    /// Those that began in each part of the run.
    parts: Vec<Sample>,
    time: Duration,
}

/// Some logins.
#[derive(Default)]
pub(crate) struct Sample {
    /// How long each took, the shortest first.
    sorted: Vec<Duration>,
    /// Those that were not done when the run was given up.
    pub(crate) unfinished: usize,
}

/// How long those that are not done are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A login later than this is of no use to anybody.
const USEFUL: Duration = Duration::from_secs(1);

/// The parts of a run of which each has its own percentiles: a moment in which the machine was away spoils one of them.
const PART: Duration = Duration::from_millis(500);

/// Runs the load on one of the services.
pub(crate) async fn run(service: &Arc<dyn Service>, load: Load) -> Outcome {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut logins, mut others) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    let end = start + load.time;
    let mut begun: Vec<usize> = Vec::new();
    let mut at = start;
    loop {
        at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / load.rate);
        if at >= end {
            break;
        }
        let user = random.i64(0..load.users);
        let service = Arc::clone(service);
        sleep_until(at).await;
        if load.slow && user % 100 == 0 {
            others.spawn(async move { service.purchase(user).await });
        } else if user % 100 != 0 {
            let part = ((at - start).as_millis() / PART.as_millis()) as usize;
            begun.resize(begun.len().max(part + 1), 0);
            begun[part] += 1;
            logins.spawn(async move {
                service.login(user).await;
                (part, at.elapsed())
            });
        }
    }
    let mut parts = vec![Vec::new(); begun.len()];
    while let Ok(Some(done)) = timeout_at(end + PATIENCE, logins.join_next()).await {
        let (part, taken) = done.unwrap();
        parts[part].push(taken);
    }
    let all = Sample::new(parts.concat(), begun.iter().sum());
    let parts = parts.into_iter().zip(begun).map(|(taken, begun)| Sample::new(taken, begun));
    Outcome { all, parts: parts.collect(), time: load.time }
}

impl Sample {
    /// So many logins began; `taken` is how long those took that were done.
    fn new(mut taken: Vec<Duration>, begun: usize) -> Self {
        taken.sort_unstable();
        Self { unfinished: begun - taken.len(), sorted: taken }
    }

    /// The time that so many of a hundred took at most; of those not done, that they took at least.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let count = self.sorted.len() + self.unfinished;
        let rank = ((count as f64 * percent / 100.0).ceil() as usize).clamp(1, count.max(1));
        self.sorted.get(rank - 1).copied().unwrap_or(PATIENCE)
    }

    fn useful(&self) -> usize {
        self.sorted.partition_point(|taken| *taken <= USEFUL)
    }
}

impl Outcome {
    /// The median over the parts of the run of what so many of a hundred took at most in each.
    pub(crate) fn percentile_of_the_middle_part(&self, percent: f64) -> Duration {
        let mut parts: Vec<_> = self.parts.iter().map(|part| part.percentile(percent)).collect();
        parts.sort_unstable();
        parts.get(parts.len() / 2).copied().unwrap_or(PATIENCE)
    }

    /// Logins in a second that were of use.
    pub(crate) fn goodput(&self) -> f64 {
        self.all.useful() as f64 / self.time.as_secs_f64()
    }

    /// The time for each login that was of use; if none was, all of it.
    pub(crate) fn time_per_useful(&self) -> Duration {
        self.time.div_f64(self.all.useful().max(1) as f64)
    }
}
