//! How many instructions values and functions cost on their way out of a VM and into one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

#[path = "bare/vm.rs"]
mod bare;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use mlua::MultiValue;
use stage_lua::Script;
use stage_lua::measure::Bare;

const TIMES: usize = 100;

const TABLE: &str = "local t = {} for i = 1, 100 do t[i] = { i, 'value' .. i } end return t";
const FUNCTION: &str = "local n, name = 17, 'kim' return function(a) return a + n .. name end";

type Known = (tokio::runtime::Runtime, Bare, MultiValue);

/// A VM and what a script returned in it, which was out of it and back in once.
fn known(script: &'static str) -> Known {
    let (tokio, bare) = bare::open();
    let value = bare.run(&Script::of_text("known.lua", script)).unwrap();
    let values: MultiValue = [value].into_iter().collect();
    out_and_back(&bare, &values, 1);
    (tokio, bare, values)
}

fn out_and_back(bare: &Bare, values: &MultiValue, times: usize) {
    for _ in 0..times {
        let packed = bare.pack(values.clone()).unwrap();
        bare.unpack(black_box(packed)).unwrap();
    }
}

#[library_benchmark]
#[bench::of_a_hundred_tables(known(TABLE))]
fn a_table_out_and_back((_tokio, bare, values): Known) {
    out_and_back(&bare, &values, TIMES);
}

#[library_benchmark]
#[bench::of_two_captures(known(FUNCTION))]
fn a_function_out_and_back((_tokio, bare, values): Known) {
    out_and_back(&bare, &values, TIMES);
}

library_benchmark_group!(name = lua, benchmarks = [a_table_out_and_back, a_function_out_and_back]);
main!(library_benchmark_groups = lua);
