//! A connection of a pool with the permit for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::Error;
use crate::condition::Condition;
use crate::connection::{Connection, Stop};
use crate::gate::Permit;

/// A connection with the permit for it. When the permit ends, it is closed, whatever it is kept for: it may idle in its pool, or
/// belong to a transaction whose next statement is yet to come.
pub(crate) struct Live {
    pub(crate) slot: Slot,
    permit: Option<Arc<dyn Permit>>,
    /// Closes it with its permit.
    watch: Option<JoinHandle<()>>,
    pub(crate) used: Instant,
    /// What its last statement has left.
    pub(crate) condition: Condition,
    /// Whether it has begun a transaction and not ended it.
    pub(crate) is_between: bool,
    /// How long it counts as used when it is closed in the middle of a statement.
    pub(crate) departure: Duration,
    /// How long it counts as used after its good-bye.
    parting: Duration,
    /// Whether its statement was left while the server may be at work on it.
    pub(crate) is_cut: bool,
    /// How what was left is stopped.
    pub(crate) stop: Stop,
    runtime: Handle,
}

/// Where a connection is while nothing runs on it.
#[derive(Clone)]
pub(crate) struct Slot(pub(crate) Arc<Mutex<Option<Connection>>>);

impl Slot {
    pub(crate) fn close(&self) {
        let connection = self.0.lock().take();
        drop(connection);
    }
}

/// How long a connection has to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long an end that may be near is waited for, be it of a statement that nobody waits for or of a result that nobody reads.
pub(crate) const REST: Duration = Duration::from_millis(100);

impl Live {
    pub(crate) fn new(
        connection: Connection,
        permit: Option<Arc<dyn Permit>>,
        runtime: Handle,
    ) -> Self {
        let (departure, parting) = (connection.departure(), connection.parting());
        let stop = connection.stop();
        let slot = Slot(Arc::new(Mutex::new(Some(connection))));
        let watch = permit.clone().map(|permit| {
            let slot = slot.clone();
            runtime.spawn(async move {
                permit.ended().await;
                slot.close();
            })
        });
        Self {
            slot,
            permit,
            watch,
            used: Instant::now(),
            condition: Condition::Sound,
            is_between: false,
            departure,
            parting,
            is_cut: false,
            stop,
            runtime,
        }
    }

    /// Whether it is not to be used again.
    pub(crate) fn is_broken(&self) -> bool {
        let is_there = self.slot.0.lock().as_ref().is_some_and(|it| !it.is_marked());
        self.condition != Condition::Sound || self.is_between || !self.is_held() || !is_there
    }

    fn is_held(&self) -> bool {
        self.permit.as_ref().is_none_or(|permit| permit.is_held())
    }

    /// The connection for what runs next. If that does not come to its end, it is closed.
    ///
    /// # Errors
    /// [`Error::Refused`] if it was closed with its permit.
    pub(crate) fn take(&mut self) -> Result<Connection, Error> {
        match self.slot.0.lock().take() {
            Some(connection) => {
                self.condition = Condition::Unknown;
                Ok(connection)
            }
            None => {
                // It may have been closed in the middle of its last statement.
                if self.condition != Condition::Unknown {
                    self.condition = Condition::Ended;
                }
                Err(Error::Refused { why: "it was taken away".into() })
            }
        }
    }

    /// Keeps the connection for what runs next, unless its permit has ended meanwhile.
    pub(crate) fn give_back(&mut self, connection: Connection, condition: Condition) {
        self.condition = condition;
        let mut slot = self.slot.0.lock();
        if self.is_held() {
            *slot = Some(connection);
        }
    }

    /// Does something with the connection that was taken, as long as it may.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) async fn within<T>(
        &mut self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let ended = async {
            match &self.permit {
                Some(permit) => permit.ended().await,
                None => std::future::pending().await,
            }
        };
        let left = tokio::select! {
            result = tokio::time::timeout(limit, work) => match result {
                Ok(result) => return result,
                Err(_) => Error::Lost { why: "the database does not answer".into() },
            },
            () = ended => Error::Refused { why: "it was taken away while the statement ran".into() },
        };
        self.is_cut = true;
        Err(left)
    }

    /// # Errors
    /// [`Error`] if the database does not answer in time.
    pub(crate) async fn ping(&mut self, limit: Duration) -> Result<(), Error> {
        let mut connection = self.take()?;
        let pinged = async { Ok(connection.ping().await?) };
        let result = self.within(limit, pinged).await;
        self.give_back(connection, left_by(&result));
        result
    }

    /// Reads what is left of a result, if that is little.
    pub(crate) async fn read_rest(&mut self) {
        // What it is good for then, its condition tells.
        drop(self.ping(REST).await);
    }
}

/// What a connection is good for after something that has no rows.
pub(crate) fn left_by(result: &Result<(), Error>) -> Condition {
    result.as_ref().err().map_or(Condition::Sound, Error::leaves)
}

impl Drop for Live {
    /// Gives the permit back when the connection is closed and the server has had time to do the same.
    fn drop(&mut self) {
        let (connection, permit) = (self.slot.0.lock().take(), self.permit.take());
        let watch = self.watch.take();
        let is_sound = self.condition == Condition::Sound;
        let parting = self.parting;
        self.runtime.spawn(async move {
            if let Some(connection) = connection.filter(|_| is_sound) {
                // One that cannot say good-bye is cut.
                drop(tokio::time::timeout(FAREWELL, connection.close()).await);
            }
            if permit.is_some() {
                tokio::time::sleep(parting).await;
            }
            // It has the permit, too.
            if let Some(watch) = watch {
                watch.abort();
            }
            drop(permit);
        });
    }
}
