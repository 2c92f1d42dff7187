#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A [`Store`] holds the newest version of a table of named values behind an atomic pointer
//! (`arc-swap`). A [`Snapshot`] is such a version, counted by reference: reading it touches nothing
//! that a writer touches. A writer makes the next version beside the current one and swaps the
//! pointer. Each name carries the number of the version that wrote it last, so that a writer can
//! tell whether what it computed from is still current (optimistic concurrency control, as in
//! Kung and Robinson, 1981).
//!
//! Writers commit one at a time, under a lock held for the few instructions of a commit. It lets
//! the running thread overtake, because that is fastest, and hands over to the one that has
//! waited longest every half millisecond, so that none starves (`parking_lot`, after
//! WebKit's `WTF::Lock`).

mod arena;
mod cell;
mod checkpoint;
mod generation;
mod history;
mod map;
mod map_snapshot;
mod map_transaction;
mod map_writing;
mod periodic;
mod reclaim;
mod renewal;
mod slot;
mod snapshot;
#[cfg(test)]
mod steps;
mod store;
mod sync;
mod table;
mod transaction;
mod watch;
mod weigh;

pub use cell::{Cell, Ref};
pub use checkpoint::{Checkpoint, LoadError, Restored, SaveError};
pub use history::Stats;
pub use map::{Map, MapStats};
pub use map_snapshot::{MapReader, MapSnapshot};
pub use map_transaction::MapTransaction;
pub use periodic::Periodic;
pub use snapshot::Snapshot;
pub use store::{Conflict, Store};
pub use table::Table;
pub use transaction::{Committed, Transaction};
pub use watch::{Change, Watch};
