use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::generation::{Entry, Generation, State};

/// So many slots of an index are looked at for each entry to copy, and laid out in the time of four.
const SPARSE: usize = 4;

/// The next generation of a map while it is filled with what the current one has that is not outdated.
///
/// Commits copy a few entries at a time, so that none has to wait for all of them. What is written
/// to a part of the index that was copied already is copied again.
pub(crate) struct Renewal<K, V> {
    next: Generation<K, V>,
    laid_out: bool,
    /// The slots of the old index before this one are copied.
    copied: usize,
    again: Vec<usize>,
    batch: Vec<Copy<K, V>>,
}

/// How far a renewal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Going,
    Done,
    /// So many keys were added meanwhile that they have no room in the next generation.
    Full,
}

struct Copy<K, V> {
    hash: u32,
    entry: Entry<K, V>,
    version: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Renewal<K, V> {
    /// Into a generation with room for so many keys.
    pub(crate) fn for_keys(keys: usize, hasher: RandomState) -> Self {
        let next = Generation::for_keys(keys, hasher);
        Self { next, laid_out: false, copied: 0, again: Vec::new(), batch: Vec::new() }
    }

    /// Notes that a slot of the old index has a newer write.
    pub(crate) fn written(&mut self, slot: usize) {
        if slot < self.copied {
            self.again.push(slot);
        }
    }

    /// How many writes an index of so many slots and keys takes at most until it is copied, if so many entries are
    /// copied for each: all of its slots are looked at and all of its keys are copied, but one key for each write is copied
    /// again. What is laid out before and what is rounded up is for the caller to add.
    pub(crate) fn writes_of(slots: usize, keys: usize, copies: usize) -> usize {
        slots / (copies * SPARSE - 1) + keys / (copies - 1)
    }

    /// Copies up to so many entries. What it no longer needs of what it copied before goes to `outdated`.
    pub(crate) fn copy(
        &mut self,
        old: &Generation<K, V>,
        entries: usize,
        outdated: &mut Vec<Entry<K, V>>,
    ) -> Progress {
        let slots = entries.saturating_mul(SPARSE);
        if !self.laid_out {
            self.laid_out = self.next.lay_out(slots.saturating_mul(SPARSE));
            return Progress::Going;
        }
        // All are read first and written then, so that several can be on their way to the cache.
        for _ in 0..slots {
            let Some(slot) = self.next_slot(old) else { break };
            self.batch.extend(read(old, slot));
            if self.batch.len() >= entries {
                break;
            }
        }
        let mut batch = self.batch.drain(..);
        while let Some(Copy { hash, entry, version }) = batch.next() {
            if !self.next.has_room_for_key() {
                outdated.push(entry);
                outdated.extend(batch.map(|copy| copy.entry));
                return Progress::Full;
            }
            let before = self.next.take_over(self.next.slot(&entry.key, hash), entry, version);
            if std::mem::needs_drop::<Entry<K, V>>() {
                outdated.extend(before);
            }
        }
        drop(batch);
        // What is to be copied again came first.
        if self.copied == old.slots() { Progress::Done } else { Progress::Going }
    }

    /// Takes entries that come from nowhere, each with its version. Returns how many keys they have.
    pub(crate) fn fill(&mut self, entries: impl Iterator<Item = (K, V, u64)>) -> u32 {
        self.laid_out = self.next.lay_out(usize::MAX);
        let mut keys = 0;
        for (key, value, version) in entries {
            let found = self.next.slot(&key, self.next.hash(&key));
            keys += u32::from(found.word.is_empty());
            self.next.take_over(found, Entry { key, value: Some(value) }, version);
        }
        keys
    }

    /// The generation, and how many writes it has.
    pub(crate) fn done(mut self, state: State) -> (Generation<K, V>, u32) {
        let writes = self.next.begin(state);
        (self.next, writes)
    }

    fn next_slot(&mut self, old: &Generation<K, V>) -> Option<usize> {
        if let Some(slot) = self.again.pop() {
            return Some(slot);
        }
        let slot = self.copied;
        self.copied += usize::from(slot < old.slots());
        (slot < old.slots()).then_some(slot)
    }
}

fn read<K: Clone, V: Clone>(old: &Generation<K, V>, slot: usize) -> Option<Copy<K, V>> {
    let word = old.at(slot)?;
    let Entry { key, value } = old.entry(word.newest())?;
    let entry = Entry { key: key.clone(), value: value.clone() };
    Some(Copy { hash: word.hash(), entry, version: old.version(word.newest())? })
}
