use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stage_db::{Admission, Gate, Permit};
use stage_ticket::AnyTicket;
use tokio::time::{Instant, sleep_until};

use super::TicketDesk;

/// Tickets of a category as permits for the connections of a database.
///
/// All nodes of the service together have at most as many connections open as the category has tickets.
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
            ticket.auto_extend(longest);
            Ok(Box::new(Held(ticket)) as Box<dyn Permit>)
        })
    }
}

struct Held(AnyTicket);

impl Permit for Held {
    fn is_held(&self) -> bool {
        self.0.deadline().is_some_and(|deadline| Instant::now() < deadline)
    }

    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // Each extension moves the deadline.
            while let Some(deadline) = self.0.deadline().filter(|at| Instant::now() < *at) {
                sleep_until(deadline).await;
            }
        })
    }
}
