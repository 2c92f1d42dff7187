//! The cases, and the figures of each: medians over the seeds, and the worst where one bad seed is one too many.

use std::ops::RangeInclusive;

use anyhow::{Result, bail};

use crate::cluster::Setting;
use crate::outcome::Outcome;
use crate::plan::{Plan, Policy, Slow, at, at_first};

/// How often a case runs, and what the nodes do about overload where a case compares that.
pub(crate) struct Scope {
    pub(crate) seeds: std::ops::Range<u64>,
    pub(crate) policies: Vec<Policy>,
}

type Case = fn(&Setting, &Scope) -> Result<()>;

const CASES: [(&str, Case); 8] = [
    ("overload", overload),
    ("surge", surge),
    ("slow", slow),
    ("away", away),
    ("calm", calm),
    ("cluster", cluster),
    ("creep", creep),
    ("half", half),
];

/// Runs the cases of these names, or all.
pub(crate) fn run(setting: &Setting, scope: &Scope, names: &[String]) -> Result<()> {
    let is_case = |name: &&String| CASES.iter().any(|(case, _)| case == name);
    if let Some(name) = names.iter().find(|name| !is_case(name)) {
        let known = CASES.map(|(name, _)| name).join(", ");
        bail!("there is no case {name}; there are {known}");
    }
    for (name, case) in CASES {
        if names.is_empty() || names.iter().any(|of| of == name) {
            println!("\n{name}");
            case(setting, scope)?;
        }
    }
    Ok(())
}

/// What each seed gives; the seconds of a run go to the log if somebody looks closer.
fn each<T>(
    setting: &Setting,
    scope: &Scope,
    plan: &Plan,
    figure: impl Fn(&Outcome) -> T,
) -> Result<Vec<T>> {
    let one = |seed| {
        let outcome = setting.run(plan, seed)?;
        if std::env::var_os("REGION_TRACE").is_some() {
            outcome.print_seconds();
        }
        Ok(figure(&outcome))
    };
    scope.seeds.clone().map(one).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn range(figures: &[f64]) -> RangeInclusive<f64> {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    least..=figures.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The median, and from what to what the seeds go.
fn shown(figures: Vec<f64>, digits: usize) -> String {
    let range = range(&figures);
    let (least, most) = (range.start(), range.end());
    format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(figures))
}

/// Goodput of what peers send, step by step, and what is served afterwards.
fn overload(setting: &Setting, scope: &Scope) -> Result<()> {
    const LOADS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 5.0, 10.0];
    const CALM: f64 = 10.0;
    const STEP: f64 = 6.0;
    let end = CALM + STEP * LOADS.len() as f64;
    let mut peer = vec![at(0.0, 0.5)];
    peer.extend(LOADS.iter().enumerate().map(|(n, load)| at(CALM + STEP * n as f64, *load)));
    peer.push(at(end, 0.5));
    let plan = Plan::new(end + 12.0, vec![at(0.0, 0.3)], peer);
    println!(
        "  goodput as a share of spare capacity, as fast as the processor was then, at {LOADS:?}; served from 5 s after; least joined"
    );
    for &policy in &scope.policies {
        let figures = each(setting, scope, &plan.under(policy), |outcome| {
            // The first second of a step has the queues of the step before.
            let goodput = |n: usize| {
                let (from, to) = (CALM + STEP * n as f64 + 1.0, CALM + STEP * (n + 1) as f64);
                outcome.rates(from, to).1 / setting.spare(&plan, outcome, from, to)
            };
            let (sent, good) = outcome.rates(end + 5.0, end + 12.0);
            let goodput: Vec<f64> = (0..LOADS.len()).map(goodput).collect();
            (goodput, good / sent, outcome.least_joined() as f64)
        })?;
        let of = |n: usize| shown(figures.iter().map(|figure| figure.0[n]).collect(), 2);
        let goodput: Vec<_> = (0..LOADS.len()).map(of).collect();
        let after = shown(figures.iter().map(|figure| figure.1).collect(), 2);
        let joined = shown(figures.iter().map(|figure| figure.2).collect(), 0);
        println!("  {:8} {}; {after}; {joined}", policy.name(), goodput.join("  "));
    }
    Ok(())
}

/// One node's own work surges: when it leaves, when it is back.
fn surge(setting: &Setting, scope: &Scope) -> Result<()> {
    for rho in [1.5, 2.0] {
        let own = vec![at(0.0, 0.3), at_first(10.0, rho), at_first(16.0, 0.2)];
        let plan = Plan::new(40.0, own, vec![at(0.0, 0.3)]);
        let figures = each(setting, scope, &plan, |outcome| {
            let left = outcome.leaves(0).first().copied().unwrap_or(f64::NAN) - 10.0;
            let back = outcome.back(0).unwrap_or(f64::NAN) - 16.0;
            let bound = 8.0 * outcome.cost(0, 9) / 1000.0 * rho / (rho - 1.0) + 1.2;
            (left, bound, back)
        })?;
        let of = |of: fn(&(f64, f64, f64)) -> f64| shown(figures.iter().map(of).collect(), 2);
        println!(
            "  {rho} of capacity for 6 s: left after {} s, bound {} s; back {} s after the surge, which leaves {:.1} s of work",
            of(|it| it.0),
            of(|it| it.1),
            of(|it| it.2),
            6.0 * (rho - 1.0) / 0.8
        );
    }
    Ok(())
}

/// One node is three times slower for a minute.
fn slow(setting: &Setting, scope: &Scope) -> Result<()> {
    let mut plan = Plan::new(80.0, vec![at(0.0, 0.1)], vec![at(0.0, 0.7)]);
    plan.slow = vec![Slow { node: 0, from: 10.0, to: 70.0, factor: 3.0 }];
    for &policy in &scope.policies {
        let figures = each(setting, scope, &plan.under(policy), |outcome| {
            let (sent, good) = outcome.rates(10.0, 70.0);
            (outcome.leaves(0).len() as f64, good / sent)
        })?;
        let leaves = shown(figures.iter().map(|it| it.0).collect(), 0);
        let served = shown(figures.iter().map(|it| it.1).collect(), 3);
        println!("  {:8} leaves {leaves}, served in time {served}", policy.name());
    }
    Ok(())
}

/// Local latency of a node that is away, beside the same local load with no peers.
fn away(setting: &Setting, scope: &Scope) -> Result<()> {
    let own = vec![at(0.0, 0.3), at_first(10.0, 1.5), at_first(13.0, 0.8)];
    for (what, peer) in [("with peers", 0.5), ("no peers' work", 0.0)] {
        let plan = Plan::new(45.0, own.clone(), vec![at(0.0, peer)]);
        let p99 = each(setting, scope, &plan, |outcome| outcome.own_p99(0, 20.0, 45.0) * 1000.0)?;
        println!("  {what}: p99 {} ms", shown(p99, 0));
    }
    Ok(())
}

/// Nobody leaves without cause.
fn calm(setting: &Setting, scope: &Scope) -> Result<()> {
    const SECONDS: f64 = 55.0;
    let usual = Plan::new(SECONDS, vec![at(0.0, 0.3)], vec![at(0.0, 0.3)]);
    let kinds = [
        ("idle", Plan::new(SECONDS, vec![at(0.0, 0.01)], vec![at(0.0, 0.01)])),
        ("bursty", Plan { burst: 10, ..usual.clone() }),
        ("heavy", Plan { heavy: true, ..usual.clone() }),
        ("whale", Plan { whale: Some(30.0), ..usual }),
    ];
    for (name, plan) in kinds {
        let leaves = each(setting, scope, &plan, Outcome::all_leaves)?;
        let hours = leaves.len() as f64 * SECONDS * 5.0 / 3600.0;
        println!("  {name:8} {} leaves in {hours:.2} node-hours", leaves.iter().sum::<usize>());
    }
    Ok(())
}

/// Every node's own work surges at once.
fn cluster(setting: &Setting, scope: &Scope) -> Result<()> {
    let own = vec![at(0.0, 0.3), at(10.0, 1.4), at(20.0, 0.2)];
    let plan = Plan::new(45.0, own, vec![at(0.0, 0.5)]);
    for &policy in &scope.policies {
        let figures = each(setting, scope, &plan.under(policy), |outcome| {
            let (sent, good) = outcome.rates(37.0, 45.0);
            (outcome.least_joined() as f64, good / sent)
        })?;
        let joined = shown(figures.iter().map(|it| it.0).collect(), 0);
        let after = shown(figures.iter().map(|it| it.1).collect(), 3);
        println!("  {:8} least joined {joined}, served at the end {after}", policy.name());
    }
    Ok(())
}

/// Local work is a tenth over capacity: the time to leave, by `#route`.
fn creep(setting: &Setting, scope: &Scope) -> Result<()> {
    for route in [2, 8, 32] {
        let own = vec![at(0.0, 0.3), at_first(10.0, 1.1)];
        let plan = Plan { route: route.into(), ..Plan::new(35.0, own, vec![at(0.0, 0.2)]) };
        let left = each(setting, scope, &plan, |outcome| {
            outcome.leaves(0).first().copied().unwrap_or(f64::INFINITY) - 10.0
        })?;
        println!("  #route {route}: left after {} s", shown(left, 1));
    }
    Ok(())
}

/// A node's processor is halved: what it takes a message to cost, before and after.
fn half(setting: &Setting, scope: &Scope) -> Result<()> {
    let calm = Plan::new(55.0, vec![at(0.0, 0.2)], vec![at(0.0, 0.1)]);
    let own = vec![at(0.0, 0.2), at_first(15.0, 0.9)];
    let busy = Plan { rest: 25.0, ..Plan::new(40.0, own, vec![at(0.0, 0.1)]) };
    for (what, mut plan) in [("calm", calm), ("overloaded", busy)] {
        plan.slow = vec![Slow { node: 0, from: 15.0, to: plan.seconds, factor: 2.0 }];
        let ratio = each(setting, scope, &plan, |outcome| {
            outcome.cost(0, plan.seconds as usize - 1) / outcome.cost(0, 14)
        })?;
        println!("  {what}: B changes by a factor of {}", shown(ratio, 2));
    }
    Ok(())
}
