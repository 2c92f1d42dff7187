//! Scripts run as authors write them, on real VMs and workers, in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "lua/authors.rs"]
mod authors;
#[path = "lua/closing.rs"]
mod closing;
#[cfg(feature = "db")]
#[path = "lua/db.rs"]
mod db;
#[cfg(all(feature = "db", feature = "http"))]
#[path = "lua/editors.rs"]
mod editors;
#[path = "lua/errors.rs"]
mod errors;
#[path = "lua/escapes.rs"]
mod escapes;
#[path = "lua/functions.rs"]
mod functions;
#[path = "lua/harness.rs"]
mod harness;
#[path = "lua/hogs.rs"]
mod hogs;
#[cfg(feature = "http")]
#[path = "lua/http.rs"]
mod http;
#[path = "lua/json.rs"]
mod json;
#[path = "lua/means.rs"]
mod means;
#[path = "lua/profile.rs"]
mod profile;
#[path = "lua/reload.rs"]
mod reload;
#[path = "lua/sandbox.rs"]
mod sandbox;
#[cfg(feature = "db")]
#[path = "../../stage-db/tests/databases/servers.rs"]
#[allow(dead_code, reason = "the tests of stage-db use all of it")]
mod servers;
#[path = "lua/shared.rs"]
mod shared;
#[path = "lua/shipping.rs"]
mod shipping;
#[cfg(feature = "db")]
#[path = "lua/transactions.rs"]
mod transactions;
#[path = "lua/values.rs"]
mod values;
