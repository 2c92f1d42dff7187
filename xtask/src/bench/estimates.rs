//! The files that criterion leaves behind: `benchmark.json` names what was measured,
//! `estimates.json` beside it says how long one iteration took. A bench that leaves such files itself may
//! name another `unit` than time in the first, such as `B`; of each unit less is better.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::text;

/// One thing that was measured, by one implementation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    /// What is measured; one group compares implementations of it.
    pub(crate) group: String,
    /// What it was measured for, such as a size; empty: nothing.
    pub(crate) parameter: String,
    /// Who did it: `stage`, or the name of a peer.
    pub(crate) implementation: String,
    /// What the numbers of its estimates count.
    pub(crate) unit: Unit,
}

/// What a number counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// Nanoseconds, as criterion measures.
    Time,
    /// Memory.
    Bytes,
    /// Things of this name.
    Things(String),
}

impl Unit {
    /// As the files and the data name it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Time => "ns",
            Self::Bytes => "B",
            Self::Things(name) => name,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "ns" => Self::Time,
            "B" => Self::Bytes,
            things => Self::Things(things.to_owned()),
        }
    }
}

impl Id {
    /// Criterion's own id: `group/implementation[/parameter]`.
    pub(crate) fn full(&self) -> String {
        let parts = [&self.group, &self.implementation, &self.parameter];
        let parts: Vec<_> =
            parts.iter().filter(|part| !part.is_empty()).map(|s| s.as_str()).collect();
        parts.join("/")
    }
}

/// The median of one iteration, with the interval that holds it at criterion's confidence level (95 %), in
/// the unit of its id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// All measurements below a folder, by id; an error if there is none.
pub(crate) fn read(home: &Path) -> Result<Vec<(Id, Estimate)>> {
    let mut found = Vec::new();
    if home.is_dir() {
        collect(home, &mut found)?;
    }
    if found.is_empty() {
        bail!("{} has no results: is the target a criterion bench?", home.display());
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<(Id, Estimate)>) -> Result<()> {
    let new = folder.join("new");
    let is_result = new.join("benchmark.json").is_file();
    if is_result {
        let id = id(&json(&new.join("benchmark.json"))?)?;
        let estimate = estimate(&json(&new.join("estimates.json"))?)
            .with_context(|| format!("in the results of {}", id.full()))?;
        found.push((id, estimate));
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Beside `new` criterion keeps `base`, a copy for its next run. Elsewhere a folder of
        // that name is a bench that somebody named so.
        let is_copy = is_result && path.ends_with("base");
        if path.is_dir() && !is_copy {
            collect(&path, found)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn id(benchmark: &Value) -> Result<Id> {
    let group = text(benchmark, "group_id")?;
    let full = text(benchmark, "full_id")?;
    // The part after the group starts with the implementation, whether the bench wrote
    // `stage/64` as the function's name or gave 64 as its parameter.
    let tail = full.strip_prefix(group).unwrap_or(full).trim_start_matches('/');
    let (implementation, parameter) = tail.split_once('/').unwrap_or((tail, ""));
    Ok(Id {
        group: group.to_owned(),
        parameter: parameter.to_owned(),
        implementation: implementation.to_owned(),
        unit: benchmark["unit"].as_str().map_or(Unit::Time, Unit::named),
    })
}

fn estimate(estimates: &Value) -> Result<Estimate> {
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let number =
        |value: &Value, key: &str| value[key].as_f64().with_context(|| format!("no number {key}"));
    Ok(Estimate {
        median: number(median, "point_estimate")?,
        low: number(interval, "lower_bound")?,
        high: number(interval, "upper_bound")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/criterion")
    }

    #[test]
    fn the_new_results_are_read_and_those_of_the_run_before_are_not() {
        let found = read(&fixtures()).unwrap();
        let ids: Vec<_> = found.iter().map(|(id, _)| id.full()).collect();
        assert_eq!(ids, ["one key/mutex/64", "one key/stage/64", "wake up/stage"]);
        assert_eq!(found[1].1, Estimate { median: 152.0, low: 150.5, high: 154.25 });
    }

    #[test]
    fn a_parameter_is_told_apart_from_the_implementation_however_the_bench_wrote_it() {
        let id = |group: &str, full: &str| {
            id(&serde_json::json!({ "group_id": group, "full_id": full })).unwrap()
        };
        let expected = |group: &str, implementation: &str, parameter: &str| Id {
            group: group.into(),
            implementation: implementation.into(),
            parameter: parameter.into(),
            unit: Unit::Time,
        };
        assert_eq!(id("fill", "fill/stage"), expected("fill", "stage", ""));
        assert_eq!(id("fill", "fill/stage/64"), expected("fill", "stage", "64"));
        assert_eq!(id("a/b", "a/b/peer/1/2"), expected("a/b", "peer", "1/2"));
        assert_eq!(id("alone", "alone"), expected("alone", "", ""));
    }

    #[test]
    fn what_is_no_time_says_what_it_counts() {
        let unit = |json: Value| id(&json).unwrap().unit;
        let json = |unit: &str| serde_json::json!({ "group_id": "fill", "full_id": "fill/stage", "unit": unit });
        assert_eq!(unit(json("B")), Unit::Bytes);
        assert_eq!(unit(json("connections")), Unit::Things("connections".to_owned()));
        assert!(
            ["ns", "B", "connections"].into_iter().all(|name| Unit::named(name).name() == name)
        );
    }

    #[test]
    fn a_folder_without_results_is_an_error_that_names_it() {
        let error = read(&fixtures().join("nothing")).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
    }
}
