//! What it costs to take values and functions out of a VM and back in, beside what mlua and Lua have for that.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "bare/vm.rs"]
mod bare;

use std::hint::black_box;

use bare::open;
use criterion::{Criterion, criterion_group, criterion_main};
use mlua::{Function, Lua, LuaSerdeExt, MultiValue, Table, Value as LuaValue};
use stage_lua::Script;
use stage_value::Value;

/// The one of the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two strings; a table of a kilobyte, as a player or an order may be; a table with a hundred entries.
const VALUES: [(&str, &str); 3] = [
    ("two strings", "return 'a name of some length', 'and a text beside it'"),
    (
        "a table of 1 KB",
        "local t = { id = 4711, name = 'kim', level = 12, ratio = 0.75, online = true, items = {} }
         for i = 1, 8 do t.items[i] = { kind = 'sword', count = i, note = ('x'):rep(80) } end
         return t",
    ),
    (
        "a table of 100 entries",
        "local t = {} for i = 1, 100 do t['key' .. i] = 'value' .. i end return t",
    ),
];

/// A function that captures nothing, and one that captures two values.
const FUNCTIONS: [(&str, &str); 2] = [
    ("a function", "return function(a) return a + 1 end"),
    (
        "a function of two captures",
        "local n, name = 17, 'kim' return function(a) return a + n .. name end",
    ),
];

/// A copy of a function with what it captured.
const DUMP_AND_LOAD: &str = "
local getupvalue, setupvalue, dump, load = debug.getupvalue, debug.setupvalue, string.dump, load
return function(f)
    local copy, at = load(dump(f, true), 'f', 'b'), 1
    while true do
        local name, value = getupvalue(f, at)
        if not name then return copy end
        setupvalue(copy, at, value)
        at = at + 1
    end
end";

/// Out of the VM as owned values and back, as arguments of a message.
fn values(c: &mut Criterion) {
    let (_tokio, bare) = open();
    let lua = Lua::new();
    for (name, script) in VALUES {
        let mut group = c.benchmark_group(format!("{name}, out and back"));
        let script = format!("return table.pack((function() {script} end)())");
        let sequence = |table: Table| table.sequence_values().map(Result::unwrap).collect();
        let LuaValue::Table(table) =
            bare.run(&Script::of_text("values.lua", script.clone())).unwrap()
        else {
            continue;
        };
        let values: MultiValue = sequence(table);
        group.bench_function("stage", |b| {
            b.iter(|| {
                let packed = bare.pack(values.clone()).unwrap();
                bare.unpack(black_box(packed)).unwrap()
            });
        });
        let values: MultiValue = sequence(lua.load(&script).eval().unwrap());
        group.bench_function("mlua's serde", |b| {
            b.iter(|| {
                let through = |value| {
                    let owned: serde_json::Value = lua.from_value(value).unwrap();
                    lua.to_value(&black_box(owned)).unwrap()
                };
                values.clone().into_iter().map(through).collect::<MultiValue>()
            });
        });
        group.finish();
    }
}

/// A function that both sides know already: recognised, taken out with what it captured, and made anew.
fn functions(c: &mut Criterion) {
    let (_tokio, bare) = open();
    // SAFETY: its `debug` library is used by the lines above alone.
    #[allow(
        unsafe_code,
        reason = "the peer sets captured variables, for which Lua has but that library"
    )]
    let lua = unsafe { Lua::unsafe_new() };
    let dump_and_load: Function = lua.load(DUMP_AND_LOAD).eval().unwrap();
    for (name, script) in FUNCTIONS {
        let mut group = c.benchmark_group(format!("{name}, out and back"));
        let function = bare.run(&Script::of_text("function.lua", script)).unwrap();
        group.bench_function("stage", |b| {
            b.iter(|| {
                let packed = bare.pack([function.clone()].into_iter().collect()).unwrap();
                bare.unpack(black_box(packed)).unwrap()
            });
        });
        let function: Function = lua.load(script).eval().unwrap();
        group.bench_function("string.dump and load", |b| {
            b.iter(|| dump_and_load.call::<Function>(&function).unwrap());
        });
        group.finish();
    }
}

/// Reads so many entries of a table with ten thousand.
const READ: &str = "
return function(t, reads)
    local sum = 0
    for i = 1, reads do sum = sum + t[i * 7919 % 10000 + 1] end
    return sum
end";

/// What a VM has to do for a new version of a shared table, and for reads of it: look where it is, as it does, or copy all
/// of it first and read the copy.
fn versions(c: &mut Criterion) {
    let (_tokio, bare) = open();
    let LuaValue::Function(read) = bare.run(&Script::of_text("read.lua", READ)).unwrap() else {
        return;
    };
    let shared = Value::List((0..10_000).map(Value::Int).collect());
    for reads in [10, 10_000, 100_000] {
        let mut group =
            c.benchmark_group("a new version of a shared table of 10k, and reads of it");
        let measured = |way: &str| format!("{way}/{reads}");
        group.bench_function(measured("stage"), |b| {
            b.iter(|| {
                let view = bare.show(black_box(&shared)).unwrap();
                read.call::<i64>((view, reads)).unwrap()
            });
        });
        group.bench_function(measured("a copy in the VM"), |b| {
            b.iter(|| {
                let copy = bare.unpack(vec![black_box(&shared).clone()]).unwrap();
                read.call::<i64>((copy.into_iter().next(), reads)).unwrap()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, values, functions, versions);
criterion_main!(benches);
