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

/// Where the descriptors of the outermost function's upvalues start, and how many there are.
fn upvalues(dump: &[u8]) -> Option<(usize, usize)> {
    let mut reader = Reader { dump, at: HEADER };
    reader.string()?;
    reader.size()?;
    reader.size()?;
    reader.skip(3)?;
    let instructions = reader.size()?;
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
