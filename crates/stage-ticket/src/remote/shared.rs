#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::config::RemoteConfig;
use super::holder::{Holder, NotSent, Outcome};
use super::status::Status;
use crate::coordinator::{CategoryRefusal, ExtensionRefusal, NodeId, Refusal};
use crate::counted::Counted;
use crate::lock::Lock;
use crate::{
    AcquireError, CategoryId, CategoryName, ExtendError, Limit, Shard, Stamp, Time, Token,
};

/// What the handles, the tickets, the timer and the connection of one node share, for one shard.
#[derive(Debug)]
pub(super) struct Shared {
    state: Lock<State>,
    /// As the state counts them.
    losses: AtomicU64,
    pub(super) config: Arc<RemoteConfig>,
    pub(super) shard: Shard,
    origin: Instant,
    pub(super) outgoing: Notify,
    pub(super) timer: Notify,
    pub(super) closing: watch::Sender<bool>,
    pub(super) status: watch::Sender<Status>,
    pub(super) revocations: broadcast::Sender<Token>,
}

/// Everything under the one lock: the machine, and where its outcomes go in this process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) holder: Holder,
    waiting: Counted<oneshot::Sender<Answer>>,
    /// By grant and by count, for they need not be answered in order.
    extending: BTreeMap<Stamp, BTreeMap<u64, oneshot::Sender<Result<Time, ExtendError>>>>,
    watched: BTreeMap<Stamp, broadcast::Sender<Arc<[u8]>>>,
    pub(super) client: Option<TicketServiceClient<Channel>>,
    /// Counts the grants that ended without a release.
    losses: u64,
    /// Counts the connections, so that one which is over but not yet torn down takes no frames of the next.
    connection: u64,
}

/// A connection asked for a frame that is over: another one writes them.
pub(super) struct Over;

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Granted(Granted),
    TooLate,
    Cut,
    Refused(Refusal, Option<Limit>, Option<CategoryRefusal>),
}

/// A grant, as it was when it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    pub(super) token: Token,
    until: Time,
    /// How many grants of this node had been lost by then.
    losses: u64,
}

/// How many messages a listener may be behind before it misses the oldest.
const NOTICES_KEPT: usize = 16;

impl Shared {
    /// Grants that end by themselves are told to `revocations`, which all shards of the node share.
    pub(super) fn new(
        config: Arc<RemoteConfig>,
        shard: Shard,
        revocations: broadcast::Sender<Token>,
    ) -> Self {
        let node = NodeId(fastrand::u64(1..u64::MAX));
        let holder = Holder::new(node, config.drift, config.max_requests);
        let state = State {
            holder,
            waiting: Counted::default(),
            extending: BTreeMap::new(),
            watched: BTreeMap::new(),
            client: None,
            losses: 0,
            connection: 0,
        };
        Self {
            state: Lock::new(state),
            losses: AtomicU64::new(0),
            config,
            shard,
            origin: Instant::now(),
            outgoing: Notify::new(),
            timer: Notify::new(),
            closing: watch::Sender::new(false),
            status: watch::Sender::new(Status::Connecting { why: None }),
            revocations,
        }
    }

    /// Runs `act` under the lock; what it set off is told after the lock is given back.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        let mut state = self.state.lock();
        let had_frame = state.holder.has_frame();
        let timeout = state.holder.next_timeout();
        let result = act(&mut state, now);
        let outcomes = state.holder.outcomes();
        let told: Vec<_> =
            outcomes.into_iter().filter_map(|outcome| state.recipient(outcome)).collect();
        self.losses.store(state.losses, Ordering::Release);
        let wake = !had_frame && state.holder.has_frame();
        let rearm = state.holder.next_timeout().is_some_and(|at| timeout.is_none_or(|t| at < t));
        drop(state);
        if wake {
            self.outgoing.notify_one();
        }
        if rearm {
            self.timer.notify_one();
        }
        for told in told {
            self.tell(told);
        }
        result
    }

    fn tell(&self, told: Told) {
        // An error says that nobody listens any more: a request that is not picked up has been
        // cancelled or is about to be, which gives back what it was granted.
        match told {
            Told::Request(waiting, answer) => drop(waiting.send(answer)),
            Told::Extension(waiting, answer) => drop(waiting.send(answer)),
            Told::Cut(waiting) => {
                for waiting in waiting {
                    drop(waiting.send(Err(ExtendError::Unreachable)));
                }
            }
            Told::Notice(watched, message) => {
                for watched in watched {
                    let _ = watched.send(message.clone());
                }
            }
            Told::Lost(token) => {
                tracing::debug!(%token, "ticket expired before it was released");
                let _ = self.revocations.send(token);
            }
        }
    }

    /// False when the grant may be over; true, without the lock, when it surely is not.
    pub(super) fn surely_lives(&self, granted: &Granted) -> bool {
        self.losses.load(Ordering::Acquire) == granted.losses && self.now() < granted.until
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO.after(self.origin.elapsed())
    }

    pub(super) fn instant(&self, time: Time) -> Instant {
        self.origin + time.since(Time::ZERO)
    }

    /// The next frame to be written by a connection.
    pub(super) fn take_frame(&self, connection: u64) -> Result<Option<proto::ClientFrame>, Over> {
        self.with(|state, _| {
            let is_over = state.connection != connection;
            if is_over { Err(Over) } else { Ok(state.holder.take_frame()) }
        })
    }

    /// Ends the connection, after a good-bye.
    pub(super) fn close(&self) {
        self.with(|state, _| state.holder.leave());
        self.closing.send_replace(true);
        self.timer.notify_one();
    }

    /// Ends tickets that are over and asks for extensions that are due: until the node closes, and then
    /// as long as it holds any.
    pub(super) async fn run_timer(&self) {
        let mut closing = Some(self.closing.subscribe());
        loop {
            let next = self.with(|state, now| {
                state.holder.time_passed(now);
                state.holder.next_timeout()
            });
            if closing.is_none() && next.is_none() {
                return;
            }
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(self.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            let closed = async {
                match &mut closing {
                    Some(closing) => drop(closing.wait_for(|closing| *closing).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.timer.notified() => {}
                // Whoever takes leave waits until nobody listens for it any more.
                () = closed => closing = None,
            }
        }
    }
}

/// Something to be told, and to whom.
enum Told {
    Request(oneshot::Sender<Answer>, Answer),
    Extension(oneshot::Sender<Result<Time, ExtendError>>, Result<Time, ExtendError>),
    /// Extensions that are not answered any more.
    Cut(Vec<oneshot::Sender<Result<Time, ExtendError>>>),
    Notice(Vec<broadcast::Sender<Arc<[u8]>>>, Arc<[u8]>),
    Lost(Token),
}

impl State {
    /// Starts a connection, which ends all others; its number.
    pub(super) fn next_connection(&mut self) -> u64 {
        self.connection += 1;
        self.connection
    }

    /// Asks for a grant; the receiver hears what became of it.
    pub(super) fn request(
        &mut self,
        name: &CategoryName,
        waits: bool,
    ) -> Result<(u64, oneshot::Receiver<Answer>), NotSent> {
        let count = self.holder.request(name, waits)?;
        let (waiting, answer) = oneshot::channel();
        self.waiting.insert(count, waiting);
        Ok((count, answer))
    }

    pub(super) fn cancel(&mut self, count: u64) {
        self.waiting.remove(count);
        self.holder.cancel(count);
    }

    pub(super) fn release(&mut self, token: Token) {
        if !self.watched.is_empty() {
            self.watched.remove(&token.stamp);
        }
        if !self.extending.is_empty() {
            self.extending.remove(&token.stamp);
        }
        self.holder.release(token);
    }

    pub(super) fn extend(
        &mut self,
        token: Token,
        by: Duration,
    ) -> Result<oneshot::Receiver<Result<Time, ExtendError>>, NotSent> {
        let extension = self.holder.extend(token, by)?;
        let (waiting, answer) = oneshot::channel();
        self.extending.entry(token.stamp).or_default().insert(extension, waiting);
        Ok(answer)
    }

    /// A receiver of the messages to the holders of a grant; it ends when the grant does.
    pub(super) fn watch(&mut self, token: Token) -> broadcast::Receiver<Arc<[u8]>> {
        if self.holder.deadline(token).is_none() {
            return broadcast::channel(1).1;
        }
        let new = || broadcast::channel(NOTICES_KEPT).0;
        self.watched.entry(token.stamp).or_insert_with(new).subscribe()
    }

    fn recipient(&mut self, outcome: Outcome) -> Option<Told> {
        let (count, answer) = match outcome {
            Outcome::Granted { count, token, until } => {
                let losses = self.losses;
                (count, Answer::Granted(Granted { token, until, losses }))
            }
            Outcome::TooLate { count } => (count, Answer::TooLate),
            Outcome::Cut { count } => (count, Answer::Cut),
            Outcome::Refused { count, category, refusal } => {
                (count, self.refused(category, refusal))
            }
            Outcome::Extended { token, extension, expires } => {
                return self.extended(token, extension, Ok(expires));
            }
            Outcome::NotExtended { token, extension, refusal } => {
                let refused = self.not_extended(refusal);
                return self.extended(token, extension, Err(refused));
            }
            Outcome::ExtensionsCut => {
                let cut = std::mem::take(&mut self.extending).into_values();
                return Some(Told::Cut(cut.flat_map(BTreeMap::into_values).collect()));
            }
            Outcome::Lost { token } => {
                self.losses += 1;
                self.watched.remove(&token.stamp);
                self.extending.remove(&token.stamp);
                return Some(Told::Lost(token));
            }
            Outcome::Notice { holders, message } => {
                let watched = holders.iter().filter_map(|token| self.watched.get(&token.stamp));
                let watched = watched.cloned().collect();
                return Some(Told::Notice(watched, message[..].into()));
            }
        };
        Some(Told::Request(self.waiting.remove(count)?, answer))
    }

    fn refused(&self, category: CategoryId, refusal: Refusal) -> Answer {
        let known = self.holder.category(category);
        Answer::Refused(refusal, known.map(|known| known.0), known.and_then(|known| known.1))
    }

    fn not_extended(&self, refusal: ExtensionRefusal) -> ExtendError {
        match refusal {
            ExtensionRefusal::NotHeld => ExtendError::NotHeld,
            refusal => ExtendError::Refused { refusal },
        }
    }

    /// Answers whoever asked for an extension; nobody did if it is a renewal.
    fn extended(
        &mut self,
        token: Token,
        extension: u64,
        answer: Result<Time, ExtendError>,
    ) -> Option<Told> {
        let waiting = self.extending.get_mut(&token.stamp)?;
        let asked = waiting.remove(&extension);
        if waiting.is_empty() {
            self.extending.remove(&token.stamp);
        }
        Some(Told::Extension(asked?, answer))
    }
}

/// Why a request got no ticket, in words.
pub(super) fn refusal_error(category: CategoryName, answer: Answer, max: usize) -> AcquireError {
    match answer {
        Answer::Granted(_) | Answer::TooLate => AcquireError::TooLate { category },
        Answer::Cut => AcquireError::Unreachable { category },
        Answer::Refused(Refusal::Finished, ..) => AcquireError::TooLate { category },
        Answer::Refused(Refusal::Busy, limit, _) => {
            AcquireError::Busy { category, limit: limit.unwrap_or(Limit::ONE) }
        }
        Answer::Refused(Refusal::Closed, ..) => AcquireError::Closed { category },
        Answer::Refused(Refusal::UnknownCategory, _, Some(CategoryRefusal::TooMany)) => {
            AcquireError::TooManyCategories { category }
        }
        Answer::Refused(Refusal::UnknownCategory, ..) => {
            AcquireError::UnknownCategory { category, nearest: Vec::new() }
        }
        Answer::Refused(Refusal::QueueFull, ..) => AcquireError::TooManyRequests { category, max },
        Answer::Refused(refusal, ..) => AcquireError::Refused { category, refusal },
    }
}
