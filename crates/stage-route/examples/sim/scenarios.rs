//! The scenario files, and whether a run does what they expect.

use anyhow::Result;
use stage_route::Tuning;

use crate::policy;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::world::World;

const FILES: &[(&str, &str)] = &[
    ("overload", include_str!("scenarios/overload.json")),
    ("surge", include_str!("scenarios/surge.json")),
    ("slow", include_str!("scenarios/slow.json")),
    ("isolated", include_str!("scenarios/isolated.json")),
    ("idle", include_str!("scenarios/idle.json")),
    ("bursty", include_str!("scenarios/bursty.json")),
    ("heavy", include_str!("scenarios/heavy.json")),
    ("whale", include_str!("scenarios/whale.json")),
    ("cluster", include_str!("scenarios/cluster.json")),
    ("late-gossip", include_str!("scenarios/late-gossip.json")),
    ("creep", include_str!("scenarios/creep.json")),
    ("half-speed", include_str!("scenarios/half-speed.json")),
    ("half-speed-overloaded", include_str!("scenarios/half-speed-overloaded.json")),
    ("crippled", include_str!("scenarios/crippled.json")),
    ("two-crippled", include_str!("scenarios/two-crippled.json")),
    ("half-crippled", include_str!("scenarios/half-crippled.json")),
];

/// Every scenario with its name.
pub(crate) fn all() -> Result<Vec<(&'static str, Scenario)>> {
    FILES.iter().map(|(name, text)| Ok((*name, Scenario::parse(text)?))).collect()
}

/// Runs one scenario under a policy; the scenario's sensitivity wins over that of the tuning.
pub(crate) fn run(scenario: &Scenario, seed: u64, name: &str, tuning: Tuning) -> Report {
    let tuning = Tuning { sensitivity: scenario.route, ..tuning };
    World::run(scenario, seed, &|node| policy::build(name, tuning, node, scenario.cost()))
}

/// What a run did that its scenario does not expect.
pub(crate) fn surprises(scenario: &Scenario, report: &mut Report) -> Vec<String> {
    let figures = report.figures(scenario);
    let surprise = |(name, [least, most]): (&String, &[f64; 2])| match figures.get(name.as_str()) {
        None => Some(format!("there is no figure {name}")),
        Some(figure) if (*least..=*most).contains(figure) => None,
        Some(figure) => Some(format!("{name} is {figure:.3}, not {least} to {most}")),
    };
    scenario.expect.iter().filter_map(surprise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_ends_as_its_file_expects() {
        for (name, scenario) in all().unwrap() {
            let mut report = run(&scenario, 1, "stage", Tuning::default());
            let surprises = surprises(&scenario, &mut report);
            assert!(surprises.is_empty(), "{name} ({}): {surprises:?}", scenario.shows);
        }
    }

    #[test]
    fn equal_seeds_give_equal_runs() {
        let (_, scenario) = all().unwrap().swap_remove(1);
        let run = |seed| run(&scenario, seed, "stage", Tuning::default());
        assert_eq!(run(7).figures(&scenario), run(7).figures(&scenario));
        assert_ne!(run(7).figures(&scenario), run(8).figures(&scenario));
    }

    #[test]
    fn without_control_an_overload_ends_in_collapse() {
        let (_, scenario) = all().unwrap().swap_remove(0);
        let mut report = run(&scenario, 1, "none", Tuning::default());
        assert!(report.figures(&scenario)["goodput"] < 0.1);
    }
}
