use std::io::{self, Write};

use serde_json::{Map, json};

use super::tally::Tally;
use super::{Place, Plan, Work};

const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Writes the result for people.
pub(super) fn text(plan: &Plan, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    let place = match &plan.place {
        Place::Here => "a node in this process".to_owned(),
        Place::There(address, _) => address.to_string(),
    };
    let seconds = tally.lasted.as_secs_f64();
    let load = match plan.load.rate {
        Some(rate) => {
            format!("{rate} planned a second, at most {} at a time", plan.load.concurrency)
        }
        None => format!("{} at a time", plan.load.concurrency),
    };
    writeln!(out, "{}, {load}, {seconds:.1} s, at {place}", what(plan.work))?;
    let (done, failed) = (tally.done(), tally.failed());
    writeln!(out, "  {done} done, {:.0} a second, {failed} failed", tally.per_second())?;
    if tally.late() > 0 {
        let late = tally.late();
        writeln!(out, "  {late} of those done ended after the time, and not in a second of it")?;
    }
    for (reason, failures) in tally.failures() {
        writeln!(out, "    {} {reason}: {}", failures.count, failures.first)?;
    }
    if tally.unsent > 0 {
        writeln!(out, "  {} could not begin in time: that is more than it does", tally.unsent)?;
    }
    if tally.given_up > 0 {
        writeln!(out, "  {} had not ended long after the end, and were given up", tally.given_up)?;
    }
    let heads = PERCENTILES.iter().map(|(name, _)| format!("{name:>10}"));
    writeln!(out, "      {}{:>10}", heads.collect::<String>(), "max")?;
    let times =
        PERCENTILES.iter().map(|(_, percent)| format!("{:>10.3}", tally.percentile_ms(*percent)));
    writeln!(out, "  ms  {}{:>10.3}", times.collect::<String>(), tally.longest_ms())?;
    if plan.load.rate.is_some() {
        writeln!(out, "  from when each was to begin")?;
    }
    Ok(())
}

/// Writes the result for programs.
pub(super) fn json(plan: &Plan, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    let mut times: Map<String, serde_json::Value> = PERCENTILES
        .iter()
        .map(|(name, percent)| ((*name).to_owned(), json!(tally.percentile_ms(*percent))))
        .collect();
    times.insert("max".to_owned(), json!(tally.longest_ms()));
    let failures: Map<String, serde_json::Value> =
        tally.failures().map(|(reason, of)| (reason.to_owned(), json!(of.count))).collect();
    let result = json!({
        "work": what(plan.work),
        "rate": plan.load.rate,
        "concurrency": plan.load.concurrency,
        "seconds": tally.lasted.as_secs_f64(),
        "done": tally.done(),
        "late": tally.late(),
        "per_second": tally.per_second(),
        "failed": failures,
        "unsent": tally.unsent,
        "given_up": tally.given_up,
        "ms": times,
    });
    writeln!(out, "{result}")
}

fn what(work: Work) -> String {
    match work {
        Work::Signal { size } => format!("signal of {size} bytes and its reply"),
        Work::Submit { size, keys: 0 } => format!("submitted job of {size} bytes without a key"),
        Work::Submit { size, keys: 1 } => format!("submitted job of {size} bytes, one key"),
        Work::Submit { size, keys } => format!("submitted job of {size} bytes, {keys} keys"),
        Work::Ticket { size, limit } => {
            format!("ticket and handler of {size} bytes, {limit} at once")
        }
    }
}
