use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use stage_value::Id;

use super::node::IDENTIFIER;
use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["stage", "script", "instances"];

const INSTANCES: std::ops::RangeInclusive<i64> = 1..=256;

/// The target of an address that means tickets, so that no stage can have it as a name.
const TAKEN: &str = "ticket";

/// A stage that the node carries.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Startup {
    /// The stage's name in addresses. "lua+NAME" means the same as "NAME"; "ticket" is taken.
    #[schemars(with = "String", extend("pattern" = r"^(lua\+)?[\p{Alphabetic}\p{N}_$-]{1,128}$"))]
    pub stage: Id,
    /// The Lua script, from the folder of this file.
    #[schemars(with = "String")]
    pub script: PathBuf,
    /// How many VMs run it; signals to the stage are spread over them.
    #[schemars(default = "one", extend("minimum" = INSTANCES.start(), "maximum" = INSTANCES.end()))]
    pub instances: usize,
}

impl Startup {
    pub(super) fn of_script(script: PathBuf) -> Self {
        #[allow(clippy::expect_used, reason = "the word stage is an identifier")]
        let stage = "stage".parse().expect("an identifier");
        Self { stage, script, instances: one() }
    }

    fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let section = Section::open(field, KEYS, reader)?;
        let stage = section.required("stage", reader);
        let stage = stage.and_then(|field| read_stage(&field, reader));
        let script = section.required("script", reader);
        let script = script.and_then(|field| read_script(&field, reader));
        let instances = match section.field("instances") {
            Some(field) => field.count(INSTANCES, reader),
            None => Some(one()),
        };
        Some(Self { stage: stage?, script: script?, instances: instances? })
    }
}

/// The stages of a file, each listed once.
pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Vec<Startup> {
    let mut names = BTreeSet::new();
    let mut stages = Vec::new();
    for element in field.list(reader).unwrap_or_default() {
        let Some(stage) = Startup::read(&element, reader) else { continue };
        if names.insert(stage.stage.clone()) {
            stages.push(stage);
        } else {
            let what = format!("stage {}", quoted(stage.stage.as_str()));
            let problem = Problem::at(element.span(), ProblemKind::Duplicate { what });
            reader.record(problem.help("\"instances\" gives a stage more than one VM"));
        }
    }
    stages
}

fn read_stage(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Id> {
    let text = field.text(reader)?;
    if let Ok(stage) = text.strip_prefix("lua+").unwrap_or(text).parse::<Id>() {
        if stage.as_str() != TAKEN {
            return Some(stage);
        }
        field.malformed(
            "a stage's name",
            "addresses that start with `ticket:` are tickets",
            reader,
        );
    } else {
        field.malformed("a stage's name", IDENTIFIER, reader);
    }
    None
}

/// A script that is there now. The node reads it later and may still find it gone.
fn read_script(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path = reader.folder.join(field.text(reader)?);
    if path.is_file() {
        return Some(path);
    }
    let help = match path.exists() {
        true => "this is there, but is no file",
        false => "scripts are looked for from the folder of this file",
    };
    let kind = ProblemKind::ScriptMissing { key: field.path.clone(), path };
    reader.record(Problem::at(field.span(), kind).help(help));
    None
}

fn one() -> usize {
    1
}
