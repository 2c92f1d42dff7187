use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::{Config, Controller, Input, Meter, Peer, Reading, State, View, WINDOW, calibrate};

/// A node's route control: meters in, a [`View`] out. Cloning gives the same control.
#[derive(Clone)]
pub struct Route {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    epoch: Instant,
    meters: Mutex<Vec<Meter>>,
    peers: Mutex<Vec<Peer>>,
    workers: usize,
    view: watch::Sender<View>,
    /// Fractions of admitted work, in units of [`WHOLE`].
    admitted: AtomicU64,
    controller: Mutex<Controller>,
}

/// One whole message, in the units in which credit is counted.
const WHOLE: f64 = 1_000_000.0;

/// The node takes no work of others now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {node} is {state}")]
pub struct Refused {
    /// Which node.
    pub node: String,
    /// Its standing.
    pub state: State,
}

impl Route {
    /// Control of a node whose workers and instances can be busy at once. Measures the machine
    /// first, which takes a few milliseconds.
    #[must_use]
    pub fn new(name: &str, config: Config, workers: usize) -> Self {
        let mut controller = Controller::new(name, config, calibrate::measure());
        let view = controller.step(&Input { workers, ..Input::default() });
        let shared = Shared {
            name: name.to_owned(),
            epoch: Instant::now(),
            meters: Mutex::default(),
            peers: Mutex::default(),
            workers,
            view: watch::Sender::new(view),
            admitted: AtomicU64::new(0),
            controller: Mutex::new(controller),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A meter for one queue.
    #[must_use]
    pub fn meter(&self, queue: &str) -> Meter {
        let meter = Meter::new(queue, self.shared.epoch);
        lock(&self.shared.meters).push(meter.clone());
        meter
    }

    /// What the live peers say of themselves.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        *lock(&self.shared.peers) = peers;
    }

    /// The view of the last window.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.view.borrow().clone()
    }

    /// The state and the busy share of the workers in the last window. Cheaper than [`Route::view`].
    #[must_use]
    pub fn standing(&self) -> (State, f64) {
        let view = self.shared.view.borrow();
        (view.state, view.utilisation)
    }

    /// Hears of every new view.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.shared.view.subscribe()
    }

    /// Whether one more message of another node may come in: all of them while joined, none while
    /// away, a share of them while held or probing.
    ///
    /// # Errors
    /// [`Refused`] names the state.
    pub fn admit_remote(&self) -> Result<(), Refused> {
        let (state, credit) = {
            let view = self.shared.view.borrow();
            (view.state, view.credit)
        };
        let share = (credit * WHOLE) as u64;
        let before = self.shared.admitted.fetch_add(share, Ordering::Relaxed);
        let whole = WHOLE as u64;
        if (before.wrapping_add(share)) / whole > before / whole {
            return Ok(());
        }
        Err(Refused { node: self.shared.name.clone(), state })
    }

    /// Decides once per window until the shutdown ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(WINDOW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                _ = ticks.tick() => self.decide(),
            }
        }
    }

    fn decide(&self) {
        let shared = &self.shared;
        let readings: Vec<Reading> = lock(&shared.meters).iter().map(Meter::read).collect();
        let slowest = readings.iter().max_by_key(|reading| reading.delay);
        let peers = lock(&shared.peers).clone();
        let input = Input {
            now: shared.epoch.elapsed(),
            delay: slowest.map_or_else(Default::default, |reading| reading.delay),
            slowest: slowest.map_or("", |reading| reading.name.as_str()),
            busy: readings.iter().map(|reading| reading.busy).sum(),
            messages: readings.iter().map(|reading| reading.finished).sum(),
            workers: shared.workers,
            peers: &peers,
            random: random(),
        };
        let view = lock(&shared.controller).step(&input);
        shared.view.send_replace(view);
    }
}

/// A random number from 0 to 1, from the seeds of the standard library's hash tables.
fn random() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
