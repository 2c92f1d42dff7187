//! How many instructions a message costs on its way between nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use stage_value::{Address, Key, Limits, Map, Value, wire};

/// A table of 20 fields beside two strings.
fn message() -> Vec<Value> {
    let fields = (0..20_i64).map(|n| (Key::from(format!("field {n}").as_str()), Value::from(n)));
    vec!["hello".into(), "kim".into(), Map::from_entries(fields.collect()).into()]
}

#[library_benchmark]
#[bench::twenty_fields(message())]
fn encode(values: Vec<Value>) -> Bytes {
    wire::encode(black_box(&values))
}

#[library_benchmark]
#[bench::twenty_fields(wire::encode(&message()))]
fn decode(bytes: Bytes) -> Vec<Value> {
    wire::decode(black_box(&bytes), &Limits::default()).unwrap()
}

#[library_benchmark]
#[bench::with_reply_and_failure("+lobby:player.move=moved!lost")]
fn parse_an_address(text: &str) -> Address {
    black_box(text).parse().unwrap()
}

library_benchmark_group!(name = value, benchmarks = [encode, decode, parse_an_address]);
main!(library_benchmark_groups = value);
