#![doc = include_str!("../README.md")]

mod config;
mod failure;
mod gate;
mod inbox;
mod locals;
mod mesh;
mod outcomes;
mod outgoing;
mod responder;
mod stats;

pub use config::{Config, ConfigError, Identity};
pub use failure::{Failure, Reason};
pub use gate::{Advert, Gate, NodeState, OpenGate};
pub use inbox::{Delivery, Inbox, Origin};
pub use mesh::Mesh;
pub use outcomes::{Outcome, Outcomes};
pub use outgoing::{Destination, Outgoing};
pub use responder::Responder;
pub use stats::Stats;
