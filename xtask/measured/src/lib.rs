#![doc = include_str!("../README.md")]

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

/// What the process was started for, in the words that criterion understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    list: bool,
    exact: Option<String>,
    quick: bool,
}

impl Asked {
    /// What the arguments of this process ask for.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(env::args().skip(1))
    }

    /// What some arguments ask for. Those that it does not know are criterion's own, and passed over.
    pub fn of(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut asked = Self { list: false, exact: None, quick: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => asked.list = true,
                "--exact" => asked.exact = arguments.next(),
                "--sample-size" => asked.quick = true,
                _ => {}
            }
        }
        asked
    }

    /// Of all that can be measured what is to be, in its order; nothing if it was to be listed, and was.
    #[allow(clippy::print_stdout, reason = "who asks for a list reads it there")]
    pub fn chosen<T>(&self, all: impl IntoIterator<Item = T>, id: impl Fn(&T) -> String) -> Vec<T> {
        let all = all.into_iter();
        if self.list {
            all.for_each(|one| println!("{}: benchmark", id(&one)));
            return Vec::new();
        }
        let is_chosen = |one: &T| self.exact.as_ref().is_none_or(|exact| *exact == id(one));
        all.filter(is_chosen).collect()
    }

    /// Whether a rough figure in little time is enough.
    #[must_use]
    pub const fn is_quick(&self) -> bool {
        self.quick
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Memory.
    Bytes,
    /// Things of this name.
    Things(&'static str),
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Bytes => "B",
            Self::Things(name) => name,
        }
    }
}

/// One thing that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured<'a> {
    /// What it is; whoever did the same is in the same group.
    pub group: &'a str,
    /// Who did it: `stage`, or the name of a peer.
    pub by: &'a str,
    /// What the value counts.
    pub unit: Unit,
    /// How much it was.
    pub value: f64,
}

impl Measured<'_> {
    /// Leaves it where criterion would; nowhere if `CRITERION_HOME` is not set.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> io::Result<()> {
        env::var_os("CRITERION_HOME").map_or(Ok(()), |home| self.keep_in(Path::new(&home)))
    }

    /// Leaves it in a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep_in(&self, home: &Path) -> io::Result<()> {
        let Self { group, by, unit, value } = self;
        let folder = home.join(group).join(by).join("new");
        fs::create_dir_all(&folder)?;
        let benchmark = json!({
            "group_id": group,
            "full_id": format!("{group}/{by}"),
            "unit": unit.name(),
        });
        let interval =
            json!({ "confidence_level": 0.95, "lower_bound": value, "upper_bound": value });
        let median = json!({ "point_estimate": value, "confidence_interval": interval });
        fs::write(folder.join("benchmark.json"), benchmark.to_string())?;
        fs::write(folder.join("estimates.json"), json!({ "median": median }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Asked {
        Asked::of(arguments.iter().map(|&argument| argument.to_owned()))
    }

    fn chosen<'a>(arguments: &[&str], all: &[&'a str]) -> Vec<&'a str> {
        asked(arguments).chosen(all.iter().copied(), |one| (*one).to_owned())
    }

    #[test]
    fn without_a_choice_everything_is_measured_in_order() {
        assert_eq!(chosen(&["--bench", "--noplot"], &["a/stage", "a/peer"]), ["a/stage", "a/peer"]);
    }

    #[test]
    fn one_id_is_chosen_by_its_whole_name() {
        let one = ["--bench", "--exact", "a/stage"];
        assert_eq!(chosen(&one, &["a/stage of it", "a/stage", "b/a/stage"]), ["a/stage"]);
        assert!(chosen(&one, &["a/peer"]).is_empty());
    }

    #[test]
    fn a_list_measures_nothing() {
        assert!(chosen(&["--list"], &["a/stage"]).is_empty());
    }

    #[test]
    fn few_samples_are_asked_for_when_it_has_to_be_quick() {
        assert!(asked(&["--measurement-time", "0.5", "--sample-size", "10"]).is_quick());
        assert!(!asked(&["--bench"]).is_quick());
    }

    #[test]
    fn a_result_lies_where_criterion_leaves_its_own() {
        let home = tempfile::tempdir().unwrap();
        let measured =
            Measured { group: "a \"full\" queue", by: "stage", unit: Unit::Bytes, value: 4096.5 };
        measured.keep_in(home.path()).unwrap();
        let read = |name: &str| -> serde_json::Value {
            let file = home.path().join("a \"full\" queue/stage/new").join(name);
            serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
        };
        let benchmark = read("benchmark.json");
        assert_eq!(benchmark["full_id"], "a \"full\" queue/stage");
        assert_eq!(benchmark["unit"], "B");
        assert_eq!(read("estimates.json")["median"]["point_estimate"], 4096.5);
    }
}
