use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use super::Failure;
use super::failure::Usage;
use crate::cli::CheckArgs;
use crate::config::Config;

/// Compiles a script without running it; the error names file, line and reason.
pub type Compile<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

/// Says all that is wrong with a configuration and its scripts, or with one script.
///
/// # Errors
/// [`Failure::Usage`] if the file is neither or its configuration is wrong, [`Failure::Failed`] if
/// a script does not compile.
pub fn check(args: &CheckArgs, compile: Compile<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let file = args.file.as_path();
    match file.extension().and_then(OsStr::to_str) {
        Some("json" | "jsonc") => check_config(file, compile, out),
        Some("lua") => {
            compile(file).map_err(Failure::Failed)?;
            writeln!(out, "{}: compiles", file.display())?;
            Ok(())
        }
        _ => Err(Failure::Usage(Usage::Other(format!(
            "{}: a configuration ends in .json or .jsonc, a script in .lua",
            file.display()
        )))),
    }
}

fn check_config(file: &Path, compile: Compile<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let compiled = config.startup.iter().map(|stage| compile(&stage.script));
    let errors: Vec<String> = compiled.filter_map(Result::err).collect();
    if !errors.is_empty() {
        return Err(Failure::Failed(errors.join("\n")));
    }
    writeln!(out, "{}: good, with {}", file.display(), stages(&config))?;
    Ok(())
}

fn stages(config: &Config) -> String {
    let names: Vec<&str> = config.startup.iter().map(|stage| stage.stage.as_str()).collect();
    match names.as_slice() {
        [] => "no stage".into(),
        [name] => format!("the stage {name}"),
        names => format!("the stages {}", names.join(", ")),
    }
}
