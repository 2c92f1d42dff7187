use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    /// When the message at the head arrived, or the one before it.
    head: AtomicU64,
    was_idle: AtomicBool,
    shortest: AtomicU64,
    /// Nanoseconds of busy time, and above [`FINISHED`] the messages that ended.
    work: AtomicU64,
    /// Nanoseconds of wait past which a message of a peer is refused.
    late: Arc<AtomicU64>,
}

/// What a meter saw in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The queue.
    pub name: String,
    /// Zero if the queue was empty with a worker idle at some time; else the shortest wait of any
    /// message that left it; if none did, the age of its head.
    pub delay: Duration,
    /// Time that handlers kept workers busy.
    pub busy: Duration,
    /// Messages that were handled to their end.
    pub finished: u64,
    /// Messages that are being handled.
    pub running: u64,
}

/// No message has left the queue in this window.
const NONE: u64 = u64::MAX;

/// One running message; below it, messages that wait.
const RUNNING: u64 = 1 << 32;

/// One finished message; below it, 18 minutes of busy time in one window.
const FINISHED: u64 = 1 << 40;

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
            return Err(Late { waited: Duration::from_nanos(waited) });
        }
        self.leave(arrival, waited, RUNNING);
        Ok(())
    }

    /// It has left the queue without being started.
    pub fn dropped(&self, arrival: Arrival) {
        self.queue.head.store(arrival.nanos, Ordering::Relaxed);
        self.moved(0u64.wrapping_sub(1));
    }

    /// A handler has ended after keeping a worker busy for so long, waits excluded.
    pub fn finished(&self, busy: Duration) {
        let nanos = busy.as_secs().saturating_mul(1_000_000_000) + u64::from(busy.subsec_nanos());
        self.queue.work.fetch_add(FINISHED + nanos.min(LONGEST), Ordering::Relaxed);
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
        Reading {
            name: queue.name.clone(),
            delay: Duration::from_nanos(delay),
            busy: Duration::from_nanos(work % FINISHED),
            finished: work / FINISHED,
            running: messages / RUNNING,
        }
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
