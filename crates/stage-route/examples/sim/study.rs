//! The studies: what the docs say of the controller is printed and drawn here.

use std::path::Path;

use anyhow::{Result, bail};
use stage_route::Tuning;

use crate::plot::{self, Curve};
use crate::report::Report;
use crate::scenario::{Scenario, Service};
use crate::scenarios;

const POLICIES: [&str; 7] = ["stage", "none", "ewma", "literal", "dagor", "codel", "gradient2"];

const STUDIES: [&str; 5] = ["goodput", "times", "scenarios", "calm", "parts"];

/// Runs those of these names, or all, with so many seeds; draws the curves into a folder, if there is one.
pub(crate) fn run(seeds: u64, images: Option<&Path>, names: &[String]) -> Result<()> {
    if let Some(name) = names.iter().find(|name| !STUDIES.contains(&name.as_str())) {
        bail!("there is no study {name}; there are {}", STUDIES.join(", "));
    }
    let is_wanted = |study: &str| names.is_empty() || names.iter().any(|name| name == study);
    let scenarios = scenarios::all()?;
    let of = |name: &str| scenarios.iter().find(|(of, _)| *of == name).map(|(_, of)| of.clone());
    let mut curves = vec![];
    if let (Some(overload), Some(surge), Some(creep)) = (of("overload"), of("surge"), of("creep")) {
        if is_wanted("goodput") {
            cheap_refusals(&overload, seeds);
            curves.push(("route-goodput.svg", goodput(&overload, seeds)));
            curves.push(("route-recovery.svg", recovery(&overload, seeds)));
        }
        if is_wanted("times") {
            sensitivity(&creep, seeds);
            surges(&surge, seeds);
        }
    }
    if let Some(isolated) = of("isolated").filter(|_| is_wanted("times")) {
        local_latency(&isolated, seeds);
    }
    let mut surprises = vec![];
    for (name, scenario) in scenarios.iter().filter(|_| is_wanted("scenarios")) {
        surprises.extend(figures(name, scenario, seeds));
    }
    if is_wanted("calm") {
        false_leaves(&scenarios, seeds);
    }
    if is_wanted("parts") {
        ablation(&scenarios, seeds);
    }
    for (name, drawing) in curves {
        let Some(folder) = images else { break };
        let (title, across, curves) = drawing;
        std::fs::write(folder.join(name), plot::draw(title, across, &curves))?;
        println!("drew {}", folder.join(name).display());
    }
    match surprises.len() {
        0 => Ok(()),
        runs => bail!("{runs} runs ended as their scenarios do not expect: {surprises:?}"),
    }
}
type Drawing = (&'static str, &'static str, Vec<Curve>);

fn stage(scenario: &Scenario, seed: u64) -> Report {
    scenarios::run(scenario, seed, "stage", Tuning::default())
}

/// The median over the seeds of what a run gives.
fn median(seeds: u64, figure: impl FnMut(u64) -> f64) -> f64 {
    let mut figures: Vec<f64> = (1..=seeds).map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn figure(scenario: &Scenario, seeds: u64, policy: &str, tuning: Tuning, name: &str) -> f64 {
    let of = |seed| {
        let mut report = scenarios::run(scenario, seed, policy, tuning);
        report.figures(scenario).get(name).copied().unwrap_or(f64::NAN)
    };
    // A floor that breaks with one seed of many is broken.
    if name == "least_joined" {
        return (1..=seeds).map(of).fold(f64::INFINITY, f64::min);
    }
    median(seeds, of)
}

fn with_peers(scenario: &Scenario, load: f64) -> Scenario {
    let mut scenario = scenario.clone();
    if let Some(peer) = scenario.peer.get_mut(1) {
        peer.load = load;
    }
    scenario
}

fn goodput(overload: &Scenario, seeds: u64) -> Drawing {
    const LOADS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 5.0, 10.0];
    println!("\ngoodput, as a share of spare capacity, at peers' load of {LOADS:?}");
    let curve = |policy: &&'static str| {
        let at = |load: f64| {
            let scenario = with_peers(overload, load);
            (load, figure(&scenario, seeds, policy, Tuning::default(), "goodput"))
        };
        let points: Vec<_> = LOADS.into_iter().map(at).collect();
        println!("  {policy:10} {}", row(points.iter().map(|point| point.1)));
        Curve { name: policy, points }
    };
    let curves = POLICIES.iter().map(curve).collect();
    ("Goodput by peers' load, as shares of spare capacity", "peers' load", curves)
}

/// The same if a refusal of a queued message costs no more than one at the door.
fn cheap_refusals(overload: &Scenario, seeds: u64) {
    println!("\nthe same with late refusals of 5 us, at 1.5, 3 and 10");
    let cheap = Scenario { late_refusal: 5e-6, ..overload.clone() };
    let all = Tuning { credit_floor: 1.0, ..Tuning::default() };
    let cases = [("stage", Tuning::default()), ("stage", all), ("codel", Tuning::default())];
    for ((policy, tuning), shown) in cases.into_iter().zip(["stage", "no shedding", "codel"]) {
        let at = |load| figure(&with_peers(&cheap, load), seeds, policy, tuning, "goodput");
        println!("  {shown:12} {}", row([1.5, 3.0, 10.0].into_iter().map(at)));
    }
}

/// Goodput second by second, through twenty seconds of tenfold load.
fn recovery(overload: &Scenario, seeds: u64) -> Drawing {
    println!("\nserved in the 15 s that begin 5 s after an overload of 10, as a share of offered");
    let curve = |policy: &&'static str| {
        let report = scenarios::run(overload, 1, policy, Tuning::default());
        let spare = overload.peer_rate(0.0) / 0.5;
        let good = report.seconds.iter().map(|second| second.1 as f64 / spare).enumerate();
        let served = figure(overload, seeds, policy, Tuning::default(), "served_at_end");
        println!("  {policy:10} {served:.3}");
        Curve { name: policy, points: good.map(|(at, good)| (at as f64, good)).collect() }
    };
    let curves = POLICIES.iter().map(curve).collect();
    ("Goodput while peers send ten times too much, from 5 s to 25 s", "seconds", curves)
}

fn sensitivity(creep: &Scenario, seeds: u64) {
    println!("\ntime to leave at 1.1 of capacity, by #route");
    for route in [2.0, 4.0, 8.0, 16.0, 32.0] {
        let scenario = Scenario { route, ..creep.clone() };
        let left = figure(&scenario, seeds, "stage", Tuning::default(), "left_at") - 10.0;
        println!("  {route:4} {left:6.1} s");
    }
}

fn surges(surge: &Scenario, seeds: u64) {
    println!("\ntime to leave on a local surge, and its bound theta rho / (rho - 1) + 12 W");
    for rho in [1.25, 1.5, 2.0, 3.0] {
        let mut scenario = surge.clone();
        scenario.local[1].load = rho;
        let left = figure(&scenario, seeds, "stage", Tuning::default(), "left_at") - 10.0;
        let bound = 8.0 * scenario.cost() * rho / (rho - 1.0) + 1.2;
        println!("  {rho:4} {left:6.2} s, bound {bound:.2} s");
    }
}

fn local_latency(isolated: &Scenario, seeds: u64) {
    let mut alone = isolated.clone();
    alone.peer.clear();
    let of = |scenario, name| figure(scenario, seeds, "stage", Tuning::default(), name);
    let p99 = |scenario| of(scenario, "local_p99_away_ms");
    println!(
        "\nlocal p99 while away {:.1} ms, with no peers {:.1} ms; away for {:.2} of the time measured",
        p99(isolated),
        p99(&alone),
        of(isolated, "share_away"),
    );
}

/// Shows what a scenario comes to, and tells what surprises in it.
fn figures(name: &str, scenario: &Scenario, seeds: u64) -> Vec<String> {
    let mut surprises = vec![];
    for seed in 1..=seeds {
        let of_seed = scenarios::surprises(scenario, &mut stage(scenario, seed));
        surprises.extend(of_seed.iter().map(|it| format!("{name} with seed {seed}: {it}")));
    }
    println!(
        "\n{name}: {}; {} of {seeds} seeds surprise {surprises:?}",
        scenario.shows,
        surprises.len()
    );
    for policy in POLICIES {
        let mut report = scenarios::run(scenario, 1, policy, Tuning::default());
        let figures = report.figures(scenario);
        let shown = [
            "served",
            "served_at_end",
            "local_p99_ms",
            "leaves",
            "least_joined",
            "left_at",
            "back_at",
            "baseline_of_0",
        ];
        let cell = |name: &&str| format!("{name} {:.2}", figures[*name]);
        println!("  {policy:10} {}", shown.iter().map(cell).collect::<Vec<_>>().join("  "));
    }
    surprises
}

fn false_leaves(scenarios: &[(&str, Scenario)], seeds: u64) {
    let hours = seeds as f64 * 5.0 * 1800.0 / 3600.0;
    println!(
        "\nleaves in {hours} node-hours each, for messages of 5 and of 20 ms; of the second before, the work that came: least, 10th, median"
    );
    for (name, scenario) in scenarios {
        if ["idle", "bursty", "heavy", "whale"].contains(name) {
            let leaves = |mean_ms: f64| {
                let service = Service { mean_ms, ..scenario.service };
                let scenario = Scenario { seconds: 1800.0, service, ..scenario.clone() };
                let leaves = |seed| stage(&scenario, seed).leaves.into_iter().map(|leave| leave.2);
                let mut loads: Vec<f64> = (1..=seeds).flat_map(leaves).collect();
                loads.sort_by(f64::total_cmp);
                let at =
                    |share: usize| loads.get(loads.len() * share / 10).copied().unwrap_or(f64::NAN);
                format!("{:4} ({:.2} {:.2} {:.2})", loads.len(), at(0), at(1), at(5))
            };
            println!("  {name:8} {} {}", leaves(5.0), leaves(20.0));
        }
    }
}

fn ablation(scenarios: &[(&str, Scenario)], seeds: u64) {
    use std::time::Duration;
    let whole = Tuning::default();
    let parts = [
        ("whole", whole),
        ("no patience", Tuning { patience: 1, ..whole }),
        ("not rising", Tuning { rising: false, ..whole }),
        ("no severity", Tuning { severe: 1.0, ..whole }),
        ("no floor", Tuning { floor: 0.0, ..whole }),
        ("no load check", Tuning { fill: 1000.0, ..whole }),
        ("not apart", Tuning { apart: Duration::ZERO, ..whole }),
        (
            "no floor, check, apart",
            Tuning { floor: 0.0, fill: 1000.0, apart: Duration::ZERO, ..whole },
        ),
        ("no shedding", Tuning { credit_floor: 1.0, ..whole }),
        ("no late refusal", Tuning { late: 1e9, ..whole }),
        ("no shedding, no late", Tuning { credit_floor: 1.0, late: 1e9, ..whole }),
        ("no draining", Tuning { drain: Duration::ZERO, ..whole }),
        ("no doubling", Tuning { hold_longest: whole.hold, ..whole }),
        ("no jitter", Tuning { jitter: 0.0, ..whole }),
        ("no probing", Tuning { probe_start: 1.0, ..whole }),
        ("no forgiving", Tuning { forgive: Duration::from_secs(86_400), ..whole }),
        ("no learning", Tuning { learn: false, ..whole }),
    ];
    let shown = [
        ("overload", "goodput"),
        ("cluster", "served"),
        ("cluster", "least_joined"),
        ("cluster", "served_at_end"),
        ("late-gossip", "least_joined"),
        ("late-gossip", "served_at_end"),
        ("lost-gossip", "least_joined"),
        ("surge", "left_at"),
        ("surge", "back_at"),
        ("surge", "served"),
        ("slow", "leaves"),
        ("slow", "served"),
        ("crippled", "leaves"),
        ("crippled", "served"),
        ("crippled", "back_at"),
        ("two-crippled", "leaves"),
        ("two-crippled", "served"),
        ("half-crippled", "leaves"),
        ("half-crippled", "served"),
        ("half-crippled", "least_joined"),
        ("heavy", "leaves"),
        ("half-speed", "baseline_of_0"),
    ];
    println!("\nwithout one part at a time");
    println!(
        "| without | {} |",
        shown.map(|(scenario, name)| format!("{scenario}: {name}")).join(" | ")
    );
    for (part, tuning) in parts {
        let cell = |(of, name): (&str, &str)| {
            let scenario = scenarios.iter().find(|(name, _)| *name == of);
            scenario
                .map_or(f64::NAN, |(_, scenario)| figure(scenario, seeds, "stage", tuning, name))
        };
        println!("| {part} | {} |", shown.map(|at| format!("{:.2}", cell(at))).join(" | "));
    }
}

fn row(figures: impl Iterator<Item = f64>) -> String {
    figures.map(|figure| format!("{figure:5.2}")).collect::<Vec<_>>().join(" ")
}
