use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bb8::{ManageConnection, PooledConnection, RunError};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::condition::Condition;
use crate::connection::{Connection, Source, Step, Stop};
use crate::gate::{Gate, Permit};
use crate::live::{Live, left_by};
use crate::rows::{Collected, Done, Rows, Sink};
use crate::stats::{Counters, Stats};
use crate::{Config, Error, Param, RowStream, Transaction};

/// The connections to one database, shared by all who clone it.
///
/// All work is done on the runtime that the pool was made with: a caller whose own thread is busy delays
/// nobody else, and a caller that goes away leaves no connection behind. A call that is dropped while it
/// waits for a connection gives its place up. Dropped later, its statement is stopped: by PostgreSQL within a second
/// and by SQLite at once, by MySQL and MariaDB as soon as another connection of the pool is free to ask for it. Its connection is busy
/// until then: only so can no database see more statements at a time than the pool has connections.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) runtime: Handle,
    connections: bb8::Pool<Manager>,
    /// Why the last connection could not be made, until one is.
    trouble: watch::Receiver<Option<Error>>,
}

impl Pool {
    /// A pool that opens connections when they are needed.
    ///
    /// With a gate, each connection needs a permit of it.
    #[must_use]
    pub fn new(config: Config, gate: Option<Arc<dyn Gate>>, runtime: Handle) -> Self {
        let _entered = runtime.enter();
        let is_in_memory = config.database.0.is_in_memory();
        let (told, trouble) = watch::channel(None);
        let manager = Manager {
            source: config.database.0.clone(),
            timeout: config.timeout,
            wait: config.wait,
            gate,
            trouble: told,
            runtime: runtime.clone(),
        };
        let lasting = |time: Duration| (!is_in_memory).then_some(time.max(SHORTEST));
        let connections = bb8::Pool::builder()
            .max_size(if is_in_memory { 1 } else { config.connections.max(1) })
            .connection_timeout(config.wait.max(SHORTEST))
            .idle_timeout(lasting(config.idle))
            .max_lifetime(lasting(config.lifetime))
            .reaper_rate((config.idle.min(config.lifetime) / 2).clamp(SHORTEST, SLOWEST_REAPER))
            .build_unchecked(manager);
        let counters = Counters::default();
        let shared = Shared { config, counters, runtime, connections, trouble };
        Self { shared: Arc::new(shared) }
    }

    /// A pool with the defaults for an address.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError).
    pub fn open(address: &str, runtime: Handle) -> Result<Self, crate::ConfigError> {
        Ok(Self::new(Config::new(address, Path::new(""))?, None, runtime))
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn query(&self, sql: impl Into<Arc<str>>, params: Vec<Param>) -> Result<Rows, Error> {
        let sql = sql.into();
        self.shared.config.database.0.check(&sql)?;
        self.shared
            .with_session(|mut session| async move { session.collect(&sql, &params).await })
            .await
    }

    /// Runs a statement row by row: memory holds a few of them at a time, so a result may have any number.
    ///
    /// The connection is the stream's until its end, or until it is dropped, and the whole stream has
    /// [`Config::timeout`].
    ///
    /// # Errors
    /// [`Error`], also later by the stream.
    pub async fn stream(
        &self,
        sql: impl Into<Arc<str>>,
        params: Vec<Param>,
    ) -> Result<RowStream, Error> {
        let sql = sql.into();
        self.shared.config.database.0.check(&sql)?;
        RowStream::start(Arc::clone(&self.shared), sql, params).await
    }

    /// Begins a transaction, which has a connection to itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(Arc::clone(&self.shared)).await
    }

    /// What it has done and does.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.connections.state();
        self.shared.counters.read(state.connections, state.idle_connections)
    }

    /// What it does not exceed.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
const SLOWEST_REAPER: Duration = Duration::from_secs(10);

impl Shared {
    /// Runs work that needs a connection on the pool's runtime.
    pub(crate) async fn with_session<T, W>(
        self: &Arc<Self>,
        work: impl FnOnce(Session) -> W + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send,
    {
        let shared = Arc::clone(self);
        let (mut answer, answered) = oneshot::channel();
        self.runtime.spawn(async move {
            let session = tokio::select! {
                biased;
                // Whoever asked has gone: another one gets the connection.
                () = answer.closed() => return,
                session = shared.acquire() => session,
            };
            let result = match session {
                Ok(session) => {
                    let stop = session.stop();
                    shared.unless_gone(stop, answer.closed(), work(session)).await
                }
                Err(error) => Some(Err(error)),
            };
            // Nobody may be left to take it.
            if let Some(result) = result {
                drop(answer.send(result));
            }
        });
        answered.await.unwrap_or(Err(Error::Stopping))
    }

    /// Does work on a session unless whoever waits for it goes away: then its statement is stopped.
    pub(crate) async fn unless_gone<T>(
        &self,
        stop: Option<Stop>,
        gone: impl Future<Output = ()>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            result = &mut work => return Some(result),
            () = gone => {}
        }
        match stop? {
            // Most statements are over before a connection is closed and another one opened.
            #[cfg(feature = "postgres")]
            Stop::Close => tokio::time::timeout(crate::live::REST, work).await.ok(),
            #[cfg(feature = "mysql")]
            Stop::Kill(kill) => loop {
                // It may come before its statement does, which then needs another one.
                let again = async {
                    self.execute(kill.sql()).await;
                    tokio::time::sleep(GRACE).await;
                };
                tokio::select! {
                    result = &mut work => return Some(result),
                    () = again => {}
                }
            },
            #[cfg(feature = "sqlite")]
            Stop::Interrupt(interrupt) => {
                interrupt.stop();
                Some(work.await)
            }
        }
    }

    /// Asks for the end of a statement or of a connection, if there is a connection to be had for that in time. Tells whether
    /// the server knows of none that could end.
    #[cfg(feature = "mysql")]
    async fn execute(&self, sql: String) -> bool {
        let Ok(mut live) = self.connections.get_owned().await else { return false };
        let Ok(mut connection) = live.take() else { return false };
        let executed = async {
            match connection.execute(sql).await {
                Err(error) if crate::mysql::is_gone(&error) => Ok(true),
                done => Ok(done.map(|()| false)?),
            }
        };
        let Ok(is_gone) = live.within(GRACE, executed).await else { return false };
        live.give_back(connection, Condition::Sound);
        is_gone
    }

    /// Ends a connection that was closed in the middle of its statement, which the server does not notice by itself.
    #[cfg(feature = "mysql")]
    async fn until_gone(&self, kill: &crate::mysql::Kill) {
        while !self.execute(kill.last_sql()).await {
            tokio::time::sleep(KILL_AGAIN).await;
        }
    }

    /// A connection, as soon as one is free.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Session, Error> {
        let _place = self.place()?;
        match self.connections.get_owned().await {
            Ok(live) => Ok(Session { live: Some(live), shared: Arc::clone(self) }),
            Err(error) => {
                Counters::add(&self.counters.refused);
                Err(match error {
                    RunError::User(error) => error,
                    RunError::TimedOut => {
                        let trouble = self.trouble.borrow().clone();
                        trouble.unwrap_or(Error::Busy { waited: self.config.wait })
                    }
                })
            }
        }
    }

    /// A place among those that wait.
    fn place(self: &Arc<Self>) -> Result<Place, Error> {
        let limit = self.config.waiting;
        let before = self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before < limit {
            return Ok(place);
        }
        Counters::add(&self.counters.refused);
        Err(Error::QueueFull { limit })
    }
}

struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is in use.
pub(crate) struct Session {
    /// There until it is dropped.
    live: Option<PooledConnection<'static, Manager>>,
    shared: Arc<Shared>,
}

impl Drop for Session {
    /// A connection that is closed in the middle of a statement counts as used, with its permit, until the server has
    /// noticed: the database never has more to do than the pool allows.
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        if matches!(live.condition, Condition::Unread | Condition::Unknown) {
            self.shared.runtime.spawn(settle(Arc::clone(&self.shared), live));
        }
    }
}

/// Brings a connection to where it can be used again, or closed.
async fn settle(shared: Arc<Shared>, mut live: PooledConnection<'static, Manager>) {
    if live.condition == Condition::Unread {
        live.read_rest().await;
        // A server that has rows to send notices by itself that nobody takes them.
        live.is_cut = false;
    }
    if live.condition != Condition::Unknown {
        return;
    }
    live.slot.close();
    match &live.stop {
        #[cfg(feature = "mysql")]
        // One that broke has nothing at work, and after a restart its number may be another one's.
        Stop::Kill(_) if !live.is_cut => {}
        #[cfg(feature = "mysql")]
        Stop::Kill(kill) => {
            drop(tokio::time::timeout(live.departure, shared.until_gone(kill)).await);
        }
        _ => tokio::time::sleep(live.departure).await,
    }
}

/// How much longer than its statement's limit a connection is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// How long a server has to end a connection before it is asked again.
#[cfg(feature = "mysql")]
const KILL_AGAIN: Duration = Duration::from_millis(20);

impl Session {
    pub(crate) fn runtime(&self) -> Handle {
        self.shared.runtime.clone()
    }

    /// How to stop what it runs next.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.live.as_ref()?.slot.0.lock().as_ref().map(Connection::stop)
    }

    /// Runs a statement within its limit.
    pub(crate) async fn run<S: Sink>(
        &mut self,
        sql: &str,
        params: &[Param],
        sink: &mut S,
    ) -> Result<Done, Error> {
        let counters = &self.shared.counters;
        Counters::add(&counters.statements);
        let Some(live) = &mut self.live else { return Err(Error::Stopping) };
        let mut connection = live.take()?;
        let limit = self.shared.config.timeout;
        let result = live.within(limit + GRACE, connection.run(sql, params, sink)).await;
        let result = result.map_err(|error| match error {
            Error::Timeout { .. } => Error::Timeout { limit },
            other => other,
        });
        let condition = match &result {
            Err(error) if !connection.forgets_results() => error.leaves(),
            _ => Condition::Sound,
        };
        live.give_back(connection, condition);
        if let Err(error) = &result {
            Counters::add(&counters.failed);
            if matches!(error, Error::Timeout { .. }) {
                Counters::add(&counters.timeouts);
            }
        }
        result
    }

    /// Runs a statement and collects its rows.
    pub(crate) async fn collect(&mut self, sql: &str, params: &[Param]) -> Result<Rows, Error> {
        let config = &self.shared.config;
        let mut sink = Collected::new(config.rows, config.bytes);
        let done = self.run(sql, params, &mut sink).await?;
        let Collected { columns, rows, .. } = sink;
        Ok(Rows { columns, rows, affected: done.affected, last_id: done.last_id })
    }

    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        Counters::add(&self.shared.counters.transactions);
        self.step(Step::Begin).await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        let committed = self.step(Step::Commit).await;
        if committed.as_ref().is_err_and(|error| error.leaves() == Condition::Sound) {
            // SQLite goes on with the transaction; a connection that fails here is closed.
            drop(self.step(Step::RollBack).await);
        }
        committed
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), Error> {
        Counters::add(&self.shared.counters.rolled_back);
        self.step(Step::RollBack).await
    }

    async fn step(&mut self, step: Step) -> Result<(), Error> {
        let Some(live) = &mut self.live else { return Err(Error::Stopping) };
        let mut connection = live.take()?;
        let limit = self.shared.config.timeout;
        let stepped = async { Ok(connection.step(step).await?) };
        let result = live.within(limit + GRACE, stepped).await.map_err(|error| match error {
            // Whether the database has committed is not known, and trying again might do it twice.
            Error::Refused { why } if matches!(step, Step::Commit) => Error::Lost { why },
            other => other,
        });
        live.give_back(connection, left_by(&result));
        if result.is_ok() {
            live.is_between = matches!(step, Step::Begin);
        }
        result
    }
}

/// Makes connections for the pool.
struct Manager {
    source: Source,
    timeout: Duration,
    wait: Duration,
    gate: Option<Arc<dyn Gate>>,
    trouble: watch::Sender<Option<Error>>,
    runtime: Handle,
}

/// A connection that was used so shortly ago needs no test.
const FRESH: Duration = Duration::from_secs(1);

impl ManageConnection for Manager {
    type Connection = Live;
    type Error = Error;

    async fn connect(&self) -> Result<Live, Error> {
        let made = self.make().await;
        self.trouble.send_replace(made.as_ref().err().cloned());
        made
    }

    async fn is_valid(&self, live: &mut Live) -> Result<(), Error> {
        if live.is_broken() {
            return Err(Error::Refused { why: "it was taken away".into() });
        }
        if live.used.elapsed() < FRESH {
            return Ok(());
        }
        live.ping(self.wait).await
    }

    fn has_broken(&self, live: &mut Live) -> bool {
        live.used = Instant::now();
        live.is_broken()
    }
}

impl Manager {
    async fn make(&self) -> Result<Live, Error> {
        let permit = match &self.gate {
            Some(gate) => {
                let permit = gate.admit().await.map_err(|why| Error::Refused { why })?;
                Some(Arc::<dyn Permit>::from(permit))
            }
            None => None,
        };
        let connecting = self.source.connect(self.timeout);
        match tokio::time::timeout(self.wait.max(LEAST_CONNECT), connecting).await {
            Ok(Ok(connection)) => Ok(Live::new(connection, permit, self.runtime.clone())),
            Ok(Err(error)) => Err(Error::Unreachable { why: error.to_string() }),
            Err(_) => Err(Error::Unreachable { why: "it does not answer".into() }),
        }
    }
}

const LEAST_CONNECT: Duration = Duration::from_secs(1);
