use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;

use crate::arena::Arena;
use crate::slot::{Found, Slot, Word};
use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// The smallest number of keys that room is made for.
const FEW: usize = 32;

/// An index of a map's keys, and the writes to them in the order of time. Writes are added until
/// there is no room or too many are outdated; then the map goes on in a new generation, and this one
/// lives as long as a snapshot of it.
///
/// The place of a write counts from 1 in the order of time. A snapshot is a place too, and sees the
/// writes up to it.
pub(crate) struct Generation<K, V> {
    hasher: RandomState,
    /// Open addressing with linear probing. At least one in eight is empty.
    slots: Vec<Slot<K>>,
    /// What was taken over from the generation before. These have the first places.
    base: Vec<Stamped<V>>,
    /// What the map is right after that.
    begin: State,
    later: Arena<Write<V>>,
    front: CachePadded<Front>,
}

/// What each commit writes; beside it in the cache nothing that readers want to find there.
struct Front {
    /// The place of the newest write that readers may see: all writes of a commit become visible by one
    /// store to it.
    published: AtomicU32,
    /// Newer versions are in a newer generation.
    retired: AtomicBool,
}

/// What is known of a map after a write.
#[derive(Clone, Copy, Default)]
pub(crate) struct State {
    /// The number of the version.
    pub(crate) version: u64,
    /// How many keys have a value.
    pub(crate) entries: u32,
}

/// A value that was written, `None` if its key was removed, and by which version.
pub(crate) struct Stamped<V> {
    pub(crate) version: u64,
    pub(crate) value: Option<V>,
}

/// A write of a key, linked to the one before.
struct Write<V> {
    stamped: Stamped<V>,
    /// How many keys have a value after it.
    entries: u32,
    /// The write of the same key before it, 0 for none.
    before: u32,
    /// Every eighth write of a key has one further back, so that any is found in O(log writes) (Myers,
    /// "An applicative random-access stack", 1983).
    jump: u32,
    /// The jump goes back 2^rank - 1 times eight writes, and the one from where it ends, 2^next_rank - 1.
    rank: u8,
    next_rank: u8,
}

impl<K, V> Generation<K, V> {
    /// A generation with room for the keys and to write each about three times, of which nothing is laid
    /// out yet.
    pub(crate) fn for_keys(keys: usize, hasher: RandomState) -> Self {
        let keys = keys.max(FEW);
        Self {
            hasher,
            slots: Vec::with_capacity(keys + keys / 2),
            base: Vec::with_capacity(keys),
            begin: State::default(),
            later: Arena::with_room(keys * 3),
            front: CachePadded::new(Front {
                published: AtomicU32::new(0),
                retired: AtomicBool::new(false),
            }),
        }
    }

    /// Lays out up to so many slots more. True if it has all; before that it is not fit for use.
    pub(crate) fn lay_out(&mut self, slots: usize) -> bool {
        let left = self.slots.capacity() - self.slots.len();
        self.slots.extend((0..slots.min(left)).map(|_| Slot::default()));
        slots >= left
    }

    /// Ends what is taken over, and makes it visible. Returns how many writes that are.
    pub(crate) fn begin(&mut self, begin: State) -> u32 {
        self.begin = begin;
        self.publish(self.base.len() as u32);
        self.base.len() as u32
    }

    pub(crate) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// What of a key's hash is kept in the index.
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        Word::hash_of(self.hasher.hash_one(key))
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many writes there is room for.
    pub(crate) fn room(&self) -> usize {
        self.base.len() + self.later.room()
    }

    pub(crate) fn published(&self) -> u32 {
        self.front.published.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, newest: u32) {
        self.front.published.store(newest, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.front.retired.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.front.retired.store(true, Ordering::Release);
    }

    /// A write by its place.
    pub(crate) fn write(&self, place: u32) -> Option<&Stamped<V>> {
        let at = (place as usize).wrapping_sub(1);
        match at.checked_sub(self.base.len()) {
            Some(at) if place > 0 => Some(&self.later.get(at)?.stamped),
            _ => self.base.get(at),
        }
    }

    /// What the map was after a write.
    pub(crate) fn state(&self, place: u32) -> State {
        let write = self.later(place);
        write.map_or(self.begin, |Write { stamped, entries, .. }| State {
            version: stamped.version,
            entries: *entries,
        })
    }

    fn later(&self, place: u32) -> Option<&Write<V>> {
        self.later.get((place as usize).checked_sub(1 + self.base.len())?)
    }

    /// A key of the index and its newest write, published or not.
    pub(crate) fn at(&self, slot: usize) -> Option<(&K, Word)> {
        let slot = self.slots.get(slot)?;
        Some((slot.key()?, slot.word()))
    }

    /// The newest write of a key up to a place. Wait-free; O(1), or O(log writes) for a key that was
    /// written after that.
    pub(crate) fn find<Q>(&self, key: &Q, upto: u32) -> Option<&Stamped<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.visible(self.slot(key, self.hash(key)).word.newest(), upto)
    }

    /// From a write of a key back to the newest that is not after a place.
    pub(crate) fn visible(&self, newest: u32, upto: u32) -> Option<&Stamped<V>> {
        let mut place = newest;
        while place > upto {
            place = self.back(place, upto)?;
        }
        self.write(place)
    }

    /// One step of that.
    pub(crate) fn back(&self, place: u32, upto: u32) -> Option<u32> {
        let write = self.later(place)?;
        Some(if write.jump > upto { write.jump } else { write.before })
    }

    /// Where a key belongs, and what is there.
    pub(crate) fn slot<Q>(&self, key: &Q, hash: u32) -> Found
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut at = self.home(hash);
        loop {
            let slot = &self.slots[at];
            let word = slot.word();
            let same = || slot.key().is_some_and(|other| other.borrow() == key);
            if word.is_empty() || word.hash() == hash && same() {
                return Found { at, hash, word };
            }
            at = self.after(at);
        }
    }

    /// Adds a write at the next place; the key is not needed if the index has it. Only one thread may do so
    /// at a time, with a slot found since the last one, or before other keys were added.
    ///
    /// Returns where the key is in the index.
    pub(crate) fn push(
        &self,
        place: u32,
        found: Found,
        key: Option<K>,
        stamped: Stamped<V>,
        entries: u32,
    ) -> usize {
        let word = found.word.followed_by(place, found.hash, stamped.value.is_some());
        let before = found.word.newest();
        let (jump, rank, next_rank) = if word.is_eighth() { self.jump(before) } else { (0, 0, 0) };
        let write = Write { stamped, entries, before, jump, rank, next_rank };
        self.later.set(place as usize - 1 - self.base.len(), write);
        self.point(found, key, word)
    }

    /// Takes a write over from the generation before, in place of one of the same key if there is.
    pub(crate) fn take_over(&mut self, found: Found, key: K, stamped: Stamped<V>) {
        let has_value = stamped.value.is_some();
        let place = match found.word.newest() {
            0 if !has_value => return,
            0 => self.base.len() as u32 + 1,
            place => place,
        };
        match self.base.get_mut(place as usize - 1) {
            Some(base) => *base = stamped,
            None => self.base.push(stamped),
        }
        self.point(found, Some(key), Word::new(place, found.hash, has_value));
    }

    fn point(&self, found: Found, key: Option<K>, word: Word) -> usize {
        let mut at = found.at;
        if let Some(key) = key.filter(|_| found.word.is_empty()) {
            while !self.slots[at].word().is_empty() {
                at = self.after(at);
            }
            self.slots[at].fill(key);
        }
        self.slots[at].point(word);
        at
    }

    /// The jump of an eighth write after another.
    fn jump(&self, newest: u32) -> (u32, u8, u8) {
        let back = |place: u32| self.later(place).map_or(0, |write| write.before);
        let eighth = (1..8).fold(newest, |place, _| back(place));
        let Some(write) = self.later(eighth) else { return (eighth, 1, 0) };
        if write.rank == write.next_rank
            && let Some(far) = self.later(write.jump)
        {
            return (far.jump, write.rank + 1, far.next_rank);
        }
        (eighth, 1, write.rank)
    }

    /// In the order of hashes, so that a copy from one index to another goes through both from begin to end.
    fn home(&self, hash: u32) -> usize {
        Word::share(hash, self.slots.len())
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }
}
