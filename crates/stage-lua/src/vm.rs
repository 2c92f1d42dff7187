//! Making a virtual machine, and what its handlers share.

mod base;
mod bounded;
mod library;
mod local;

pub(crate) use crate::raw::Debug;
pub(crate) use library::Library;
pub(crate) use local::{Handler, Local};
