#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use mlua::Lua;
use stage_value::Value;

use super::{Disposal, Views};

/// Large values that are read as a shared name, and how often each is held beside this.
struct Read {
    lua: Lua,
    views: Views,
    values: [Arc<[Value]>; 2],
}

impl Read {
    fn new() -> Self {
        let lua = Lua::new();
        let views = Views::new(&lua, Disposal::start().unwrap()).unwrap();
        Self { lua, views, values: [1, 2].map(|n| Arc::from(vec![Value::Int(n); 100])) }
    }

    /// Reads a value as what a version has; whether the VM keeps it.
    fn read(&self, version: u64, value: &Value) -> bool {
        self.views.newest(&self.lua, "BIG", version, value).unwrap().is_some()
    }

    fn read_large(&self, version: u64, which: usize) -> bool {
        self.read(version, &Value::List(Arc::clone(&self.values[which])))
    }

    fn held(&self) -> [usize; 2] {
        self.lua.gc_collect().unwrap();
        self.lua.gc_collect().unwrap();
        self.values.each_ref().map(|value| Arc::strong_count(value) - 1)
    }
}

#[test]
fn a_value_is_let_go_when_its_name_is_read_as_something_else() {
    for other in [Value::Nil, Value::Int(1)] {
        let shared = Read::new();
        assert!(shared.read_large(1, 0));
        assert_eq!(shared.held(), [1, 0]);
        assert!(shared.read(2, &other));
        assert_eq!(shared.held(), [0, 0]);
    }
}

#[test]
fn only_the_newest_value_that_was_read_is_kept() {
    let shared = Read::new();
    assert!(shared.read_large(1, 0));
    assert!(shared.read_large(2, 1));
    assert_eq!(shared.held(), [0, 1]);
    // By a handler that has seen the version before.
    assert!(!shared.read_large(1, 0));
    assert_eq!(shared.held(), [0, 1]);
    assert!(shared.read(3, &Value::Nil));
    assert!(!shared.read_large(2, 1));
    assert_eq!(shared.held(), [0, 0]);
    assert!(shared.read_large(4, 0));
    assert_eq!(shared.held(), [1, 0]);
}

/// A text that tells on which thread it is freed.
struct Text(Sender<ThreadId>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        b"text"
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

#[test]
fn the_last_reader_of_a_large_table_does_not_free_it() {
    let shared = Read::new();
    for (size, is_elsewhere) in [(10, false), (100_000, true)] {
        let (tell, freed) = channel();
        let text = Value::Bytes(Bytes::from_owner(Text(tell)));
        let value = Value::list((0..size).map(Value::Int).chain([text]));
        assert!(shared.read(1 + 2 * size as u64, &value));
        drop(value);
        assert!(shared.read(2 + 2 * size as u64, &Value::Nil));
        shared.held();
        assert_eq!(freed.recv().unwrap() != thread::current().id(), is_elsewhere);
    }
}
