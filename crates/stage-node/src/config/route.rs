use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use stage_route::Config;

use super::reader::{Field, Reader};

/// When a node leaves the mesh because of delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Route {
    /// It stays, whatever the delay.
    Never,
    /// It leaves past this many times the time a message takes; finite and above 0.
    Sensitivity(f64),
}

const DEFAULT: f64 = 8.0;

impl Route {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        if field.is_false() {
            return Self::Never;
        }
        let Some(literal) = field.number() else {
            field.wrong_type("a number or false", reader);
            return Self::Never;
        };
        match literal.parse::<f64>() {
            Ok(0.0) => Self::Never,
            Ok(value) if Config::try_new(value).is_ok() => Self::Sensitivity(value),
            _ => {
                let range = format!("a number from 0 to {}", Config::LARGEST);
                field.out_of_range(range, literal, reader);
                Self::Never
            }
        }
    }
}

impl Default for Route {
    fn default() -> Self {
        Self::Sensitivity(DEFAULT)
    }
}

impl JsonSchema for Route {
    fn schema_name() -> Cow<'static, str> {
        "Route".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "number", "minimum": 0, "maximum": Config::LARGEST }, { "const": false }],
            "default": DEFAULT,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
