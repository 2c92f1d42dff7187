use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, Table, Value as LuaValue};
use stage_value::{FunctionHash, Prototype};

use super::{ENVIRONMENT, LAST_LINE, Sources, factory_text, lexer};

/// The most compiled prototypes that a VM keeps.
const COMPILED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Makes closures of prototypes, compiling each prototype once.
pub(crate) struct Instantiator {
    factories: RefCell<LruCache<FunctionHash, Function>>,
}

impl Default for Instantiator {
    fn default() -> Self {
        Self { factories: RefCell::new(LruCache::new(COMPILED)) }
    }
}

impl Instantiator {
    /// A closure in the given environment whose captured variables are all nil.
    ///
    /// # Errors
    /// A syntax error if the text is not exactly one Lua function; an error of the VM.
    pub(crate) fn instantiate(
        &self,
        lua: &Lua,
        sources: &Sources,
        prototype: &Prototype,
        env: &Table,
    ) -> mlua::Result<Function> {
        let known = self.factories.borrow_mut().get(&prototype.hash()).cloned();
        let factory = match known {
            Some(factory) => factory,
            None => {
                let factory = compile(lua, sources, prototype)?;
                self.factories.borrow_mut().put(prototype.hash(), factory.clone());
                factory
            }
        };
        factory.call(LuaValue::Table(env.clone()))
    }
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
        let env = lua.create_table().unwrap();
        let prototype = Prototype::new(text.to_vec().into(), "x.lua".into(), 7, vec![name.into()]);
        let made = Instantiator::default().instantiate(&lua, &Sources::default(), &prototype, &env);
        made.unwrap_err().to_string()
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
