use std::sync::Arc;

use stage_value::Id;
use tokio::time::Instant;

use crate::locals::{Locals, Undelivered};
use crate::outcomes::Promise;
use crate::stats::Counters;
use crate::{
    Config, ConfigError, Delivery, Destination, Failure, Gate, Identity, Inbox, Origin, Outcomes,
    Outgoing, Reason, Responder, Stats,
};

/// The stages of this node, the links to its peers, and the way of a signal to either.
///
/// Cloning is cheap and gives the same mesh.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) config: Config,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) locals: Locals,
    pub(crate) counters: Arc<Counters>,
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
            identity,
            config,
            gate,
            locals: Locals::default(),
            counters: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Adds an instance of a stage. Messages are spread over the instances of a stage.
    pub fn register(&self, stage: Id, inbox: Arc<dyn Inbox>) {
        self.shared.locals.add(&stage, &inbox);
    }

    /// Sends a signal. Never blocks: it is queued in order, or has already failed.
    pub fn send(&self, outgoing: Outgoing) -> Outcomes {
        let shared = &self.shared;
        let deadline = outgoing.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut outcomes = Outcomes::new(deadline, Arc::clone(&shared.counters));
        match &outgoing.destination {
            Destination::Local(stage) => {
                let stage = stage.clone();
                let promise = outcomes.promise();
                shared.deliver_here(&stage, outgoing, promise, deadline);
            }
            _ => {
                let stage = outgoing.destination.stage().clone();
                let promise = outcomes.promise();
                shared.deliver_here(&stage, outgoing, promise, deadline);
            }
        }
        outcomes
    }

    /// What has happened since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.view()
    }
}

impl Shared {
    fn deliver_here(
        &self,
        stage: &Id,
        outgoing: Outgoing,
        promise: Promise,
        deadline: Option<Instant>,
    ) {
        let delivery = Delivery {
            message: outgoing.message,
            args: outgoing.args,
            origin: Origin {
                node: Arc::clone(&self.identity.name),
                stage: outgoing.origin_stage,
            },
            deadline,
            received: Instant::now(),
            remote: false,
            wants_results: outgoing.wants_results,
            responder: Responder::local(promise, deadline),
        };
        let Err(undelivered) = self.locals.deliver(stage.as_str(), delivery) else { return };
        let (failure, delivery) = self.explain(stage.as_str(), undelivered);
        delivery.responder.fail(failure);
    }

    fn explain(&self, stage: &str, undelivered: Undelivered) -> (Failure, Delivery) {
        let node = &self.identity.name;
        match undelivered {
            Undelivered::Unknown(delivery) => {
                (Failure::new(Reason::NoStage, format!("no stage '{stage}' on {node}")), delivery)
            }
            Undelivered::Full(delivery) => {
                let detail = format!("the queue of stage '{stage}' on {node} is full");
                (Failure::new(Reason::Overloaded, detail), delivery)
            }
        }
    }
}
