use std::collections::BTreeMap;

use jsonc_parser::ast;
use stage_value::{Key, Map, Value};

use super::reader::{Field, Reader};

/// How deep lists and objects may stand in each other; scripts get no deeper values from anywhere.
const DEEPEST: usize = 32;

/// Whether a key of the file is the author's own, for scripts.
pub(super) fn is_setting(key: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    key.strip_prefix('%')
        .is_some_and(|name| (1..=64).contains(&name.len()) && name.chars().all(is_name))
}

/// The value of a setting: whatever JSON can say.
pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Value> {
    let value = value(field.value(), DEEPEST);
    if value.is_none() {
        field.malformed(
            "a value that scripts can have",
            "numbers that a double holds, and at most 32 lists and objects in each other",
            reader,
        );
    }
    value
}

fn value(json: &ast::Value<'_>, deeper: usize) -> Option<Value> {
    Some(match json {
        ast::Value::NullKeyword(_) => Value::Nil,
        ast::Value::BooleanLit(flag) => flag.value.into(),
        ast::Value::StringLit(text) => text.value.as_ref().into(),
        ast::Value::NumberLit(number) => match number.value.parse::<i64>() {
            Ok(whole) => whole.into(),
            Err(_) => number.value.parse::<f64>().ok().filter(|it| it.is_finite())?.into(),
        },
        ast::Value::Array(array) => {
            let deeper = deeper.checked_sub(1)?;
            let items: Option<Vec<_>> =
                array.elements.iter().map(|element| value(element, deeper)).collect();
            Value::list(items?)
        }
        ast::Value::Object(object) => {
            let deeper = deeper.checked_sub(1)?;
            let mut entries = BTreeMap::new();
            for property in &object.properties {
                entries.insert(property.name.as_str(), value(&property.value, deeper)?);
            }
            let entries = entries.into_iter().map(|(name, value)| (Key::from(name), value));
            Map::from_entries(entries.collect()).into()
        }
    })
}
