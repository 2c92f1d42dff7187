//! The driver under explored schedules: the same sources, on shuttle's locks, atomics and tasks.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

include!("explore/tree.rs");
#[path = "../src/release.rs"]
mod release;
#[path = "explore/rt.rs"]
mod rt;
#[path = "explore/scenarios.rs"]
mod scenarios;
#[path = "explore/sync.rs"]
mod sync;

const SCHEDULES: usize = 1_000;
/// Points at which a rare schedule departs from a plain one.
const DEPARTURES: usize = 3;
const SEED: u64 = 0x57A6E;

fn explore(scenario: fn()) {
    let uniform = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(uniform, Config::new()).run(scenario);
    let rare = PctScheduler::new_from_seed(SEED, DEPARTURES, SCHEDULES);
    Runner::new(rare, Config::new()).run(scenario);
}

#[test]
fn no_job_is_lost_when_it_arrives_as_the_key_is_given_back() {
    explore(scenarios::arrivals_race_with_the_end_of_the_last_job);
}

#[test]
fn each_cancelled_job_ends_once_and_its_key_goes_on() {
    explore(scenarios::cancellations_race_with_ends);
}

#[test]
fn a_cancelled_job_of_a_handful_ends_once() {
    explore(scenarios::cancellations_race_with_handfuls);
}

#[test]
fn a_repeating_job_comes_back_whoever_holds_its_key() {
    explore(scenarios::pauses_race_with_arrivals);
}

#[test]
fn the_last_place_is_given_once() {
    explore(scenarios::the_last_place_is_given_once);
}

#[test]
fn a_drain_leaves_nothing_behind() {
    explore(|| scenarios::closing_races_with_arrivals(Close::Drain));
}

#[test]
fn an_abort_leaves_nothing_behind() {
    explore(|| scenarios::closing_races_with_arrivals(Close::Abort));
}

#[test]
fn an_abort_reaches_jobs_that_begin_to_wait() {
    explore(|| scenarios::interruptions_race_with_the_first_wait(false));
}

#[test]
fn cancelling_a_key_reaches_jobs_that_begin_to_wait() {
    explore(|| scenarios::interruptions_race_with_the_first_wait(true));
}
