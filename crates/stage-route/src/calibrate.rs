use std::hint::black_box;
use std::time::{Duration, Instant};

/// The work of one round: about what a small handler does.
const STEPS: u64 = 20_000;

/// Rounds, of which the fastest counts: the others were disturbed.
const ROUNDS: u32 = 16;

/// Measures what a small handler costs on this machine. Takes a few milliseconds at most.
pub(crate) fn measure() -> Duration {
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

fn round() -> Duration {
    let start = Instant::now();
    let mut state = black_box(0x9e37_79b9_7f4a_7c15u64);
    for step in 0..STEPS {
        state = (state ^ step).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
    }
    black_box(state);
    start.elapsed()
}
