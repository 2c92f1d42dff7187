mod due;
#[cfg(feature = "db")]
mod gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stage_ticket::{AnyAcquire, AnyTicket, AnyTickets};
use tokio::sync::watch;

pub(crate) use due::{Due, Queued};
#[cfg(feature = "db")]
pub use gate::TicketGate;

/// The tickets that scripts ask for, wherever they are counted. Cloning gives the same.
#[derive(Clone, Debug)]
pub struct TicketDesk {
    tickets: AnyTickets,
    desk: Arc<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    trouble: watch::Sender<Option<Arc<str>>>,
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

    /// From now on every request fails for this reason, also those that wait; `None` lets requests through
    /// again. What is granted stays granted.
    pub fn set_trouble(&self, trouble: Option<Arc<str>>) {
        self.desk.trouble.send_replace(trouble);
    }

    /// Why no request is made now, if none is.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.desk.trouble.borrow().clone()
    }

    /// Requests of this process that wait for a ticket.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.desk.waiting.load(Ordering::Relaxed)
    }

    /// Takes a place in the queue of a category, now, or says why not.
    pub(crate) fn acquire(&self, category: &str) -> Result<Place, Arc<str>> {
        match self.trouble() {
            Some(trouble) => Err(trouble),
            None => {
                self.desk.waiting.fetch_add(1, Ordering::Relaxed);
                let waiting = Waiting { desk: Arc::clone(&self.desk) };
                Ok(Place { acquire: self.tickets.acquire(category), waiting })
            }
        }
    }
}

/// A place in the queue of a category.
pub(crate) struct Place {
    acquire: AnyAcquire,
    waiting: Waiting,
}

impl Place {
    /// Waits for the ticket; if there is trouble meanwhile, the place is given up.
    pub(crate) async fn granted(self) -> Result<AnyTicket, Arc<str>> {
        let Self { acquire, waiting } = self;
        let mut troubles = waiting.desk.trouble.subscribe();
        tokio::select! {
            biased;
            granted = acquire => granted.map_err(|refusal| refusal.to_string().into()),
            trouble = troubles.wait_for(Option::is_some) => match trouble {
                Ok(trouble) => Err(trouble.clone().unwrap_or_default()),
                Err(_) => Err("the node is stopping".into()),
            },
        }
    }
}

/// Counts one request until it is dropped.
struct Waiting {
    desk: Arc<Desk>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn trouble_ends_the_requests_that_wait_and_nobody_gets_their_tickets_for_them() {
        let tickets = stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap();
        let desk = TicketDesk::new(tickets);
        let held = desk.acquire("one").unwrap().granted().await.unwrap();
        let place = desk.acquire("one").unwrap();
        assert_eq!(desk.waiting(), 1);
        let waits = tokio::spawn(place.granted());
        tokio::task::yield_now().await;

        desk.set_trouble(Some("two coordinators".into()));
        assert_eq!(&*waits.await.unwrap().unwrap_err(), "two coordinators");
        assert_eq!(desk.waiting(), 0);
        assert_eq!(&*desk.acquire("one").err().unwrap(), "two coordinators");

        desk.set_trouble(None);
        assert!(held.deadline().is_some());
        drop(held);
        assert!(desk.acquire("one").unwrap().granted().await.is_ok());
    }
}
