//! Compares functions by their stripped dumps. Dumps never leave the process and are never loaded.
//!
//! Two functions compiled from the same text in different surroundings differ in one thing: where
//! the enclosing function keeps the captured variables. [`without_captures`] blanks that.
//!
//! The layout is that of Lua 5.4's `ldump.c`.

/// Signature, version, format, data, three sizes, an integer, a float and the number of upvalues.
const HEADER: usize = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1;

/// A stripped dump with the places of the outermost function's upvalues zeroed.
///
/// `None` if it does not have the expected layout.
pub(crate) fn without_captures(mut dump: Vec<u8>) -> Option<Vec<u8>> {
    let (start, count) = upvalues(&dump)?;
    dump.get_mut(start..start.checked_add(count.checked_mul(3)?)?)?.fill(0);
    Some(dump)
}

/// Whether the code of a factory does nothing but make a closure, whatever its text looked like: it takes its arguments,
/// makes the closure and returns it, and Lua ends each function with one more return.
pub(crate) fn only_makes_a_closure(factory: &[u8]) -> bool {
    const INSTRUCTIONS: usize = 5;
    /// `OP_CLOSURE` of Lua 5.4's `lopcodes.h`.
    const CLOSURE: u32 = 79;
    const OPERATION: u32 = 0x7f;
    let mut reader = Reader { dump: factory, at: HEADER };
    let third = |reader: &mut Reader<'_>| {
        reader.skip(2 * 4)?;
        reader.dump.get(reader.at..)?.first_chunk().copied().map(u32::from_ne_bytes)
    };
    reader.instructions() == Some(INSTRUCTIONS)
        && third(&mut reader).is_some_and(|third| third & OPERATION == CLOSURE)
}

/// Where the descriptors of the outermost function's upvalues start, and how many there are.
fn upvalues(dump: &[u8]) -> Option<(usize, usize)> {
    let mut reader = Reader { dump, at: HEADER };
    let instructions = reader.instructions()?;
    reader.skip(instructions.checked_mul(4)?)?;
    for _ in 0..reader.size()? {
        reader.constant()?;
    }
    let count = reader.size()?;
    Some((reader.at, count))
}

struct Reader<'a> {
    dump: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.dump.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.dump.len())?;
        Some(())
    }

    /// Seven bits a byte, most significant first; the last byte has its high bit set.
    fn size(&mut self) -> Option<usize> {
        let mut size = 0usize;
        loop {
            let byte = self.byte()?;
            size = size.checked_mul(128)? | usize::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                return Some(size);
            }
        }
    }

    /// How many instructions the outermost function has, which come next.
    fn instructions(&mut self) -> Option<usize> {
        self.string()?;
        self.size()?;
        self.size()?;
        self.skip(3)?;
        self.size()
    }

    fn string(&mut self) -> Option<()> {
        match self.size()? {
            0 => Some(()),
            size => self.skip(size - 1),
        }
    }

    fn constant(&mut self) -> Option<()> {
        match self.byte()? {
            0x00 | 0x01 | 0x11 => Some(()),
            0x03 | 0x13 => self.skip(8),
            0x04 | 0x14 => self.string(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;
    use crate::function::factory_text;

    #[test]
    fn a_factory_that_does_more_than_make_a_closure_is_told_by_its_code() {
        let lua = Lua::new();
        let alone = |text: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).into()).collect();
            let factory = lua.load(factory_text(text.as_bytes(), 3, &names)).into_function();
            only_makes_a_closure(&factory.unwrap().dump(true))
        };
        let many: Vec<_> = (0..190).map(|index| format!("a{index}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        for text in [
            "function() end",
            "function(a, ...) local b <const> = a return function() return b end end",
        ] {
            assert!(
                alone(text, &[]) && alone(text, &["_ENV", "x"]) && alone(text, &many),
                "{text}"
            );
        }
        for text in [
            "function() end, print()",
            "function() end, 1",
            "function() end == x",
            "(function() end)()",
            "(function() end)",
            "print",
        ] {
            assert_eq!(alone(text, &["x"]), text == "(function() end)", "{text}");
        }
    }
}
