#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A node is composed once, from a [`Config`](config::Config) that is read whole or refused whole,
//! with flags of the command line ([`cli`]) laid over it. [`commands`] are what the binary does: each
//! writes to a writer it is given and says how it failed, so that `main` is left with parsing and exit
//! codes. [`Node`] puts the library crates together; [`admin`] is its operator's surface.

pub mod admin;
pub mod bench;
mod bottleneck;
pub mod cli;
pub mod commands;
pub mod config;
mod gossip;
mod history;
mod node;
mod standing;
pub mod testing;
mod tickets;

pub use node::{Node, StartError};
