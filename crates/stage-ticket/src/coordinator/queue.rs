use super::event::{Arrival, RequestId};
use crate::Time;

/// The waiters of one category in the order of their arrival numbers.
///
/// A doubly linked list in one vector: taking the first, taking out any by its key, and adding the
/// newest are O(1), and a waiter costs one entry. A waiter learned from another coordinator's time
/// is put where its number belongs, counted from the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    head: u32,
    tail: u32,
    free: u32,
    len: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entry {
    request: RequestId,
    arrival: Arrival,
    since: Time,
    prev: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// A burst's memory above this many entries is given back when the queue is empty again.
const KEPT_ENTRIES: usize = 1024;

impl Queue {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), head: NONE, tail: NONE, free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn first(&self) -> Option<(u32, RequestId)> {
        self.entries.get(self.head as usize).map(|entry| (self.head, entry.request))
    }

    pub(super) fn arrival(&self, key: u32) -> Arrival {
        self.entries[key as usize].arrival
    }

    /// Since when the first has waited, as far as this coordinator knows.
    pub(super) fn waiting_since(&self) -> Option<Time> {
        self.entries.get(self.head as usize).map(|entry| entry.since)
    }

    /// The waiters in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, Arrival)> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let entry = self.entries.get(at as usize)?;
            at = entry.next;
            Some((entry.request, entry.arrival))
        })
    }

    /// Adds a waiter, who came at `since`, and returns the key to take it out by.
    pub(super) fn insert(&mut self, request: RequestId, arrival: Arrival, since: Time) -> u32 {
        let mut prev = self.tail;
        while prev != NONE && self.entries[prev as usize].arrival > arrival {
            prev = self.entries[prev as usize].prev;
        }
        let next = match prev {
            NONE => self.head,
            _ => self.entries[prev as usize].next,
        };
        let key = self.store(Entry { request, arrival, since, prev, next });
        *self.next_of(prev) = key;
        *self.prev_of(next) = key;
        self.len += 1;
        key
    }

    pub(super) fn remove(&mut self, key: u32) {
        let Entry { prev, next, .. } = self.entries[key as usize];
        *self.next_of(prev) = next;
        *self.prev_of(next) = prev;
        self.entries[key as usize].next = self.free;
        self.free = key;
        self.len -= 1;
        if self.len == 0 {
            self.entries.clear();
            self.entries.shrink_to(KEPT_ENTRIES);
            self.free = NONE;
        }
    }

    fn store(&mut self, entry: Entry) -> u32 {
        if self.free == NONE {
            self.entries.push(entry);
            return self.entries.len() as u32 - 1;
        }
        let key = self.free;
        self.free = std::mem::replace(&mut self.entries[key as usize], entry).next;
        key
    }

    fn next_of(&mut self, key: u32) -> &mut u32 {
        match key {
            NONE => &mut self.head,
            _ => &mut self.entries[key as usize].next,
        }
    }

    fn prev_of(&mut self, key: u32) -> &mut u32 {
        match key {
            NONE => &mut self.tail,
            _ => &mut self.entries[key as usize].prev,
        }
    }
}
