//! The explorer has teeth: with a key given back in two steps, as one would write it without
//! thinking, it finds the lost job.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

include!("explore/tree.rs");
#[path = "explore/rt.rs"]
mod rt;
#[path = "explore/scenarios.rs"]
mod scenarios;
#[path = "explore/sync.rs"]
mod sync;

/// Looks whether anybody waits, and forgets the key in a second step.
mod release {
    use crate::key::Hashed;
    use crate::shard::Shard;
    use crate::tally::Tally;

    pub(crate) fn release(shard: &Shard, at: &Hashed, count: impl FnOnce(&mut Tally)) -> bool {
        let mut state = shard.lock();
        count(&mut state.tally);
        if state.lanes.depth(at) > 1 {
            return state.lanes.leave(at);
        }
        drop(state);
        let mut state = shard.lock();
        let lost = state.lanes.cancel_key(at);
        let _ = state.lanes.leave(at);
        drop(state);
        drop(lost);
        false
    }
}

#[test]
fn a_key_given_back_in_two_steps_loses_a_job() {
    let found = std::panic::catch_unwind(|| {
        let uniform = RandomScheduler::new_from_seed(0x57A6E, 1_000);
        let scenario = scenarios::arrivals_race_with_the_end_of_the_last_job;
        Runner::new(uniform, Config::new()).run(scenario);
    });
    assert!(found.is_err(), "the race went unseen");
}
