//! The coordinator in the process that uses it: nothing to set up, no network.

mod acquire;
mod config;
mod error;
mod shared;
mod state;
mod stats;
mod ticket;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use acquire::Acquire;
#[cfg(feature = "grpc")]
pub(crate) use config::category;
pub use config::{Config, ConfigError};
pub use error::{AcquireError, ExtendError};
pub use stats::{CategoryStats, HolderStats};
pub use ticket::{Notices, Ticket};

use crate::coordinator::{CategoryRefusal, Coordinator, Event};
use crate::{CategoryId, CategoryName};
use shared::Shared;
use state::{Effects, State};

/// The tickets of one process. Clones are handles to the same ones.
///
/// Expiry runs on the tokio runtime that [`new`](Tickets::new) is called in; the futures may be
/// polled anywhere. It ends when the last handle and the last ticket are dropped.
#[derive(Debug, Clone)]
pub struct Tickets {
    shared: Arc<Shared>,
}

impl Tickets {
    /// Starts a coordinator with the categories of `config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for what is wrong with the configuration, or without a tokio runtime.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let categories = config.validated()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let Config { rules, epoch, .. } = config;
        let coordinator = Coordinator::new(rules.clone(), epoch.unwrap_or_else(epoch_of_today));
        let shared = Arc::new(Shared::new(State::new(coordinator, rules.grant), rules));
        runtime.spawn(shared.run_timer());
        let tickets = Self { shared };
        for (name, limit) in categories {
            tickets.define(Event::Set { name: name.clone(), limit, close_after: None }, name)?;
        }
        Ok(tickets)
    }

    /// Takes a place in the queue of `category`, now, and returns the future of the ticket.
    ///
    /// # Errors
    ///
    /// The future's [`AcquireError`] says why there is no ticket; a full queue and an unknown
    /// category are known at once, a category that closes later.
    pub fn acquire(&self, category: &str) -> Acquire {
        Acquire::request(&self.shared, category)
    }

    /// A ticket if a permit is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if not, or another [`AcquireError`].
    pub fn try_acquire(&self, category: &str) -> Result<Ticket, AcquireError> {
        acquire::try_acquire(&self.shared, category)
    }

    /// Makes or alters a category. Lowering a limit lets holders finish; a negative limit sends
    /// away those who wait; a closed category opens again. After `close_after` it grants nothing
    /// more.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a bad name or limit, and when there is no room for another category.
    pub fn set_category(
        &self,
        name: &str,
        limit: i64,
        close_after: Option<Duration>,
    ) -> Result<(), ConfigError> {
        let (name, limit) = config::category(name, limit)?;
        self.define(Event::Set { name: name.clone(), limit, close_after }, name)
    }

    /// Grants nothing more in a category, and tells those who wait. Holders may finish.
    pub fn close(&self, category: &str) {
        let category = CategoryId::of(category);
        self.step(Event::Closed { category });
    }

    /// Sends a message to all who hold a ticket of a category and listen to its
    /// [notices](Ticket::notices); returns how many hold one.
    pub fn broadcast(&self, category: &str, message: &[u8]) -> u32 {
        let category = CategoryId::of(category);
        self.shared.with(|state, now, effects| {
            state.step(now, Event::Broadcast { category, message: message.into() }, effects);
            state.coordinator.category(category).map_or(0, |category| category.holder_count())
        })
    }

    /// Every category as it stands, by name. O(slots).
    #[must_use]
    pub fn stats(&self) -> Vec<CategoryStats> {
        self.stats_with_holders(0)
    }

    /// Every category as it stands, by name, each with at most so many of its holders, the oldest
    /// first. O(slots).
    #[must_use]
    pub fn stats_with_holders(&self, most: usize) -> Vec<CategoryStats> {
        let mut stats: Vec<_> = self.shared.with(|state, now, _| {
            let categories = state.coordinator.categories();
            categories.map(|category| CategoryStats::of(category, most, now)).collect()
        });
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }

    /// Who holds a ticket of a category, by slot. O(slots).
    #[must_use]
    pub fn holders(&self, category: &str) -> Vec<HolderStats> {
        let category = CategoryId::of(category);
        self.shared.with(|state, now, _| {
            let category = state.coordinator.category(category);
            let holders = category.into_iter().flat_map(|category| category.holders());
            holders.map(|holder| HolderStats::of(holder, now)).collect()
        })
    }

    fn step(&self, event: Event) {
        self.shared.with(|state, now, effects: &mut Effects| state.step(now, event, effects));
    }

    fn define(&self, event: Event, category: CategoryName) -> Result<(), ConfigError> {
        let refusal = self.shared.with(|state, now, effects| state.define(now, event, effects));
        match refusal {
            None => Ok(()),
            Some(CategoryRefusal::SameId) => Err(ConfigError::SameId { category }),
            Some(_) => {
                let max = self.shared.rules().max_categories;
                Err(ConfigError::TooManyCategories { max })
            }
        }
    }
}

/// Milliseconds since 1970: rises from one start of the program to the next.
pub(crate) fn epoch_of_today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
