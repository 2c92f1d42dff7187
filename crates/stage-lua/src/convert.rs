//! Lua values to owned values and back, within limits and without recursion.

mod content;
mod from_lua;
mod into_lua;

pub(crate) use content::Content;
pub(crate) use from_lua::{Packer, scalar_key};
pub(crate) use into_lua::{Unpacker, key_to_lua};
