//! Functions as source text: out of one VM, into another.
//!
//! A function value knows the chunk and the lines it was compiled from, not its text. [`Sources`]
//! keeps the text of every chunk; [`recover`] takes the functions that stand on those lines,
//! compiles each by itself and keeps the one whose code is the same. What does not match is an
//! error, never a wrong function. [`Instantiator`] does the way back, in text mode only.

mod bytecode;
mod instantiate;
mod lexer;
mod recover;
mod sources;

pub(crate) use instantiate::{Instance, Instantiator};
pub(crate) use recover::{Recovered, Recovery};
pub(crate) use sources::Sources;

use std::sync::Arc;

/// The Lua text that makes closures of a function: `local _ENV, a, b = ...; return function`.
///
/// Blank lines in front keep the author's line numbers. `_ENV` is a local of its own so that every
/// closure gets the environment of its run.
fn factory_text(text: &[u8], line: u32, names: &[Arc<str>]) -> Vec<u8> {
    let mut factory = vec![b'\n'; line.saturating_sub(1) as usize];
    factory.extend_from_slice(b"local _ENV");
    for name in names.iter().filter(|name| &***name != ENVIRONMENT) {
        factory.extend_from_slice(b", ");
        factory.extend_from_slice(name.as_bytes());
    }
    factory.extend_from_slice(b" = ...; return ");
    factory.extend_from_slice(text);
    factory
}

/// Refuses a script that is what `string.dump` makes: nothing could tell what it does.
///
/// # Errors
/// Which script it is.
pub(crate) fn refuse_bytecode(name: &str, text: &[u8]) -> mlua::Result<()> {
    const FIRST_BYTE: u8 = 0x1b;
    if text.first() == Some(&FIRST_BYTE) {
        let message = format!("{name}: a script is text: bytecode cannot be checked");
        return Err(mlua::Error::runtime(message));
    }
    Ok(())
}

/// Refuses a text with a variable that is `<close>`: an endless `__close` runs where nothing can stop
/// it when an error ends its coroutine.
///
/// # Errors
/// Which line has it.
pub(crate) fn refuse_close(name: &str, text: &[u8]) -> mlua::Result<()> {
    match lexer::close_attribute(text) {
        None => Ok(()),
        Some(line) => Err(mlua::Error::runtime(format!(
            "{name}:{line}: <close> is not available, since nothing could stop an endless __close: \
             use pcall and release after it"
        ))),
    }
}

/// The upvalue through which a function reaches its globals.
pub(crate) const ENVIRONMENT: &str = "_ENV";

/// The furthest line on which a function that travels may start.
const LAST_LINE: u32 = 1 << 20;
