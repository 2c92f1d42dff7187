#![doc = include_str!("../README.md")]
//!
//! # The model of a store
//!
//! A [`Store`] holds the newest version of a table of named values behind an atomic pointer
//! (`arc-swap`). A [`Snapshot`] is such a version, counted by reference: reading it touches nothing
//! that a writer touches. A writer makes the next version beside the current one and swaps the
//! pointer. Each name carries the number of the version that wrote it last, so that a writer can
//! tell whether what it computed from is still current (optimistic concurrency control, as in
//! Kung and Robinson, 1981).
//!
//! # The model of a map
//!
//! A [`Map`] keeps the versions of each key in a chain, newest first, as databases in memory do (Larson et al.,
//! "High-performance concurrency control mechanisms for main-memory databases", 2011; Neumann et al., "Fast
//! serializable multi-version concurrency control for main-memory database systems", 2015). All writes of all
//! keys stand in one sequence in the order of time, and a [`MapSnapshot`] is a place in it: it sees what stands
//! before. A commit adds its writes, and then moves the place that the next snapshot gets: one store, after
//! which all of them are visible. An index leads from a key to its newest write. From there a snapshot goes
//! back to its own, by jumps that double in length (Myers, "An applicative random-access stack",
//! 1983), so that it takes O(log writes) even to a key that was written a million times since.
//!
//! Nothing is ever changed or freed in place; so a read needs no lock, no retry and no announcement, a value is
//! borrowed from its snapshot, and all of it is safe Rust. Instead the map moves: once two of three writes are
//! outdated, the newest of each key are copied to new memory, a few with each commit, and when all
//! are there the map goes on in it. Old memory is freed as a whole when its last snapshot is gone.
//!
//! # Writers
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
mod link;
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
mod typed;
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
pub use typed::{Any, Name};
pub use watch::{Change, Watch};
