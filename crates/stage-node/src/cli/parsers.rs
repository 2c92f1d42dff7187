use std::time::Duration;

use clap::CommandFactory;
use stage_value::{Address, Id, Value, json};

use super::Cli;

/// The longest time a flag may ask for: a clock can be advanced by it without overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; times look like 500ms, 5s, 2m"))?;
    if duration > LONGEST {
        return Err("a year is the most".into());
    }
    Ok(duration)
}

/// How long a node is loaded.
pub(super) fn load_time(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(3600);
    let duration = duration(text)?;
    if duration.is_zero() || duration > MOST {
        return Err("more than nothing and an hour at most".into());
    }
    Ok(duration)
}

/// How long a profile takes.
pub(super) fn profile_time(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() || duration > crate::admin::LONGEST_PROFILE {
        return Err("more than nothing and 5 minutes at most".into());
    }
    Ok(duration)
}

pub(super) fn identifier(text: &str) -> Result<Id, String> {
    let help = "letters, digits, `_`, `-` and `$` make a name, at most 128 bytes";
    text.parse().map_err(|_| help.to_owned())
}

/// An address. The error has a line with the place, which starts below the message's own.
pub(super) fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: stage_value::AddressError| error.to_string())
}

pub(super) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(json::from_json).map_err(|error| {
        let quoted = serde_json::Value::from(text);
        format!("not JSON: {error}; a string is written '{quoted}'")
    })
}

pub(super) fn command_name(text: &str) -> Result<String, String> {
    let cli = Cli::command();
    let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("the commands are {}", names.join(", ")))
}

/// A name that certificates can carry: that of a node, or of a client.
pub(super) fn certified_name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = (1..=63).contains(&text.len()) && text.chars().all(is_part);
    if is_name && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']) {
        return Ok(text.to_owned());
    }
    Err("ASCII letters, digits, `-`, `_` and `.` within make a name in a certificate, at most 63"
        .into())
}
