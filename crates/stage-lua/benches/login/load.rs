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
    sorted: Vec<Duration>,
    /// Those that were not done when the run was given up.
    pub(crate) unfinished: usize,
    time: Duration,
}

/// How long those that are not done are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A login later than this is of no use to anybody.
const USEFUL: Duration = Duration::from_secs(1);

/// Runs the load on one of the services.
pub(crate) async fn run(service: &Arc<dyn Service>, load: Load) -> Outcome {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut logins, mut others) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    let end = start + load.time;
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
            logins.spawn(async move {
                service.login(user).await;
                at.elapsed()
            });
        }
    }
    let mut sorted = Vec::new();
    while let Ok(Some(taken)) = timeout_at(end + PATIENCE, logins.join_next()).await {
        sorted.push(taken.unwrap());
    }
    let unfinished = logins.len();
    sorted.sort_unstable();
    Outcome { sorted, unfinished, time: load.time }
}

impl Outcome {
    /// The time that so many of a hundred took at most; of those not done, that they took at least.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let count = self.sorted.len() + self.unfinished;
        let rank = ((count as f64 * percent / 100.0).ceil() as usize).clamp(1, count.max(1));
        self.sorted.get(rank - 1).copied().unwrap_or(PATIENCE)
    }

    /// Logins in a second that were of use.
    pub(crate) fn goodput(&self) -> f64 {
        self.useful() as f64 / self.time.as_secs_f64()
    }

    /// The time for each login that was of use; if none was, all of it.
    pub(crate) fn time_per_useful(&self) -> Duration {
        self.time.div_f64(self.useful().max(1) as f64)
    }

    fn useful(&self) -> usize {
        self.sorted.partition_point(|taken| *taken <= USEFUL)
    }
}
