//! What a read costs while a writer writes as fast as it can, beside the locks one would use instead.
//!
//! One reader, one writer, a map of 100,000 entries. Each way to share it has several turns alone and beside the writer; what
//! counts is their median. A slow read is one in a thousand (p99.9), measured with a clock around it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints what it measured"
)]

mod ways;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ways::{ALL, ENTRIES, Kind, Way, spread};
use xtask_measured::{Asked, Measured, Unit};

/// Half of a turn is for the cost of a read, half for the percentile.
const TURN: Duration = Duration::from_millis(400);
const SHORT_TURN: Duration = Duration::from_millis(150);

/// Reads between two looks at the clock.
const BATCH: u64 = 1000;

#[derive(Clone, Copy, Default)]
struct Figures {
    /// Of the median batch, and of all together.
    read_ns: f64,
    mean_ns: f64,
    slow_ns: f64,
    writes_per_s: f64,
}

fn main() {
    let asked = Asked::of_process();
    let kinds = asked.chosen(ALL, |kind| format!("reads of {}/{}", kind.keys, kind.by));
    let (turns, time) = if asked.is_quick() { (5, SHORT_TURN) } else { (9, TURN) };
    let ways: Vec<_> = kinds.iter().map(|kind| (kind.make)()).collect();
    let mut alone = vec![Vec::new(); ways.len()];
    let mut beside = alone.clone();
    for _ in 0..turns {
        for ((way, alone), beside) in ways.iter().zip(&mut alone).zip(&mut beside) {
            alone.push(turn(way, false, time));
            beside.push(turn(way, true, time));
        }
    }
    println!("| read of | by | alone | beside | mean | p99.9 alone | p99.9 beside | writes/s |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for ((kind, alone), beside) in kinds.iter().zip(&alone).zip(&beside) {
        tell(kind, Figures::middle(alone), Figures::middle(beside));
    }
}

fn tell(kind: &Kind, alone: Figures, beside: Figures) {
    let Kind { keys, by, .. } = kind;
    println!(
        "| {keys} | {by} | {:.0} ns | {:.0} ns | {:.0} ns | {:.0} ns | {:.0} ns | {:.0} |",
        alone.read_ns,
        beside.read_ns,
        beside.mean_ns,
        alone.slow_ns,
        beside.slow_ns,
        beside.writes_per_s,
    );
    let measured = [
        ("a read, nobody writes", alone.read_ns),
        ("a read while the writer writes", beside.read_ns),
        ("the mean read beside the writer", beside.mean_ns),
        ("p99.9 of the reads, nobody writes", alone.slow_ns),
        ("p99.9 of the reads beside the writer", beside.slow_ns),
        ("a write beside the reader", 1e9 / beside.writes_per_s),
    ];
    for (what, value) in measured {
        let group = format!("{what}, {keys}");
        Measured { group: &group, by, unit: Unit::Time, value }.keep().unwrap();
    }
}

/// The cost is that of the median batch of those during which the writer wrote, if there is one: a writer that sleeps, because
/// it waits for a lock, is none, and a machine that is busy otherwise does not count.
fn turn(way: &Way, has_writer: bool, time: Duration) -> Figures {
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writer = has_writer.then(|| {
        let (stop, written, write) =
            (Arc::clone(&stop), Arc::clone(&written), Arc::clone(&way.write));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                write(written.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919) % ENTRIES);
            }
        })
    });
    let (began, mut reads, mut batches) = (Instant::now(), 0, Vec::new());
    while began.elapsed() < time / 2 {
        let (before, so_far) = (Instant::now(), written.load(Ordering::Relaxed));
        for _ in 0..BATCH {
            reads += 1;
            black_box((way.read)(spread(reads)));
        }
        let read_ns = before.elapsed().as_nanos() as f64 / BATCH as f64;
        if !has_writer || written.load(Ordering::Relaxed) > so_far {
            batches.push(read_ns);
        }
    }
    let (read_ns, mean_ns) = (median_of(batches), began.elapsed().as_nanos() as f64 / reads as f64);
    let mut times = Vec::new();
    while began.elapsed() < time {
        for _ in 0..BATCH {
            reads += 1;
            let before = Instant::now();
            black_box((way.read)(spread(reads)));
            times.push(before.elapsed().as_nanos() as u64);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let writes_per_s = written.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    if let Some(writer) = writer {
        writer.join().unwrap();
    }
    times.sort_unstable();
    Figures {
        read_ns,
        mean_ns,
        slow_ns: times.get(times.len() * 999 / 1000).copied().unwrap_or_default() as f64,
        writes_per_s,
    }
}

fn median_of(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

impl Figures {
    fn middle(turns: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| median_of(turns.iter().map(of).collect());
        Self {
            read_ns: middle(|turn| turn.read_ns),
            mean_ns: middle(|turn| turn.mean_ns),
            slow_ns: middle(|turn| turn.slow_ns),
            writes_per_s: middle(|turn| turn.writes_per_s),
        }
    }
}
