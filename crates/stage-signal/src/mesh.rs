use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_proto::signal::v1 as proto;
use stage_value::{Id, Value};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::budget::{Cost, Retries};
use crate::discovery::Directory;
use crate::dispatch::Sender;
use crate::link::hello::{Peer, Refusal, hello_frame};
use crate::link::machine::Sizes;
use crate::link::{Link, lock};
use crate::locals::Locals;
use crate::peers::{Peers, Replaced};
use crate::sparse::Sparse;
use crate::stats::{Counters, count};
use crate::tls::Certified;
use crate::{
    Advert, Config, ConfigError, Failure, Gate, Identity, Inbox, NodeState, Outcomes, Outgoing,
    OutsideSignal, PeerView, Reason, Rule, Session, SessionLimits, Stats, run,
};

/// The stages of this node, the links to its peers, and the way of a signal to either.
///
/// Cloning is cheap and gives the same mesh.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

/// What all parts of a mesh work on.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) config: Config,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) locals: Locals,
    pub(crate) peers: Peers,
    pub(crate) directory: Directory,
    pub(crate) counters: Arc<Counters>,
    pub(crate) retries: Retries,
    pub(crate) stopping: CancellationToken,
    /// The same, for who asks for each signal.
    is_stopping: AtomicBool,
    pub(crate) complaints: Sparse,
    /// Other services of the node's port.
    pub(crate) beside: Mutex<Routes>,
}

impl Mesh {
    /// A node that is not yet linked to any other; [`Mesh::run`] links it.
    ///
    /// # Errors
    /// [`ConfigError`] names a setting that cannot work.
    pub fn new(
        identity: Identity,
        config: Config,
        gate: Arc<dyn Gate>,
    ) -> Result<Self, ConfigError> {
        config.check(&identity)?;
        let shared = Shared {
            retries: Retries::new(config.retries),
            identity,
            config,
            gate,
            locals: Locals::default(),
            peers: Peers::default(),
            directory: Directory::default(),
            counters: Arc::default(),
            stopping: CancellationToken::new(),
            is_stopping: AtomicBool::new(false),
            complaints: Sparse::default(),
            beside: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Adds an instance of a stage; the peers hear of a new stage at once. Messages are spread
    /// over the instances of a stage.
    #[expect(clippy::needless_pass_by_value, reason = "the inbox is handed over")]
    pub fn register(&self, stage: Id, inbox: Arc<dyn Inbox>) {
        self.shared.locals.add(&stage, &inbox);
        let stages = self.shared.stages();
        self.shared.peers.all().iter().for_each(|link| link.tell_stages(stages.clone()));
    }

    /// The stages of this node, sorted.
    #[must_use]
    pub fn stages(&self) -> Vec<Arc<str>> {
        self.shared.locals.names()
    }

    /// Sends a signal. Never blocks: it is queued in order, or has already failed.
    ///
    /// Signals to a stage of this node are not encoded. Dropping the outcomes withdraws it.
    pub fn send(&self, outgoing: Outgoing) -> Outcomes {
        self.shared.send(outgoing, Sender::Node)
    }

    /// Sends a signal to one instance of this node, whatever its destination says. Never blocks.
    pub fn send_to(&self, inbox: &dyn Inbox, outgoing: Outgoing) -> Outcomes {
        self.shared.send_to(inbox, outgoing)
    }

    /// Sends the signal of an outside client, as the node's own port does, and waits for its end: a
    /// stage of this node is served here; with a scope, each result is the list of one stage's results.
    ///
    /// # Errors
    /// [`Failure`] says why there are no results.
    pub async fn send_outside(&self, signal: OutsideSignal) -> Result<Vec<Value>, Failure> {
        self.shared.send_outside(signal, None, "")?.gather().await
    }

    /// Opens the session of an outside client for which the caller answers.
    ///
    /// # Errors
    /// [`Failure`] if the node takes no work from outside now.
    pub fn open_session(&self, limits: SessionLimits) -> Result<Session, Failure> {
        Session::open(Arc::clone(&self.shared), None, limits)
    }

    /// Serves other gRPC calls on the node's port as well, from the next [`Mesh::run`] on. With TLS and a policy
    /// they are for whoever may link.
    pub fn also_serve(&self, add: impl FnOnce(Routes) -> Routes) {
        let mut beside = lock(&self.shared.beside);
        let routes = std::mem::take(&mut *beside);
        *beside = add(routes);
    }

    /// Serves the listener, if any, and keeps links to the peers until `shutdown` completes;
    /// then takes leave of the peers, waits [`Config::drain`] for what is under way, and ends.
    /// Dropping it ends everything at once.
    pub async fn run(self, listener: Option<TcpListener>, shutdown: impl Future<Output = ()>) {
        run::run(self.shared, listener, shutdown).await;
    }

    /// The other nodes: those that are linked, by name, then those that are dialled in vain.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.shared.peers.view()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.view()
    }
}

impl Shared {
    /// What this node tells its peers now.
    pub(crate) fn advert(&self) -> Advert {
        let advert = self.gate.advert();
        if self.is_stopping() { Advert { state: NodeState::Leaving, ..advert } } else { advert }
    }

    /// The node takes no more work, and what goes on until then ends.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stopping.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The first frame of this node's side of a link.
    pub(crate) fn hello(&self) -> proto::Frame {
        hello_frame(&self.identity, &self.config, self.stages(), self.advert())
    }

    fn stages(&self) -> Vec<String> {
        self.locals.names().iter().map(ToString::to_string).collect()
    }

    /// Makes a link with a peer that has said hello, or says why there is none.
    pub(crate) fn meet(
        &self,
        peer: Peer,
        is_ours: bool,
        certified: Option<Certified>,
    ) -> Result<Arc<Link>, Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let rule = self.rule_for(&peer, certified.as_ref())?;
        let sizes = Sizes {
            queue: self.config.outgoing_queue,
            queue_bytes: self.config.outgoing_bytes,
            window: self.config.max_in_flight,
            peer_frame: peer.frame_bytes,
        };
        let link = Arc::new(Link::new(peer, is_ours, sizes, (certified, rule)));
        if let Replaced::Buried(old) = self.peers.admit(&self.identity, &link)? {
            self.lose(&old, "the node has started anew");
        }
        // A stage that came between the hello and now is told; the same list again does no harm.
        link.tell_stages(self.stages());
        count(&self.counters.links_opened);
        let (name, address) = (&link.peer.name, &link.peer.address);
        tracing::info!(peer = %name, ?address, dialled = is_ours, "linked");
        Ok(link)
    }

    /// What a peer may do here, if it is who it says and may link at all.
    fn rule_for(
        &self,
        peer: &Peer,
        certified: Option<&Certified>,
    ) -> Result<Option<Arc<Rule>>, Refusal> {
        let Some(certified) = certified else { return Ok(None) };
        let identity = Arc::clone(&certified.identity);
        if *identity != *peer.name {
            return Err(Refusal::Identity { identity, name: Arc::clone(&peer.name) });
        }
        let Some(policy) = &self.config.allow else { return Ok(None) };
        match policy.rule(&identity) {
            Some(rule) if rule.link => Ok(Some(rule)),
            _ => Err(Refusal::NotAllowed { own: Arc::clone(&self.identity.name), identity }),
        }
    }

    /// A link broke: all who wait on it hear so at once.
    pub(crate) fn lose(&self, link: &Arc<Link>, why: &str) {
        let (unfinished, _) = link.unfinished();
        let (is_news, lost) = link.lose();
        self.peers.remove(link);
        if is_news {
            count(&self.counters.links_lost);
            tracing::warn!(peer = %link.peer.name, unfinished, why, "a link was lost");
        }
        let unwritten = lost.unwritten.into_iter().map(|sent| (sent, Cost::Free));
        let written = lost.written.into_iter().map(|sent| (sent, Cost::Retry));
        for (sent, cost) in written.chain(unwritten) {
            let detail = format!("the link to {} broke: {why}", link.peer.name);
            let failure = Failure::new(Reason::LinkLost, detail);
            self.settle(sent, &link.peer.name, failure, cost);
        }
    }

    /// A link ended after both sides had said all.
    pub(crate) fn closed(&self, link: &Arc<Link>) {
        self.peers.remove(link);
        tracing::debug!(peer = %link.peer.name, "a link was closed");
    }

    /// The time at which what is left of an envelope's time is over; 0 stands for no deadline.
    pub(crate) fn deadline(now: Instant, remaining_ms: u64) -> Option<Instant> {
        let remaining = Some(remaining_ms).filter(|ms| *ms > 0).map(Duration::from_millis)?;
        now.checked_add(remaining)
    }
}
