#![doc = include_str!("../README.md")]

mod arbitration;
mod choice;
pub mod client;
mod config;
mod dial;
mod dispatch;
mod failure;
mod gate;
mod inbox;
mod link;
mod locals;
mod mesh;
mod outcomes;
mod outgoing;
mod peers;
mod plain;
mod policy;
mod responder;
mod run;
mod serve;
mod sparse;
mod stats;
mod tls;

pub use config::{Config, ConfigError, Identity};
pub use failure::{Failure, Reason};
pub use gate::{Advert, Gate, NodeState, OpenGate};
pub use inbox::{Delivery, Inbox, Origin};
pub use mesh::Mesh;
pub use outcomes::{Outcome, Outcomes};
pub use outgoing::{Destination, Outgoing};
pub use peers::PeerView;
pub use policy::{Policy, Rule};
pub use responder::Responder;
pub use serve::Caller;
pub use stats::Stats;
pub use tls::{Tls, TlsError, TlsFiles};
