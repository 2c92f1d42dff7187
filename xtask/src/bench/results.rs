//! What all rounds measured, and the ratios between implementations of the same thing.

use std::collections::BTreeMap;

use super::estimates::{Estimate, Id};

/// The implementation that is ours.
pub(crate) const OURS: &str = "stage";

/// Every measurement, by crate and id; one estimate for each round.
#[derive(Default)]
pub(crate) struct Results {
    rounds: BTreeMap<(String, Id), Vec<Estimate>>,
}

/// Implementations of the same thing under the same parameter.
pub(crate) struct Comparison<'a> {
    pub(crate) crate_name: &'a str,
    pub(crate) group: &'a str,
    pub(crate) parameter: &'a str,
    /// Ours first, then the peers by name.
    pub(crate) entries: Vec<(&'a Id, &'a [Estimate])>,
}

/// The median over the rounds, with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Results {
    pub(crate) fn add_round(&mut self, crate_name: &str, measured: Vec<(Id, Estimate)>) {
        for (id, estimate) in measured {
            self.rounds.entry((crate_name.to_owned(), id)).or_default().push(estimate);
        }
    }

    /// The estimates of one criterion id, `group/implementation[/parameter]`.
    pub(crate) fn by_full_id(&self, crate_name: &str, full_id: &str) -> Option<&[Estimate]> {
        let is_it = |(name, id): &(String, Id)| name == crate_name && id.full() == full_id;
        self.rounds.iter().find(|(key, _)| is_it(key)).map(|(_, rounds)| rounds.as_slice())
    }

    pub(crate) fn comparisons(&self) -> Vec<Comparison<'_>> {
        let mut comparisons: Vec<Comparison<'_>> = Vec::new();
        // Sorted by crate, group and parameter: what belongs together follows each other.
        for ((crate_name, id), rounds) in &self.rounds {
            let (group, parameter) = (id.group.as_str(), id.parameter.as_str());
            match comparisons.last_mut() {
                Some(last)
                    if (last.crate_name, last.group, last.parameter)
                        == (crate_name, group, parameter) =>
                {
                    last.entries.push((id, rounds));
                }
                _ => comparisons.push(Comparison {
                    crate_name,
                    group,
                    parameter,
                    entries: vec![(id, rounds)],
                }),
            }
        }
        for comparison in &mut comparisons {
            comparison.entries.sort_by_key(|(id, _)| id.implementation != OURS);
        }
        // Sizes by their value: 8 before 64.
        comparisons.sort_by(|a, b| {
            (a.crate_name, a.group)
                .cmp(&(b.crate_name, b.group))
                .then_with(|| size(a.parameter).total_cmp(&size(b.parameter)))
        });
        comparisons
    }
}

/// The number that a parameter is; one that is none keeps its place after the numbers.
fn size(parameter: &str) -> f64 {
    parameter.parse().unwrap_or(f64::INFINITY)
}

impl<'a> Comparison<'a> {
    /// Our estimates, if we are in this comparison.
    pub(crate) fn ours(&self) -> Option<&'a [Estimate]> {
        let ours = self.entries.iter().find(|(id, _)| id.implementation == OURS);
        ours.map(|(_, rounds)| *rounds)
    }
}

/// One iteration's time, or whatever else was measured. A single round tells its spread by criterion's interval.
pub(crate) fn value(rounds: &[Estimate]) -> Option<Spread> {
    match rounds {
        [only] => Some(Spread { median: only.median, low: only.low, high: only.high }),
        _ => spread(rounds.iter().map(|round| round.median).collect()),
    }
}

/// How many times as long the first takes as the second, round by round: what a slow minute of the
/// machine does to both sides of a round cancels out.
pub(crate) fn ratio(numerator: &[Estimate], denominator: &[Estimate]) -> Option<Spread> {
    spread(numerator.iter().zip(denominator).map(|(a, b)| a.median / b.median).collect())
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    };
    Some(Spread { median, low, high })
}

#[cfg(test)]
mod tests {
    use super::super::estimates::Unit;
    use super::*;

    fn id(group: &str, implementation: &str, parameter: &str) -> Id {
        Id {
            group: group.into(),
            implementation: implementation.into(),
            parameter: parameter.into(),
            unit: Unit::Time,
        }
    }

    fn round(median: f64) -> Estimate {
        Estimate { median, low: median - 1.0, high: median + 1.0 }
    }

    #[test]
    fn implementations_of_the_same_thing_stand_together_with_ours_first() {
        let mut results = Results::default();
        let measured = [("fill", "big", "8"), ("fill", "stage", "8"), ("fill", "stage", "64")];
        results.add_round(
            "pail",
            measured.iter().map(|(g, i, p)| (id(g, i, p), round(10.0))).collect(),
        );
        results.add_round("well", vec![(id("fill", "stage", "8"), round(10.0))]);

        let found: Vec<_> = results
            .comparisons()
            .iter()
            .map(|c| {
                let names: Vec<_> =
                    c.entries.iter().map(|(id, _)| id.implementation.as_str()).collect();
                format!("{} {} {}: {}", c.crate_name, c.group, c.parameter, names.join(", "))
            })
            .collect();

        assert_eq!(found, ["pail fill 8: stage, big", "pail fill 64: stage", "well fill 8: stage"]);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was twice as slow in the second round; the ratio does not move.
        let ratio = ratio(&[round(10.0), round(20.0)], &[round(5.0), round(10.0)]).unwrap();
        assert_eq!(ratio, Spread { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn a_value_is_the_median_of_the_rounds_with_both_ends() {
        let rounds = [round(30.0), round(10.0), round(20.0)];
        assert_eq!(value(&rounds), Some(Spread { median: 20.0, low: 10.0, high: 30.0 }));
        assert_eq!(value(&rounds[..2]), Some(Spread { median: 20.0, low: 10.0, high: 30.0 }));
        assert_eq!(value(&rounds[..1]), Some(Spread { median: 30.0, low: 29.0, high: 31.0 }));
        assert_eq!(value(&[]), None);
    }

    #[test]
    fn a_measurement_is_found_by_crate_and_criterion_id() {
        let mut results = Results::default();
        results.add_round("pail", vec![(id("fill", "stage", "8"), round(10.0))]);
        assert!(results.by_full_id("pail", "fill/stage/8").is_some());
        assert!(results.by_full_id("pail", "fill/stage").is_none());
        assert!(results.by_full_id("well", "fill/stage/8").is_none());
    }
}
