//! `cargo xtask memory`: runs the tests of the unsafe module under Valgrind, which sees reads and writes beside what was
//! allocated, and decisions by what was never set.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{needs, run};

/// The tests that go through `stage-lua/src/raw/`: hogs that are paused and ended, samples, functions that travel.
const TESTS: &[&str] = &["preempt::", "profile::", "hogs::an_endless_loop", "functions::"];

/// A process that Valgrind runs, and how it fails.
const RUNNER: &str = "target.'cfg(all())'.runner = \
    ['valgrind', '--quiet', '--error-exitcode=9', '--leak-check=no', '--fair-sched=yes']";

/// Whether Valgrind has nothing to say.
pub(crate) fn run() -> Result<bool> {
    needs::meet()?;
    needs::meet_for_benches()?;
    let root = Workspace::load()?.root;
    let arguments =
        ["test", "--package", "stage-lua", "--lib", "--test", "lua", "--config", RUNNER, "--"];
    let mut test = run::cargo(&root, &arguments);
    run::passes(test.arg("--test-threads=1").args(TESTS))
}
