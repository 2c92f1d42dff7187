//! How many instructions it costs to measure a message and to decide a window.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use std::time::Duration;

use stage_route::{Config, Controller, Input, Meter, Route};

const TIMES: u64 = 1000;

fn meter() -> Meter {
    Route::new("a", Config::default()).meter("stage")
}

fn controller() -> Controller {
    Controller::new("a", Config::default(), Duration::from_millis(1))
}

#[library_benchmark]
#[bench::thousand(meter())]
fn measure_a_message(meter: Meter) -> Meter {
    for _ in 0..TIMES {
        let arrival = meter.arrived();
        meter.started(arrival);
        meter.finished(black_box(Duration::from_micros(10)));
    }
    meter
}

#[library_benchmark]
#[bench::thousand(controller())]
fn decide_a_window(mut controller: Controller) -> Controller {
    for _ in 0..TIMES {
        controller.step(black_box(&Input::default()));
    }
    controller
}

library_benchmark_group!(name = route, benchmarks = [measure_a_message, decide_a_window]);
main!(library_benchmark_groups = route);
