use stage_value::{Key, Map, Value};

/// The most that is reserved for a list before its items have come.
const RESERVED: usize = 1024;

/// What is in a table, as it comes: the list that its keys from 1 make, and the rest.
#[derive(Default)]
pub(crate) struct Content {
    items: Vec<Value>,
    entries: Vec<(Key, Value)>,
}

impl Content {
    /// Makes room for a list of so many items.
    pub(crate) fn reserve(&mut self, items: usize) {
        self.items.reserve(items.min(RESERVED));
    }

    /// Appends to the list while keys go on from 1; the rest are entries.
    pub(crate) fn place(&mut self, key: Key, value: Value) {
        if key == Key::Int(self.items.len() as i64 + 1) {
            self.items.push(value);
        } else {
            self.entries.push((key, value));
        }
    }

    pub(crate) fn into_value(self) -> Value {
        let Self { items, mut entries } = self;
        if entries.is_empty() {
            return Value::list(items);
        }
        entries.extend((1..).map(Key::Int).zip(items));
        list_or_map(Map::from_entries(entries))
    }
}

/// A map whose keys are 1 to n is a list, in whatever order the table gave them.
fn list_or_map(map: Map) -> Value {
    let is_list = map.iter().zip(1..).all(|((key, _), index)| *key == Key::Int(index));
    if is_list { Value::list(map.iter().map(|(_, value)| value.clone())) } else { Value::Map(map) }
}
