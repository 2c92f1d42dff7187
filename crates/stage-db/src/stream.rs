use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::pool::Shared;
use crate::rows::{Columns, Row, Sink};
use crate::stats::Counters;
use crate::{Error, Param};

/// The rows of a result, one after the other.
#[derive(Debug)]
pub struct RowStream {
    columns: Columns,
    rows: mpsc::Receiver<Result<Row, Error>>,
}

/// Rows that wait to be taken.
const AHEAD: usize = 16;

impl RowStream {
    pub(crate) async fn start(
        shared: Arc<Shared>,
        sql: Arc<str>,
        params: Vec<Param>,
    ) -> Result<Self, Error> {
        let (begun, began) = oneshot::channel();
        let (rows, taken) = mpsc::channel(AHEAD);
        let most_bytes = shared.config.bytes;
        let runtime = shared.runtime.clone();
        runtime.spawn(async move {
            let mut begun = begun;
            let session = tokio::select! {
                biased;
                () = begun.closed() => return,
                session = shared.acquire() => session,
            };
            let reader = rows.clone();
            let is_waiting = Arc::new(AtomicBool::new(false));
            let waits = Arc::clone(&is_waiting);
            let mut sink = Handed { begun: Some(begun), rows, most_bytes, is_waiting };
            let result = match session {
                Ok(mut session) => {
                    let stop = session.stop();
                    let running = session.run(&sql, &params, &mut sink);
                    shared.unless_gone(stop, reader.closed(), running).await
                }
                Err(error) => Some(Err(error)),
            };
            match result {
                // It is not the database that did not answer.
                Some(Err(Error::Lost { .. })) if waits.load(Ordering::Relaxed) => {
                    Counters::add(&shared.counters.timeouts);
                    sink.failed(Error::Timeout { limit: shared.config.timeout }).await;
                }
                Some(Err(error)) => sink.failed(error).await,
                Some(Ok(_)) | None => {}
            }
        });
        let columns = began.await.unwrap_or(Err(Error::Stopping))?;
        Ok(Self { columns, rows: taken })
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The next row; `None` behind the last one.
    ///
    /// # Errors
    /// [`Error`], which ends the stream.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        self.rows.recv().await.transpose()
    }
}

/// Hands the rows out as they come.
struct Handed {
    begun: Option<oneshot::Sender<Result<Columns, Error>>>,
    rows: mpsc::Sender<Result<Row, Error>>,
    most_bytes: usize,
    /// Whether it waits for whoever reads.
    is_waiting: Arc<AtomicBool>,
}

impl Handed {
    /// Tells whoever reads; nobody may be left.
    async fn failed(&mut self, error: Error) {
        match self.begun.take() {
            Some(begun) => drop(begun.send(Err(error))),
            None => drop(self.rows.send(Err(error)).await),
        }
    }
}

impl Sink for Handed {
    fn columns(&mut self, columns: Columns) {
        if let Some(begun) = self.begun.take() {
            drop(begun.send(Ok(columns)));
        }
    }

    fn admit(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.most_bytes {
            return Err(Error::TooLarge { limit: self.most_bytes });
        }
        Ok(())
    }

    async fn row(&mut self, row: Row, bytes: usize) -> Result<(), Error> {
        self.admit(bytes)?;
        self.is_waiting.store(true, Ordering::Relaxed);
        let sent = self.rows.send(Ok(row)).await;
        self.is_waiting.store(false, Ordering::Relaxed);
        // Whoever reads has gone: what is left of the rows is thrown away.
        sent.map_err(|_| Error::Stopping)
    }
}
