//! A client that stays: many signals under way, and signals of stages to the client.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::{AbortHandle, Abortable, pending};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use stage_value::{Id, MessageId, Value};
use tokio::sync::mpsc;

use crate::mesh::Shared;
use crate::{Caller, Delivery, Failure, Inbox, OutsideSignal, Reason};

/// The most ids of clients that are tried before the node gives up; two are never enough to meet.
const TRIES: usize = 4;

/// What stands between the node and the random number in the name of a client.
const MARK: &str = "$client-";
const MARK_BEGINS: char = '$';

/// How much a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Signals of the client that may be unfinished.
    pub in_flight: usize,
    /// Signals to the client that may wait for it; more are refused as overload.
    pub pushes: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { in_flight: 256, pushes: 256 }
    }
}

/// A connected client, as a stage of this node that only those reach who know its name.
///
/// Its name goes with every signal of it as the stage that sent it, so a handler on any node that is linked
/// with this one can signal the client. Dropping the session withdraws its signals and ends the name.
pub struct Session {
    shared: Arc<Shared>,
    name: Id,
    caller: Option<Caller>,
    limits: SessionLimits,
    ends: FuturesUnordered<Pin<Box<dyn Future<Output = End> + Send>>>,
    under_way: HashMap<u64, AbortHandle>,
    pushed: mpsc::Receiver<Delivery>,
}

type End = (u64, Result<Vec<Value>, Failure>);

/// What a session has for its client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The signal of this id has ended.
    Ended {
        /// As the client chose it.
        id: u64,
        /// How it ended.
        outcome: Result<Vec<Value>, Failure>,
    },
    /// A stage signals the client. For the stage it has ended with this.
    Pushed {
        /// Which handler of the client is meant.
        message: MessageId,
        /// What it is called with.
        args: Vec<Value>,
    },
}

/// A client used an id that stands for a signal that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id {0} stands for a signal that has not ended; give each its own")]
pub struct IdInUse(pub u64);

impl Session {
    /// A session of a client that was let in.
    pub(crate) fn open(
        shared: Arc<Shared>,
        caller: Option<Caller>,
        limits: SessionLimits,
    ) -> Result<Self, Failure> {
        shared.admit_client()?;
        let (sender, pushed) = mpsc::channel(limits.pushes.max(1));
        let inbox: Arc<dyn Inbox> = Arc::new(Pushes(sender));
        let node = &shared.identity.name;
        let name = (0..TRIES)
            .filter_map(|_| format!("{node}{MARK}{:016x}", unpredictable()?).parse::<Id>().ok())
            .find(|name| shared.locals.add_hidden(name, &inbox))
            .ok_or_else(|| {
                let detail = format!(
                    "node {node} cannot name a client: its own name is too long, or the system has no randomness"
                );
                Failure::new(Reason::Refused, detail)
            })?;
        let (ends, under_way) = (FuturesUnordered::new(), HashMap::new());
        Ok(Self { shared, name, caller, limits, ends, under_way, pushed })
    }

    /// The client as a stage.
    #[must_use]
    pub fn name(&self) -> &Id {
        &self.name
    }

    /// Whether as many signals are unfinished as may be. The door reads no further then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.under_way.len() >= self.limits.in_flight
    }

    /// Sends a signal. Its end comes by [`Session::next`], also if it is turned away at once.
    ///
    /// # Errors
    /// [`IdInUse`] if a signal of this id has not ended; nothing is sent then.
    pub fn start(&mut self, id: u64, signal: OutsideSignal) -> Result<(), IdInUse> {
        if self.under_way.contains_key(&id) {
            return Err(IdInUse(id));
        }
        if self.is_full() {
            let detail = format!("{} signals of this client are unfinished", self.under_way.len());
            self.fail(id, Failure::new(Reason::Overloaded, detail));
            return Ok(());
        }
        match self.shared.send_outside(signal, self.caller.as_ref(), self.name.as_str()) {
            Ok(sent) => {
                let (handle, registration) = AbortHandle::new_pair();
                self.under_way.insert(id, handle);
                self.ends.push(Box::pin(async move {
                    let end = Abortable::new(sent.gather(), registration).await;
                    (id, end.unwrap_or_else(|_| Err(cancelled())))
                }));
            }
            Err(failure) => self.fail(id, failure),
        }
        Ok(())
    }

    /// Lets a signal end that was not sent.
    pub fn fail(&mut self, id: u64, failure: Failure) {
        self.ends.push(Box::pin(std::future::ready((id, Err(failure)))));
    }

    /// The client no longer waits for a signal: it ends as cancelled, unless it has ended already.
    pub fn cancel(&mut self, id: u64) {
        if let Some(handle) = self.under_way.get(&id) {
            handle.abort();
        }
    }

    /// What comes next for the client; waits for it. Cancel-safe.
    pub async fn next(&mut self) -> SessionEvent {
        tokio::select! {
            Some((id, outcome)) = self.ends.next(), if !self.ends.is_empty() => {
                self.under_way.remove(&id);
                SessionEvent::Ended { id, outcome }
            }
            Some(delivery) = self.pushed.recv() => {
                let Delivery { message, args, responder, .. } = delivery;
                responder.reply(Vec::new());
                SessionEvent::Pushed { message, args }
            }
            // The name keeps a sender for as long as the session lives.
            else => pending().await,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.locals.remove_hidden(self.name.as_str());
    }
}

/// The node that holds a client of this name.
pub(crate) fn host_of_client(stage: &str) -> Option<&str> {
    let (node, rest) = stage.rsplit_once(MARK_BEGINS)?;
    MARK.strip_prefix(MARK_BEGINS).is_some_and(|mark| rest.starts_with(mark)).then_some(node)
}

/// Where signals to a client wait for it.
struct Pushes(mpsc::Sender<Delivery>);

impl Inbox for Pushes {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        self.0.try_send(delivery).map_err(|error| match error {
            mpsc::error::TrySendError::Full(delivery)
            | mpsc::error::TrySendError::Closed(delivery) => delivery,
        })
    }

    fn load(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}

/// A number that nobody can guess from others: whoever does not know a client cannot signal it.
fn unpredictable() -> Option<u64> {
    let mut bytes = [0; 8];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

fn cancelled() -> Failure {
    Failure::new(Reason::Cancelled, "the client no longer waits")
}
