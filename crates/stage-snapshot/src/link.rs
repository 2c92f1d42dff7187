use crate::generation::State;
use crate::sync::{AtomicU32, Ordering};

/// What there is to know of a write beside what was written: the state of the map after it, and the writes
/// of the same key before it.
///
/// It is written before the index points to the write and before the write is published, and never again: who
/// came here by one of both sees all of it, and needs no order beyond that.
#[derive(Default)]
pub(crate) struct Link {
    /// How many versions after the generation's beginning; there are at most as many as places.
    version: AtomicU32,
    /// How many keys have a value after it.
    entries: AtomicU32,
    /// The write of the same key before it, 0 for none.
    before: AtomicU32,
    jump: AtomicU32,
    ranks: AtomicU32,
}

/// Every eighth write of a key leads further back, so that any is found in O(log writes) (Myers,
/// "An applicative random-access stack", 1983).
#[derive(Clone, Copy, Default)]
pub(crate) struct Jump {
    /// 0 for none.
    pub(crate) to: u32,
    /// It goes back 2^rank - 1 times eight writes, and the one from where it ends, 2^next_rank - 1.
    pub(crate) rank: u16,
    pub(crate) next_rank: u16,
}

impl Link {
    pub(crate) fn write(&self, begin: State, after: State, before: u32, jump: Jump) {
        let set = |field: &AtomicU32, value: u32| field.store(value, Ordering::Relaxed);
        set(&self.version, (after.version - begin.version) as u32);
        set(&self.entries, after.entries);
        set(&self.before, before);
        set(&self.jump, jump.to);
        set(&self.ranks, u32::from(jump.rank) << 16 | u32::from(jump.next_rank));
    }

    /// What the map was after the write.
    pub(crate) fn after(&self, begin: State) -> State {
        let version = begin.version + u64::from(self.version.load(Ordering::Relaxed));
        State { version, entries: self.entries.load(Ordering::Relaxed) }
    }

    pub(crate) fn before(&self) -> u32 {
        self.before.load(Ordering::Relaxed)
    }

    pub(crate) fn jump(&self) -> Jump {
        let ranks = self.ranks.load(Ordering::Relaxed);
        let (rank, next_rank) = ((ranks >> 16) as u16, ranks as u16);
        Jump { to: self.jump.load(Ordering::Relaxed), rank, next_rank }
    }
}
