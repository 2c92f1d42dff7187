use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Value as LuaValue};
use stage_value::{Problem, Prototype};

use super::{LAST_LINE, Sources, bytecode, factory_text};
use crate::raw::{self, Closures, Code};

/// The most prototypes that a VM remembers by their code.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The most bytes that they take.
const BYTES: usize = 32 << 20;

/// Finds the source text of function values.
pub(crate) struct Recovery {
    sources: Rc<Sources>,
    known: RefCell<Known>,
    closures: Closures,
    /// The prototypes of functions that were recovered, by the place of their code.
    seen: RefCell<LruCache<Code, Seen, foldhash::fast::RandomState>>,
    /// The next number for a function that was recovered.
    numbers: Cell<usize>,
}

/// A function that was recovered: as long as it is alive, no other code can lie in its place.
struct Seen {
    prototype: Arc<Prototype>,
    number: usize,
}

/// What tells two functions of a VM apart: where they stand and what they do.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    chunk: String,
    first: u32,
    code: Vec<u8>,
    /// The captured variables in the order in which the code has them, which itself has no names.
    names: Vec<Arc<str>>,
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
    let names: usize = identity.names.iter().map(|name| name.len()).sum();
    identity.code.len() + identity.chunk.len() + names + prototype.text().len()
}

impl Recovery {
    pub(crate) fn new(sources: Rc<Sources>, closures: Closures) -> Self {
        let seen = LruCache::with_hasher(REMEMBERED, foldhash::fast::RandomState::default());
        Self {
            sources,
            known: RefCell::default(),
            closures,
            seen: RefCell::new(seen),
            numbers: Cell::new(1),
        }
    }

    /// The source of a function value with the current values of its captured variables.
    ///
    /// # Errors
    /// [`Problem::Unsendable`] for a function of the library or one whose text is not known.
    pub(crate) fn recover(&self, lua: &Lua, function: &Function) -> Result<Recovered, Problem> {
        let code = self.closures.code(lua, function);
        if let Some(prototype) = code.and_then(|code| self.seen(lua, code)) {
            let captured = raw::captured(lua, function, |_, value| value).map_err(|_| unknown())?;
            return Ok(Recovered { prototype, captured });
        }
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
        let (names, captured) = captures(lua, function)?;
        let chunk = chunk.trim_start_matches(['@', '=']).to_owned();
        let lines = (line(first), line(last));
        let prototype = self.prototype(lua, function, &chunk, lines, &names)?;
        if let Some(code) = code {
            self.see(code, function, &prototype);
        }
        Ok(Recovered { prototype, captured })
    }

    /// The prototype of the code at a place, if a function of it was recovered and is alive.
    fn seen(&self, lua: &Lua, code: Code) -> Option<Arc<Prototype>> {
        let mut seen = self.seen.borrow_mut();
        let known = seen.get(&code)?;
        self.closures.is_alive(lua, known.number).then(|| Arc::clone(&known.prototype))
    }

    /// Without memory for a note, the function is recovered anew the next time.
    fn see(&self, code: Code, function: &Function, prototype: &Arc<Prototype>) {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        if self.closures.note(number, Some(function)).is_err() {
            return;
        }
        let seen = Seen { prototype: Arc::clone(prototype), number };
        if let Some((_, before)) = self.seen.borrow_mut().push(code, seen) {
            // Nobody asks for the number again; a note that stays is gone with its function.
            drop(self.closures.note(before.number, None));
        }
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
        let identity = Identity { chunk: chunk.to_owned(), first, code, names: names.to_vec() };
        if let Some(prototype) = self.known.borrow_mut().prototypes.get(&identity) {
            return Ok(Arc::clone(prototype));
        }
        let (line, text) = self.matching_text(lua, &identity, last).ok_or_else(unknown)?;
        let prototype = Arc::new(Prototype::new(text, chunk.into(), line, names.to_vec()));
        self.known.borrow_mut().remember(identity, Arc::clone(&prototype));
        Ok(prototype)
    }

    /// The text on the given lines that compiles to the same code.
    fn matching_text(&self, lua: &Lua, identity: &Identity, last: u32) -> Option<(u32, Bytes)> {
        if identity.first > LAST_LINE {
            return None;
        }
        let sources = self.sources.of(&identity.chunk);
        sources
            .iter()
            .flat_map(|source| source.candidates(identity.first, last))
            .find(|(line, text)| is_text_of(lua, text, *line, identity))
    }
}

/// Whether a candidate compiled by itself has the same code and the same captured variables.
fn is_text_of(lua: &Lua, text: &[u8], line: u32, identity: &Identity) -> bool {
    let factory = lua.load(factory_text(text, line, &identity.names)).set_mode(ChunkMode::Text);
    let factory = factory.into_function().ok();
    let factory = factory.filter(|made| bytecode::only_makes_a_closure(&made.dump(true)));
    let Some(Ok(function)) = factory.map(|factory| factory.call::<Function>(())) else {
        return false;
    };
    let code = bytecode::without_captures(function.dump(true));
    let names = raw::captured(lua, &function, |name, _| name.to_bytes().to_vec());
    let same = |names: Vec<Vec<u8>>| {
        let (own, known) = (names.iter().map(Vec::as_slice), identity.names.iter());
        own.eq(known.map(|name| name.as_bytes()))
    };
    code.as_ref() == Some(&identity.code) && names.is_ok_and(same)
}

/// The names and values of a function's upvalues, in its own order.
fn captures(lua: &Lua, function: &Function) -> Result<(Vec<Arc<str>>, Vec<LuaValue>), Problem> {
    let captured = raw::captured(lua, function, |name, value| (name.to_owned(), value));
    let named = captured.map_err(|_| unknown())?.into_iter().map(|(name, value)| {
        // A function made by a script's own factory may lack names; it cannot be rebuilt.
        let name = name.to_str().ok().filter(|name| !name.is_empty() && is_identifier(name));
        name.map(|name| (Arc::from(name), value)).ok_or_else(unknown)
    });
    named.collect::<Result<Vec<_>, _>>().map(|named| named.into_iter().unzip())
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
