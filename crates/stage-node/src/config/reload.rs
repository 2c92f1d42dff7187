use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;

use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["every_ms", "rollback"];

const EVERY: RangeInclusive<i64> = 0..=3_600_000;

/// How changed scripts are taken up while the node runs.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Reload {
    /// How often scripts and modules are looked at, in milliseconds; a change is taken up when two looks find
    /// the same. 0: never.
    #[schemars(rename = "every_ms", default, with = "u64", extend("minimum" = EVERY.start(), "maximum" = EVERY.end(), "default" = every().as_millis() as u64))]
    pub every: Duration,
    /// The folder, from that of this file, with older copies of modules: `stage.load` uses one while the module
    /// itself fails. Default: none.
    #[schemars(default, with = "String")]
    pub rollback: Option<PathBuf>,
}

impl Default for Reload {
    fn default() -> Self {
        Self { every: every(), rollback: None }
    }
}

impl Reload {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let section = Section::open(field, KEYS, reader)?;
        let every = match section.field("every_ms") {
            Some(field) => field.millis(EVERY, reader),
            None => Some(every()),
        };
        let rollback = match section.field("rollback") {
            Some(field) => Some(reader.folder.join(field.text(reader)?)),
            None => None,
        };
        Some(Self { every: every?, rollback })
    }
}

fn every() -> Duration {
    Duration::from_millis(500)
}
