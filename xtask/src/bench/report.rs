//! A run as a Markdown table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::budgets::Verdict;
use super::estimates::Unit;
use super::results::{self, Comparison, OURS, Results, Spread};

const HEADER: &str = "\
| Crate | What | By | Median | Spread | STAGE ÷ peer |
|---|---|---|---:|---:|---:|
";

/// One table of all measurements, and one of the budgets if there are any.
pub(crate) fn markdown(results: &Results, verdicts: &[Verdict]) -> String {
    let mut text = String::from(HEADER);
    for comparison in results.comparisons() {
        rows(&comparison, &mut text);
    }
    text.push_str("\nBelow 1 in the last column: STAGE takes less than the peer; of everything measured less is better.\n");
    if !verdicts.is_empty() {
        text.push_str("\n| Budget | Holds |\n|---|---|\n");
    }
    for verdict in verdicts {
        let holds = if verdict.holds() { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {} | {holds} |", cell(&verdict.to_string()));
    }
    text
}

/// The page that shows a run: the charts of some crates, then the tables.
pub(crate) fn page<'a>(charts: impl Iterator<Item = &'a str>, tables: &str) -> String {
    let mut text = String::from(PAGE);
    for crate_name in charts {
        let _ = writeln!(text, "![{crate_name}: its peers' times]({crate_name}.svg)\n");
    }
    text + tables
}

const PAGE: &str = "\
# Every benchmark, with its peers in the same run

Written by `cargo xtask bench --publish`, which runs all of them; the same as data is in [results.json](results.json). Times are of
the machine that ran it (its cores are in the data), so what counts are the ratios: each is the median over the rounds, with the lowest and the
highest. What a bench measures, and against what it was meant to be held, is in its crate's README.

";

fn rows(comparison: &Comparison<'_>, text: &mut String) {
    let what = [comparison.group, comparison.parameter].join(" ");
    for (id, rounds) in &comparison.entries {
        let Some(value) = results::value(rounds) else { continue };
        let ratio = match comparison.ours() {
            Some(ours) if id.implementation != OURS => {
                results::ratio(ours, rounds).map_or_else(String::new, shown_ratio)
            }
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} – {} | {ratio} |",
            cell(comparison.crate_name),
            cell(what.trim_end()),
            cell(&id.implementation),
            shown(value.median, &id.unit),
            shown(value.low, &id.unit),
            shown(value.high, &id.unit),
        );
    }
}

fn shown_ratio(ratio: Spread) -> String {
    format!("{:.2} ({:.2} – {:.2})", ratio.median, ratio.low, ratio.high)
}

/// A pipe would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A number with three digits and a unit that fits.
pub(super) fn shown(value: f64, unit: &Unit) -> String {
    let units: &[(f64, &str)] = match unit {
        Unit::Time => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        Unit::Bytes => &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
        Unit::Things(name) => return format!("{value:.0} {name}"),
    };
    let fits = units.iter().find(|(size, _)| value >= *size).or(units.last());
    let (size, unit) = fits.copied().unwrap_or((1.0, ""));
    let value = value / size;
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// The same as data: every measurement, every ratio of ours to a peer, every budget.
pub(crate) fn json(results: &Results, verdicts: &[Verdict]) -> Value {
    let mut measurements = Vec::new();
    let mut ratios = Vec::new();
    let comparisons = results.comparisons();
    for comparison in &comparisons {
        for (id, rounds) in &comparison.entries {
            let medians: Vec<_> = rounds.iter().map(|round| round.median).collect();
            measurements.push(json!({
                "crate": comparison.crate_name,
                "id": id.full(),
                "group": id.group,
                "implementation": id.implementation,
                "parameter": id.parameter,
                "unit": id.unit.name(),
                "value": results::value(rounds).map(spread),
                "rounds": medians,
            }));
            let peer = (id.implementation != OURS).then_some(rounds);
            if let Some((ours, peer)) = comparison.ours().zip(peer) {
                ratios.push(json!({
                    "crate": comparison.crate_name,
                    "group": id.group,
                    "parameter": id.parameter,
                    "peer": id.implementation,
                    "stage_by_peer": results::ratio(ours, peer).map(spread),
                }));
            }
        }
    }
    let budgets: Vec<_> = verdicts.iter().map(budget).collect();
    json!({
        "machine": machine(),
        "measurements": measurements,
        "ratios": ratios,
        "budgets": budgets,
    })
}

fn machine() -> Value {
    json!({
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
    })
}

fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "low": spread.low, "high": spread.high })
}

fn budget(verdict: &Verdict) -> Value {
    json!({
        "crate": verdict.budget.crate_name,
        "numerator": verdict.budget.numerator,
        "denominator": verdict.budget.denominator,
        "max": verdict.budget.max,
        "min": verdict.budget.min,
        "ratio": verdict.measured.map(spread),
        "holds": verdict.holds(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::budgets::Budget;
    use super::super::{budgets, estimates};
    use super::*;

    fn results() -> Results {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/criterion");
        let mut results = Results::default();
        results.add_round("pail", estimates::read(&fixtures).unwrap());
        results
    }

    fn verdicts(max: f64) -> Vec<Verdict> {
        let budget = Budget {
            crate_name: "pail".into(),
            numerator: "one key/stage/64".into(),
            denominator: "one key/mutex/64".into(),
            max: Some(max),
            min: None,
        };
        budgets::judge(&[budget], &results(), |_| true)
    }

    #[test]
    fn the_table_has_ours_first_and_each_peer_with_its_ratio() {
        let expected = "\
| Crate | What | By | Median | Spread | STAGE ÷ peer |
|---|---|---|---:|---:|---:|
| pail | one key 64 | stage | 152 ns | 150 ns – 154 ns |  |
| pail | one key 64 | mutex | 304 ns | 300 ns – 310 ns | 0.50 (0.50 – 0.50) |
| pail | wake up | stage | 1.25 ms | 1.20 ms – 1.50 ms |  |

Below 1 in the last column: STAGE takes less than the peer; of everything measured less is better.

| Budget | Holds |
|---|---|
| pail: one key/stage/64 ÷ one key/mutex/64 is 0.50; allowed: at most 0.4 | **no** |
";
        assert_eq!(markdown(&results(), &verdicts(0.4)), expected);
    }

    #[test]
    fn the_page_shows_every_chart_before_the_tables() {
        let page = page(["pail", "well"].into_iter(), "| table |\n");
        let at = |part: &str| page.find(part).unwrap();
        assert!(at("](pail.svg)") < at("](well.svg)") && at("](well.svg)") < at("| table |"));
    }

    #[test]
    fn the_data_holds_measurements_ratios_and_budgets() {
        let json = json(&results(), &verdicts(0.6));
        assert_eq!(json["measurements"].as_array().unwrap().len(), 3);
        assert_eq!(json["measurements"][0]["id"], "one key/stage/64");
        assert_eq!(json["measurements"][0]["value"]["median"], 152.0);
        assert_eq!(json["ratios"].as_array().unwrap().len(), 1);
        assert_eq!(json["ratios"][0]["stage_by_peer"]["median"], 0.5);
        assert_eq!(json["budgets"][0]["holds"], true);
    }

    #[test]
    fn a_time_has_three_digits_and_a_unit_that_fits() {
        let times = [0.5, 9.994, 12.34, 999.4, 1000.0, 45_670.0, 2.5e6, 3.21e9]
            .map(|value| shown(value, &Unit::Time));
        let expected =
            ["0.50 ns", "9.99 ns", "12.3 ns", "999 ns", "1.00 µs", "45.7 µs", "2.50 ms", "3.21 s"];
        assert_eq!(times, expected);
    }

    #[test]
    fn bytes_have_their_own_units_and_things_are_counted() {
        assert_eq!(shown(12_345_678.0, &Unit::Bytes), "12.3 MB");
        assert_eq!(shown(16.0, &Unit::Things("connections".into())), "16 connections");
    }
}
