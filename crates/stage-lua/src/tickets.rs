use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stage_ticket::{AnyAcquire, AnyTickets};

/// The tickets that scripts ask for, wherever they are counted. Cloning gives the same.
#[derive(Clone, Debug)]
pub struct TicketDesk {
    tickets: AnyTickets,
    desk: Arc<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    trouble: Mutex<Option<Arc<str>>>,
    waiting: AtomicUsize,
}

impl TicketDesk {
    /// Asks whoever counts them.
    #[must_use]
    pub fn new(tickets: impl Into<AnyTickets>) -> Self {
        Self { tickets: tickets.into(), desk: Arc::default() }
    }

    /// Who counts them.
    #[must_use]
    pub fn tickets(&self) -> &AnyTickets {
        &self.tickets
    }

    /// From now on every request fails for this reason; `None` lets requests through again. What is granted
    /// stays granted.
    pub fn set_trouble(&self, trouble: Option<Arc<str>>) {
        *self.desk.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why no request is made now, if none is.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.desk.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests of this process that wait for a ticket.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.desk.waiting.load(Ordering::Relaxed)
    }

    /// Takes a place in the queue of a category, or says why not.
    pub(crate) fn acquire(&self, category: &str) -> Result<(AnyAcquire, Waiting), Arc<str>> {
        match self.trouble() {
            Some(trouble) => Err(trouble),
            None => {
                self.desk.waiting.fetch_add(1, Ordering::Relaxed);
                let waiting = Waiting { desk: Arc::clone(&self.desk) };
                Ok((self.tickets.acquire(category), waiting))
            }
        }
    }
}

/// Counts one request until it is dropped.
pub(crate) struct Waiting {
    desk: Arc<Desk>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
