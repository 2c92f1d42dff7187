use std::collections::BTreeMap;

use super::event::{Arrival, RequestId};
use crate::Time;

/// The waiters of one category in the order of their arrival numbers.
///
/// A doubly linked list in one vector: taking the first, taking out any by its key, and adding the
/// newest are O(1), and a waiter costs one entry. A waiter of another coordinator's time is put where
/// its number belongs: before all newcomers, among its like in O(log n) of those that are left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    /// The last waiter of each number among those of another coordinator's time.
    restored: BTreeMap<Arrival, u32>,
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
        let (entries, restored) = (Vec::new(), BTreeMap::new());
        Self { entries, restored, head: NONE, tail: NONE, free: NONE, len: 0 }
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

    /// Adds the newest waiter, who came at `since`, and returns the key to take it out by.
    pub(super) fn push(&mut self, request: RequestId, arrival: Arrival, since: Time) -> u32 {
        self.insert_after(self.tail, request, arrival, since)
    }

    /// Adds a waiter of another coordinator's time.
    pub(super) fn restore(&mut self, request: RequestId, arrival: Arrival, since: Time) -> u32 {
        let prev = self.restored.range(..=arrival).next_back();
        let prev = prev.map_or(NONE, |(_, key)| *key);
        let key = self.insert_after(prev, request, arrival, since);
        self.restored.insert(arrival, key);
        key
    }

    fn insert_after(
        &mut self,
        prev: u32,
        request: RequestId,
        arrival: Arrival,
        since: Time,
    ) -> u32 {
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
        let Entry { prev, next, arrival, .. } = self.entries[key as usize];
        if self.restored.get(&arrival) == Some(&key) {
            self.forget_restored(arrival, prev);
        }
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

    /// A node may report one number twice.
    fn forget_restored(&mut self, arrival: Arrival, prev: u32) {
        match self.entries.get(prev as usize) {
            Some(before) if before.arrival == arrival => self.restored.insert(arrival, prev),
            _ => self.restored.remove(&arrival),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::NodeId;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn it_agrees_with_a_sorted_list(
            steps in prop::collection::vec((0_u8..4, 0_u64..12, any::<usize>()), 1..120),
        ) {
            let mut queue = Queue::new();
            let mut naive: Vec<(Arrival, RequestId, u32)> = Vec::new();
            for (count, (step, number, pick)) in (0..).zip(steps) {
                let request = RequestId { node: NodeId(1), count };
                match step {
                    0 => {
                        let arrival = Arrival { epoch: 2, number: count };
                        naive.push((arrival, request, queue.push(request, arrival, Time::ZERO)));
                    }
                    1 | 2 => {
                        let arrival = Arrival { epoch: 1, number };
                        let place = naive.partition_point(|(other, ..)| *other <= arrival);
                        let key = queue.restore(request, arrival, Time::ZERO);
                        naive.insert(place, (arrival, request, key));
                    }
                    _ if !naive.is_empty() => {
                        let (_, _, key) = naive.remove(pick % naive.len());
                        queue.remove(key);
                    }
                    _ => {}
                }
                let order: Vec<_> = queue.iter().collect();
                let expected = naive.iter().map(|(arrival, request, _)| (*request, *arrival));
                prop_assert_eq!(order, expected.collect::<Vec<_>>());
                prop_assert_eq!(queue.len() as usize, naive.len());
                let left = naive.iter().filter(|(arrival, ..)| arrival.epoch == 1).count();
                prop_assert!(queue.restored.len() <= left);
            }
        }
    }
}
