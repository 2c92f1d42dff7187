use std::slice::Iter;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes};

use super::{
    BYTES, ENVIRONMENT, FALSE, FLOAT, FUNCTION, INT, ITSELF, KNOWN, LIBRARY, LIST, MAP, NIL, TRUE,
};
use crate::{Capture, Function, Key, Prototype, Value};

/// Encodes a message's values. O(size); needs no native stack per level.
#[must_use]
pub fn encode(values: &[Value]) -> Bytes {
    encode_with(values, &mut None)
}

/// Encodes a message's values with functions by their hashes, and returns the code of each
/// function once, in the order in which they occur.
#[must_use]
pub fn encode_by_hash(values: &[Value]) -> (Bytes, Vec<Arc<Prototype>>) {
    let mut named = Some(Vec::new());
    let bytes = encode_with(values, &mut named);
    (bytes, named.unwrap_or_default())
}

/// The functions that are named by their hashes; `None`: they are written out.
type Named = Option<Vec<Arc<Prototype>>>;

fn encode_with(values: &[Value], named: &mut Named) -> Bytes {
    let room = varint_len(values.len() as u64) + values.iter().map(room).sum::<usize>();
    let mut out = Vec::with_capacity(room);
    varint(&mut out, values.len() as u64);
    let mut top = Pending::Values(values.iter());
    // A message that nests nothing needs no stack.
    let mut open = Vec::new();
    loop {
        match top.next(&mut out) {
            Step::Value(value) => {
                if let Some(container) = begin(&mut out, value, named) {
                    open.push(std::mem::replace(&mut top, container));
                }
            }
            Step::Written => {}
            Step::End => match open.pop() {
                Some(parent) => top = parent,
                None => return out.into(),
            },
        }
    }
}

/// What a value takes, exactly if it is no container: a buffer that is filled is handed on as it is.
fn room(value: &Value) -> usize {
    match value {
        Value::Nil | Value::Bool(_) => 1,
        Value::Int(value) => 1 + varint_len(zigzag(*value)),
        Value::Float(_) => 9,
        Value::Bytes(bytes) => 1 + varint_len(bytes.len() as u64) + bytes.len(),
        Value::List(_) | Value::Map(_) | Value::Function(_) => 64,
    }
}

fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// What is left to write of a container.
enum Pending<'a> {
    Values(Iter<'a, Value>),
    Entries(crate::map::Iter<'a>),
    Captures(std::iter::Zip<Iter<'a, Arc<str>>, Iter<'a, Capture>>),
    Unnamed(Iter<'a, Capture>),
}

enum Step<'a> {
    Value(&'a Value),
    Written,
    End,
}

impl<'a> Pending<'a> {
    /// Writes what precedes the next value and returns that value.
    fn next(&mut self, out: &mut Vec<u8>) -> Step<'a> {
        match self {
            Self::Values(values) => values.next().map_or(Step::End, Step::Value),
            Self::Entries(entries) => entries.next().map_or(Step::End, |(key, value)| {
                write_key(out, key);
                Step::Value(value)
            }),
            Self::Captures(captures) => captures.next().map_or(Step::End, |(name, capture)| {
                write_bytes(out, name.as_bytes());
                write_capture(out, capture)
            }),
            Self::Unnamed(captures) => {
                captures.next().map_or(Step::End, |capture| write_capture(out, capture))
            }
        }
    }
}

/// Writes a scalar whole, or a container's head and returns the rest of it.
fn begin<'a>(out: &mut Vec<u8>, value: &'a Value, named: &mut Named) -> Option<Pending<'a>> {
    match value {
        Value::Nil => out.put_u8(NIL),
        Value::Bool(value) => out.put_u8(if *value { TRUE } else { FALSE }),
        Value::Int(value) => write_int(out, *value),
        Value::Float(value) => write_float(out, *value),
        Value::Bytes(bytes) => {
            out.put_u8(BYTES);
            write_bytes(out, bytes);
        }
        Value::List(items) => {
            out.put_u8(LIST);
            varint(out, items.len() as u64);
            return Some(Pending::Values(items.iter()));
        }
        Value::Map(map) => {
            out.put_u8(MAP);
            varint(out, map.len() as u64);
            return Some(Pending::Entries(map.iter()));
        }
        Value::Function(function) => {
            return Some(match named {
                Some(named) => name_function(out, function, named),
                None => begin_function(out, function),
            });
        }
    }
    None
}

fn begin_function<'a>(out: &mut Vec<u8>, function: &'a Function) -> Pending<'a> {
    let prototype = function.prototype();
    out.put_u8(FUNCTION);
    write_bytes(out, prototype.text());
    write_bytes(out, prototype.chunk().as_bytes());
    varint(out, prototype.line().into());
    varint(out, function.captures().len() as u64);
    Pending::Captures(prototype.names().iter().zip(function.captures()))
}

fn name_function<'a>(
    out: &mut Vec<u8>,
    function: &'a Function,
    named: &mut Vec<Arc<Prototype>>,
) -> Pending<'a> {
    let prototype = function.prototype();
    if named.iter().all(|other| other.hash() != prototype.hash()) {
        named.push(Arc::clone(prototype));
    }
    out.put_u8(KNOWN);
    out.put_slice(prototype.hash().as_bytes());
    varint(out, function.captures().len() as u64);
    Pending::Unnamed(function.captures().iter())
}

fn write_capture<'a>(out: &mut Vec<u8>, capture: &'a Capture) -> Step<'a> {
    match capture {
        Capture::Value(value) => return Step::Value(value),
        Capture::Itself => out.put_u8(ITSELF),
        Capture::Environment => out.put_u8(ENVIRONMENT),
        Capture::Library(name) => {
            out.put_u8(LIBRARY);
            write_bytes(out, name.as_bytes());
        }
    }
    Step::Written
}

fn write_key(out: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Bool(value) => out.put_u8(if *value { TRUE } else { FALSE }),
        Key::Int(value) => write_int(out, *value),
        Key::Float(value) => write_float(out, *value),
        Key::Bytes(bytes) => {
            out.put_u8(BYTES);
            write_bytes(out, bytes);
        }
    }
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    out.put_u8(INT);
    varint(out, zigzag(value));
}

fn write_float(out: &mut Vec<u8>, value: f64) {
    out.put_u8(FLOAT);
    out.put_f64_le(value);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
