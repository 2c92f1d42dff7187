//! `cargo xtask ci`: what a change must pass, each step with its time, the quick ones first.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::workspace::Workspace;
use crate::{codegen, licenses, needs, run, scripts, test, tidy};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leaves a step out; may be repeated
    #[arg(long, value_name = "STEP")]
    skip: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Format,
    Tidy,
    Licenses,
    Codegen,
    Clippy,
    Docs,
    Scripts,
    Test,
}

/// Runs every step, also after one that failed; whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    needs::meet()?;
    let mut outcomes = Vec::new();
    for step in Step::value_variants() {
        if options.skip.contains(step) {
            continue;
        }
        println!("==> {}", step.name());
        let start = Instant::now();
        // A step that could not run has failed; the others still tell what they find.
        let passed = step.run().unwrap_or_else(|error| {
            eprintln!("{error:#}");
            false
        });
        let outcome = Outcome { name: step.name(), passed, took: start.elapsed() };
        println!("<== {}", outcome.line());
        outcomes.push(outcome);
    }
    print!("{}", summary(&outcomes));
    Ok(outcomes.iter().all(|outcome| outcome.passed))
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self) -> Result<bool> {
        let root = Workspace::load()?.root;
        match self {
            Self::Format => run::passes(&mut run::cargo(&root, &["fmt", "--all", "--check"])),
            Self::Tidy => tidy::run(),
            Self::Licenses => licenses::run(),
            Self::Codegen => codegen::run(&codegen::Options { check: true }),
            Self::Clippy => run::passes(&mut run::cargo(
                &root,
                &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
            )),
            Self::Docs => run::passes(
                run::cargo(&root, &["doc", "--workspace", "--no-deps", "--locked"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Scripts => scripts::run(),
            Self::Test => test::run(&test::Options::default()),
        }
    }
}

struct Outcome {
    name: String,
    passed: bool,
    took: Duration,
}

impl Outcome {
    fn line(&self) -> String {
        let word = if self.passed { "passed" } else { "FAILED" };
        format!("{:<10}{word:<8}{:>7.1} s", self.name, self.took.as_secs_f64())
    }
}

/// A line for each step, and how many passed in the words that close a test run.
fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\n");
    for outcome in outcomes {
        let _ = writeln!(text, "{}", outcome.line());
    }
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    let took: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    let _ = writeln!(text, "{:<18}{:>7.1} s\n", "all", took.as_secs_f64());
    let _ = writeln!(text, "steps: {passed} passed, {} failed", outcomes.len() - passed);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_each_step_and_adds_their_times() {
        let outcome = |name: &str, passed, seconds| Outcome {
            name: name.to_owned(),
            passed,
            took: Duration::from_secs(seconds),
        };
        let text = summary(&[outcome("format", true, 1), outcome("clippy", false, 90)]);
        assert_eq!(
            text,
            "
format    passed      1.0 s
clippy    FAILED     90.0 s
all                  91.0 s

steps: 1 passed, 1 failed
"
        );
    }

    #[test]
    fn the_quick_steps_come_first_and_the_tests_last() {
        let names: Vec<_> = Step::value_variants().iter().map(|step| step.name()).collect();
        assert_eq!(names.first().map(String::as_str), Some("format"));
        assert_eq!(names.last().map(String::as_str), Some("test"));
    }
}
