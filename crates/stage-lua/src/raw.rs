//! All that takes unsafe code here: Lua's count hook set by a signal, and what the host reads of closures and tables.
//!
//! Each part argues at its top why it is sound. Where the hook does not work, a [self-test](crate::preempt::self_test)
//! finds that at the start and the crate goes on without signals.

#![allow(unsafe_code)]

mod closure;
mod hook;
mod main_state;
mod plan;
mod stack;
mod table;

pub(crate) use closure::{Closures, Code, captured, set_captured};
pub(crate) use hook::{Beat, Entry, Post, Sliced, functions, hook_always};
pub(crate) use main_state::{MainState, main_state};
pub(crate) use plan::Plan;
pub(crate) use table::{has_metatable, read as read_table};
