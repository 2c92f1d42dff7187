#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A [`Runtime`] owns threads, each with one VM. A *stage instance* is such a VM: it runs a script,
//! which registers handlers, and then handles what comes into its mailbox, in order of arrival. A
//! handler runs as a coroutine and gives its VM away only where it waits: in `sleep` and in
//! `stage.ask`. *Workers* are VMs without a script; they run functions that were submitted or sent
//! along with a signal. Such a function travels as source text with the values that it captured and
//! runs in a sandbox.
//!
//! Nothing that crosses between VMs refers to either: arguments and results are
//! [`Value`](stage_value::Value)s.

mod api;
mod caller;
mod check;
mod complaints;
mod convert;
mod databases;
mod error;
mod function;
mod generation;
mod handlers;
mod home;
#[cfg(feature = "http")]
mod http;
mod instance;
mod mailbox;
#[doc(hidden)]
pub mod measure;
mod memory;
mod output;
mod pattern;
mod preempt;
mod profile;
mod raw;
mod reload;
mod run;
mod runtime;
mod script;
mod script_files;
mod services;
mod testing;
mod tickets;
mod turn;
mod view;
mod vm;
mod vm_thread;
mod worker;

pub use api::shared::is_variable;
pub use check::check;
pub use databases::Databases;
pub use error::StartError;
pub use home::Event;
#[cfg(feature = "http")]
pub use http::RequestStats;
pub use output::Output;
pub use profile::{Profile, ProfiledLine, Profiler, ProfilerError};
pub use runtime::{QueueView, Runtime};
pub use script::{ReadError, Script};
pub use services::{Counters, Options, Parts};
pub use testing::{TestFailure, Testing};
pub use tickets::TicketDesk;
#[cfg(feature = "db")]
pub use tickets::TicketGate;
