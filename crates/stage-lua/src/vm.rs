//! Making a virtual machine, and what its handlers share.

mod base;
mod bounded;
mod library;
mod local;

#[cfg(test)]
pub(crate) use base::restrict;
pub(crate) use library::Library;
pub(crate) use local::{Handler, Local};
