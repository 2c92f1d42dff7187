use std::collections::BTreeMap;

use super::due::Due;
use super::event::RequestId;
use crate::{Stamp, Time};

/// The grants of one category by slot, with their deadlines.
///
/// A slot below the limit is reused; one at or above it (the limit was lowered) is left empty once
/// its holder is gone. As long as fewer grants live than the limit allows, a slot below the limit
/// is empty.
///
/// What another coordinator granted may be in any slot: far from the others a grant stands by itself,
/// so that it takes no memory for those between.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slots {
    places: Vec<Option<Held>>,
    /// Beyond the places.
    far: BTreeMap<u32, Held>,
    /// The empty places below the limit.
    free: Vec<u32>,
    /// What is free is to be found anew.
    stale: bool,
    due: Due,
    live: u32,
    limit: u32,
}

/// A grant in its slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) request: RequestId,
    pub(super) stamp: Stamp,
    pub(super) issued: Time,
    pub(super) expires: Time,
    due: u32,
}

impl Held {
    pub(super) fn new(request: RequestId, stamp: Stamp, issued: Time, expires: Time) -> Self {
        Self { request, stamp, issued, expires, due: 0 }
    }
}

impl Slots {
    pub(super) fn new(limit: u32) -> Self {
        let (places, far, free) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { places, far, free, stale: false, due: Due::default(), live: 0, limit }
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn has_room(&self) -> bool {
        self.live < self.limit
    }

    /// The first deadline.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| at)
    }

    /// The slot of the first grant that is over by `now`.
    pub(super) fn overdue(&self, now: Time) -> Option<u32> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, slot)| slot)
    }

    /// All grants, by rising slot. O(slots).
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Held)> {
        let near = (0..).zip(&self.places).filter_map(|(slot, held)| Some((slot, held.as_ref()?)));
        near.chain(self.far.iter().map(|(slot, held)| (*slot, held)))
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Held> {
        match self.places.get(slot as usize) {
            Some(place) => place.as_ref(),
            None => self.far.get(&slot),
        }
    }

    /// Puts a grant into an empty slot below the limit. The caller has seen that there is room.
    pub(super) fn fill(&mut self, held: Held) -> u32 {
        if self.stale {
            self.find_free();
        }
        let slot = self.free.pop().unwrap_or_else(|| self.next_place());
        self.put(slot, held);
        slot
    }

    /// Puts a grant that another coordinator made into its slot, which must be empty.
    pub(super) fn restore(&mut self, slot: u32, held: Held) {
        self.put(slot, held);
        self.stale = true;
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Held> {
        let held = match self.places.get_mut(slot as usize) {
            Some(place) => {
                let held = place.take()?;
                if slot < self.limit && !self.stale {
                    self.free.push(slot);
                }
                held
            }
            None => self.far.remove(&slot)?,
        };
        let Self { places, far, due, .. } = self;
        due.remove(held.due, |slot, position| note(places, far, slot, position));
        self.live -= 1;
        Some(held)
    }

    pub(super) fn set_deadline(&mut self, slot: u32, expires: Time) {
        let Self { places, far, due, .. } = self;
        let Some(held) = held_in(places, far, slot) else { return };
        held.expires = expires;
        let position = held.due;
        due.change(position, expires, |slot, position| note(places, far, slot, position));
    }

    /// O(slots): limits change rarely.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.find_free();
    }

    fn put(&mut self, slot: u32, held: Held) {
        let expires = held.expires;
        let index = slot as usize;
        if index >= self.places.len() && index <= MOST_PLACES_PER_GRANT * (self.live as usize + 1) {
            self.grow(index + 1);
        }
        match self.places.get_mut(index) {
            Some(place) => *place = Some(held),
            None => drop(self.far.insert(slot, held)),
        }
        let Self { places, far, due, .. } = self;
        due.push(expires, slot, |slot, position| note(places, far, slot, position));
        self.live += 1;
    }

    /// The first place that there is not yet and that is empty.
    fn next_place(&mut self) -> u32 {
        while let Some(held) = self.far.remove(&(self.places.len() as u32)) {
            self.places.push(Some(held));
        }
        self.places.len() as u32
    }

    fn grow(&mut self, len: usize) {
        self.places.resize(len, None);
        while let Some(nearest) = self.far.first_entry()
            && let Some(place) = self.places.get_mut(*nearest.key() as usize)
        {
            *place = Some(nearest.remove());
        }
    }

    fn find_free(&mut self) {
        self.stale = false;
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
        }
        let places = (0..self.limit).zip(&self.places).rev();
        self.free = places.filter(|(_, held)| held.is_none()).map(|(slot, _)| slot).collect();
    }
}

/// Grants that are further apart than this stand by themselves.
const MOST_PLACES_PER_GRANT: usize = 4;

fn held_in<'a>(
    places: &'a mut [Option<Held>],
    far: &'a mut BTreeMap<u32, Held>,
    slot: u32,
) -> Option<&'a mut Held> {
    match places.get_mut(slot as usize) {
        Some(place) => place.as_mut(),
        None => far.get_mut(&slot),
    }
}

fn note(places: &mut [Option<Held>], far: &mut BTreeMap<u32, Held>, slot: u32, position: u32) {
    if let Some(held) = held_in(places, far, slot) {
        held.due = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::NodeId;
    use proptest::prelude::*;

    fn held(count: u64, expires: u64) -> Held {
        let request = RequestId { node: NodeId(1), count };
        Held::new(request, Stamp { epoch: 1, sequence: count }, Time::ZERO, Time(expires))
    }

    #[test]
    fn a_grant_in_a_far_slot_takes_memory_for_itself_only() {
        let mut slots = Slots::new(1);
        slots.restore((1 << 20) - 1, held(1, 1));
        assert!(slots.places.capacity() < 64, "{}", slots.places.capacity());
        assert_eq!(slots.fill(held(2, 2)), 0);
        assert_eq!(slots.overdue(Time(1)), Some((1 << 20) - 1));
        assert!(slots.remove((1 << 20) - 1).is_some());
        assert_eq!((slots.live(), slots.next_due()), (1, Some(Time(2))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn they_agree_with_a_map(
            steps in prop::collection::vec((0_u8..6, 0_u32..120, 0_u64..50), 1..120),
        ) {
            let mut slots = Slots::new(8);
            let (mut naive, mut limit) = (BTreeMap::new(), 8);
            for (count, (step, slot, at)) in (0..).zip(steps) {
                match step {
                    0 | 1 if slots.has_room() => {
                        let filled = slots.fill(held(count, at));
                        prop_assert!(filled < limit, "{filled} of {limit}");
                        prop_assert_eq!(naive.insert(filled, (count, at)), None);
                    }
                    2 if !naive.contains_key(&slot) => {
                        naive.insert(slot, (count, at));
                        slots.restore(slot, held(count, at));
                    }
                    3 => {
                        let removed = slots.remove(slot).map(|held| held.request.count);
                        prop_assert_eq!(removed, naive.remove(&slot).map(|(count, _)| count));
                    }
                    4 => {
                        slots.set_deadline(slot, Time(at));
                        naive.entry(slot).and_modify(|held| held.1 = at);
                    }
                    5 => {
                        limit = slot + 1;
                        slots.set_limit(limit);
                    }
                    _ => {}
                }
                let all = slots.iter().map(|(slot, held)| (slot, (held.request.count, held.expires.0)));
                prop_assert!(all.eq(naive.iter().map(|(slot, held)| (*slot, *held))));
                let due = naive.iter().map(|(slot, (_, at))| (Time(*at), *slot)).min();
                prop_assert_eq!(slots.next_due(), due.map(|(at, _)| at));
                prop_assert_eq!(due.and_then(|(at, _)| slots.overdue(at)), due.map(|(_, slot)| slot));
                prop_assert_eq!(slots.live() as usize, naive.len());
                prop_assert_eq!(slots.has_room(), naive.len() < limit as usize);
            }
        }
    }
}
