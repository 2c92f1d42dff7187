use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    readings: Mutex<Vec<Reading>>,
    peers: Mutex<Heard>,
    share: Mutex<PeerShare>,
    /// When it decided last, in nanoseconds of its epoch.
    decided: AtomicU64,
    view: watch::Sender<View>,
    door: Door,
    /// Nanoseconds of wait past which a peer's message is refused where it would be started.
    late: Arc<AtomicU64>,
    controller: Mutex<Controller>,
}

/// What is needed to admit a message: words, because a lock per message would be one for all cores.
#[derive(Default)]
struct Door {
    /// The share of messages that come in, in units of [`WHOLE`].
    credit: AtomicU64,
    /// Fractions of messages that came in, in the same units.
    fractions: AtomicU64,
    /// Messages that came in since the last window.
    admitted: AtomicU64,
}

/// One whole message, in the units in which credit is counted.
const WHOLE: u64 = 1 << 20;

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
    /// Control of a node. Measures the machine first, which takes a few milliseconds.
    #[must_use]
    pub fn new(name: &str, config: Config) -> Self {
        let mut controller = Controller::new(name, config, calibrate::measure());
        let view = controller.step(&Input::default());
        let shared = Shared {
            name: name.to_owned(),
            epoch: Instant::now(),
            meters: Mutex::default(),
            readings: Mutex::default(),
            peers: Mutex::new(Heard { at: Instant::now(), peers: Vec::new() }),
            share: Mutex::default(),
            decided: AtomicU64::new(0),
            view: watch::Sender::new(view),
            door: Door { credit: AtomicU64::new(WHOLE), ..Door::default() },
            late: Arc::new(AtomicU64::new(u64::MAX)),
            controller: Mutex::new(controller),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A meter for the queue of one worker.
    #[must_use]
    pub fn meter(&self, queue: &str) -> Meter {
        self.meter_of(queue, 1)
    }

    /// A meter for the queue that so many workers share.
    #[must_use]
    pub fn meter_of(&self, queue: &str, workers: usize) -> Meter {
        let shared = &self.shared;
        let meter = Meter::new(queue, workers, shared.epoch, Arc::clone(&shared.late));
        lock(&self.shared.meters).push(meter.clone());
        meter
    }

    /// What the live peers say of themselves, as of now: it grows older by itself, and what is older than 300 ms is not counted
    /// on. So it is to be told once per window or so.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        *lock(&self.shared.peers) = Heard { at: Instant::now(), peers };
    }

    /// The view of the last window.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.view.borrow().clone()
    }

    /// What each queue's meter saw in the last window.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        lock(&self.shared.readings).clone()
    }

    /// What to tell peers: the state ([`View::advert`]) and the busy share of the busiest queue's workers.
    /// Cheaper than [`Route::view`].
    #[must_use]
    pub fn standing(&self) -> (State, f64) {
        let view = self.shared.view.borrow();
        (view.advert(), view.utilisation)
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
        let door = &self.shared.door;
        let credit = door.credit.load(Ordering::Relaxed);
        if credit < WHOLE {
            let before = door.fractions.fetch_add(credit, Ordering::Relaxed);
            if before.wrapping_add(credit) / WHOLE == before / WHOLE {
                return Err(self.refused());
            }
        }
        door.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    fn refused(&self) -> Refused {
        let state = self.shared.view.borrow().state;
        Refused { node: self.shared.name.clone(), state }
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
        let peers = lock(&shared.peers).as_of(Instant::now());
        let now = shared.epoch.elapsed();
        let before = shared.decided.swap(now.as_nanos() as u64, Ordering::Relaxed);
        let messages: u64 = readings.iter().map(|reading| reading.finished).sum();
        let admitted = shared.door.admitted.swap(0, Ordering::Relaxed);
        let input = Input {
            now,
            window: now.saturating_sub(Duration::from_nanos(before)),
            delay: slowest.map_or_else(Default::default, |reading| reading.delay),
            slowest: slowest.map_or("", |reading| reading.name.as_str()),
            busy: readings.iter().map(|reading| reading.busy).sum(),
            messages,
            waiting: slowest.map_or(0, |reading| reading.waiting),
            running: readings.iter().map(|reading| reading.running).sum(),
            // Which of the ended messages were a peer's is not known; those that came in are.
            utilisation: readings.iter().map(|reading| reading.utilisation).fold(0.0, f64::max),
            peer_share: lock(&shared.share).after(admitted, messages),
            peers: &peers,
            random: random(),
        };
        let view = lock(&shared.controller).step(&input);
        *lock(&shared.readings) = readings;
        let credit = (view.credit * WHOLE as f64) as u64;
        shared.door.credit.store(credit, Ordering::Relaxed);
        let nanos = |late: Duration| u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        let late = view.late.map_or(u64::MAX, nanos);
        shared.late.store(late, Ordering::Relaxed);
        shared.view.send_replace(view);
    }
}

/// What peers said, and when it was heard.
struct Heard {
    at: Instant,
    peers: Vec<Peer>,
}

impl Heard {
    /// The same with the time that has passed since.
    fn as_of(&self, now: Instant) -> Vec<Peer> {
        let passed = now.saturating_duration_since(self.at);
        let older = |age: Duration| age.saturating_add(passed);
        let peer = |peer: &Peer| Peer {
            age: older(peer.age),
            left_ago: peer.left_ago.map(older),
            ..peer.clone()
        };
        self.peers.iter().map(peer).collect()
    }
}

/// Which part of the messages peers sent, over some windows: where handlers take long, a window may have none of either.
#[derive(Default)]
struct PeerShare {
    admitted: f64,
    ended: f64,
}

/// Weight of a new window.
const GAIN: f64 = 0.25;

impl PeerShare {
    fn after(&mut self, admitted: u64, ended: u64) -> f64 {
        self.admitted += (admitted as f64 - self.admitted) * GAIN;
        self.ended += (ended as f64 - self.ended) * GAIN;
        // Less than a thousandth of a message is none.
        (self.admitted / self.ended.max(1e-3)).min(1.0)
    }
}

/// A random number from 0 to 1, from the seeds of the standard library's hash tables.
fn random() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_said_grows_older_until_they_say_it_again() {
        let at = Instant::now();
        let second = Duration::from_secs(1);
        let peer = Peer {
            name: "b".into(),
            state: State::Isolated,
            utilisation: 0.0,
            age: second,
            left_ago: Some(2 * second),
        };
        let heard = Heard { at, peers: vec![peer] };
        let later = heard.as_of(at + 3 * second);
        assert_eq!((later[0].age, later[0].left_ago), (4 * second, Some(5 * second)));
    }

    #[test]
    fn a_node_of_few_messages_knows_what_peers_send_in_each_window() {
        let mut share = PeerShare::default();
        let shares: Vec<_> = (0..40)
            .map(|window| if window % 2 == 0 { share.after(5, 0) } else { share.after(0, 10) })
            .skip(20)
            .collect();
        assert!(shares.iter().all(|share| (0.3..=0.8).contains(share)), "{shares:?}");
        (0..200).for_each(|_| _ = share.after(0, 0));
        assert!(share.after(0, 0) < 0.1, "peers have long been silent");
    }
}
