use crate::sync::{AtomicU64, Ordering};

/// How many bits of a word are the hash.
const HASH: u32 = 28;

/// A place of an index: the newest write of a key, once there is one.
pub(crate) struct Slot(AtomicU64);

/// What an index has of a key in one word: 28 bits of its hash, how many writes it had modulo 8, whether it has
/// a value, and the place of its newest write, where the key itself is. 0 if the slot is empty.
#[derive(Clone, Copy)]
pub(crate) struct Word(u64);

/// Where a key belongs in an index, and what was there.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) at: usize,
    pub(crate) hash: u32,
    pub(crate) word: Word,
}

impl Slot {
    pub(crate) fn word(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// Points to a newer write.
    pub(crate) fn point(&self, word: Word) {
        self.0.store(word.0, Ordering::Release);
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Word {
    pub(crate) fn hash_of(hash: u64) -> u32 {
        (hash >> (64 - HASH)) as u32
    }

    /// Where a hash is among so many places, in the order of hashes.
    pub(crate) fn share(hash: u32, places: usize) -> usize {
        ((u64::from(hash) * places as u64) >> HASH) as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn newest(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn has_value(self) -> bool {
        (self.0 >> 32) & 1 == 1
    }

    pub(crate) fn hash(self) -> u32 {
        (self.0 >> 36) as u32
    }

    /// Whether the newest write is the ninth, seventeenth and so on.
    pub(crate) fn is_eighth(self) -> bool {
        self.count() == 0
    }

    fn count(self) -> u64 {
        (self.0 >> 33) & 7
    }

    /// The word of a key's first write.
    pub(crate) fn new(place: u32, hash: u32, has_value: bool) -> Self {
        Self((u64::from(hash) << 36) | (u64::from(has_value) << 32) | u64::from(place))
    }

    /// The word after one more write.
    pub(crate) fn followed_by(self, place: u32, hash: u32, has_value: bool) -> Self {
        let count = if self.is_empty() { 0 } else { (self.count() + 1) & 7 };
        Self(Self::new(place, hash, has_value).0 | (count << 33))
    }
}
