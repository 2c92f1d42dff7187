use std::ffi::c_void;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, Table, Value as LuaValue};
use stage_value::{
    Budget, Capture, Function as ShippedFunction, Key, Limits, Path, Problem, Prototype, Segment,
    Value, ValueError,
};

use super::Content;
use crate::function::{ENVIRONMENT, Recovered};
use crate::raw;
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
    parts: Parts,
    /// The step to the part that is being converted.
    at: Segment,
    made: Container,
}

/// The parts of a container that are still to be converted.
enum Parts {
    Entries(std::vec::IntoIter<(Key, LuaValue)>),
    Captures(std::vec::IntoIter<LuaValue>),
}

/// What a container's parts come together in.
enum Container {
    Table(Content),
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
        let values = values.into_iter();
        let mut packed = Vec::with_capacity(values.size_hint().0);
        for (index, value) in values.enumerate() {
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
        let mut part = match self.part(value)? {
            Part::Whole(value) => return Ok(value),
            open => open,
        };
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
            let Some(value) = top.next() else { return Ok(None) };
            if let Some(capture) = top.special_capture(self.local, &value) {
                self.budget.nodes(1)?;
                top.push_capture(capture);
                continue;
            }
            top.refuse_own_environment()?;
            return self.part(value).map(Some);
        }
    }

    fn part(&mut self, value: LuaValue) -> Result<Part, Problem> {
        match value {
            LuaValue::Table(table) => match self.local.views.value(self.lua, &table) {
                Some(value) => {
                    self.budget.value(&value, self.open.len())?;
                    Ok(Part::Whole(value))
                }
                None => self.table(&table),
            },
            LuaValue::Function(function) => self.function(&function),
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

    /// Converts the scalars of a table and lists what else is in it.
    fn table(&mut self, table: &Table) -> Result<Part, Problem> {
        let identity = table.to_pointer();
        self.refuse_cycle(identity)?;
        self.budget.nodes(1)?;
        let mut content = Content::default();
        match raw::read_table(self.lua, table, &mut self.budget, &mut content) {
            Ok(others) if others.is_empty() => {
                self.budget.depth(self.open.len() + 1)?;
                Ok(Part::Whole(content.into_value()))
            }
            Ok(others) => Ok(Part::Open(Frame {
                identity,
                parts: Parts::Entries(others.into_iter()),
                at: Segment::Index(0),
                made: Container::Table(content),
            })),
            Err((Some(key), problem)) => {
                self.open.push(Frame {
                    identity,
                    parts: Parts::Entries(Vec::new().into_iter()),
                    at: Segment::Key(key),
                    made: Container::Table(content),
                });
                Err(problem)
            }
            Err((None, problem)) => Err(problem),
        }
    }

    fn function(&mut self, function: &Function) -> Result<Part, Problem> {
        let identity = function.to_pointer();
        self.refuse_cycle(identity)?;
        self.budget.nodes(1)?;
        let Recovered { prototype, captured } = self.local.recovery.recover(self.lua, function)?;
        self.budget.bytes(prototype.text().len())?;
        let made = Container::Function { prototype, captures: Vec::with_capacity(captured.len()) };
        if captured.is_empty() {
            return Ok(Part::Whole(made.into_value()));
        }
        let parts = Parts::Captures(captured.into_iter());
        Ok(Part::Open(Frame { identity, parts, at: Segment::Index(0), made }))
    }

    fn refuse_cycle(&self, identity: *const c_void) -> Result<(), Problem> {
        if self.open.iter().any(|frame| frame.identity == identity) {
            return Err(Problem::Cycle);
        }
        Ok(())
    }
}

impl Frame {
    /// The next part, which is then the one that is being converted.
    fn next(&mut self) -> Option<LuaValue> {
        match (&mut self.parts, &self.made) {
            (Parts::Entries(entries), _) => {
                let (key, value) = entries.next()?;
                self.at = Segment::Key(key);
                Some(value)
            }
            (Parts::Captures(captured), Container::Function { prototype, captures }) => {
                let name = prototype.names().get(captures.len())?;
                self.at = Segment::Upvalue(Arc::clone(name));
                captured.next()
            }
            (Parts::Captures(_), Container::Table(_)) => None,
        }
    }

    fn accept(&mut self, value: Value) {
        match &mut self.made {
            Container::Table(content) => {
                if let Segment::Key(key) = &self.at {
                    content.place(key.clone(), value);
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

    /// At the far side a function has the globals of its run there, and no others.
    fn refuse_own_environment(&self) -> Result<(), Problem> {
        match &self.at {
            Segment::Upvalue(name) if &**name == ENVIRONMENT => Err(Problem::Unsendable {
                kind: "an environment of the script's own",
                hint: "; give the function what it needs of it as a local".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// What a function captured that is not copied as a value.
    fn special_capture(&self, local: &Local, value: &LuaValue) -> Option<Capture> {
        let (Container::Function { .. }, Segment::Upvalue(name)) = (&self.made, &self.at) else {
            return None;
        };
        match value {
            LuaValue::Table(table) if &**name == ENVIRONMENT && local.is_environment(table) => {
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
            Self::Table(content) => content.into_value(),
            Self::Function { prototype, captures } => {
                ShippedFunction::new(prototype, captures).map_or(Value::Nil, Value::Function)
            }
        }
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
