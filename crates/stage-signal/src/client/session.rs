//! A session of a client: one stream that comes back when it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::poll_fn;
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::session_response::What;
use stage_value::{Limits, MessageId, Value};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Streaming;

use super::desk::{Desk, Letter};
use super::{Client, ClientError};
use crate::dial::{Pause, chain};
use crate::plain::from_plain;
use crate::{Failure, Reason};

/// Signals that may be under way; past it the next one waits.
const UNDER_WAY: usize = 1024;

/// Events that may wait for the client; past it the node is not read.
const EVENTS: usize = 256;

/// Requests that are ready for the connection to write.
const READY: usize = 64;

/// The first and the longest wait before a session that broke is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long the node may take to open a session.
const WELCOME: Duration = Duration::from_secs(5);

/// A client that stays: many signals at once over one stream, and signals of stages to the client.
///
/// When the stream breaks it is opened again with jittered back-off. What was under way then ends as
/// [`Reason::LinkLost`], or is sent once more if it is idempotent; what had not been written waits for the next
/// stream, up to its deadline. Cloning shares the session, which ends when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct ClientSession {
    orders: mpsc::UnboundedSender<Order>,
    ids: Arc<AtomicU64>,
    under_way: Arc<Semaphore>,
    client: Client,
}

/// What happens to a session beside the ends of its signals.
///
/// Dropping it drops what comes. Keeping it without reading it stops the session once 256 events wait.
#[derive(Debug)]
pub struct ClientEvents {
    events: mpsc::Receiver<ClientEvent>,
}

/// An event of a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A stream is up.
    Opened {
        /// The client as a stage: handlers signal it by this name, which is another one for each stream.
        name: String,
    },
    /// The stream broke, or could not be opened; it is opened again.
    Lost {
        /// What happened.
        why: String,
    },
    /// A stage signals the client.
    Pushed {
        /// Which handler of the client is meant.
        message: MessageId,
        /// What it is called with.
        args: Vec<Value>,
    },
}

/// What a session's handles want. Bounded by the signals under way, of which each sends at most two.
enum Order {
    Start(u64, Box<Letter>, oneshot::Sender<Ended>),
    Withdraw(u64),
}

type Ended = Result<Vec<Value>, ClientError>;

impl Client {
    /// Opens a session, which lives until its last handle is dropped. It never fails: the first stream is opened as
    /// every later one is. Must be called within a tokio runtime.
    #[must_use]
    pub fn session(&self) -> (ClientSession, ClientEvents) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (told, events) = mpsc::channel(EVENTS);
        let driver = Driver { client: self.clone(), desk: Desk::new(), ordered, told };
        tokio::spawn(driver.run());
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        let ids = Arc::new(AtomicU64::new(1));
        let session = ClientSession { orders, ids, under_way, client: self.clone() };
        (session, ClientEvents { events })
    }
}

impl ClientEvents {
    /// The next event; `None` when the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        self.events.recv().await
    }
}

impl ClientSession {
    /// The same session; what this handle sends may run twice without harm.
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { client: self.client.idempotent(), ..self }
    }

    /// Sends a signal as [`Client::signal`] does. Dropping the future withdraws it. Up to 1024 are under way; a
    /// further one waits for room.
    ///
    /// # Errors
    /// [`ClientError::Failed`] says why there are no results: the node's reason, [`Reason::Deadline`] if no
    /// stream came up in time, or [`Reason::LinkLost`] if it broke and the handler may have run.
    pub async fn signal(
        &self,
        address: &str,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Vec<Value>, ClientError> {
        let signal = self.client.request(address, &args, timeout)?;
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + LONGEST);
        let permit = timeout_at(deadline, self.under_way.acquire()).await.map_err(|_| late())?;
        let _permit = permit.map_err(|_| gone())?;
        let (id, (waiter, end)) = (self.ids.fetch_add(1, Ordering::Relaxed), oneshot::channel());
        let letter = Box::new(Letter { signal, deadline });
        self.orders.send(Order::Start(id, letter, waiter)).map_err(|_| gone())?;
        let mut withdrawal = Withdrawal { orders: &self.orders, id: Some(id) };
        let end = timeout_at(deadline, end).await.map_err(|_| late())?;
        withdrawal.id = None;
        // Who waits for what could not be written in time is dropped.
        end.unwrap_or_else(|_| Err(late()))
    }
}

/// What a timeout that no clock can count comes to: 30 years.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Takes a signal back if its future is dropped before its end.
struct Withdrawal<'a> {
    orders: &'a mpsc::UnboundedSender<Order>,
    id: Option<u64>,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // A session that is gone has withdrawn it.
            drop(self.orders.send(Order::Withdraw(id)));
        }
    }
}

/// The task behind a session.
struct Driver {
    client: Client,
    desk: Desk<oneshot::Sender<Ended>>,
    ordered: mpsc::UnboundedReceiver<Order>,
    told: mpsc::Sender<ClientEvent>,
}

/// Both halves of a stream that is up.
struct Stream {
    requests: mpsc::Sender<proto::SessionRequest>,
    responses: Streaming<proto::SessionResponse>,
}

impl Driver {
    async fn run(mut self) {
        let mut pause = Pause::new(PAUSES.0, PAUSES.1);
        loop {
            let why = match self.open().await {
                Ok(stream) => {
                    pause.reset();
                    match self.talk(stream).await {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                }
                Err(why) => why,
            };
            for waiter in self.desk.lost() {
                let detail = format!("the session with {} broke: {why}", self.client.address);
                settle(waiter, Err(Failure::new(Reason::LinkLost, detail).into()));
            }
            self.tell(ClientEvent::Lost { why }).await;
            if !self.rest(pause.next(&mut fastrand::Rng::new())).await {
                return;
            }
        }
    }

    async fn open(&mut self) -> Result<Stream, String> {
        let (requests, mut ready) = mpsc::channel(READY);
        let mut service = self.client.service.clone();
        let opening = async {
            let outbound = poll_fn(move |context| ready.poll_recv(context));
            let mut responses = service.session(outbound).await?.into_inner();
            let first = responses.message().await?;
            Ok((responses, first))
        };
        let (responses, first) = timeout(WELCOME, opening)
            .await
            .map_err(|_| format!("no session within {WELCOME:?}"))?
            .map_err(|status: tonic::Status| chain(&status))?;
        let Some(What::Welcome(welcome)) = first.and_then(|first| first.what) else {
            return Err("the node's first word is no welcome".to_owned());
        };
        self.desk.welcomed(usize::try_from(welcome.in_flight).unwrap_or(usize::MAX));
        self.tell(ClientEvent::Opened { name: welcome.name }).await;
        Ok(Stream { requests, responses })
    }

    /// Serves a stream until it breaks, or until no handle is left.
    async fn talk(&mut self, mut stream: Stream) -> Result<(), String> {
        loop {
            while let Ok(slot) = stream.requests.try_reserve() {
                match self.desk.next(Instant::now()) {
                    Some(request) => slot.send(request),
                    None => break,
                }
            }
            tokio::select! {
                response = stream.responses.message() => match response {
                    Ok(Some(response)) => self.hear(response).await,
                    Ok(None) => return Err("the node closed the session".to_owned()),
                    Err(status) => return Err(chain(&status)),
                },
                order = self.ordered.recv() => match order {
                    Some(order) => self.take(order),
                    None => return Ok(()),
                },
                // There is more to write as soon as the connection has room.
                Ok(_) = stream.requests.reserve(), if self.desk.is_ready() => {}
            }
        }
    }

    /// Waits, and takes orders meanwhile. False if no handle is left.
    async fn rest(&mut self, pause: Duration) -> bool {
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                order = self.ordered.recv() => match order {
                    Some(order) => self.take(order),
                    None => return false,
                },
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Start(id, letter, waiter) => self.desk.start(id, *letter, waiter),
            Order::Withdraw(id) => self.desk.withdraw(id),
        }
    }

    async fn hear(&mut self, response: proto::SessionResponse) {
        match response.what {
            Some(What::End(end)) => {
                let Some(waiter) = self.desk.ended(end.id) else { return };
                settle(waiter, self.outcome(end.outcome));
            }
            Some(What::Push(push)) => {
                let args = from_plain("args", push.args, Limits::DEFAULT);
                if let (Ok(message), Ok(args)) = (push.message.parse(), args) {
                    self.tell(ClientEvent::Pushed { message, args }).await;
                }
            }
            Some(What::Welcome(_)) | None => {}
        }
    }

    fn outcome(&self, outcome: Option<proto::end::Outcome>) -> Ended {
        match outcome {
            Some(proto::end::Outcome::Results(results)) => {
                Ok(from_plain("results", results.values, Limits::DEFAULT)?)
            }
            Some(proto::end::Outcome::Failure(failure)) => Err(Failure::from_proto(failure).into()),
            None => Err(self.client.odd("the end holds no outcome".into())),
        }
    }

    async fn tell(&self, event: ClientEvent) {
        // A client that has dropped the events does not want them.
        drop(self.told.send(event).await);
    }
}

fn settle(waiter: oneshot::Sender<Ended>, end: Ended) {
    // Whoever no longer waits has withdrawn it.
    drop(waiter.send(end));
}

fn late() -> ClientError {
    Failure::new(Reason::Deadline, "no answer before the deadline").into()
}

fn gone() -> ClientError {
    Failure::new(Reason::LinkLost, "the session's task is gone: its runtime has ended").into()
}
