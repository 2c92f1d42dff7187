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

use anyhow::{Context, Result, bail};

use crate::needs;
use crate::workspace::{Bench, Kind, Member, Workspace};
use budgets::Budget;
use measure::{Length, Order};
use results::Results;

mod budgets;
mod chart;
mod estimates;
mod instructions;
mod measure;
mod report;
mod results;

/// Where what is published goes.
const PUBLISHED: &str = "docs/bench";

/// Where the ratios that must hold are committed.
const BUDGETS: &str = "xtask/budgets.json";

/// Where the instructions of the hot paths are committed.
const INSTRUCTIONS: &str = "xtask/instructions.json";

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
    let out = workspace.target.join("bench");
    let measured = out.join("criterion");
    if measured.exists() {
        fs::remove_dir_all(&measured).context("removing the results of the run before")?;
    }

    let mut results = Results::default();
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 3 });
    let length = if options.quick { Length::Short } else { Length::Full };
    for round in 1..=rounds {
        let order = Order::of_round(round);
        for (index, (member, bench)) in targets.iter().enumerate() {
            let (number, of) = (index + 1, targets.len());
            eprintln!("==> round {round}/{rounds}, target {number}/{of}");
            let home = measured.join(round.to_string()).join(&member.name).join(&bench.name);
            measure::measure(&workspace.root, member, bench, order, length, &home)?;
            results.add_round(&member.name, estimates::read(&home)?);
        }
    }

    let verdicts = budgets::judge(&budgets, &results, |name| is_measured(&targets, name));
    let markdown = report::markdown(&results, &verdicts);
    fs::create_dir_all(&out)?;
    fs::write(out.join("results.md"), &markdown)?;
    let json = serde_json::to_string_pretty(&report::json(&results, &verdicts))? + "\n";
    fs::write(out.join("results.json"), &json)?;
    println!("{markdown}\nWritten to {} as results.md and results.json.", out.display());
    if options.publish {
        publish(&workspace.root.join(PUBLISHED), &results, &markdown, &json)?;
    }
    let counts_hold = counted.iter().all(instructions::Verdict::holds);
    Ok(!options.check || tell_broken(&verdicts) && counts_hold)
}

/// Counts what the names ask for, and tells what has changed.
fn count_instructions(
    workspace: &Workspace,
    options: &Options,
) -> Result<Vec<instructions::Verdict>> {
    let counts = |member: &&Member| {
        let asked = options.names.is_empty()
            || options
                .names
                .iter()
                .any(|name| *name == member.name || name == instructions::TARGET);
        asked && member.benches.iter().any(|bench| bench.name == instructions::TARGET)
    };
    let members: Vec<_> = workspace.members.iter().filter(counts).collect();
    let path = workspace.root.join(INSTRUCTIONS);
    let counted = instructions::count(&workspace.root, &members)?;
    if options.accept {
        instructions::accept(&path, &counted)?;
    }
    let verdicts = instructions::judge(&counted, &instructions::committed(&path, &members)?);
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
}
