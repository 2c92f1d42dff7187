use std::ffi::c_void;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, Table, Value as LuaValue};
use stage_value::{
    Budget, Capture, Function as ShippedFunction, Key, Limits, Map, Path, Problem, Prototype,
    Segment, Value, ValueError,
};

use crate::function::Recovered;
use crate::vm::Local;

/// Converts Lua values that leave their VM.
pub(crate) struct Packer<'a> {
    lua: &'a Lua,
    local: &'a Local,
    budget: Budget,
    open: Vec<Frame>,
}

/// A container whose parts are being converted.
struct Frame {
    /// The table or function, to recognise it within itself.
    identity: *const c_void,
    parts: std::vec::IntoIter<(Segment, LuaValue)>,
    /// The step to the part that is being converted.
    at: Segment,
    made: Container,
}

/// What a container's parts come together in.
enum Container {
    Table { items: Vec<Value>, entries: Vec<(Key, Value)> },
    Function { prototype: Arc<Prototype>, captures: Vec<Capture> },
}

/// A value that is whole, or a container to go into.
enum Part {
    Whole(Value),
    Open(Frame),
}

impl<'a> Packer<'a> {
    pub(crate) fn new(lua: &'a Lua, local: &'a Local, limits: Limits) -> Self {
        Self { lua, local, budget: Budget::new(limits), open: Vec::new() }
    }

    /// Converts arguments or results; `root` names them in errors.
    ///
    /// # Errors
    /// [`ValueError`] with the path to the part that cannot leave.
    pub(crate) fn pack(
        mut self,
        root: &'static str,
        values: impl IntoIterator<Item = LuaValue>,
    ) -> Result<Vec<Value>, ValueError> {
        let mut packed = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let value = self.value(value).map_err(|problem| {
                let mut segments = vec![Segment::Index(index + 1)];
                segments.extend(self.open.iter().map(|frame| frame.at.clone()));
                ValueError { path: Path::new(root, segments), problem }
            })?;
            packed.push(value);
        }
        Ok(packed)
    }

    /// Converts a single value, named by `root` in errors.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub(crate) fn pack_one(
        mut self,
        root: &'static str,
        value: LuaValue,
    ) -> Result<Value, ValueError> {
        self.value(value).map_err(|problem| {
            let segments = self.open.iter().map(|frame| frame.at.clone()).collect();
            ValueError { path: Path::new(root, segments), problem }
        })
    }

    /// Converts one value with all that is in it.
    fn value(&mut self, value: LuaValue) -> Result<Value, Problem> {
        let mut part = self.part(value)?;
        loop {
            let mut whole = match part {
                Part::Whole(value) => Some(value),
                Part::Open(frame) => {
                    self.budget.depth(self.open.len() + 1)?;
                    self.open.push(frame);
                    None
                }
            };
            part = loop {
                let Some(top) = self.open.last_mut() else { return Ok(whole.unwrap_or_default()) };
                if let Some(value) = whole.take() {
                    top.accept(value);
                }
                match self.next_part()? {
                    Some(part) => break part,
                    None => whole = self.open.pop().map(|frame| frame.made.into_value()),
                }
            };
        }
    }

    /// The next part of the innermost container.
    fn next_part(&mut self) -> Result<Option<Part>, Problem> {
        loop {
            let Some(top) = self.open.last_mut() else { return Ok(None) };
            let Some((segment, value)) = top.parts.next() else { return Ok(None) };
            top.at = segment;
            if let Some(capture) = top.special_capture(self.local, &value) {
                self.budget.nodes(1)?;
                top.push_capture(capture);
                continue;
            }
            return self.part(value).map(Some);
        }
    }

    fn part(&mut self, value: LuaValue) -> Result<Part, Problem> {
        match value {
            LuaValue::Table(table) => match self.local.views.value(&table) {
                Some(value) => {
                    self.budget.value(&value, self.open.len())?;
                    Ok(Part::Whole(value))
                }
                None => self.table(&table).map(Part::Open),
            },
            LuaValue::Function(function) => self.function(&function).map(Part::Open),
            scalar => self.scalar(&scalar).map(Part::Whole),
        }
    }

    fn scalar(&mut self, value: &LuaValue) -> Result<Value, Problem> {
        self.budget.nodes(1)?;
        Ok(match value {
            LuaValue::Nil => Value::Nil,
            LuaValue::Boolean(value) => Value::Bool(*value),
            LuaValue::Integer(value) => Value::Int(*value),
            LuaValue::Number(value) => Value::Float(*value),
            LuaValue::String(text) => Value::Bytes(self.bytes(text)?),
            other => return Err(unsendable(other)),
        })
    }

    fn bytes(&mut self, text: &LuaString) -> Result<Bytes, Problem> {
        let bytes = text.as_bytes();
        self.budget.bytes(bytes.len())?;
        Ok(Bytes::copy_from_slice(&bytes))
    }

    /// Converts the scalars of a table and lists the containers in it.
    fn table(&mut self, table: &Table) -> Result<Frame, Problem> {
        let identity = table.to_pointer();
        self.refuse_cycle(identity)?;
        self.budget.nodes(1)?;
        let (mut items, mut entries, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut problem = None;
        let walked = table.for_each(|key: LuaValue, value: LuaValue| {
            let result = self.entry(&key, value, &mut items, &mut entries, &mut parts);
            result.map_err(|(segment, why)| {
                problem = Some((segment, why));
                mlua::Error::runtime("")
            })
        });
        let made = Container::Table { items, entries };
        let frame = Frame { identity, parts: parts.into_iter(), at: Segment::Index(0), made };
        match (walked, problem) {
            (Ok(()), _) => Ok(frame),
            (Err(_), Some((Some(segment), why))) => {
                self.open.push(Frame { at: segment, ..frame });
                Err(why)
            }
            (Err(_), Some((None, why))) => Err(why),
            (Err(_), None) => Err(Problem::Unsendable { kind: "this table", hint: String::new() }),
        }
    }

    /// One entry of a table; an error carries the key if the value is at fault.
    fn entry(
        &mut self,
        key: &LuaValue,
        value: LuaValue,
        items: &mut Vec<Value>,
        entries: &mut Vec<(Key, Value)>,
        parts: &mut Vec<(Segment, LuaValue)>,
    ) -> Result<(), (Option<Segment>, Problem)> {
        let key = self.key(key).map_err(|why| (None, why))?;
        if matches!(value, LuaValue::Table(_) | LuaValue::Function(_)) {
            parts.push((Segment::Key(key), value));
            return Ok(());
        }
        let value = self.scalar(&value).map_err(|why| (Some(Segment::Key(key.clone())), why))?;
        place(items, entries, key, value);
        Ok(())
    }

    fn key(&mut self, key: &LuaValue) -> Result<Key, Problem> {
        self.budget.nodes(1)?;
        let key = scalar_key(key).map_err(|kind| Problem::Key { kind })?;
        if let Key::Bytes(bytes) = &key {
            self.budget.bytes(bytes.len())?;
        }
        Ok(key)
    }

    fn function(&mut self, function: &Function) -> Result<Frame, Problem> {
        let identity = function.to_pointer();
        self.refuse_cycle(identity)?;
        self.budget.nodes(1)?;
        let Recovered { prototype, captured } =
            self.local.recovery.recover(self.lua, &self.local.debug, function)?;
        self.budget.bytes(prototype.text().len())?;
        let names = prototype.names().iter().cloned().map(Segment::Upvalue);
        let parts: Vec<_> = names.zip(captured).collect();
        let made = Container::Function { prototype, captures: Vec::with_capacity(parts.len()) };
        Ok(Frame { identity, parts: parts.into_iter(), at: Segment::Index(0), made })
    }

    fn refuse_cycle(&self, identity: *const c_void) -> Result<(), Problem> {
        if self.open.iter().any(|frame| frame.identity == identity) {
            return Err(Problem::Cycle);
        }
        Ok(())
    }
}

impl Frame {
    fn accept(&mut self, value: Value) {
        match &mut self.made {
            Container::Table { items, entries } => {
                if let Segment::Key(key) = &self.at {
                    place(items, entries, key.clone(), value);
                }
            }
            Container::Function { captures, .. } => captures.push(Capture::Value(value)),
        }
    }

    fn push_capture(&mut self, capture: Capture) {
        if let Container::Function { captures, .. } = &mut self.made {
            captures.push(capture);
        }
    }

    /// What a function captured that is not copied as a value.
    fn special_capture(&self, local: &Local, value: &LuaValue) -> Option<Capture> {
        let (Container::Function { .. }, Segment::Upvalue(name)) = (&self.made, &self.at) else {
            return None;
        };
        match value {
            LuaValue::Table(table) if &**name == "_ENV" && local.is_environment(table) => {
                Some(Capture::Environment)
            }
            LuaValue::Function(function) if function.to_pointer() == self.identity => {
                Some(Capture::Itself)
            }
            LuaValue::Function(_) | LuaValue::Table(_) => {
                local.library_name(value.to_pointer()).map(Capture::Library)
            }
            _ => None,
        }
    }
}

impl Container {
    fn into_value(self) -> Value {
        match self {
            Self::Table { items, entries } if entries.is_empty() => Value::list(items),
            Self::Table { items, mut entries } => {
                let listed = (1..).map(Key::Int).zip(items);
                entries.extend(listed);
                list_or_map(Map::from_entries(entries))
            }
            Self::Function { prototype, captures } => {
                ShippedFunction::new(prototype, captures).map_or(Value::Nil, Value::Function)
            }
        }
    }
}

/// A map whose keys are 1 to n is a list, in whatever order the table gave them.
fn list_or_map(map: Map) -> Value {
    let is_list = map.iter().zip(1..).all(|((key, _), index)| *key == Key::Int(index));
    if is_list { Value::list(map.iter().map(|(_, value)| value.clone())) } else { Value::Map(map) }
}

/// Appends to the list while keys go on from 1; the rest are entries.
fn place(items: &mut Vec<Value>, entries: &mut Vec<(Key, Value)>, key: Key, value: Value) {
    if key == Key::Int(items.len() as i64 + 1) {
        items.push(value);
    } else {
        entries.push((key, value));
    }
}

fn unsendable(value: &LuaValue) -> Problem {
    let (kind, hint) = match value {
        LuaValue::Thread(_) => ("a coroutine", "; send what it needs and start it there"),
        LuaValue::UserData(_) | LuaValue::LightUserData(_) => {
            ("userdata", "; it belongs to this VM, send the data it stands for")
        }
        _ => ("this value", ""),
    };
    Problem::Unsendable { kind, hint: hint.to_owned() }
}

/// A scalar that can be a key.
///
/// # Errors
/// What it is instead, as the author calls it.
pub(crate) fn scalar_key(value: &LuaValue) -> Result<Key, &'static str> {
    match value {
        LuaValue::Boolean(value) => Ok(Key::Bool(*value)),
        LuaValue::Integer(value) => Ok(Key::Int(*value)),
        LuaValue::Number(value) => Key::float(*value).ok_or("NaN"),
        LuaValue::String(text) => Ok(Key::bytes(&*text.as_bytes())),
        other => Err(other.type_name()),
    }
}
