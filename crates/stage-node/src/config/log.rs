use clap::ValueEnum;
use schemars::JsonSchema;
use tracing_subscriber::EnvFilter;

use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader, Section, suggestion};

pub(super) const KEYS: &[&str] = &["format", "filter"];

/// The node's log.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// How lines are written: "text" for people, "json" for machines, one object per line.
    #[schemars(default)]
    pub format: LogFormat,
    /// What is logged: a level (off, error, warn, info, debug, trace), or levels by module, such as
    /// "info,stage_signal=debug". The environment variable RUST_LOG wins over it.
    #[schemars(default = "everything_of_note")]
    pub filter: String,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    #[schemars(rename = "text")]
    Text,
    /// One JSON object per line.
    #[schemars(rename = "json")]
    Json,
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: everything_of_note() }
    }
}

impl Log {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut log = Self::default();
        let Some(section) = Section::open(field, KEYS, reader) else { return log };
        if let Some(format) = section.field("format") {
            let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            log.format = format.choice(&words, reader).unwrap_or_default();
        }
        if let Some(filter) = section.field("filter") {
            log.filter = read_filter(&filter, reader).unwrap_or(log.filter);
        }
        log
    }
}

/// A filter, of which every part without `=` is a level.
///
/// The filter's own parser takes a misspelt level for the name of a module and logs nothing else.
fn read_filter(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = field.text(reader)?;
    let is_level = |part: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    let parts = text.split(',').map(str::trim);
    let odd = parts.filter(|part| !part.contains(['=', '['])).find(|part| !is_level(part));
    let help = match odd {
        Some(part) => suggestion(part, LEVELS, "a level, or module=level; levels"),
        None => match EnvFilter::builder().parse(text) {
            Ok(_) => return Some(text.to_owned()),
            Err(error) => error.to_string(),
        },
    };
    let kind = ProblemKind::Malformed {
        key: field.path.clone(),
        expected: "a log filter",
        found: quoted(odd.unwrap_or(text)),
    };
    reader.record(Problem::at(field.span(), kind).help(help));
    None
}

fn everything_of_note() -> String {
    "info".into()
}
