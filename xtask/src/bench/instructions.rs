//! Instruction counts of the hot paths: the same on a busy machine as on a quiet one, so that a change of some percent is seen.
//!
//! A bench target named `instructions` runs under Valgrind by gungraun. What each of its functions executed is
//! committed in `xtask/instructions.json`; a count above that by more than [`SLACK`] is a regression. Counts belong to a
//! processor architecture and a compiler: `--accept` writes down those of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;
use crate::workspace::{Member, text};

/// The bench target that counts.
pub(crate) const TARGET: &str = "instructions";

/// Hash seeds and addresses differ from run to run; that moves a count by at most 2 %.
const SLACK: f64 = 1.05;

/// How many instructions each function took, by `CRATE FUNCTION`.
pub(crate) type Counts = BTreeMap<String, u64>;

/// A count beside what it may be; either may be missing.
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) counted: Option<u64>,
    pub(crate) committed: Option<u64>,
}

impl Verdict {
    /// A function that is gone or new does not hold: a renamed one must not pass for a fast one.
    pub(crate) fn holds(&self) -> bool {
        let (Some(counted), Some(committed)) = (self.counted, self.committed) else { return false };
        counted as f64 <= committed as f64 * SLACK
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, counted, committed } = self;
        match (counted, committed) {
            (Some(counted), Some(committed)) => {
                let change = (*counted as f64 / *committed as f64 - 1.0) * 100.0;
                write!(f, "{name}: {counted} instructions, {change:+.1} % of {committed}")
            }
            (Some(counted), None) => {
                write!(f, "{name}: {counted} instructions, and none are committed")
            }
            (None, _) => write!(f, "{name}: not counted"),
        }
    }
}

/// Runs the counting target of some crates.
pub(crate) fn count(root: &Path, members: &[&Member]) -> Result<Counts> {
    let mut counts = Counts::new();
    for (index, member) in members.iter().enumerate() {
        eprintln!("==> instructions {}/{}: {}", index + 1, members.len(), member.name);
        let mut command =
            run::cargo(root, &["bench", "--package", &member.name, "--bench", TARGET]);
        let printed = run::output(command.args(["--", "--output-format=json"]))?;
        let printed = String::from_utf8(printed).context("gungraun's output is no text")?;
        for line in printed.lines().filter(|line| line.starts_with('{')) {
            let (function, count) = read(&serde_json::from_str(line)?)?;
            counts.insert(format!("{} {function}", member.name), count);
        }
    }
    Ok(counts)
}

/// A function's name and count, of one line of gungraun's.
fn read(summary: &Value) -> Result<(String, u64)> {
    let function = text(summary, "function_name")?.to_owned();
    let count = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    let count = count.as_u64().with_context(|| format!("{function} has no count"))?;
    Ok((function, count))
}

/// The committed counts of the crates that were asked for. One whose crate has no counting target any more is among
/// them: it must not pass for one that holds.
pub(crate) fn committed(path: &Path, is_counted: impl Fn(&str) -> bool) -> Result<Counts> {
    let json =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let all: Counts =
        parse(&json).with_context(|| format!("{} is no table of counts", path.display()))?;
    let is_of = |name: &str| is_counted(name.split_once(' ').map_or(name, |(of, _)| of));
    Ok(all.into_iter().filter(|(name, _)| is_of(name)).collect())
}

fn parse(json: &str) -> Result<Counts> {
    let json: Value = serde_json::from_str(json)?;
    let object = json.as_object().context("it is not an object")?;
    let count = |(name, count): (&String, &Value)| {
        let count = count.as_u64().with_context(|| format!("\"{name}\" is no number"))?;
        Ok((name.clone(), count))
    };
    object.iter().map(count).collect()
}

/// Writes the counts down as those that are committed.
pub(crate) fn accept(path: &Path, counts: &Counts) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(counts)? + "\n")?;
    Ok(())
}

pub(crate) fn judge(counted: &Counts, committed: &Counts) -> Vec<Verdict> {
    let mut names: Vec<_> = counted.keys().chain(committed.keys()).collect();
    names.sort();
    names.dedup();
    let verdict = |name: &String| Verdict {
        name: name.clone(),
        counted: counted.get(name).copied(),
        committed: committed.get(name).copied(),
    };
    names.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(counted: Option<u64>, committed: Option<u64>) -> Verdict {
        let counts = |count: Option<u64>| {
            count.map(|count| ("pail fill".to_owned(), count)).into_iter().collect()
        };
        judge(&counts(counted), &counts(committed)).remove(0)
    }

    #[test]
    fn a_count_holds_up_to_five_percent_above_what_is_committed() {
        assert!(verdict(Some(1050), Some(1000)).holds());
        assert!(!verdict(Some(1051), Some(1000)).holds());
        assert!(verdict(Some(10), Some(1000)).holds());
        let told = verdict(Some(1100), Some(1000)).to_string();
        assert_eq!(told, "pail fill: 1100 instructions, +10.0 % of 1000");
    }

    #[test]
    fn what_is_new_or_gone_does_not_hold() {
        assert!(!verdict(Some(1), None).holds());
        assert!(!verdict(None, Some(1)).holds());
        assert_eq!(verdict(None, Some(1)).to_string(), "pail fill: not counted");
    }

    #[test]
    fn a_line_of_gungraun_is_read() {
        let metrics = json!({ "Ir": { "values": { "new": 42, "old": 41 } } });
        let line = json!({
            "function_name": "fill",
            "profiles": [{ "data": { "total": { "metrics": metrics } } }],
        });
        assert_eq!(read(&line).unwrap(), ("fill".to_owned(), 42));
        assert!(read(&json!({ "function_name": "fill" })).is_err());
        assert!(parse("[]").is_err() && parse("{\"a\": \"b\"}").is_err());
    }
    #[test]
    fn the_committed_counts_are_chosen_by_their_crate() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
        let of = |wanted: &str| committed(&path, |name| name == wanted).unwrap();
        let all = committed(&path, |_| true).unwrap();
        assert!(!of("stage-value").is_empty() && of("stage-value").len() < all.len());
        assert!(of("stage").is_empty());
        assert!(judge(&Counts::new(), &all).iter().all(|verdict| !verdict.holds()));
    }
}
