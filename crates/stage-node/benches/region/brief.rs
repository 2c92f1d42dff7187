//! One overload, short enough for a run of all benches.

use anyhow::{Context, Result};
use xtask_measured::{Asked, Measured, Unit};

use crate::cluster::Setting;
use crate::plan::{Plan, Policy, at};

/// What peers send, as a share of what the nodes have to spare.
const LOAD: f64 = 3.0;

/// Seconds before it, in which nodes learn what their messages cost.
const CALM: f64 = 6.0;

/// Seconds of it. The first is not counted: it has the queues of before.
const OVERLOAD: f64 = 6.0;

const POLICIES: [Policy; 3] = [Policy::Stage, Policy::None, Policy::Literal];

/// A yardstick, not measured: every node busy with nothing but messages that end in time.
const IDEAL: &str = "all that the nodes can do";

pub(crate) fn run(arguments: Vec<String>) -> Result<()> {
    let names = POLICIES.map(Policy::name).into_iter().chain([IDEAL]);
    let chosen = Asked::of(arguments).chosen(names, |name| format!("{}/{name}", group()));
    if chosen.is_empty() {
        return Ok(());
    }
    let is_wanted = |name| chosen.contains(&name);
    let plan = Plan::new(CALM + OVERLOAD, vec![at(0.0, 0.3)], vec![at(0.0, 0.5), at(CALM, LOAD)]);
    let spare = plan.spare() / Setting::cost();
    if is_wanted(IDEAL) {
        keep(IDEAL, spare)?;
    }
    let setting = Setting::new()?;
    for policy in POLICIES.into_iter().filter(|policy| is_wanted(policy.name())) {
        let outcome = setting.run(&plan.under(policy), 1)?;
        let (from, to) = (CALM + 1.0, CALM + OVERLOAD);
        let (sent, good) = outcome.rates(from, to);
        let had = setting.spare(&plan, &outcome, from, to);
        println!(
            "{:8} of {sent:.0} messages a second {good:.0} ended in time; spare capacity was {had:.0}",
            policy.name()
        );
        // As if the processor had been as fast as it was planned with.
        keep(policy.name(), good / had * spare)?;
    }
    Ok(())
}

fn group() -> String {
    format!("a message in time at {LOAD} times the spare capacity")
}

/// Leaves the time per message for whoever reads the results of all benches.
fn keep(by: &str, per_second: f64) -> Result<()> {
    // Nothing in all that time is told as one at its end.
    let value = 1e9 / per_second.max(1.0 / (OVERLOAD - 1.0));
    let measured = Measured { group: &group(), by, unit: Unit::Time, value };
    measured.keep().context("leaving the results")
}
