use crate::sync::OnceLock;

/// How many cells are made at a time, as a power of two: for a few cells, and for many.
const SMALL: u32 = 6;
const LARGE: u32 = 9;

/// Cells that are each written once and freed all together: what was read once stays where it is.
pub(crate) struct Arena<T> {
    chunk: u32,
    chunks: Box<[OnceLock<Chunk<T>>]>,
}

type Chunk<T> = Box<[OnceLock<T>]>;

impl<T> Arena<T> {
    /// Room for at least so many cells. Asks for their memory only when they are written.
    pub(crate) fn with_room(cells: usize) -> Self {
        let chunk = if cells >> LARGE < 8 { SMALL } else { LARGE };
        let chunks = cells.div_ceil(1 << chunk);
        Self { chunk, chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    pub(crate) fn room(&self) -> usize {
        self.chunks.len() << self.chunk
    }

    /// The content of a cell, if it was written. Wait-free.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let within = at & ((1 << self.chunk) - 1);
        self.chunks.get(at >> self.chunk)?.get()?.get(within)?.get()
    }

    /// Writes a cell that was not written yet, within the room there is. Only one thread may do so
    /// at a time.
    pub(crate) fn set(&self, at: usize, content: T) {
        let within = at & ((1 << self.chunk) - 1);
        let Some(chunk) = self.chunks.get(at >> self.chunk) else { return };
        if chunk.get().is_none() {
            chunk.set((0..1 << self.chunk).map(|_| OnceLock::new()).collect()).ok();
        }
        let cell = chunk.get().and_then(|chunk| chunk.get(within));
        let written = cell.is_some_and(|cell| cell.set(content).is_ok());
        debug_assert!(written, "cell {at} is written already");
    }
}
