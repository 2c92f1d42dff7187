use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;

use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["file", "names", "every_ms"];

const EVERY: RangeInclusive<i64> = 100..=86_400_000;

/// Shared variables that outlive the process.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Snapshot {
    /// Where they are kept, from the folder of this file; the version before is kept beside it as
    /// FILE.last. Its folder must be there.
    #[schemars(with = "String")]
    pub file: PathBuf,
    /// Which variables are kept. Default: all that are shared.
    #[schemars(default, with = "Vec<String>", extend("uniqueItems" = true, "items" = serde_json::json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })))]
    pub names: Option<Vec<String>>,
    /// How often they are saved if they have changed, in milliseconds. They are saved when the node
    /// stops as well.
    #[schemars(rename = "every_ms", default, with = "u64", extend("minimum" = EVERY.start(), "maximum" = EVERY.end(), "default" = every().as_millis() as u64))]
    pub every: Duration,
}

impl Snapshot {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let section = Section::open(field, KEYS, reader)?;
        let file = section.required("file", reader).and_then(|field| read_file(&field, reader));
        let names = section.field("names").map(|field| read_names(&field, reader));
        let every = match section.field("every_ms") {
            Some(field) => field.millis(EVERY, reader),
            None => Some(every()),
        };
        Some(Self { file: file?, names, every: every? })
    }
}

fn every() -> Duration {
    Duration::from_secs(5)
}

/// A path in a folder that is there.
fn read_file(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path = reader.folder.join(field.text(reader)?);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.file_name().is_some() && !path.is_dir() && folder.is_none_or(|folder| folder.is_dir()) {
        return Some(path);
    }
    field.malformed("a file in a folder that is there", "make the folder first", reader);
    None
}

fn read_names(field: &Field<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for element in field.list(reader).unwrap_or_default() {
        let Some(name) = element.text(reader) else { continue };
        if !stage_lua::is_variable(name) {
            let help = "the name of a variable as the scripts write it, without the star";
            element.malformed("a variable's name", help, reader);
        } else if names.iter().any(|known| known == name) {
            let what = format!("name \"{name}\"");
            reader.record(Problem::at(element.span(), ProblemKind::Duplicate { what }));
        } else {
            names.push(name.to_owned());
        }
    }
    names
}
