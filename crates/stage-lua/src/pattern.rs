//! Lua's patterns, matched in portions.
//!
//! The C functions of Lua match a pattern in one go. With k repetitions in it that takes up to n^(k+1) steps for a
//! text of n bytes, and nothing can interrupt it. So [`Pattern::harmless_length`] says for which texts they are soon done,
//! and beyond that [`Search`] does the same by portions, between which a handler can be paused or ended.
//!
//! The language and its errors are those of `lstrlib.c` of Lua 5.4; the matcher is a backtracking machine
//! with a stack of its own choices. A repetition repeats one character class and no group, so the stack is never higher
//! than the pattern is long.

mod parse;
mod search;
mod set;

pub(crate) use parse::Pattern;
pub(crate) use search::{Capture, Progress, Search};
