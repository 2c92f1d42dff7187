#![doc = include_str!("../README.md")]

mod bucket;
mod clients;
mod config;
mod cors;
mod gateway;
mod json;
mod refusal;
mod request;
mod session;
mod signal;
mod stats;

pub use bucket::Bucket;
pub use clients::Client;
pub use config::Config;
pub use gateway::Gateway;
pub use json::{DEPTH, JsonError, from_json, to_json};
pub use stats::Stats;
