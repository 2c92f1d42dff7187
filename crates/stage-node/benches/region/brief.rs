//! One overload, short enough for a run of all benches.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

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

/// Understands `--list` and `--exact ID` as criterion does.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let names = || POLICIES.map(Policy::name).into_iter().chain([IDEAL]);
    if arguments.iter().any(|argument| argument == "--list") {
        names().for_each(|name| println!("{}/{name}: benchmark", group()));
        return Ok(());
    }
    let wanted = arguments.iter().skip_while(|argument| *argument != "--exact").nth(1);
    let is_wanted = |name| wanted.is_none_or(|id| *id == format!("{}/{name}", group()));
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

/// Leaves the time per message where criterion would, for whoever reads the results of all benches.
fn keep(name: &str, per_second: f64) -> Result<()> {
    let Ok(home) = std::env::var("CRITERION_HOME") else { return Ok(()) };
    let folder = Path::new(&home).join(group()).join(name).join("new");
    std::fs::create_dir_all(&folder).context("a folder for the results")?;
    // Nothing in all that time is told as one at its end.
    let nanos = 1e9 / per_second.max(1.0 / (OVERLOAD - 1.0));
    let benchmark = json!({ "group_id": group(), "full_id": format!("{}/{name}", group()) });
    let interval = json!({ "confidence_level": 0.95, "lower_bound": nanos, "upper_bound": nanos });
    let median = json!({ "point_estimate": nanos, "confidence_interval": interval });
    std::fs::write(folder.join("benchmark.json"), benchmark.to_string())?;
    std::fs::write(folder.join("estimates.json"), json!({ "median": median }).to_string())?;
    Ok(())
}
