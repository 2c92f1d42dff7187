use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;

use crate::arena::Arena;
use crate::link::{Jump, Link};
use crate::slot::{Found, Slot, Word};
use crate::sync::{AtomicBool, AtomicU32, OnceLock, Ordering};

/// The smallest number of keys that room is made for.
const FEW: usize = 32;

/// An index of a map's keys, and the writes to them in the order of time. Writes are added until
/// there is no room or too many are outdated; then the map goes on in a new generation, and this one
/// lives as long as a snapshot of it.
///
/// The place of a write counts from 1 in the order of time. A snapshot is a place too, and sees the
/// writes up to it.
///
/// What a lookup of a key's newest write needs is a word of the index and one entry, and nothing else is beside
/// these in memory: a large map is not in the cache of who reads it, and what its writer touches leaves it.
pub(crate) struct Generation<K, V> {
    hasher: RandomState,
    /// Open addressing with linear probing. At least one in eight is empty.
    slots: Vec<Slot>,
    /// What was taken over from the generation before, and the versions that wrote it. These have
    /// the first places.
    base: Vec<Entry<K, V>>,
    base_versions: Vec<u64>,
    /// What the map is right after that.
    begin: State,
    later: Arena<Once<Entry<K, V>>>,
    links: Arena<Link>,
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

/// A value that was written, `None` if its key was removed.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: Option<V>,
}

/// A cell that is written once, aligned so that two small ones fill a line of the cache.
#[repr(align(32))]
struct Once<T>(OnceLock<T>);

impl<K, V> Generation<K, V> {
    /// A generation with room for the keys and to write each about three times, of which nothing is laid
    /// out yet.
    pub(crate) fn for_keys(keys: usize, hasher: RandomState) -> Self {
        let keys = keys.max(FEW);
        Self {
            hasher,
            slots: Vec::with_capacity(keys + keys / 2),
            base: Vec::with_capacity(keys),
            base_versions: Vec::with_capacity(keys),
            begin: State::default(),
            later: Arena::with_room(keys * 3),
            links: Arena::with_room(keys * 3),
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

    /// How many keys its index has room for: beyond that a search for an empty slot takes long, and none ends in a full one.
    pub(crate) fn most_keys(&self) -> usize {
        self.slots.len() / 8 * 7
    }

    /// Whether one more key may be taken over.
    pub(crate) fn has_room_for_key(&self) -> bool {
        self.base.len() < self.most_keys()
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

    /// What was written at a place.
    pub(crate) fn entry(&self, place: u32) -> Option<&Entry<K, V>> {
        // There is no place 0, and nothing is there.
        let at = (place as usize).wrapping_sub(1);
        if let Some(entry) = self.base.get(at) {
            return Some(entry);
        }
        self.later.get(at.wrapping_sub(self.base.len()))?.0.get()
    }

    /// Which version wrote at a place, if anything is written there.
    pub(crate) fn version(&self, place: u32) -> Option<u64> {
        match self.link(place) {
            Some(link) => Some(link.after(self.begin).version),
            None => self.base_versions.get((place as usize).wrapping_sub(1)).copied(),
        }
    }

    /// What the map was after a write.
    pub(crate) fn state(&self, place: u32) -> State {
        self.link(place).map_or(self.begin, |link| link.after(self.begin))
    }

    /// The newest write that the index has at a slot, published or not.
    pub(crate) fn at(&self, slot: usize) -> Option<Word> {
        self.slots.get(slot).map(Slot::word).filter(|word| !word.is_empty())
    }

    /// The newest write of a key up to a place. Wait-free; O(1), or O(log writes) for a key that was
    /// written after that.
    pub(crate) fn find<Q>(&self, key: &Q, upto: u32) -> Option<&Entry<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (found, newest) = self.look(key, self.hash(key));
        if found.word.newest() <= upto {
            return newest;
        }
        self.entry(self.visible(found.word.newest(), upto)?)
    }

    /// The version that wrote a key's value last up to a place.
    pub(crate) fn written<Q>(&self, key: &Q, upto: u32) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let newest = self.slot(key, self.hash(key)).word.newest();
        let place = self.visible(newest, upto)?;
        self.entry(place)?.value.as_ref()?;
        self.version(place)
    }

    /// From a write of a key back to the newest that is not after a place.
    pub(crate) fn visible(&self, newest: u32, upto: u32) -> Option<u32> {
        let mut place = newest;
        while place > upto {
            place = self.back(place, upto)?;
        }
        (place > 0).then_some(place)
    }

    /// One step of that.
    pub(crate) fn back(&self, place: u32, upto: u32) -> Option<u32> {
        let link = self.link(place)?;
        let jump = link.jump().to;
        Some(if jump > upto { jump } else { link.before() })
    }

    /// Where a key belongs, and what is there.
    pub(crate) fn slot<Q>(&self, key: &Q, hash: u32) -> Found
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.look(key, hash).0
    }

    /// The same, and the key's newest write, published or not.
    fn look<Q>(&self, key: &Q, hash: u32) -> (Found, Option<&Entry<K, V>>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut at = self.home(hash);
        loop {
            let word = self.slots[at].word();
            if word.is_empty() {
                return (Found { at, hash, word }, None);
            }
            if word.hash() == hash
                && let Some(newest) = self.entry(word.newest())
                && newest.key.borrow() == key
            {
                return (Found { at, hash, word }, Some(newest));
            }
            at = self.after(at);
        }
    }

    /// Adds a write at the next place, and the state of the map after it. Only one thread may do so at a
    /// time, with a slot found since the last one, or before other keys were added.
    ///
    /// Returns where the key is in the index.
    pub(crate) fn push(&self, place: u32, found: Found, entry: Entry<K, V>, after: State) -> usize {
        let word = found.word.followed_by(place, found.hash, entry.value.is_some());
        let before = found.word.newest();
        let jump = if word.is_eighth() { self.jump(before) } else { Jump::default() };
        let at = place as usize - 1 - self.base.len();
        if let Some(link) = self.links.cell(at) {
            link.write(self.begin, after, before, jump);
        }
        let written = self.later.cell(at).is_some_and(|cell| cell.0.set(entry).is_ok());
        debug_assert!(written, "place {place} is written already");
        self.point(found, word)
    }

    /// Takes a write over from the generation before, in place of one of the same key if there is. Returns what is not
    /// needed: that one, or a removal of nothing.
    pub(crate) fn take_over(
        &mut self,
        found: Found,
        entry: Entry<K, V>,
        version: u64,
    ) -> Option<Entry<K, V>> {
        let has_value = entry.value.is_some();
        let place = match found.word.newest() {
            0 if !has_value => return Some(entry),
            0 => self.base.len() as u32 + 1,
            place => place,
        };
        let at = place as usize - 1;
        let before = match (self.base.get_mut(at), self.base_versions.get_mut(at)) {
            (Some(base), Some(by)) => {
                *by = version;
                Some(std::mem::replace(base, entry))
            }
            _ => {
                self.base.push(entry);
                self.base_versions.push(version);
                None
            }
        };
        self.point(found, Word::new(place, found.hash, has_value));
        before
    }

    fn point(&self, found: Found, word: Word) -> usize {
        let mut at = found.at;
        if found.word.is_empty() {
            while !self.slots[at].word().is_empty() {
                at = self.after(at);
            }
        }
        self.slots[at].point(word);
        at
    }

    /// The jump of an eighth write after another.
    fn jump(&self, newest: u32) -> Jump {
        let back = |place: u32| self.link(place).map_or(0, Link::before);
        let eighth = (1..8).fold(newest, |place, _| back(place));
        let Some(Jump { to, rank, next_rank }) = self.link(eighth).map(Link::jump) else {
            return Jump { to: eighth, rank: 1, next_rank: 0 };
        };
        if rank == next_rank
            && let Some(far) = self.link(to).map(Link::jump)
        {
            return Jump { to: far.to, rank: rank + 1, next_rank: far.next_rank };
        }
        Jump { to: eighth, rank: 1, next_rank: rank }
    }

    /// What there is to know of a write that was not taken over.
    fn link(&self, place: u32) -> Option<&Link> {
        self.links.get((place as usize).checked_sub(1 + self.base.len())?)
    }

    /// In the order of hashes, so that a copy from one index to another goes through both from begin to end.
    fn home(&self, hash: u32) -> usize {
        Word::share(hash, self.slots.len())
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}
