use super::due::Due;
use super::event::RequestId;
use crate::{Stamp, Time};

/// The grants of one category by slot, with their deadlines.
///
/// A slot below the limit is reused; one at or above it (the limit was lowered) is left empty once
/// its holder is gone. As long as fewer grants live than the limit allows, a slot below the limit
/// is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slots {
    places: Vec<Option<Held>>,
    free: Vec<u32>,
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
        Self { places: Vec::new(), free: Vec::new(), due: Due::default(), live: 0, limit }
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
        (0..).zip(&self.places).filter_map(|(slot, held)| Some((slot, held.as_ref()?)))
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Held> {
        self.places.get(slot as usize)?.as_ref()
    }

    /// Puts a grant into an empty slot below the limit. The caller has seen that there is room.
    pub(super) fn fill(&mut self, held: Held) -> u32 {
        let slot = self.free.pop().unwrap_or(self.places.len() as u32);
        self.put(slot, held);
        slot
    }

    /// Puts a grant that another coordinator made into its slot, which must be empty.
    pub(super) fn restore(&mut self, slot: u32, held: Held) {
        self.put(slot, held);
        self.find_free();
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Held> {
        let held = self.places.get_mut(slot as usize)?.take()?;
        let places = &mut self.places;
        self.due.remove(held.due, |slot, position| note(places, slot, position));
        self.live -= 1;
        if slot < self.limit {
            self.free.push(slot);
        }
        Some(held)
    }

    pub(super) fn set_deadline(&mut self, slot: u32, expires: Time) {
        let Some(held) = self.places.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        held.expires = expires;
        let (position, places) = (held.due, &mut self.places);
        self.due.change(position, expires, |slot, position| note(places, slot, position));
    }

    /// O(slots): limits change rarely.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.find_free();
    }

    fn put(&mut self, slot: u32, held: Held) {
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, None);
        }
        let expires = held.expires;
        self.places[index] = Some(held);
        let places = &mut self.places;
        self.due.push(expires, slot, |slot, position| note(places, slot, position));
        self.live += 1;
    }

    fn find_free(&mut self) {
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
        }
        let places = (0..self.limit).zip(&self.places).rev();
        self.free = places.filter(|(_, held)| held.is_none()).map(|(slot, _)| slot).collect();
    }
}

fn note(places: &mut [Option<Held>], slot: u32, position: u32) {
    if let Some(Some(held)) = places.get_mut(slot as usize) {
        held.due = position;
    }
}
