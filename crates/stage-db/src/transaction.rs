use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::pool::{Session, Shared};
use crate::{Error, Param, Rows};

/// Statements that take effect together or not at all.
///
/// One statement runs at a time. One that fails fails the whole transaction, on every database: nothing of
/// it can be committed any more. Dropping it rolls it back.
pub struct Transaction {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

enum State {
    Open(Unfinished),
    /// A statement failed; what it failed with.
    Failed(Unfinished, Error),
    /// A statement is running.
    Busy,
    Over,
}

impl Transaction {
    pub(crate) async fn begin(shared: Arc<Shared>) -> Result<Self, Error> {
        let begun = shared.with_session(|mut session| async move {
            session.begin().await?;
            Ok(Unfinished(Some(session)))
        });
        let state = Mutex::new(State::Open(begun.await?));
        Ok(Self { shared, state })
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// [`Error`]; after one of the database, the transaction can only be rolled back.
    pub async fn query(&self, sql: impl Into<Arc<str>>, params: Vec<Param>) -> Result<Rows, Error> {
        let sql = sql.into();
        self.shared.config.database.0.check(&sql)?;
        let mut unfinished = self.take()?;
        let (mut answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(async move {
            let result = match &mut unfinished.0 {
                Some(session) => {
                    let stop = session.stop();
                    let collecting = session.collect(&sql, &params);
                    shared.unless_gone(stop, answer.closed(), collecting).await
                }
                None => Some(Err(Error::TransactionOver)),
            };
            match result {
                // If nobody is left to take it, it rolls back.
                Some(result) => drop(answer.send((unfinished, result))),
                // Closed in the middle of a statement, which takes the transaction back.
                None => drop(unfinished.0.take()),
            }
        });
        let Ok((unfinished, result)) = answered.await else { return Err(Error::Stopping) };
        let mut state = self.state.lock();
        // It may have been rolled back meanwhile.
        if matches!(*state, State::Busy) {
            *state = match &result {
                Ok(_) => State::Open(unfinished),
                Err(error) => State::Failed(unfinished, error.clone()),
            };
        }
        result
    }

    /// Makes all of it take effect.
    ///
    /// # Errors
    /// The error of the statement that failed, if one has: nothing takes effect then. After
    /// [`Error::Lost`] nobody knows whether it did.
    pub async fn commit(&self) -> Result<(), Error> {
        match self.end() {
            State::Open(unfinished) => unfinished.commit(&self.shared).await,
            State::Failed(unfinished, error) => {
                unfinished.roll_back(&self.shared).await?;
                Err(error)
            }
            State::Busy => Err(Error::TransactionBusy),
            State::Over => Err(Error::TransactionOver),
        }
    }

    /// Takes all of it back. Of a statement that is still running, the caller gets the result, and nothing
    /// takes effect.
    ///
    /// # Errors
    /// [`Error`]; nothing takes effect then either.
    pub async fn roll_back(&self) -> Result<(), Error> {
        match self.end() {
            State::Open(unfinished) | State::Failed(unfinished, _) => {
                unfinished.roll_back(&self.shared).await
            }
            State::Busy => Ok(()),
            State::Over => Err(Error::TransactionOver),
        }
    }

    /// Whether it is neither committed nor rolled back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Over)
    }

    fn end(&self) -> State {
        mem::replace(&mut *self.state.lock(), State::Over)
    }

    fn take(&self) -> Result<Unfinished, Error> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Busy) {
            State::Open(unfinished) => Ok(unfinished),
            State::Busy => Err(Error::TransactionBusy),
            State::Failed(unfinished, error) => {
                *state = State::Failed(unfinished, error.clone());
                Err(error)
            }
            State::Over => {
                *state = State::Over;
                Err(Error::TransactionOver)
            }
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

/// A connection in a transaction; whoever drops it has it rolled back.
struct Unfinished(Option<Session>);

impl Unfinished {
    async fn commit(mut self, shared: &Shared) -> Result<(), Error> {
        let Some(mut session) = self.0.take() else { return Ok(()) };
        let committing = shared.runtime.spawn(async move { session.commit().await });
        committing.await.unwrap_or(Err(Error::Stopping))
    }

    async fn roll_back(mut self, shared: &Shared) -> Result<(), Error> {
        let Some(mut session) = self.0.take() else { return Ok(()) };
        let rolling = shared.runtime.spawn(async move { session.roll_back().await });
        rolling.await.unwrap_or(Err(Error::Stopping))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(mut session) = self.0.take() else { return };
        // A session that fails to roll back is closed, which does the same.
        session.runtime().spawn(async move { drop(session.roll_back().await) });
    }
}
