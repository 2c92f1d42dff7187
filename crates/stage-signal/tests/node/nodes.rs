//! Nodes for tests: each has its own runtime, so that one can be killed like a process.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use stage_signal::{
    Advert, Config, Delivery, Destination, Failure, Gate, Identity, Inbox, Mesh, Outcome, Outcomes,
    Outgoing, Reason, Responder,
};
use stage_value::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A node of a test and what its handlers have seen.
pub(crate) struct Node {
    pub(crate) mesh: Mesh,
    pub(crate) address: String,
    pub(crate) refuse: Arc<AtomicBool>,
    advert: Arc<Mutex<Advert>>,
    seen: Arc<Seen>,
    stop: CancellationToken,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    cancelled: AtomicUsize,
    notes: Mutex<Vec<i64>>,
    held: Mutex<Vec<Responder>>,
}

/// Settings that find out quickly.
pub(crate) fn fast(peers: &[&str]) -> Config {
    Config {
        peers: peers.iter().map(ToString::to_string).collect(),
        redial_min: Duration::from_millis(5),
        redial_max: Duration::from_millis(50),
        gossip: Duration::from_millis(10),
        hello_timeout: Duration::from_millis(500),
        ..Config::default()
    }
}

/// A signal to the best node, with results wanted.
pub(crate) fn ask(stage: &str, message: &str, args: Vec<Value>) -> Outgoing {
    Outgoing {
        destination: Destination::Stage(stage.parse().unwrap()),
        message: message.parse().unwrap(),
        args,
        origin_stage: "test".into(),
        wants_results: true,
        idempotent: false,
        timeout: Some(Duration::from_secs(20)),
        trace: None,
    }
}

/// A signal to the stage "work" without a deadline.
pub(crate) fn forever(message: &str) -> Outgoing {
    Outgoing { timeout: None, ..ask("work", message, Vec::new()) }
}

/// Waits until something is so; a test that never gets there fails.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..4000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came to be that {what}");
}

impl Node {
    pub(crate) fn listener() -> (std::net::TcpListener, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    pub(crate) fn start(name: &str, config: Config) -> Self {
        Self::start_with(name, Self::listener(), config)
    }

    pub(crate) fn start_in_group(name: &str, group: &str, config: Config) -> Self {
        Self::launch(name, group, Self::listener(), config)
    }

    /// Starts at an address that another node has just left.
    pub(crate) fn start_at(name: &str, address: &str, config: Config) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::start_with(name, (listener, address.to_owned()), config)
    }

    pub(crate) fn start_with(
        name: &str,
        listener: (std::net::TcpListener, String),
        config: Config,
    ) -> Self {
        Self::launch(name, "host", listener, config)
    }

    fn launch(
        name: &str,
        group: &str,
        (listener, address): (std::net::TcpListener, String),
        config: Config,
    ) -> Self {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let identity = Identity {
            name: name.into(),
            group: group.into(),
            address: Some(address.clone()),
            incarnation: LIVES.fetch_add(1, Ordering::Relaxed),
        };
        let refuse = Arc::new(AtomicBool::new(false));
        let advert = Arc::new(Mutex::new(Advert::IDLE));
        let (refuses, says) = (Arc::clone(&refuse), Arc::clone(&advert));
        let gate = Arc::new(TestGate { name: name.into(), refuse: refuses, advert: says });
        let mesh = Mesh::new(identity, config, gate).unwrap();
        let stop = CancellationToken::new();
        let node = Self {
            mesh,
            address,
            refuse,
            advert,
            seen: Arc::default(),
            stop,
            runtime: Some(runtime),
        };
        node.carry("work");
        let (mesh, stop) = (node.mesh.clone(), node.stop.clone());
        node.runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            mesh.run(Some(listener), stop.cancelled_owned()).await;
        });
        node
    }

    /// Nodes "a" and "b" that are linked; "a" dials.
    pub(crate) fn pair() -> (Self, Self) {
        let b = Self::start("b", fast(&[]));
        let a = Self::start("a", fast(&[&b.address]));
        until("a and b are linked", || a.linked() == ["b"] && b.linked() == ["a"]);
        (a, b)
    }

    /// What the node's gate says from now on.
    pub(crate) fn advertise(&self, advert: Advert) {
        *self.advert.lock().unwrap() = advert;
    }

    pub(crate) fn carry(&self, stage: &str) {
        let inbox = Handlers {
            name: self.mesh.identity().name.to_string(),
            seen: Arc::clone(&self.seen),
            runtime: self.runtime().handle().clone(),
        };
        self.mesh.register(stage.parse().unwrap(), Arc::new(inbox));
    }

    pub(crate) fn send(&self, outgoing: Outgoing) -> Outcomes {
        self.mesh.send(outgoing)
    }

    pub(crate) fn end(&self, mut outcomes: Outcomes) -> Outcome {
        self.runtime().block_on(async move { outcomes.next().await.unwrap() })
    }

    pub(crate) fn ask(&self, outgoing: Outgoing) -> Outcome {
        self.end(self.send(outgoing))
    }

    /// The first result of every stage that is addressed.
    pub(crate) fn ask_all(&self, outgoing: Outgoing) -> Vec<String> {
        let mut outcomes = self.send(outgoing);
        self.runtime().block_on(async move {
            let mut first = Vec::new();
            while let Some(outcome) = outcomes.next().await {
                first.push(outcome.unwrap()[0].as_str().unwrap().to_owned());
            }
            first
        })
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.seen.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn notes(&self) -> Vec<i64> {
        self.seen.notes.lock().unwrap().clone()
    }

    /// The names of the nodes that take work of this one.
    pub(crate) fn linked(&self) -> Vec<String> {
        let peers = self.mesh.peers();
        let joined = peers.iter().filter(|peer| peer.state == "joined");
        joined.map(|peer| peer.name.to_string()).collect()
    }

    /// Why a peer is not linked.
    pub(crate) fn why_not_linked(&self) -> String {
        let seen = OnceLock::new();
        until("a reason shows", || {
            let why = self.mesh.peers().into_iter().find_map(|peer| peer.why);
            // A handshake that a busy machine does not get done in time is tried again.
            let why = why.filter(|why| !why.contains(" within "));
            why.is_some_and(|why| seen.set(why).is_ok())
        });
        seen.into_inner().unwrap()
    }

    /// Is killed; what its handlers had noted until then.
    pub(crate) fn notes_after_death(self) -> Vec<i64> {
        let seen = Arc::clone(&self.seen);
        self.kill();
        let notes = seen.notes.lock().unwrap();
        notes.clone()
    }

    /// Ends as a process does that is killed: all its connections close in the middle.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(1));
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops in good order.
    pub(crate) fn shut(self) {
        self.begin_stop();
        until("the node has taken leave", || self.mesh.peers().iter().all(|p| p.state == "lost"));
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct TestGate {
    name: String,
    refuse: Arc<AtomicBool>,
    advert: Arc<Mutex<Advert>>,
}

impl Gate for TestGate {
    fn admit(&self) -> Result<(), Failure> {
        if self.refuse.load(Ordering::Relaxed) {
            return Err(Failure::new(Reason::Refused, format!("{} is isolated", self.name)));
        }
        Ok(())
    }

    fn advert(&self) -> Advert {
        *self.advert.lock().unwrap()
    }
}

struct Handlers {
    name: String,
    seen: Arc<Seen>,
    runtime: tokio::runtime::Handle,
}

impl Inbox for Handlers {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        self.seen.calls.fetch_add(1, Ordering::Relaxed);
        let name = Value::from(self.name.as_str());
        let mut responder = delivery.responder;
        match delivery.message.as_str() {
            "echo" => {
                responder.reply(std::iter::once(name).chain(delivery.args).collect());
            }
            "trace" => {
                let trace = delivery.trace.map(|trace| Value::from(trace.to_string()));
                responder.reply(trace.into_iter().collect());
            }
            "note" => {
                self.seen.notes.lock().unwrap().push(delivery.args[0].as_int().unwrap());
                responder.reply(Vec::new());
            }
            "slow" => drop(self.runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                responder.reply(vec![name]);
            })),
            "hang" => {
                let seen = Arc::clone(&self.seen);
                drop(self.runtime.spawn(async move {
                    responder.cancelled().await;
                    seen.cancelled.fetch_add(1, Ordering::Relaxed);
                }));
            }
            "only.a" if self.name == "a" => responder.reply(vec![name]),
            "hold" | "only.a" => self.seen.held.lock().unwrap().push(responder),
            "forget" => {}
            other => {
                responder.fail(Failure::new(Reason::NoHandler, format!("no handler '{other}'")));
            }
        }
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}
