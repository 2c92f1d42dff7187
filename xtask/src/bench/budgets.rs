//! Ratios that must hold: committed in `xtask/budgets.json`, judged after a run.
//!
//! ```json
//! [{
//!     "crate": "stage-submit",
//!     "numerator": "one key/stage",
//!     "denominator": "one key/tokio mutex",
//!     "max": 1.5
//! }]
//! ```
//!
//! Ids are criterion's: `group/implementation[/parameter]`. Times of one machine mean nothing on
//! another, so a budget bounds a ratio of two times of the same run, by `max`, `min` or both.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::results::{self, Results, Spread};
use crate::workspace::text;

const KEYS: &[&str] = &["crate", "numerator", "denominator", "max", "min"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Budget {
    pub(crate) crate_name: String,
    pub(crate) numerator: String,
    pub(crate) denominator: String,
    pub(crate) max: Option<f64>,
    pub(crate) min: Option<f64>,
}

/// A budget beside what was measured; nothing was if one of its ids did not run.
pub(crate) struct Verdict {
    pub(crate) budget: Budget,
    pub(crate) measured: Option<Spread>,
}

impl Budget {
    pub(crate) fn read(path: &Path) -> Result<Vec<Self>> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(json: &str) -> Result<Vec<Self>> {
        let json: Value = serde_json::from_str(json)?;
        let list = json.as_array().context("the budgets are not a list")?;
        let parsed = list.iter().enumerate().map(|(index, budget)| {
            Self::from_json(budget).with_context(|| format!("budget {}", index + 1))
        });
        parsed.collect()
    }

    fn from_json(json: &Value) -> Result<Self> {
        let object = json.as_object().context("it is not an object")?;
        if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            bail!("unknown key \"{key}\"; there are: {}", KEYS.join(", "));
        }
        let bound = |key: &str| match &json[key] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).with_context(|| format!("\"{key}\" is no number")),
        };
        let budget = Self {
            crate_name: text(json, "crate")?.to_owned(),
            numerator: text(json, "numerator")?.to_owned(),
            denominator: text(json, "denominator")?.to_owned(),
            max: bound("max")?,
            min: bound("min")?,
        };
        if budget.max.is_none() && budget.min.is_none() {
            bail!("it has neither \"max\" nor \"min\"");
        }
        Ok(budget)
    }
}

impl Verdict {
    /// A budget that was not measured does not hold: a renamed bench must not pass for a fast one.
    pub(crate) fn holds(&self) -> bool {
        self.measured.is_some_and(|ratio| {
            self.budget.max.is_none_or(|max| ratio.median <= max)
                && self.budget.min.is_none_or(|min| ratio.median >= min)
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { crate_name, numerator, denominator, max, min } = &self.budget;
        write!(f, "{crate_name}: {numerator} ÷ {denominator} is ")?;
        match &self.measured {
            Some(ratio) => write!(f, "{:.2}", ratio.median)?,
            None => f.write_str("not measured")?,
        }
        f.write_str("; allowed:")?;
        if let Some(max) = max {
            write!(f, " at most {max}")?;
        }
        if let Some(min) = min {
            write!(f, " at least {min}")?;
        }
        Ok(())
    }
}

/// The verdict on each budget of the crates that were measured.
pub(crate) fn judge(
    budgets: &[Budget],
    results: &Results,
    is_measured: impl Fn(&str) -> bool,
) -> Vec<Verdict> {
    let of_this_run = budgets.iter().filter(|budget| is_measured(&budget.crate_name));
    of_this_run
        .map(|budget| {
            let rounds = |id: &str| results.by_full_id(&budget.crate_name, id);
            let pair = rounds(&budget.numerator).zip(rounds(&budget.denominator));
            let measured = pair.and_then(|(above, below)| results::ratio(above, below));
            Verdict { budget: budget.clone(), measured }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::estimates::{Estimate, Id, Unit};
    use super::*;

    fn budget(max: Option<f64>, min: Option<f64>) -> Budget {
        Budget {
            crate_name: "pail".into(),
            numerator: "fill/stage".into(),
            denominator: "fill/peer".into(),
            max,
            min,
        }
    }

    /// Ours takes twice as long as the peer.
    fn results() -> Results {
        let mut results = Results::default();
        let measured = [("stage", 20.0), ("peer", 10.0)].map(|(name, median)| {
            let id = Id {
                group: "fill".into(),
                implementation: name.into(),
                parameter: String::new(),
                unit: Unit::Time,
            };
            (id, Estimate { median, low: median, high: median })
        });
        results.add_round("pail", measured.into());
        results
    }

    fn verdict(budget: Budget) -> Verdict {
        judge(&[budget], &results(), |_| true).remove(0)
    }

    #[test]
    fn a_ratio_is_held_against_both_bounds() {
        assert!(verdict(budget(Some(2.0), None)).holds());
        assert!(!verdict(budget(Some(1.9), None)).holds());
        assert!(verdict(budget(None, Some(2.0))).holds());
        assert!(!verdict(budget(None, Some(2.1))).holds());
        assert!(!verdict(budget(Some(3.0), Some(2.5))).holds());
    }

    #[test]
    fn a_broken_budget_is_told_with_both_numbers() {
        assert_eq!(
            verdict(budget(Some(1.5), None)).to_string(),
            "pail: fill/stage ÷ fill/peer is 2.00; allowed: at most 1.5"
        );
    }

    #[test]
    fn a_budget_whose_bench_is_gone_does_not_hold() {
        let gone = Budget { numerator: "drain/stage".into(), ..budget(Some(9.0), None) };
        let verdict = verdict(gone);
        assert!(!verdict.holds());
        assert!(verdict.to_string().contains("not measured"));
    }

    #[test]
    fn budgets_of_crates_that_did_not_run_are_left_out() {
        assert!(judge(&[budget(Some(1.0), None)], &results(), |name| name != "pail").is_empty());
    }

    #[test]
    fn a_budget_file_is_read_strictly() {
        let parse = |fields: &str| {
            Budget::parse(&format!(
                r#"[{{"crate": "pail", "numerator": "fill/stage", "denominator": "fill/peer"{fields}}}]"#
            ))
        };
        assert_eq!(parse(r#", "max": 2"#).unwrap(), [budget(Some(2.0), None)]);
        let error = |fields: &str| format!("{:#}", parse(fields).unwrap_err());
        assert!(error("").contains("neither"), "{}", error(""));
        assert!(error(r#", "maximum": 2"#).contains("unknown key \"maximum\""));
        assert!(error(r#", "max": "2""#).contains("no number"));
        assert!(error("").starts_with("budget 1"));
    }

    #[test]
    fn the_committed_budgets_can_be_read() {
        Budget::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.json")).unwrap();
    }
}
