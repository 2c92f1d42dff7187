use std::borrow::Cow;

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use stage_route::{Config, ConfigError, Tuning};

use super::reader::{Field, Reader, Section};

/// When a node leaves the mesh because of delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Route {
    /// It stays, whatever the delay.
    Never,
    /// It leaves past this many times the time a message takes; finite and above 0.
    Sensitivity(f64),
    /// It leaves and returns by these constants.
    Tuned(Tuning),
}

const DEFAULT: f64 = 8.0;

impl Route {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        if field.is_false() {
            return Self::Never;
        }
        if field.is_object() {
            return tuned(field, reader);
        }
        let Some(literal) = field.number() else {
            field.wrong_type("a number, an object or false", reader);
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

/// A key of the object: how it sets its constant, and how many of its unit make one of the library's.
struct Key {
    name: &'static str,
    set: fn(&mut Tuning, f64),
    unit: f64,
}

const fn number(name: &'static str, set: fn(&mut Tuning, f64)) -> Key {
    Key { name, set, unit: 1.0 }
}

const fn millis(name: &'static str, set: fn(&mut Tuning, f64)) -> Key {
    Key { name, set, unit: 1000.0 }
}

const KEYS: [Key; 14] = [
    number("sensitivity", |tuning, value| tuning.sensitivity = value),
    number("patience", |tuning, value| tuning.patience = whole(value)),
    number("severe", |tuning, value| tuning.severe = value),
    number("floor", |tuning, value| tuning.floor = value),
    number("fill", |tuning, value| tuning.fill = value),
    millis("apart_ms", |tuning, value| tuning.apart = seconds(value)),
    millis("drain_ms", |tuning, value| tuning.drain = seconds(value)),
    millis("hold_ms", |tuning, value| tuning.hold = seconds(value)),
    millis("hold_longest_ms", |tuning, value| tuning.hold_longest = seconds(value)),
    number("jitter", |tuning, value| tuning.jitter = value),
    number("probe_start", |tuning, value| tuning.probe_start = value),
    number("credit_floor", |tuning, value| tuning.credit_floor = value),
    number("late", |tuning, value| tuning.late = value),
    millis("forgive_ms", |tuning, value| tuning.forgive = seconds(value)),
];

/// The key of the one constant that is true or false.
const RISING: &str = "rising";

const NAMES: [&str; KEYS.len() + 1] = {
    let mut names = [RISING; KEYS.len() + 1];
    let mut at = 0;
    while at < KEYS.len() {
        names[at] = KEYS[at].name;
        at += 1;
    }
    names
};

fn tuned(field: &Field<'_>, reader: &mut Reader<'_>) -> Route {
    let mut tuning = Tuning::default();
    let Some(section) = Section::open(field, &NAMES, reader) else { return Route::Never };
    for key in &KEYS {
        let Some(field) = section.field(key.name) else { continue };
        let literal = field.number().unwrap_or_default();
        let Ok(value) = literal.parse::<f64>() else {
            field.wrong_type("a number", reader);
            continue;
        };
        let before = tuning;
        (key.set)(&mut tuning, value / key.unit);
        if let Err(error) = Config::tuned(tuning) {
            field.out_of_range(range(&error, key.unit), literal, reader);
            tuning = before;
        }
    }
    if let Some(rising) = section.field(RISING).and_then(|field| field.flag(reader)) {
        tuning.rising = rising;
    }
    if tuning.sensitivity > 0.0 { Route::Tuned(tuning) } else { Route::Never }
}

fn range(error: &ConfigError, unit: f64) -> String {
    match error {
        ConfigError::Sensitivity { limit, .. } => format!("a number from 0 to {limit}"),
        ConfigError::Tuning { least, most, .. } => {
            format!("a number from {} to {}", least * unit, most * unit)
        }
        other => other.to_string(),
    }
}

/// What no duration can be is longer than any that is accepted.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

/// A count; what is none is 0, which no count may be.
fn whole(value: f64) -> u32 {
    if value.fract() == 0.0 { value as u32 } else { 0 }
}

impl JsonSchema for Route {
    fn schema_name() -> Cow<'static, str> {
        "Route".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let keys = NAMES.map(|name| {
            let of = if name == RISING { "boolean" } else { "number" };
            (name.to_owned(), serde_json::json!({ "type": of }))
        });
        let keys: serde_json::Map<String, serde_json::Value> = keys.into_iter().collect();
        json_schema!({
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": Config::LARGEST },
                { "const": false },
                { "type": "object", "properties": keys, "additionalProperties": false },
            ],
            "default": DEFAULT,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
