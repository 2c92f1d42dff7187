use crate::sync::OnceLock;

/// How many cells are made at a time, as a power of two: for a few cells, and for many.
const SMALL: u32 = 6;
const LARGE: u32 = 9;

/// Cells that are written once and freed all together: what was read once stays where it is.
pub(crate) struct Arena<C> {
    chunk: u32,
    chunks: Box<[OnceLock<Box<[C]>>]>,
}

impl<C: Default> Arena<C> {
    /// Room for at least so many cells. Asks for their memory only when they are written.
    pub(crate) fn with_room(cells: usize) -> Self {
        let chunk = if cells >> LARGE < 8 { SMALL } else { LARGE };
        let chunks = cells.div_ceil(1 << chunk);
        Self { chunk, chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    pub(crate) fn room(&self) -> usize {
        self.chunks.len() << self.chunk
    }

    /// A cell, if it or one of those around it was asked for to be written. Wait-free.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&C> {
        self.chunks.get(at >> self.chunk)?.get()?.get(self.within(at))
    }

    /// A cell to write, within the room there is.
    pub(crate) fn cell(&self, at: usize) -> Option<&C> {
        let make = || (0..1 << self.chunk).map(|_| C::default()).collect();
        self.chunks.get(at >> self.chunk)?.get_or_init(make).get(self.within(at))
    }

    fn within(&self, at: usize) -> usize {
        at & ((1 << self.chunk) - 1)
    }
}
