use std::collections::BTreeMap;
use std::path::PathBuf;
#[cfg(feature = "http")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use stage_route::Route;
use stage_signal::Mesh;
use stage_snapshot::Store;
use stage_submit::Submitter;
use stage_value::{Limits, Value};
use tokio::time::Instant;

use crate::databases::Databases;
use crate::home::{Event, Mail};
#[cfg(feature = "http")]
use crate::http::{Counts, Http, HttpError};
use crate::mailbox::Mailbox;
use crate::script_files::ScriptFiles;
use crate::testing::Testing;
use crate::tickets::TicketDesk;
use crate::view::Disposal;
use crate::worker::Workers;
use crate::{Output, StartError};

/// How large and how long things may get.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker VMs, which run submitted and shipped functions.
    pub workers: usize,
    /// Messages that wait in front of one VM.
    pub mailbox: usize,
    /// Handlers that run or sleep in one VM.
    pub handlers: usize,
    /// Replies, timers and tickets that one VM waits for.
    pub pending: usize,
    /// Bytes of memory of one VM.
    pub vm_memory: usize,
    /// Bytes by which one handler may make its VM grow, looked at whenever it waits or is paused.
    pub handler_memory: usize,
    /// How large arguments and results may be.
    pub values: Limits,
    /// How long `stage.ask` and reply handlers wait.
    pub ask_timeout: Duration,
    /// How long one handler may take, its waits included.
    pub handler_time: Duration,
    /// How long a handler has its VM to itself; past that, others may run in between.
    pub quantum: Duration,
    /// How long a handler may compute without waiting for anything.
    pub busy_time: Duration,
    /// How often changed scripts are looked for; never without it.
    pub look: Option<Duration>,
    /// The folder of what `stage.load` falls back on.
    pub rollback: Option<PathBuf>,
    /// For tests of scripts, which then have `test(name, fn)`. All VMs run on the thread that makes the runtime, within
    /// its `LocalSet`, so that waiting takes no time if its clock is paused. They end with the `LocalSet`.
    pub testing: Option<Testing>,
    /// What scripts have as `process["$KEY"]`, by the key.
    pub settings: Arc<BTreeMap<String, Value>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            mailbox: 65_536,
            handlers: 100_000,
            pending: 100_000,
            vm_memory: 1 << 30,
            handler_memory: 256 << 20,
            values: Limits::DEFAULT,
            ask_timeout: Duration::from_secs(5),
            handler_time: Duration::from_secs(30),
            quantum: Duration::from_millis(10),
            busy_time: Duration::from_secs(1),
            look: None,
            rollback: None,
            testing: None,
            settings: Arc::default(),
        }
    }
}

/// What the node composes a Lua runtime from.
pub struct Parts {
    /// The node's name.
    pub node: Arc<str>,
    /// Where signals go.
    pub mesh: Mesh,
    /// One job at a time per key.
    pub submitter: Submitter,
    /// Limits on concurrent runs.
    pub tickets: TicketDesk,
    /// The databases that scripts open by name.
    pub databases: Databases,
    /// Variables shared by all VMs.
    pub shared: Arc<Store<Value>>,
    /// Learns how long messages wait and work.
    pub route: Route,
    /// Where `print` writes.
    pub output: Output,
}

/// What all VMs of a process share.
pub(crate) struct Services {
    pub(crate) parts: Parts,
    pub(crate) workers: Arc<Workers>,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    pub(crate) files: Arc<ScriptFiles>,
    pub(crate) disposal: Disposal,
    /// When the clock of scripts was 0.
    pub(crate) started: Instant,
    numbers: AtomicU64,
    #[cfg(feature = "http")]
    pub(crate) requests: Arc<Counts>,
    /// Made at the first request.
    #[cfg(feature = "http")]
    http: OnceLock<Http>,
    tokio: tokio::runtime::Handle,
}

impl Services {
    /// # Errors
    /// [`StartError::Thread`] if the operating system gives no thread.
    pub(crate) fn new(
        parts: Parts,
        workers: Arc<Workers>,
        tokio: tokio::runtime::Handle,
    ) -> Result<Self, StartError> {
        let disposal = Disposal::start().map_err(|error| StartError::Thread {
            stage: "stage-lua-free".to_owned(),
            reason: error.to_string(),
        })?;
        let (counters, events) = (Counters::default(), Events::default());
        let started = Instant::now();
        Ok(Self {
            parts,
            workers,
            counters,
            events,
            files: Arc::default(),
            disposal,
            started,
            numbers: AtomicU64::new(0),
            #[cfg(feature = "http")]
            requests: Arc::default(),
            #[cfg(feature = "http")]
            http: OnceLock::new(),
            tokio,
        })
    }

    /// The connections to other services.
    ///
    /// # Errors
    /// If the machine's certificates cannot be used.
    #[cfg(feature = "http")]
    pub(crate) fn http(&self) -> Result<Http, HttpError> {
        if let Some(http) = self.http.get() {
            return Ok(http.clone());
        }
        let made = Http::new(Arc::clone(&self.requests))?;
        Ok(self.http.get_or_init(|| made).clone())
    }

    /// A number that is given out once in this process.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Runs a task on the node's runtime.
    pub(crate) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tokio.spawn(task)
    }

    /// The node's runtime, for parts that spawn on the current one: a VM's own ends with the VM.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.tokio.enter()
    }
}

/// The instances that hear of what happens to the node.
#[derive(Default)]
pub(crate) struct Events {
    listeners: RwLock<Vec<Mailbox<Mail>>>,
}

impl Events {
    pub(crate) fn add(&self, mailbox: Mailbox<Mail>) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(mailbox);
    }

    /// Tells every instance; one whose mailbox is full misses it.
    pub(crate) fn tell(&self, event: &Event) {
        for mailbox in &*self.listeners.read().unwrap_or_else(PoisonError::into_inner) {
            if !mailbox.post(Mail::Event(event.clone())) {
                tracing::warn!(event = %event.name, "an instance with a full mailbox missed an event");
            }
        }
    }
}

/// What has happened since the start.
///
/// Each thread counts in a part of its own, so that VMs do not wait for each other's cache lines.
#[derive(Debug, Default)]
pub struct Counters {
    parts: [CachePadded<Part>; PARTS],
}

/// Threads that count apart; more of them share.
const PARTS: usize = 16;

#[derive(Debug, Default)]
struct Part {
    handled: AtomicU64,
    script_errors: AtomicU64,
    unheard_failures: AtomicU64,
    busy_nanos: AtomicU64,
    preempted: AtomicU64,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

impl Counters {
    /// The part of the current thread.
    fn part(&self) -> &Part {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.parts[THREAD.with(|thread| *thread) % PARTS]
    }

    /// A handler has ended after keeping its VM busy for so long.
    pub(crate) fn handled(&self, busy: Duration) {
        let part = self.part();
        part.handled.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        part.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn script_error(&self) {
        self.part().script_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn preempted(&self) {
        self.part().preempted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unheard_failure(&self) {
        self.part().unheard_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A script or module was taken up anew, or kept since the new one fails.
    pub(crate) fn reloaded(&self, succeeded: bool) {
        let part = self.part();
        let counter = if succeeded { &part.reloads } else { &part.failed_reloads };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Names and values of all counters.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let sum = |counter: fn(&Part) -> &AtomicU64| {
            let counts = self.parts.iter().map(|part| counter(part).load(Ordering::Relaxed));
            counts.fold(0, u64::wrapping_add)
        };
        [
            ("handlers_run", sum(|part| &part.handled)),
            ("script_errors", sum(|part| &part.script_errors)),
            ("failures_without_handler", sum(|part| &part.unheard_failures)),
            ("busy_us", sum(|part| &part.busy_nanos) / 1000),
            ("handlers_preempted", sum(|part| &part.preempted)),
            ("reloads", sum(|part| &part.reloads)),
            ("failed_reloads", sum(|part| &part.failed_reloads)),
        ]
        .into_iter()
    }
}
