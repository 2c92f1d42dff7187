//! Large values are freed beside the VMs that read them: to free a table of a million entries takes tens of milliseconds,
//! in which no handler of the VM would go on.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use stage_value::Value;

/// A value of fewer nodes is freed where it is: to hand it over would take as long.
const LARGE: usize = 1024;

/// How many may wait to be freed. Beyond that a VM frees what it has.
const WAITING: usize = 1024;

/// Hands values to a thread that frees them. The thread ends with the last of the handles.
#[derive(Clone)]
pub(crate) struct Disposal(SyncSender<Value>);

impl Disposal {
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, values) = sync_channel(WAITING);
        let free = move || values.into_iter().for_each(drop);
        thread::Builder::new().name("stage-lua-free".to_owned()).spawn(free)?;
        Ok(Self(sender))
    }

    /// Frees a value, here if that is soon done.
    pub(crate) fn free(&self, value: Value) {
        if is_large(&value) {
            // What comes back is freed here.
            drop(self.0.try_send(value));
        }
    }
}

/// Whether the end of a value may be the end of many. O(LARGE).
fn is_large(value: &Value) -> bool {
    nodes(value, LARGE) >= LARGE
}

/// How many values a container has in it, up to a bound.
fn nodes(value: &Value, bound: usize) -> usize {
    let within = |own: usize, parts: &mut dyn Iterator<Item = &Value>| {
        parts.fold(own, |sum, part| if sum >= bound { sum } else { sum + nodes(part, bound - sum) })
    };
    match value {
        Value::List(items) if items.len() < bound => within(items.len(), &mut items.iter()),
        Value::Map(map) if map.len() < bound => {
            within(map.len(), &mut map.iter().map(|(_, part)| part))
        }
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use stage_value::{Key, Map};

    use super::*;

    fn numbers(count: i64) -> Value {
        Value::list((0..count).map(Value::Int))
    }

    #[test]
    fn what_is_large_is_so_in_all_its_parts_together() {
        assert!(!is_large(&Value::Nil) && !is_large(&numbers(1023)) && is_large(&numbers(1024)));
        let nested = |parts| Value::list((0..parts).map(|_| numbers(100)));
        assert!(!is_large(&nested(10)) && is_large(&nested(11)));
        let map: Map = (0..11).map(|key| (Key::Int(key), numbers(100))).collect();
        assert!(is_large(&map.into()));
    }
}
