use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use stage_lua::Script;
use stage_signal::Tls;

use super::Failure;
use super::failure::Usage;
use crate::cli::CheckArgs;
use crate::config::{self, Config};

/// Says all that is wrong with a configuration and its scripts, or with one script.
///
/// # Errors
/// [`Failure::Usage`] if the file is neither or its configuration is wrong, [`Failure::Failed`] if
/// a script does not compile.
pub fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let file = args.file.as_path();
    match file.extension().and_then(OsStr::to_str) {
        Some("json" | "jsonc") => check_config(file, out),
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

fn check_config(file: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load(file)?;
    if let Some(tls) = &config.node.tls {
        let checked = check_certificate(tls, config.node.name.as_str());
        checked.map_err(|error| Failure::Usage(Usage::Other(error)))?;
    }
    let compiled = config.startup.iter().map(|stage| compile(&stage.script));
    let errors: Vec<String> = compiled.filter_map(Result::err).collect();
    if !errors.is_empty() {
        return Err(Failure::Failed(errors.join("\n")));
    }
    writeln!(out, "{}: good, with {}", file.display(), stages(&config))?;
    Ok(())
}

/// Whether the files belong together, are valid now and are those of this node.
fn check_certificate(tls: &config::Tls, name: &str) -> Result<(), String> {
    let tls = Tls::load(tls.files()).map_err(|error| format!("#node.tls: {error}"))?;
    let identity = tls.identity();
    if *identity == *name {
        return Ok(());
    }
    Err(format!("#node.tls: the certificate is for '{identity}', the node's name is '{name}'"))
}

/// Compiles a script without running it; the error names file, line and reason.
fn compile(path: &Path) -> Result<(), String> {
    let script = Script::read(path).map_err(|error| error.to_string())?;
    stage_lua::check(&script).map_err(|error| error.to_string())
}

fn stages(config: &Config) -> String {
    let names: Vec<&str> = config.startup.iter().map(|stage| stage.stage.as_str()).collect();
    match names.as_slice() {
        [] => "no stage".into(),
        [name] => format!("the stage {name}"),
        names => format!("the stages {}", names.join(", ")),
    }
}
