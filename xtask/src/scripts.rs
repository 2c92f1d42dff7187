//! `cargo xtask scripts`: checks the Lua of the examples against docs/lua/stage.d.lua, as an editor would.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{needs, run};

/// Whether no example uses what is not there, or uses it wrongly.
pub(crate) fn run() -> Result<bool> {
    needs::meet_for_scripts()?;
    let root = Workspace::load()?.root;
    let mut check = Command::new("emmylua_check");
    check.current_dir(root).args(["--warnings-as-errors", "examples"]);
    run::passes(&mut check)
}
