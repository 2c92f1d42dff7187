use std::cell::RefCell;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, Table};
use stage_value::{Capture, Function as ShippedFunction, FunctionHash, Prototype, Value};

use super::{ENVIRONMENT, LAST_LINE, Sources, bytecode, factory_text, lexer};
use crate::raw::{self, Plan};

/// The most compiled prototypes that a VM keeps.
const COMPILED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Makes closures of prototypes, compiling each prototype once.
pub(crate) struct Instantiator {
    made: RefCell<LruCache<FunctionHash, Rc<Made>, foldhash::fast::RandomState>>,
}

/// A compiled prototype.
enum Made {
    /// A function that captures nothing, not even globals: all runs can share it.
    Bare(Function),
    Factory {
        /// Makes a closure of its environment and what it captures, in the order of the names.
        factory: Function,
        /// The variables that its code has: the index of each, and its place among the prototype's names.
        captures: Vec<(usize, usize)>,
        has_globals: bool,
    },
}

/// A closure with all that it captured by value.
pub(crate) struct Instance {
    pub(crate) function: Function,
    /// The variables that are still nil: the index of each, and its place among the prototype's names.
    pub(crate) unset: Vec<(usize, usize)>,
}

impl Default for Instantiator {
    fn default() -> Self {
        Self {
            made: RefCell::new(LruCache::with_hasher(
                COMPILED,
                foldhash::fast::RandomState::default(),
            )),
        }
    }
}

impl Instantiator {
    /// A closure of a function that was sent, in the given environment, which is made if there is none yet.
    ///
    /// # Errors
    /// A syntax error if the text is not exactly one Lua function; an error of the VM.
    pub(crate) fn instantiate(
        &self,
        lua: &Lua,
        sources: &Sources,
        sent: &ShippedFunction,
        globals: &Table,
        env: &mut Option<Table>,
    ) -> mlua::Result<Instance> {
        let prototype = sent.prototype();
        let known = self.made.borrow_mut().get(&prototype.hash()).map(Rc::clone);
        let made = match known {
            Some(made) => made,
            None => {
                let made = Rc::new(make(lua, sources, prototype)?);
                self.made.borrow_mut().put(prototype.hash(), Rc::clone(&made));
                made
            }
        };
        match &*made {
            Made::Bare(function) => Ok(Instance { function: function.clone(), unset: Vec::new() }),
            Made::Factory { factory, captures, has_globals } => {
                let (plan, unset) = plan(sent, captures);
                let globals = has_globals.then_some(globals);
                let (function, made) = plan.make_function(lua, factory, globals, env.as_ref())?;
                *env = made;
                Ok(Instance { function, unset })
            }
        }
    }
}

/// What a factory makes a closure of, and the variables whose values it cannot make.
fn plan<'a>(
    sent: &'a ShippedFunction,
    captures: &[(usize, usize)],
) -> (Plan<'a>, Vec<(usize, usize)>) {
    const NIL: &Value = &Value::Nil;
    let (mut plan, mut unset) = (Plan::default(), Vec::new());
    for (at, (name, capture)) in sent.prototype().names().iter().zip(sent.captures()).enumerate() {
        if &**name == ENVIRONMENT {
            continue;
        }
        let planned = match capture {
            Capture::Value(value) => plan.add(value),
            _ => None,
        };
        if planned.is_none() {
            unset.extend(captures.iter().filter(|(_, place)| *place == at));
            // In place of what is set later.
            plan.add(NIL);
        }
    }
    (plan, unset)
}

/// Compiles a prototype, and looks what its code captures.
///
/// The compiler orders upvalues by first use, as it did at the author's, but a text from outside need not keep to the
/// names it came with.
fn make(lua: &Lua, sources: &Sources, prototype: &Prototype) -> mlua::Result<Made> {
    let factory = compile(lua, sources, prototype)?;
    let function: Function = factory.call(())?;
    let names = raw::captured(lua, &function, |name, _| name.to_owned())?;
    if names.is_empty() {
        return Ok(Made::Bare(function));
    }
    let place = |name: &CString| {
        prototype.names().iter().position(|known| known.as_bytes() == name.as_bytes())
    };
    let captures = (1..).zip(&names).filter_map(|(index, name)| Some((index, place(name)?)));
    let has_globals = names.iter().any(|name| name.as_bytes() == ENVIRONMENT.as_bytes());
    Ok(Made::Factory { factory, captures: captures.collect(), has_globals })
}

fn compile(lua: &Lua, sources: &Sources, prototype: &Prototype) -> mlua::Result<Function> {
    let refuse = |why: &str| {
        let place = format!("{}:{}", prototype.chunk(), prototype.line());
        Err(Error::runtime(format!("{place}: a function that was sent is refused: {why}")))
    };
    if prototype.line() > LAST_LINE {
        return refuse("its line number is out of range");
    }
    if !lexer::is_one_function(prototype.text()) {
        return refuse("its text is not exactly one function");
    }
    if let Some(name) = prototype.names().iter().find(|name| !is_name(name)) {
        return refuse(&format!("{name:?} is no variable name"));
    }
    if lexer::close_attribute(prototype.text()).is_some() {
        return refuse("<close> is not available");
    }
    let text = factory_text(prototype.text(), prototype.line(), prototype.names());
    let factory = lua
        .load(text)
        .set_name(format!("@{}", prototype.chunk()))
        .set_mode(ChunkMode::Text)
        .into_function()?;
    // Before anything of it runs, whatever the lexer made of its text.
    if !bytecode::only_makes_a_closure(&factory.dump(true)) {
        return refuse("its text is not exactly one function");
    }
    let lines = vec![b'\n'; prototype.line().saturating_sub(1) as usize];
    sources.keep(prototype.chunk(), [&lines[..], prototype.text()].concat().into());
    Ok(factory)
}

/// Whether a text from outside may stand in a list of local variables.
fn is_name(name: &Arc<str>) -> bool {
    const KEYWORDS: [&str; 22] = [
        "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if",
        "in", "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
    ];
    &**name == ENVIRONMENT
        || (name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
            && !KEYWORDS.contains(&&**name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a VM says to a function that came over the wire with this text and this name of a variable.
    fn refusal(text: &[u8], name: &str) -> String {
        let lua = Lua::new();
        let globals = lua.create_table().unwrap();
        let prototype = Prototype::new(text.to_vec().into(), "x.lua".into(), 7, vec![name.into()]);
        let (made, sources) = (Instantiator::default(), Sources::default());
        let captures = vec![Capture::Environment];
        let sent = ShippedFunction::new(Arc::new(prototype), captures).unwrap();
        match made.instantiate(&lua, &sources, &sent, &globals, &mut None) {
            Ok(_) => String::new(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn bytecode_from_the_wire_is_refused_however_it_is_dressed() {
        let lua = Lua::new();
        let code = lua.load("return 1").into_function().unwrap().dump(false);
        let dressed = [b"function() end ".as_slice(), &code].concat();
        let within = [b"function() return load('".as_slice(), &code, b"') end"].concat();
        for text in [&code[..], b"\x1bLua", &dressed, &within] {
            let refusal = refusal(text, "a");
            assert!(refusal.starts_with("runtime error: x.lua:7:"), "{refusal}");
        }
    }

    #[test]
    fn a_text_that_is_more_or_less_than_one_function_is_refused() {
        for text in ["", "function() end function() end", "function()", "1", "(function() end)()"] {
            let refusal = refusal(text.as_bytes(), "a");
            assert!(refusal.contains("not exactly one function"), "{text}: {refusal}");
        }
        for name in ["", "a b", "end", "a\nb", "1"] {
            let refusal = refusal(b"function() end", name);
            assert!(refusal.contains("is no variable name"), "{name}: {refusal}");
        }
    }
}
