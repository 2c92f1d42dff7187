//! Users who come whether or not those before them are done.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout_at;

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

/// What has been begun.
#[derive(Default)]
struct Begun {
    /// For each login its part of the run, and how long it took.
    logins: JoinSet<(usize, Duration)>,
    others: JoinSet<()>,
    /// The logins of each part.
    counts: Vec<usize>,
}

/// Runs the load on one of the services.
pub(crate) async fn run(service: &Arc<dyn Service>, load: Load) -> Outcome {
    let (service, tokio) = (Arc::clone(service), Handle::current());
    // On a thread of its own: tokio's timers are late by up to a millisecond, which a login hardly takes.
    let arriving = spawn_blocking(move || arrive(&service, load, &tokio));
    let Begun { mut logins, others, counts } = arriving.await.unwrap();
    let end = Instant::now() + PATIENCE;
    let mut parts = vec![Vec::new(); counts.len()];
    while let Ok(Some(done)) = timeout_at(end.into(), logins.join_next()).await {
        let (part, taken) = done.unwrap();
        parts[part].push(taken);
    }
    drop(others);
    let all = Sample::new(parts.concat(), counts.iter().sum());
    let parts = parts.into_iter().zip(counts).map(|(taken, begun)| Sample::new(taken, begun));
    Outcome { all, parts: parts.collect(), time: load.time }
}

/// Begins everything at its moment.
fn arrive(service: &Arc<dyn Service>, load: Load, tokio: &Handle) -> Begun {
    let mut random = fastrand::Rng::with_seed(7);
    let mut begun = Begun::default();
    let start = Instant::now();
    let mut at = start;
    loop {
        at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / load.rate);
        if at >= start + load.time {
            return begun;
        }
        let user = random.i64(0..load.users);
        let service = Arc::clone(service);
        sleep(at.saturating_duration_since(Instant::now()));
        if load.slow && user % 100 == 0 {
            begun.others.spawn_on(async move { service.purchase(user).await }, tokio);
        } else if user % 100 != 0 {
            let part = ((at - start).as_millis() / PART.as_millis()) as usize;
            begun.counts.resize(begun.counts.len().max(part + 1), 0);
            begun.counts[part] += 1;
            let login = async move {
                service.login(user).await;
                (part, at.elapsed())
            };
            begun.logins.spawn_on(login, tokio);
        }
    }
}

impl Sample {
    /// So many logins began; `taken` is how long those took that were done.
    fn new(mut taken: Vec<Duration>, begun: usize) -> Self {
        let unfinished = begun - taken.len();
        // Longer than that nobody is told apart from those that were given up.
        taken.iter_mut().for_each(|taken| *taken = PATIENCE.min(*taken));
        taken.sort_unstable();
        Self { unfinished, sorted: taken }
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
