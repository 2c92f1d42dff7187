use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::WINDOW;

/// Measures one queue. Cloning gives the same meter; every call is lock-free.
#[derive(Clone, Debug)]
pub struct Meter {
    queue: Arc<Queue>,
}

/// A message that waits in a queue.
#[derive(Clone, Copy, Debug)]
#[must_use = "a message that arrived has to be started or dropped"]
pub struct Arrival {
    nanos: u64,
}

/// The message waited so long that whoever sent it gets more from another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it waited {waited:?} and was not started; send it to another node")]
pub struct Late {
    /// For how long.
    pub waited: Duration,
}

#[derive(Debug)]
struct Queue {
    name: String,
    epoch: Instant,
    workers: u64,
    /// Messages that wait, and above [`RUNNING`] those that run: one word, so that one addition
    /// moves a message and an idle worker beside an empty queue is seen at one look.
    messages: AtomicU64,
    /// When the message at the head arrived, or one that came before it.
    head: AtomicU64,
    was_idle: AtomicBool,
    shortest: AtomicU64,
    /// Nanoseconds of busy time, and above [`FINISHED`] the messages that ended.
    work: AtomicU64,
    /// The busy share of the workers, smoothed, as the bits of a float.
    share: AtomicU64,
    /// When it was read last.
    read: AtomicU64,
    /// Messages of peers that were refused since they had waited for too long.
    refused: AtomicU64,
    /// Nanoseconds of wait past which a message of a peer is refused.
    late: Arc<AtomicU64>,
}

/// What a meter saw in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The queue.
    pub name: String,
    /// Zero if the queue was empty with a worker idle at some time; else the shortest wait of any
    /// message that left it; if none did, the age of its head.
    pub delay: Duration,
    /// Time that handlers kept workers busy.
    pub busy: Duration,
    /// The busy share of the workers, 0 to 1, smoothed over some windows: a long handler counts where it ends.
    pub utilisation: f64,
    /// Messages that were handled to their end.
    pub finished: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that are being handled.
    pub running: u64,
    /// Messages of peers that were refused because they had waited for too long, since the meter was made.
    pub refused: u64,
}

/// No message has left the queue in this window.
const NONE: u64 = u64::MAX;

/// One running message; below it, messages that wait.
const RUNNING: u64 = 1 << 32;

/// One finished message; below it, 18 minutes of busy time in one window.
const FINISHED: u64 = 1 << 40;

/// Weight of a window in the smoothed busy share.
const SMOOTHING: f64 = 0.25;

/// What one message counts at most as busy, so that the count above it stays whole.
const LONGEST: u64 = FINISHED / 64;

impl Meter {
    pub(crate) fn new(name: &str, workers: usize, epoch: Instant, late: Arc<AtomicU64>) -> Self {
        let queue = Queue {
            name: name.to_owned(),
            epoch,
            workers: workers.max(1) as u64,
            messages: AtomicU64::new(0),
            head: AtomicU64::new(0),
            was_idle: AtomicBool::new(true),
            shortest: AtomicU64::new(NONE),
            work: AtomicU64::new(0),
            share: AtomicU64::new(0f64.to_bits()),
            read: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            late,
        };
        Self { queue: Arc::new(queue) }
    }

    /// A message has become runnable and waits.
    pub fn arrived(&self) -> Arrival {
        let nanos = self.now();
        if waiting(self.queue.messages.fetch_add(1, Ordering::Relaxed)) == 0 {
            self.queue.head.store(nanos, Ordering::Relaxed);
        }
        Arrival { nanos }
    }

    /// The first instruction of its handler runs.
    pub fn started(&self, arrival: Arrival) {
        let waited = self.now().saturating_sub(arrival.nanos);
        self.leave(arrival, waited, RUNNING);
    }

    /// The same for a message of a peer, unless it has waited for too long to be worth starting.
    ///
    /// # Errors
    /// [`Late`] if it must be refused as not started; it has left the queue then.
    pub fn started_for_peer(&self, arrival: Arrival) -> Result<(), Late> {
        let waited = self.now().saturating_sub(arrival.nanos);
        if waited > self.queue.late.load(Ordering::Relaxed) {
            self.leave(arrival, waited, 0);
            self.queue.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Late { waited: Duration::from_nanos(waited) });
        }
        self.leave(arrival, waited, RUNNING);
        Ok(())
    }

    /// It has left the queue without being started, from whichever place: what waits before it is as old as it was.
    pub fn dropped(&self, _: Arrival) {
        self.moved(0u64.wrapping_sub(1));
    }

    /// A handler has ended after keeping a worker busy for so long, waits excluded.
    pub fn finished(&self, busy: Duration) {
        let nanos = busy.as_secs().saturating_mul(1_000_000_000) + u64::from(busy.subsec_nanos());
        self.queue.work.fetch_add(FINISHED + nanos.min(LONGEST), Ordering::Relaxed);
        self.moved(0u64.wrapping_sub(RUNNING));
    }

    /// What was started is no work of this queue, but of the next one that it goes to, or of none: it counts with its
    /// wait only.
    pub fn passed(&self) {
        self.moved(0u64.wrapping_sub(RUNNING));
    }

    /// What was seen since the last reading.
    pub(crate) fn read(&self) -> Reading {
        let queue = &self.queue;
        let messages = queue.messages.load(Ordering::Relaxed);
        let is_idle = self.is_idle(messages);
        let was_idle = queue.was_idle.swap(is_idle, Ordering::Relaxed) || is_idle;
        let shortest = queue.shortest.swap(NONE, Ordering::Relaxed);
        let delay = match (was_idle, shortest) {
            (true, _) => 0,
            (false, NONE) if waiting(messages) == 0 => 0,
            (false, NONE) => self.now().saturating_sub(queue.head.load(Ordering::Relaxed)),
            (false, shortest) => shortest,
        };
        let work = queue.work.swap(0, Ordering::Relaxed);
        let busy = Duration::from_nanos(work % FINISHED);
        Reading {
            name: queue.name.clone(),
            delay: Duration::from_nanos(delay),
            busy,
            utilisation: self.smooth(busy).min(1.0),
            finished: work / FINISHED,
            waiting: waiting(messages),
            running: messages / RUNNING,
            refused: queue.refused.load(Ordering::Relaxed),
        }
    }

    /// Only the one reader of a meter changes it. It may come late to a window, which is longer then.
    fn smooth(&self, busy: Duration) -> f64 {
        let now = self.now();
        let since = now.saturating_sub(self.queue.read.swap(now, Ordering::Relaxed));
        let window = Duration::from_nanos(since).max(WINDOW);
        let available = window.as_secs_f64() * self.queue.workers as f64;
        let share = f64::from_bits(self.queue.share.load(Ordering::Relaxed));
        let share = share + (busy.as_secs_f64() / available - share) * SMOOTHING;
        self.queue.share.store(share.to_bits(), Ordering::Relaxed);
        share
    }

    /// A message leaves the queue. A load before the stores: most messages wait no shorter than
    /// another of their window, and a line that is only read stays with its core.
    fn leave(&self, arrival: Arrival, waited: u64, started: u64) {
        if waited < self.queue.shortest.load(Ordering::Relaxed) {
            self.queue.shortest.fetch_min(waited, Ordering::Relaxed);
        }
        self.queue.head.store(arrival.nanos, Ordering::Relaxed);
        self.moved(started.wrapping_sub(1));
    }

    fn moved(&self, change: u64) {
        let messages = self.queue.messages.fetch_add(change, Ordering::Relaxed);
        if self.is_idle(messages.wrapping_add(change))
            && !self.queue.was_idle.load(Ordering::Relaxed)
        {
            self.queue.was_idle.store(true, Ordering::Relaxed);
        }
    }

    fn is_idle(&self, messages: u64) -> bool {
        waiting(messages) == 0 && messages / RUNNING < self.queue.workers
    }

    fn now(&self) -> u64 {
        let elapsed = self.queue.epoch.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }
}

fn waiting(messages: u64) -> u64 {
    messages % RUNNING
}
