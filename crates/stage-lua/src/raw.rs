//! All that takes unsafe code here: Lua's count hook set by a signal, and a VM that is opened with the `debug` library.
//!
//! Each part argues at its top why it is sound. Where the hook does not work, a [self-test](crate::preempt::self_test)
//! finds that at the start and the crate goes on without signals.

#![allow(unsafe_code)]

mod debug;
mod hook;

pub(crate) use debug::Debug;
pub(crate) use hook::{Beat, Entry, MainState, Post, Sliced, functions, hook_always, main_state};
