//! `cargo xtask bench`: our code beside what else somebody would pick, in the same run.
//!
//! Every criterion bench target of the workspace takes part. By convention each group measures one
//! thing, the function `stage` (or `stage/...`) in it is ours, and all others are its peers. A run
//! has several rounds, each of which goes through all targets, so that a noisy minute of the machine
//! touches ours and theirs alike; every other round goes through the benchmarks of each target from the last
//! to the first. What counts is the ratio within a round. Before the rounds the instructions of the hot
//! paths are counted, which no noise touches.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::needs;
use crate::workspace::{Bench, Kind, Member, Workspace};
use budgets::Budget;
use measure::{Length, Order};
use results::Results;

mod budgets;
mod build;
mod chart;
mod estimates;
mod instructions;
mod login;
mod measure;
mod report;
mod results;

/// Where what is published goes.
const PUBLISHED: &str = "docs/bench";

/// Where the ratios that must hold are committed.
const BUDGETS: &str = "xtask/budgets.json";

/// Where the instructions of the hot paths are committed.
const INSTRUCTIONS: &str = "xtask/instructions.json";

/// How long `--quick` measures at most, on two cores.
const QUICK: Duration = Duration::from_mins(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Short measurements in two rounds: ratios are rougher, the run takes minutes
    #[arg(long)]
    quick: bool,
    /// Fails if a ratio is past its budget in xtask/budgets.json, or a count above that in xtask/instructions.json
    #[arg(long)]
    check: bool,
    /// Only counts the instructions of the hot paths
    #[arg(long)]
    instructions: bool,
    /// Writes the counts of instructions to xtask/instructions.json
    #[arg(long, conflicts_with = "names")]
    accept: bool,
    /// Writes the tables, the data and the charts to docs/bench
    #[arg(long)]
    publish: bool,
    /// How often to go through all targets [default: 3, with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Crates or bench targets to run; all if none is named
    names: Vec<String>,
}

/// Runs the benchmarks and reports them; whether every checked budget holds.
pub(crate) fn run(options: &Options) -> Result<bool> {
    needs::meet()?;
    needs::meet_for_benches()?;
    let workspace = Workspace::load()?;
    let counted = count_instructions(&workspace, options)?;
    if options.instructions {
        return Ok(!options.check || counted.iter().all(instructions::Verdict::holds));
    }
    let budgets = Budget::read(&workspace.root.join(BUDGETS))?;
    let targets = select(&workspace.members, &options.names)?;
    let built = build::build(&workspace.root, &targets)?;
    let out = workspace.target.join("bench");
    let measured = out.join("criterion");
    if measured.exists() {
        fs::remove_dir_all(&measured).context("removing the results of the run before")?;
    }

    let mut results = Results::default();
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 3 });
    let length = if options.quick { Length::Short } else { Length::Full };
    let start = Instant::now();
    for round in 1..=rounds {
        let order = Order::of_round(round);
        for (index, target) in built.iter().enumerate() {
            let (number, of) = (index + 1, built.len());
            let package = &target.member.name;
            let passed = minutes(start.elapsed());
            let name = &target.bench.name;
            eprintln!(
                "==> {passed}: round {round}/{rounds}, target {number}/{of}, {name} of {package}"
            );
            let home = measured.join(round.to_string()).join(package).join(name);
            measure::measure(target, order, length, &home)?;
            results.add_round(package, estimates::read(&home)?);
        }
    }

    let took = format!("Measured in {}, {rounds} rounds.", minutes(start.elapsed()));
    eprintln!("==> {took}");
    if options.quick && start.elapsed() > QUICK {
        eprintln!("warning: --quick is meant to take at most {}", minutes(QUICK));
    }

    let is_judged = |name: &str| is_judged(&options.names, &targets, name);
    let verdicts = budgets::judge(&budgets, &results, is_judged);
    let markdown = format!("{took}\n\n{}", report::markdown(&results, &verdicts));
    fs::create_dir_all(&out)?;
    fs::write(out.join("results.md"), &markdown)?;
    let json = serde_json::to_string_pretty(&report::json(&results, &verdicts))? + "\n";
    fs::write(out.join("results.json"), &json)?;
    println!("{markdown}\nWritten to {} as results.md and results.json.", out.display());
    if options.publish {
        publish(&workspace.root.join(PUBLISHED), &results, &markdown, &json)?;
        login::publish(&workspace.root, &results)?;
    }
    let counts_hold = counted.iter().all(instructions::Verdict::holds);
    Ok(!options.check || tell_broken(&verdicts) && counts_hold)
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// Counts what the names ask for, and tells what has changed.
fn count_instructions(
    workspace: &Workspace,
    options: &Options,
) -> Result<Vec<instructions::Verdict>> {
    let is_counted = |name: &str| is_counted(&options.names, name);
    let counts = |member: &&Member| {
        is_counted(&member.name)
            && member.benches.iter().any(|bench| bench.name == instructions::TARGET)
    };
    let members: Vec<_> = workspace.members.iter().filter(counts).collect();
    let path = workspace.root.join(INSTRUCTIONS);
    let counted = instructions::count(&workspace.root, &members)?;
    if options.accept {
        instructions::accept(&path, &counted)?;
    }
    let verdicts = instructions::judge(&counted, &instructions::committed(&path, is_counted)?);
    for verdict in &verdicts {
        println!("{}{verdict}", if verdict.holds() { "" } else { "past its budget: " });
    }
    let held = verdicts.iter().filter(|verdict| verdict.holds()).count();
    println!("instructions: {held} passed, {} failed", verdicts.len() - held);
    Ok(verdicts)
}

/// The run as a page with pictures, for those who do not run it themselves.
fn publish(folder: &Path, results: &Results, markdown: &str, json: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let charts = chart::charts(results);
    for (crate_name, svg) in &charts {
        fs::write(folder.join(format!("{crate_name}.svg")), svg)?;
    }
    let names = charts.iter().map(|(crate_name, _)| crate_name.as_str());
    fs::write(folder.join("results.md"), report::page(names, markdown))?;
    fs::write(folder.join("results.json"), json)?;
    println!("Published to {}.", folder.display());
    Ok(())
}

/// Names each budget that does not hold; whether all hold.
fn tell_broken(verdicts: &[budgets::Verdict]) -> bool {
    let broken: Vec<_> = verdicts.iter().filter(|verdict| !verdict.holds()).collect();
    for verdict in &broken {
        eprintln!("past its budget: {verdict}");
    }
    println!("budgets: {} passed, {} failed", verdicts.len() - broken.len(), broken.len());
    broken.is_empty()
}

type Target<'a> = (&'a Member, &'a Bench);

/// The bench targets of crates that use criterion, if the names ask for them.
fn select<'a>(members: &'a [Member], names: &[String]) -> Result<Vec<Target<'a>>> {
    let uses_criterion = |member: &&Member| {
        member.dependencies.iter().any(|d| d.name == "criterion" && d.kind == Kind::Dev)
    };
    let all: Vec<_> = members
        .iter()
        .filter(uses_criterion)
        .flat_map(|member| measured(member).map(move |bench| (member, bench)))
        .collect();
    let is_asked_for =
        |name: &String, (member, bench): &Target<'_>| *name == member.name || *name == bench.name;
    if all.is_empty() {
        bail!("no crate of the workspace has a criterion bench");
    }
    for name in names.iter().filter(|name| *name != instructions::TARGET) {
        if !all.iter().any(|target| is_asked_for(name, target)) {
            let known: Vec<_> = all.iter().map(|(m, b)| format!("{}/{}", m.name, b.name)).collect();
            bail!("no crate or bench target is named {name}; there are: {}", known.join(", "));
        }
    }
    let is_selected =
        |target: &Target<'_>| names.is_empty() || names.iter().any(|n| is_asked_for(n, target));
    Ok(all.into_iter().filter(is_selected).collect())
}

/// The targets that criterion measures.
fn measured(member: &Member) -> impl Iterator<Item = &Bench> {
    member.benches.iter().filter(|bench| bench.name != instructions::TARGET)
}

/// Whether the names ask for the instructions of a crate, whether or not there is such a crate any more.
fn is_counted(names: &[String], crate_name: &str) -> bool {
    names.is_empty() || names.iter().any(|name| name == crate_name || name == instructions::TARGET)
}

/// Whether the budgets of a crate are judged. If no name is given all are: one of a crate that is misspelt, or that has no
/// target any more, must not pass for one that holds.
fn is_judged(names: &[String], targets: &[Target<'_>], crate_name: &str) -> bool {
    names.is_empty() || is_measured(targets, crate_name)
}

/// Whether every target of the crate was run, so that what is missing in the results is missing.
fn is_measured(targets: &[Target<'_>], name: &str) -> bool {
    let mut of_crate = targets.iter().filter(|(member, _)| member.name == name);
    of_crate.next().is_some_and(|(member, _)| of_crate.count() + 1 == measured(member).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn members() -> Vec<Member> {
        let member = |name: &str, benches: &[&str], dependency: &str| Member {
            name: name.into(),
            folder: name.into(),
            dependencies: vec![Dependency {
                name: dependency.into(),
                kind: Kind::Dev,
                optional: false,
            }],
            benches: benches
                .iter()
                .map(|name| Bench { name: (*name).into(), features: Vec::new() })
                .collect(),
            has_library: true,
        };
        vec![
            member("pail", &["fill", "pour"], "criterion"),
            member("well", &["draw"], "criterion"),
            member("rope", &["pull"], "other"),
        ]
    }

    fn selected(names: &[&str]) -> Result<Vec<String>> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let members = members();
        let targets = select(&members, &names)?;
        Ok(targets
            .iter()
            .map(|(member, bench)| format!("{}/{}", member.name, bench.name))
            .collect())
    }

    #[test]
    fn without_names_every_criterion_target_runs() {
        assert_eq!(selected(&[]).unwrap(), ["pail/fill", "pail/pour", "well/draw"]);
    }

    #[test]
    fn a_name_selects_a_crate_or_a_target() {
        assert_eq!(selected(&["pail"]).unwrap(), ["pail/fill", "pail/pour"]);
        assert_eq!(selected(&["draw", "fill"]).unwrap(), ["pail/fill", "well/draw"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_are_known() {
        let error = selected(&["pump"]).unwrap_err().to_string();
        assert!(error.contains("pump") && error.contains("well/draw"), "{error}");
        assert!(selected(&["rope"]).is_err());
    }

    #[test]
    fn a_workspace_without_criterion_benches_has_nothing_to_run() {
        let error = select(&members()[2..], &[]).unwrap_err().to_string();
        assert!(error.contains("no crate of the workspace"), "{error}");
    }

    #[test]
    fn a_crate_is_measured_when_all_its_targets_ran() {
        let members = members();
        let some = select(&members, &["fill".to_owned(), "draw".to_owned()]).unwrap();
        assert!(is_measured(&some, "well"));
        assert!(!is_measured(&some, "pail"));
        assert!(!is_measured(&some, "rope"));
    }
    #[test]
    fn without_names_a_budget_of_a_crate_that_is_gone_is_judged_and_does_not_hold() {
        let members = members();
        let judged = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let targets = select(&members, &names).unwrap();
            let gone = Budget {
                crate_name: "pial".into(),
                numerator: "fill/stage".into(),
                denominator: "fill/peer".into(),
                max: Some(1.0),
                min: None,
            };
            let is_judged = |name: &str| is_judged(&names, &targets, name);
            budgets::judge(&[gone], &Results::default(), is_judged)
        };
        let verdicts = judged(&[]);
        assert!(verdicts.len() == 1 && !verdicts[0].holds());
        assert!(judged(&["pail"]).is_empty());
    }

    #[test]
    fn the_names_ask_for_the_instructions_of_a_crate_or_of_all() {
        let counted = |names: &[&str], crate_name| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            is_counted(&names, crate_name)
        };
        assert!(counted(&[], "gone") && counted(&["instructions"], "gone"));
        assert!(counted(&["pail"], "pail") && !counted(&["pail"], "gone"));
    }
}
