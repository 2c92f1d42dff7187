//! One bench target, measured once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

use super::build::Built;

/// In which order the benchmarks of a target run. What is measured late finds a warmer machine and
/// an older heap, so every other round goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As the target has them.
    Forth,
    /// The last one first, each in a process of its own.
    Back,
}

impl Order {
    /// The order of a round; rounds count from one.
    pub(crate) fn of_round(round: u32) -> Self {
        if round % 2 == 1 { Self::Forth } else { Self::Back }
    }
}

/// How long each benchmark is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// As the target says.
    Full,
    /// Half a second.
    Short,
}

/// Measures a target in full; what came of it lies in `home`.
///
/// # Errors
/// A target that fails, or that is no criterion bench.
pub(crate) fn measure(target: &Built<'_>, order: Order, length: Length, home: &Path) -> Result<()> {
    let passes = |arguments: &[&str]| -> Result<()> {
        let mut command = bench(target);
        command.arg("--noplot").args(arguments);
        if length == Length::Short {
            let short = ["--warm-up-time", "0.2", "--measurement-time", "0.5"];
            command.args(short).args(["--sample-size", "10"]);
        }
        // Each target has its results to itself: ids of two crates may be the same.
        if !run::passes(command.env("CRITERION_HOME", home))? {
            bail!("the bench target {} of {} failed", target.bench.name, target.member.name);
        }
        Ok(())
    };
    match order {
        Order::Forth => passes(&[]),
        Order::Back => {
            let listed = run::output(bench(target).arg("--list"))?;
            let listed = String::from_utf8(listed)
                .with_context(|| format!("the benchmarks that {} lists", target.bench.name))?;
            ids(&listed).rev().try_for_each(|id| passes(&["--exact", id]))
        }
    }
}

/// The target as `cargo bench` starts it: in the folder of its package.
fn bench(target: &Built<'_>) -> Command {
    let mut command = Command::new(&target.executable);
    command.current_dir(&target.folder).arg("--bench");
    command
}

/// The ids in what criterion prints with `--list`.
fn ids(listed: &str) -> impl DoubleEndedIterator<Item = &str> {
    listed.lines().filter_map(|line| line.strip_suffix(": benchmark"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_goes_back() {
        let orders: Vec<_> = (1..=4).map(Order::of_round).collect();
        assert_eq!(orders, [Order::Forth, Order::Back, Order::Forth, Order::Back]);
    }

    #[test]
    fn the_ids_are_read_out_of_a_list() {
        let listed = "a group/stage/64: benchmark\nan odd: id/peer: benchmark\n\n2 benchmarks\n";
        assert_eq!(ids(listed).collect::<Vec<_>>(), ["a group/stage/64", "an odd: id/peer"]);
    }
}
