#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A [`Value`] is what one part of a service may hand to another: nil, booleans, numbers,
//! bytes, lists, maps and functions. It owns all it refers to, is `Send`, and cloning it copies
//! a pointer. [`Limits`] say how deep, how many and how large a tree from outside may be;
//! whoever converts into a `Value` keeps a [`Budget`] and reports a [`ValueError`], which
//! names the path to the offending part.
//!
//! [`wire`] is the flat encoding of values that travel between nodes. [`Address`] is the one
//! typed form of everything a signal can be sent to.

pub mod address;
mod function;
#[cfg(feature = "json")]
pub mod json;
mod key;
mod limits;
mod map;
mod path;
mod value;
pub mod wire;

pub use address::{Address, AddressError, HandlerId, Id, MessageId, Scope, SignalAddress, Target};
pub use function::{Capture, Function, FunctionHash, Prototype};
pub use key::Key;
pub use limits::{Budget, Limits};
pub use map::{Iter as MapIter, Map};
pub use path::{Path, Problem, Segment, ValueError};
pub use value::Value;
