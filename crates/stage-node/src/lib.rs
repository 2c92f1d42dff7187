#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A node is composed once, from a [`Config`](config::Config) that is read whole or refused whole,
//! with flags of the command line ([`cli`]) laid over it. [`commands`] are what the binary does apart
//! from running: each writes to a writer it is given and says how it failed, so that `main` is left
//! with parsing and exit codes.

pub mod cli;
pub mod commands;
pub mod config;
