#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! Every queue of a node has a [`Meter`], which learns how long messages wait there and how long they
//! keep a worker busy. Once per [`WINDOW`] the [`Controller`], a state machine without clock or I/O,
//! gets what the meters saw and what the peers say of themselves, and decides the node's [`State`].
//! [`Route`] is the driver beside it: it owns the clock and hands out meters and the newest [`View`].
//!
//! The delay of a queue in a window is the *smallest* wait of any message that left it: a burst that
//! drains is no overload, a queue that never empties is (as in CoDel: Nichols and Jacobson,
//! "Controlling Queue Delay", 2012). Round-trip times are not used: a baseline learned from them
//! drifts with the load it is meant to judge.

mod baseline;
mod calibrate;
mod config;
mod controller;
mod guard;
#[cfg(feature = "tower")]
mod layer;
mod meter;
mod route;
mod tuning;
mod view;

pub use config::{Config, ConfigError};
pub use controller::{Controller, Input};
pub use guard::Peer;
#[cfg(feature = "tower")]
pub use layer::{RouteLayer, RouteService, ServiceError};
pub use meter::{Arrival, Late, Meter, Reading};
pub use route::{Refused, Route};
pub use tuning::Tuning;
pub use view::{State, View};

/// How often the controller decides.
pub const WINDOW: std::time::Duration = std::time::Duration::from_millis(100);
