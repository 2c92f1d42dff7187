#![doc = include_str!("../README.md")]

mod clock;
pub mod coordinator;
mod counted;
mod fence;
mod limit;
mod local;
mod name;
mod time;
mod token;

pub use clock::{ClockMap, Drift};
pub use coordinator::{ExtensionRefusal, Refusal, Rules, Totals, Unlisted};
pub use fence::{Fence, FenceError};
pub use limit::{Limit, LimitError};
pub use local::{
    Acquire, AcquireError, CategoryStats, Config, ConfigError, ExtendError, HolderStats, Notices,
    Ticket, Tickets,
};
pub use name::{CategoryId, CategoryName, NameError};
pub use time::Time;
pub use token::{Stamp, Token, TokenError};
