use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stage_db::{Admission, Gate, Permit};
use stage_ticket::AnyTicket;
use tokio::time::{Instant, sleep_until};

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
            let ticket = granted.map_err(|why| why.to_string())?;
            ticket.auto_extend(longest + CLOSING);
            let until = Instant::now() + longest;
            Ok(Box::new(Held { ticket, until }) as Box<dyn Permit>)
        })
    }
}

/// How long after a connection was closed its ticket is kept, should it not come back by itself: the database takes a second to
/// notice that in the middle of a statement.
const CLOSING: Duration = Duration::from_secs(2);

struct Held {
    ticket: AnyTicket,
    /// When its connection is closed at the latest.
    until: Instant,
}

impl Held {
    /// When its connection is closed as of now, if it may be open.
    fn end(&self) -> Option<Instant> {
        let deadline = self.ticket.deadline()?.min(self.until);
        Some(deadline).filter(|at| Instant::now() < *at)
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
        assert!(open >= longest && open < longest + CLOSING / 2, "{open:?}");
        // Nobody gave it back.
        drop(next.await.unwrap().unwrap());
        let taken = start.elapsed();
        assert!(taken >= longest + CLOSING, "{taken:?}");
        drop(permit);
    }
}
