use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};
use stage_value::Id;

use super::node::{ID_PATTERN, IDENTIFIER};
use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader, Section};

/// The most handlers of one category at once.
const MOST: i64 = 1_000_000;

pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> BTreeMap<Id, i32> {
    let mut categories = BTreeMap::new();
    let Some(section) = Section::of_any_keys(field, reader) else { return categories };
    for (name, span, limit) in section.entries() {
        let limit = read_limit(&limit, reader);
        let Ok(category) = name.parse() else {
            let kind = ProblemKind::Malformed {
                key: field.path.clone(),
                expected: "a category",
                found: quoted(name),
            };
            reader.record(Problem::at(span, kind).help(IDENTIFIER));
            continue;
        };
        categories.extend(limit.map(|limit| (category, limit)));
    }
    categories
}

fn read_limit(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<i32> {
    let limit = field.integer(-MOST..=MOST, reader)?;
    if limit == 0 {
        let kind = ProblemKind::OutOfRange {
            key: field.path.clone(),
            range: format!("a non-zero integer from {} to {MOST}", -MOST),
            found: "0".into(),
        };
        let help = "n queues what is beyond n, -n refuses it; 0 would let nothing run, ever";
        reader.record(Problem::at(field.span(), kind).help(help));
        return None;
    }
    i32::try_from(limit).ok()
}

pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": ID_PATTERN },
        "additionalProperties": {
            "type": "integer", "minimum": -MOST, "maximum": MOST, "not": { "const": 0 },
        },
        "examples": [{ "login": 100, "lobby": -10 }],
    })
}
