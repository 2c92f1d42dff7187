use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::Failure;
use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::config::schema;

/// Prints the JSON Schema of the configuration.
///
/// # Errors
/// [`Failure::Output`].
pub fn schema(out: &mut dyn Write) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&schema::schema()).map_err(io::Error::from)?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// Prints the completions of a shell.
///
/// # Errors
/// [`Failure::Output`].
pub fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    // The generator panics if it cannot write: it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stage-node", &mut text);
    out.write_all(&text)?;
    Ok(())
}

/// Prints a page of the manual in roff.
///
/// # Errors
/// [`Failure::Output`].
pub fn man(args: &ManArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let command = args.command.as_deref().and_then(|name| cli.find_subcommand(name));
    let page = match command {
        Some(command) => {
            let title = format!("stage-node-{}", command.get_name());
            Man::new(command.clone()).title(title)
        }
        None => Man::new(cli),
    };
    page.render(out)?;
    Ok(())
}
