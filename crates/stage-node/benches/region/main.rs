//! Overloads five real nodes on this machine.
//!
//! Each node is a process with a stage of one VM, whose thread the kernel gives a quarter of a core (`SCHED_DEADLINE`): five such nodes
//! fit on two cores, a node is slowed by giving it less, and nothing else that runs here touches them.
//!
//! As a bench among others it measures one overload in brief. `cargo xtask region` has it run the cases, which take hours.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its result")]

mod brief;
mod cases;
mod cluster;
mod outcome;
mod plan;
mod processor;

use anyhow::{Context, Result, bail};

use crate::cases::Scope;
use crate::plan::Policy;

fn main() -> Result<()> {
    // Cargo tells every bench that it is one.
    let mut arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "cases") {
        arguments.remove(0);
        return run_cases(arguments.into_iter());
    }
    brief::run(arguments)
}

fn run_cases(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (mut seeds, mut first) = (5, 1);
    let (mut policies, mut names) = (vec![], vec![]);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seeds" => seeds = value()?.parse().context("--seeds needs a number")?,
            "--first" => first = value()?.parse().context("--first needs a number")?,
            "--policy" => policies.push(Policy::named(&value()?)?),
            option if option.starts_with('-') => {
                bail!("unknown option {option}; there are --seeds N, --first N and --policy NAME");
            }
            name => names.push(name.to_owned()),
        }
    }
    let setting = cluster::Setting::new()?;
    println!("{}", setting.shows());
    if policies.is_empty() {
        policies.extend(Policy::ALL);
    }
    cases::run(&setting, &Scope { seeds: first..first + seeds, policies }, &names)
}
