use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Value as LuaValue};
use stage_value::{Problem, Prototype};

use super::{ENVIRONMENT, LAST_LINE, Sources, bytecode, factory_text};
use crate::vm::Debug;

/// The most prototypes that a VM remembers by their code.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The most bytes that they take.
const BYTES: usize = 32 << 20;

/// Finds the source text of function values.
pub(crate) struct Recovery {
    sources: Rc<Sources>,
    known: RefCell<Known>,
}

/// What tells two functions of a VM apart: where they stand and what they do.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    chunk: String,
    first: u32,
    code: Vec<u8>,
}

/// The text of a function and what its variables hold.
pub(crate) struct Recovered {
    pub(crate) prototype: Arc<Prototype>,
    pub(crate) captured: Vec<LuaValue>,
}

/// The prototypes that were found, the least recently used of which gives way.
struct Known {
    prototypes: LruCache<Identity, Arc<Prototype>>,
    bytes: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { prototypes: LruCache::new(REMEMBERED), bytes: 0 }
    }
}

impl Known {
    fn remember(&mut self, identity: Identity, prototype: Arc<Prototype>) {
        let cost = cost(&identity, &prototype);
        if cost > BYTES {
            return;
        }
        self.bytes += cost;
        if let Some((identity, prototype)) = self.prototypes.push(identity, prototype) {
            self.bytes -= self::cost(&identity, &prototype);
        }
        while self.bytes > BYTES {
            let Some((identity, prototype)) = self.prototypes.pop_lru() else { return };
            self.bytes -= self::cost(&identity, &prototype);
        }
    }
}

/// Bytes that remembering a prototype takes.
fn cost(identity: &Identity, prototype: &Prototype) -> usize {
    identity.code.len() + identity.chunk.len() + prototype.text().len()
}

impl Recovery {
    pub(crate) fn new(sources: Rc<Sources>) -> Self {
        Self { sources, known: RefCell::default() }
    }

    /// The source of a function value with the current values of its captured variables.
    ///
    /// # Errors
    /// [`Problem::Unsendable`] for a function of the library or one whose text is not known.
    pub(crate) fn recover(
        &self,
        lua: &Lua,
        debug: &Debug,
        function: &Function,
    ) -> Result<Recovered, Problem> {
        let info = function.info();
        if info.what == "C" {
            return Err(unsendable(
                "a function of the library",
                "wrap it: function(...) return f(...) end",
            ));
        }
        let (Some(chunk), Some(first), Some(last)) =
            (info.source, info.line_defined, info.last_line_defined)
        else {
            return Err(unsendable("a whole script", "send a function of it"));
        };
        let (names, captured) = captures(debug, function)?;
        let chunk = chunk.trim_start_matches(['@', '=']).to_owned();
        let lines = (line(first), line(last));
        let prototype = self.prototype(lua, function, &chunk, lines, &names)?;
        Ok(Recovered { prototype, captured })
    }

    fn prototype(
        &self,
        lua: &Lua,
        function: &Function,
        chunk: &str,
        (first, last): (u32, u32),
        names: &[Arc<str>],
    ) -> Result<Arc<Prototype>, Problem> {
        let code = bytecode::without_captures(function.dump(true)).ok_or_else(unknown)?;
        let identity = Identity { chunk: chunk.to_owned(), first, code };
        if let Some(prototype) = self.known.borrow_mut().prototypes.get(&identity) {
            return Ok(Arc::clone(prototype));
        }
        let (line, text) = self.matching_text(lua, &identity, last, names).ok_or_else(unknown)?;
        let prototype = Arc::new(Prototype::new(text, chunk.into(), line, names.to_vec()));
        self.known.borrow_mut().remember(identity, Arc::clone(&prototype));
        Ok(prototype)
    }

    /// The text on the given lines that compiles to the same code.
    fn matching_text(
        &self,
        lua: &Lua,
        identity: &Identity,
        last: u32,
        names: &[Arc<str>],
    ) -> Option<(u32, Bytes)> {
        if identity.first > LAST_LINE {
            return None;
        }
        let sources = self.sources.of(&identity.chunk);
        sources.iter().flat_map(|source| source.candidates(identity.first, last)).find(
            |(line, text)| compiled_code(lua, text, *line, names).as_ref() == Some(&identity.code),
        )
    }
}

/// The comparable code of a candidate compiled by itself.
fn compiled_code(lua: &Lua, text: &[u8], line: u32, names: &[Arc<str>]) -> Option<Vec<u8>> {
    let factory = lua.load(factory_text(text, line, names)).set_mode(ChunkMode::Text);
    let function: Function = factory.into_function().ok()?.call(()).ok()?;
    bytecode::without_captures(function.dump(true))
}

/// The names and values of a function's upvalues, in its own order.
fn captures(debug: &Debug, function: &Function) -> Result<(Vec<Arc<str>>, Vec<LuaValue>), Problem> {
    (1..=usize::from(u8::MAX))
        .map_while(|index| debug.upvalue(function, index))
        .map(|(name, value)| {
            // A function made by a script's own factory may lack names; it cannot be rebuilt.
            if name.is_empty() || !(name == ENVIRONMENT || is_identifier(&name)) {
                return Err(unknown());
            }
            Ok((Arc::from(name), value))
        })
        .collect()
}

fn is_identifier(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn line(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn unknown() -> Problem {
    unsendable(
        "a function whose source text is not known",
        "define it in a script file, and give constants it uses as arguments",
    )
}

fn unsendable(kind: &'static str, advice: &str) -> Problem {
    Problem::Unsendable { kind, hint: format!("; {advice}") }
}
