use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use stage_db::{Admission, Gate, Permit};
use stage_ticket::AnyTicket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::TicketDesk;

/// Tickets of a category as permits for the connections of a database.
///
/// All nodes of the service together have at most as many connections open as the category has tickets: a connection is closed
/// before its ticket ends.
#[derive(Debug)]
pub struct TicketGate {
    desk: TicketDesk,
    category: Arc<str>,
    longest: Duration,
}

impl TicketGate {
    /// `longest` is how long a connection may be open at the most.
    #[must_use]
    pub fn new(desk: TicketDesk, category: impl Into<Arc<str>>, longest: Duration) -> Self {
        Self { desk, category: category.into(), longest }
    }
}

impl Gate for TicketGate {
    fn admit(&self) -> Admission {
        let place = self.desk.acquire(&self.category);
        let longest = self.longest;
        Box::pin(async move {
            let granted = match place {
                Ok(place) => place.granted().await,
                Err(trouble) => Err(trouble),
            };
            let ticket = Arc::new(granted.map_err(|why| why.to_string())?);
            let until = Instant::now() + longest;
            // A grant is shorter than that.
            ticket.extend(LEASE).await.map_err(|why| why.to_string())?;
            let keeping = tokio::spawn(keep(Arc::downgrade(&ticket), until + KEPT));
            Ok(Box::new(Held { ticket, until, keeping }) as Box<dyn Permit>)
        })
    }
}

/// How long before its ticket ends a connection is closed, be it that nobody can be asked to extend it: PostgreSQL takes nearly
/// a second to notice that in the middle of a statement.
const CLOSING: Duration = Duration::from_secs(1);

/// How long a ticket is asked for at a time, which is as long as a coordinator of a node grants.
const LEASE: Duration = Duration::from_secs(2);

/// How often that is asked for.
const KEEP: Duration = Duration::from_millis(400);

/// How long after a connection was closed at the latest its ticket is kept, should it not come back by itself.
const KEPT: Duration = Duration::from_secs(2);

/// Extends a ticket for as long as somebody has it, and no longer than until a moment.
async fn keep(ticket: Weak<AnyTicket>, until: Instant) {
    loop {
        sleep(KEEP).await;
        let left = until.saturating_duration_since(Instant::now());
        let Some(ticket) = ticket.upgrade().filter(|_| !left.is_zero()) else { return };
        // Where nobody answers, the ticket ends in time by itself.
        drop(ticket.extend(LEASE.min(left)).await);
    }
}

struct Held {
    ticket: Arc<AnyTicket>,
    /// When its connection is closed at the latest.
    until: Instant,
    keeping: JoinHandle<()>,
}

impl Held {
    /// When its connection is closed as of now, if it may be open.
    fn end(&self) -> Option<Instant> {
        let deadline = self.ticket.deadline()?.checked_sub(CLOSING)?.min(self.until);
        Some(deadline).filter(|at| Instant::now() < *at)
    }
}

impl Drop for Held {
    /// The ticket goes back now, and not when an answer about it comes.
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Permit for Held {
    fn is_held(&self) -> bool {
        self.end().is_some()
    }

    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // Each extension moves the deadline.
            while let Some(end) = self.end() {
                sleep_until(end).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use stage_ticket::{Config, Tickets};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_before_its_ticket_goes_to_another_one() {
        let tickets = Tickets::new(Config::default().category("connections", 1)).unwrap();
        let longest = Duration::from_secs(11);
        let gate = TicketGate::new(TicketDesk::new(tickets), "connections", longest);
        let start = Instant::now();
        let permit = gate.admit().await.unwrap();
        let next = tokio::spawn(gate.admit());
        permit.ended().await;
        assert!(!permit.is_held());
        let open = start.elapsed();
        assert!(open >= longest && open < longest + KEPT / 2, "{open:?}");
        // Nobody gave it back.
        drop(next.await.unwrap().unwrap());
        let taken = start.elapsed();
        assert!(taken >= longest + KEPT, "{taken:?}");
        drop(permit);
    }
}
