use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

#[derive(Debug)]
struct Queue {
    name: String,
    epoch: Instant,
    waiting: AtomicUsize,
    /// When the message at the head arrived, or the one before it.
    head: AtomicU64,
    was_empty: AtomicBool,
    shortest: AtomicU64,
    busy: AtomicU64,
    finished: AtomicU64,
}

/// What a meter saw in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The queue.
    pub name: String,
    /// Zero if the queue was empty at some time; else the shortest wait of any message that left it;
    /// if none did, the age of its head.
    pub delay: Duration,
    /// Time that handlers kept workers busy.
    pub busy: Duration,
    /// Messages that were handled to their end.
    pub finished: u64,
}

/// No message has left the queue in this window.
const NONE: u64 = u64::MAX;

impl Meter {
    pub(crate) fn new(name: &str, epoch: Instant) -> Self {
        let queue = Queue {
            name: name.to_owned(),
            epoch,
            waiting: AtomicUsize::new(0),
            head: AtomicU64::new(0),
            was_empty: AtomicBool::new(true),
            shortest: AtomicU64::new(NONE),
            busy: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        };
        Self { queue: Arc::new(queue) }
    }

    /// A message has become runnable and waits.
    pub fn arrived(&self) -> Arrival {
        let nanos = self.now();
        if self.queue.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.queue.head.store(nanos, Ordering::Relaxed);
        }
        Arrival { nanos }
    }

    /// The first instruction of its handler runs.
    pub fn started(&self, arrival: Arrival) {
        let waited = self.now().saturating_sub(arrival.nanos);
        self.queue.shortest.fetch_min(waited, Ordering::Relaxed);
        self.dropped(arrival);
    }

    /// It has left the queue without being started.
    pub fn dropped(&self, arrival: Arrival) {
        self.queue.head.store(arrival.nanos, Ordering::Relaxed);
        if self.queue.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.queue.was_empty.store(true, Ordering::Relaxed);
        }
    }

    /// A handler has ended after keeping a worker busy for so long, waits excluded.
    pub fn finished(&self, busy: Duration) {
        let nanos = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        self.queue.busy.fetch_add(nanos, Ordering::Relaxed);
        self.queue.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// What was seen since the last reading.
    pub(crate) fn read(&self) -> Reading {
        let queue = &self.queue;
        let is_empty = queue.waiting.load(Ordering::Relaxed) == 0;
        let was_empty = queue.was_empty.swap(is_empty, Ordering::Relaxed) || is_empty;
        let shortest = queue.shortest.swap(NONE, Ordering::Relaxed);
        let delay = match (was_empty, shortest) {
            (true, _) => 0,
            (false, NONE) => self.now().saturating_sub(queue.head.load(Ordering::Relaxed)),
            (false, shortest) => shortest,
        };
        Reading {
            name: queue.name.clone(),
            delay: Duration::from_nanos(delay),
            busy: Duration::from_nanos(queue.busy.swap(0, Ordering::Relaxed)),
            finished: queue.finished.swap(0, Ordering::Relaxed),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.queue.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
