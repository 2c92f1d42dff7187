use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::{
    BYTES, ENVIRONMENT, FALSE, FLOAT, FUNCTION, INT, ITSELF, KNOWN, LIBRARY, LIST, MAP, NIL, TRUE,
};
use crate::{Budget, Capture, Function, FunctionHash, Key, Limits, Map, Problem, Prototype, Value};

/// Bytes that are no valid message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message at byte {offset}: {problem}")]
pub struct DecodeError {
    /// Where reading stopped, in bytes from the start.
    pub offset: usize,
    /// What is wrong there.
    pub problem: DecodeProblem,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeProblem {
    /// The message ends within a value.
    #[error("it ends too early")]
    Truncated,
    /// There are bytes behind the last value.
    #[error("bytes follow the last value")]
    Trailing,
    /// A tag that this version does not know, or not at this place.
    #[error("tag {0} is not expected here")]
    Tag(u8),
    /// A varint of more than 64 bits.
    #[error("a number exceeds its range")]
    Number,
    /// A chunk or variable name is not UTF-8.
    #[error("a name is not UTF-8")]
    Name,
    /// A map key is NaN.
    #[error("a map key is not a number")]
    NanKey,
    /// A function, where none is taken.
    #[error("functions are not taken here")]
    Function,
    /// A function is named by a hash whose code was not sent.
    #[error("it names a function that was not sent")]
    UnknownFunction,
    /// The tree exceeds the receiver's limits.
    #[error(transparent)]
    Limit(#[from] Problem),
}

/// The most parts that a count from outside makes room for before they have been read.
const ROOM: usize = 1024;

/// Decodes a message's values.
///
/// # Errors
/// [`DecodeError`] says at which byte the message is malformed or past a limit.
pub fn decode(message: &Bytes, limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    decode_with(message, limits, &Taken::WrittenOut)
}

/// Decodes a message of a sender whose functions are not taken.
///
/// # Errors
/// [`DecodeError`] as of [`decode`]; a function is [`DecodeProblem::Function`], found before its
/// text is looked at.
pub fn decode_data(message: &Bytes, limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    decode_with(message, limits, &Taken::None)
}

/// Decodes a message of a sender that names functions by hash; `known` gives their code.
///
/// # Errors
/// [`DecodeError`] as of [`decode`]; a hash for which there is no code is
/// [`DecodeProblem::UnknownFunction`].
pub fn decode_known(
    message: &Bytes,
    limits: &Limits,
    known: &dyn Fn(&FunctionHash) -> Option<Arc<Prototype>>,
) -> Result<Vec<Value>, DecodeError> {
    decode_with(message, limits, &Taken::Known(known))
}

/// Which functions are taken.
enum Taken<'a> {
    None,
    WrittenOut,
    Known(&'a dyn Fn(&FunctionHash) -> Option<Arc<Prototype>>),
}

fn decode_with(
    message: &Bytes,
    limits: &Limits,
    taken: &Taken<'_>,
) -> Result<Vec<Value>, DecodeError> {
    let mut reader = Reader { rest: message.clone(), budget: Budget::new(*limits), taken };
    read_message(&mut reader)
        .map_err(|problem| DecodeError { offset: message.len() - reader.rest.len(), problem })
}

fn read_message(reader: &mut Reader<'_>) -> Result<Vec<Value>, DecodeProblem> {
    let count = reader.count()?;
    let mut top = Frame::values(count, reader)?;
    // A message that nests nothing needs no stack.
    let mut open = Vec::new();
    loop {
        if top.left > 0 {
            top.left -= 1;
            if let Some(container) = top.read_part(reader)? {
                reader.budget.depth(open.len() + 1)?;
                open.push(std::mem::replace(&mut top, container));
            }
            continue;
        }
        let Some(parent) = open.pop() else { return top.into_message(reader) };
        let value = std::mem::replace(&mut top, parent).into_value()?;
        top.accept(value);
    }
}

/// A container that is being read.
struct Frame {
    left: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Value>),
    Map {
        entries: Vec<(Key, Value)>,
        key: Option<Key>,
    },
    Function {
        text: Bytes,
        chunk: Arc<str>,
        line: u32,
        names: Vec<Arc<str>>,
        captures: Vec<Capture>,
    },
    Known {
        prototype: Arc<Prototype>,
        captures: Vec<Capture>,
    },
}

impl Frame {
    fn values(count: usize, reader: &Reader<'_>) -> Result<Self, DecodeProblem> {
        reader.fits(count)?;
        Ok(Self { left: count, parts: Parts::List(Vec::with_capacity(count.min(ROOM))) })
    }

    /// Reads one element, entry or capture; returns a frame if it is a container.
    fn read_part(&mut self, reader: &mut Reader<'_>) -> Result<Option<Frame>, DecodeProblem> {
        reader.budget.nodes(1)?;
        match &mut self.parts {
            Parts::List(_) => {}
            Parts::Known { captures, .. } => {
                if let Some(capture) = reader.special_capture()? {
                    captures.push(capture);
                    return Ok(None);
                }
            }
            Parts::Map { key, .. } => *key = Some(reader.key()?),
            Parts::Function { names, captures, .. } => {
                names.push(reader.name()?);
                if let Some(capture) = reader.special_capture()? {
                    captures.push(capture);
                    return Ok(None);
                }
            }
        }
        match reader.value()? {
            Part::Value(value) => {
                self.accept(value);
                Ok(None)
            }
            Part::Container(frame) => Ok(Some(frame)),
        }
    }

    fn accept(&mut self, value: Value) {
        match &mut self.parts {
            Parts::List(items) => items.push(value),
            Parts::Map { entries, key } => entries.extend(key.take().map(|key| (key, value))),
            Parts::Function { captures, .. } | Parts::Known { captures, .. } => {
                captures.push(Capture::Value(value));
            }
        }
    }

    fn into_value(self) -> Result<Value, DecodeProblem> {
        match self.parts {
            Parts::List(items) => Ok(Value::list(items)),
            Parts::Map { entries, .. } => Ok(Value::Map(Map::from_entries(entries))),
            Parts::Known { prototype, captures } => Function::new(prototype, captures)
                .map(Value::Function)
                .ok_or(DecodeProblem::Truncated),
            Parts::Function { text, chunk, line, names, captures } => {
                let prototype = Arc::new(Prototype::new(text, chunk, line, names));
                Function::new(prototype, captures)
                    .map(Value::Function)
                    .ok_or(DecodeProblem::Truncated)
            }
        }
    }

    fn into_message(self, reader: &Reader<'_>) -> Result<Vec<Value>, DecodeProblem> {
        match self.parts {
            Parts::List(values) if reader.rest.is_empty() => Ok(values),
            _ => Err(DecodeProblem::Trailing),
        }
    }
}

enum Part {
    Value(Value),
    Container(Frame),
}

struct Reader<'a> {
    rest: Bytes,
    budget: Budget,
    taken: &'a Taken<'a>,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Part, DecodeProblem> {
        let value = match self.byte()? {
            NIL => Value::Nil,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(self.int()?),
            FLOAT => Value::Float(self.float()?),
            BYTES => Value::Bytes(self.bytes()?),
            LIST => {
                let count = self.count()?;
                return Frame::values(count, self).map(Part::Container);
            }
            MAP => return self.map().map(Part::Container),
            FUNCTION | KNOWN if matches!(self.taken, Taken::None) => {
                return Err(DecodeProblem::Function);
            }
            KNOWN => return self.known().map(Part::Container),
            FUNCTION => return self.function().map(Part::Container),
            tag => return Err(DecodeProblem::Tag(tag)),
        };
        Ok(Part::Value(value))
    }

    fn map(&mut self) -> Result<Frame, DecodeProblem> {
        let left = self.count()?;
        self.fits(left)?;
        let entries = Vec::with_capacity(left.min(ROOM));
        Ok(Frame { left, parts: Parts::Map { entries, key: None } })
    }

    fn function(&mut self) -> Result<Frame, DecodeProblem> {
        let text = self.bytes()?;
        let chunk = self.name()?;
        let line = u32::try_from(self.varint()?).map_err(|_| DecodeProblem::Number)?;
        let left = self.count()?;
        self.fits(left)?;
        let names = Vec::with_capacity(left.min(ROOM));
        let captures = Vec::with_capacity(left.min(ROOM));
        Ok(Frame { left, parts: Parts::Function { text, chunk, line, names, captures } })
    }

    fn known(&mut self) -> Result<Frame, DecodeProblem> {
        let Taken::Known(known) = self.taken else { return Err(DecodeProblem::Tag(KNOWN)) };
        let mut hash = [0; 32];
        self.fits(hash.len())?;
        self.rest.copy_to_slice(&mut hash);
        let prototype =
            known(&FunctionHash::from_bytes(hash)).ok_or(DecodeProblem::UnknownFunction)?;
        self.budget.bytes(prototype.text().len())?;
        let left = self.count()?;
        self.fits(left)?;
        let captures = Vec::with_capacity(left.min(ROOM));
        Ok(Frame { left, parts: Parts::Known { prototype, captures } })
    }

    fn key(&mut self) -> Result<Key, DecodeProblem> {
        self.budget.nodes(1)?;
        Ok(match self.byte()? {
            FALSE => Key::Bool(false),
            TRUE => Key::Bool(true),
            INT => Key::Int(self.int()?),
            FLOAT => Key::float(self.float()?).ok_or(DecodeProblem::NanKey)?,
            BYTES => Key::Bytes(self.bytes()?),
            tag => return Err(DecodeProblem::Tag(tag)),
        })
    }

    /// A capture that is no value, or `None` and nothing read.
    fn special_capture(&mut self) -> Result<Option<Capture>, DecodeProblem> {
        let capture = match self.rest.first() {
            Some(&ITSELF) => Capture::Itself,
            Some(&ENVIRONMENT) => Capture::Environment,
            Some(&LIBRARY) => {
                self.rest.advance(1);
                return Ok(Some(Capture::Library(self.name()?)));
            }
            _ => return Ok(None),
        };
        self.rest.advance(1);
        Ok(Some(capture))
    }

    fn name(&mut self) -> Result<Arc<str>, DecodeProblem> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| DecodeProblem::Name)
    }

    fn bytes(&mut self) -> Result<Bytes, DecodeProblem> {
        let length = self.count()?;
        self.fits(length)?;
        self.budget.bytes(length)?;
        Ok(self.rest.split_to(length))
    }

    fn float(&mut self) -> Result<f64, DecodeProblem> {
        self.fits(8)?;
        Ok(self.rest.get_f64_le())
    }

    fn int(&mut self) -> Result<i64, DecodeProblem> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn count(&mut self) -> Result<usize, DecodeProblem> {
        usize::try_from(self.varint()?).map_err(|_| DecodeProblem::Number)
    }

    fn varint(&mut self) -> Result<u64, DecodeProblem> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(DecodeProblem::Number);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeProblem::Number)
    }

    fn byte(&mut self) -> Result<u8, DecodeProblem> {
        self.fits(1)?;
        Ok(self.rest.get_u8())
    }

    /// Every part takes at least a byte, so no count may exceed what is left.
    fn fits(&self, count: usize) -> Result<(), DecodeProblem> {
        if count > self.rest.len() { Err(DecodeProblem::Truncated) } else { Ok(()) }
    }
}
