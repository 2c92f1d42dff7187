//! `cargo xtask memory`: runs the tests of the unsafe module under Valgrind, which sees reads and writes beside what was
//! allocated, and decisions by what was never set.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{needs, run};

/// Tests that go through `stage-lua/src/raw/`: hogs that are paused and ended, samples, functions that travel. Those that compute
/// for long are not among them: Valgrind is some thirty times slower, and handlers would be ended.
const TESTS: &[&str] = &[
    "preempt::",
    "hogs::an_endless_loop",
    "profile::there_is_one",
    "profile::waiting",
    "functions::a_recursive",
    "functions::a_shipped",
    "functions::helpers",
    "functions::upvalues",
];

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
