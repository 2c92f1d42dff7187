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
    ("lost-gossip", include_str!("scenarios/lost-gossip.json")),
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
            for seed in 1..=3 {
                let mut report = run(&scenario, seed, "stage", Tuning::default());
                let surprises = surprises(&scenario, &mut report);
                assert!(surprises.is_empty(), "{name} ({}): {surprises:?}", scenario.shows);
            }
        }
    }

    fn named(name: &str) -> Scenario {
        all().unwrap().into_iter().find(|(of, _)| *of == name).unwrap().1
    }

    /// The median of a figure over five seeds.
    fn median(scenario: &Scenario, policy: &str, name: &str) -> f64 {
        let figure = |seed| {
            let mut report = run(scenario, seed, policy, Tuning::default());
            report.figures(scenario)[name]
        };
        let mut figures: Vec<f64> = (1..=5).map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[2]
    }

    #[test]
    fn goodput_stays_near_its_peak_whatever_peers_send() {
        let goodput = [1.0, 1.5, 2.0, 3.0, 5.0, 10.0].map(|load| {
            let mut scenario = named("overload");
            scenario.peer[1].load = load;
            let mut report = run(&scenario, 1, "stage", Tuning::default());
            let figures = report.figures(&scenario);
            assert!(figures["served_at_end"] >= 0.98, "{load}: {figures:?}");
            figures["goodput"]
        });
        let peak = goodput.into_iter().fold(0.0, f64::max);
        assert!(goodput.iter().all(|goodput| *goodput >= 0.9 * peak), "{goodput:?}");
    }

    #[test]
    fn a_slow_node_leaves_seldom_and_stays_away_longer_each_time_where_a_naive_one_flaps() {
        let (slow, crippled) = (named("slow"), named("crippled"));
        assert!(median(&slow, "stage", "leaves") <= 6.0);
        assert!(median(&slow, "ewma", "leaves") >= 40.0);
        let report = run(&crippled, 1, "stage", Tuning::default());
        let of_first_minute =
            |(at, node, _): &(f64, usize, f64)| (*node == 0 && *at < 70.0).then_some(*at);
        let leaves: Vec<_> = report.leaves.iter().filter_map(of_first_minute).collect();
        let gaps: Vec<_> = leaves.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() >= 2 && gaps.is_sorted(), "{gaps:?}");
    }

    #[test]
    fn a_node_that_is_away_serves_its_own_work_nearly_as_if_there_were_no_peers() {
        let with_peers = named("isolated");
        let mut alone = with_peers.clone();
        alone.peer.clear();
        let p99 = |scenario| median(scenario, "stage", "local_p99_away_ms");
        assert!(
            median(&with_peers, "stage", "share_away") >= 0.5,
            "it is away for most of that time"
        );
        let (with, without) = (p99(&with_peers), p99(&alone));
        assert!(with <= 1.5 * without, "{with} and {without} ms");
    }

    #[test]
    fn the_less_sensitive_a_node_is_the_later_it_leaves() {
        let left = [2.0, 8.0, 32.0].map(|route| {
            let scenario = Scenario { route, ..named("creep") };
            median(&scenario, "stage", "left_at")
        });
        assert!(left.is_sorted() && left[2] > left[0] + 1.0, "{left:?}");
    }

    #[test]
    fn a_node_leaves_a_local_surge_within_the_bound() {
        for rho in [1.25, 1.5, 2.0, 3.0] {
            let mut surge = named("surge");
            surge.local[1].load = rho;
            let taken = median(&surge, "stage", "left_at") - surge.local[1].from;
            let threshold = 8.0 * surge.cost();
            let bound = threshold * rho / (rho - 1.0) + 12.0 * stage_route::WINDOW.as_secs_f64();
            assert!(taken <= bound, "{taken} s at {rho} of capacity, and the bound is {bound} s");
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
