use std::thread::available_parallelism;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::reader::{Field, Reader};

const MOST: i64 = 1024;

/// The processor cores this process may use.
pub(super) fn available() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().min(MOST as usize))
}

pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> usize {
    field.count(1..=MOST, reader).unwrap_or_else(available)
}

pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST })
}
