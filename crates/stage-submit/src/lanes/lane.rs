//! The state of one key.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Id;
use crate::key::Key;
use crate::stats::KeyStats;

/// A queue with that many holes more than jobs is packed.
const SPARE_HOLES: usize = 32;
/// A queue with less room than this is never shrunk.
const SMALL_QUEUE: usize = 64;

/// One key with unended jobs. Kept small, because a million of them may be busy at once; what only
/// a queue needs lies in the backlog.
#[derive(Debug)]
pub(super) struct Lane<J, R> {
    pub(super) key: Key,
    pub(super) running: Option<Id>,
    pub(super) runner: Option<R>,
    pub(super) backlog: Option<Box<Backlog<J>>>,
    /// Somebody holds this lane's turn.
    pub(super) turn: bool,
    /// The running job is to end.
    pub(super) cancelled: bool,
}

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Waiting<J> {
    pub(super) id: Id,
    pub(super) job: J,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
}

/// A job that has left the queue, and the place it had there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held<J> {
    pub(crate) id: Id,
    pub(crate) job: J,
    /// Since when it had waited.
    pub(crate) since: Instant,
    place: Id,
}

/// A job that was taken out, and its timer.
#[derive(Debug)]
pub(super) struct Removed<J> {
    pub(super) id: Id,
    pub(super) job: J,
    pub(super) timer: Option<Instant>,
    pub(super) asleep: bool,
}

/// What a key has besides the job that runs.
#[derive(Debug)]
pub(super) struct Backlog<J> {
    /// Jobs that the turn holder took along with the running one, and those of them that are to end.
    pub(super) hand: Vec<Id>,
    pub(super) condemned: Vec<Id>,
    /// In order; places ascend. A cancelled job leaves a hole, so that taking it out moves
    /// nothing.
    queue: VecDeque<(Id, Option<Waiting<J>>)>,
    live: usize,
    /// Where the repeating jobs are that came back under a new place.
    places: BTreeMap<Id, Id>,
    pub(super) sleepers: BTreeMap<Id, (J, Instant)>,
    ended: u64,
    busy: Duration,
}

impl<J, R> Lane<J, R> {
    pub(super) fn new(key: Key) -> Self {
        Self { key, running: None, runner: None, backlog: None, turn: false, cancelled: false }
    }

    /// Unended jobs.
    pub(super) fn depth(&self) -> usize {
        let queued = self.backlog.as_ref();
        let queued = queued.map_or(0, |b| b.hand.len() + b.live + b.sleepers.len());
        queued + usize::from(self.running.is_some())
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.live > 0)
    }

    pub(super) fn run(&mut self, id: Id) {
        self.running = Some(id);
        self.turn = true;
    }

    /// What the turn holder had in hand has ended: so many runs in that time.
    pub(super) fn rest(&mut self, (runs, time): (u64, Duration)) {
        self.running = None;
        self.cancelled = false;
        if let Some(backlog) = &mut self.backlog {
            backlog.hand.clear();
            backlog.condemned.clear();
            backlog.ended += runs;
            backlog.busy += time;
        }
    }

    pub(super) fn is_condemned(&self, id: Id) -> bool {
        let in_hand = |backlog: &Backlog<J>| backlog.condemned.contains(&id);
        self.cancelled && self.running == Some(id)
            || self.backlog.as_ref().is_some_and(|backlog| in_hand(backlog))
    }

    /// Marks the job if the turn holder has it.
    pub(super) fn condemn(&mut self, id: Id) -> bool {
        if self.running == Some(id) {
            self.cancelled = true;
            return true;
        }
        let backlog = self.backlog.as_mut().filter(|backlog| backlog.hand.contains(&id));
        backlog.map(|backlog| backlog.condemned.push(id)).is_some()
    }

    /// Marks all jobs that the turn holder has, and counts them.
    pub(super) fn condemn_all(&mut self) -> usize {
        self.cancelled = self.running.is_some();
        let mut count = usize::from(self.cancelled);
        if let Some(backlog) = &mut self.backlog {
            count += backlog.hand.len();
            backlog.condemned.clone_from(&backlog.hand);
        }
        count
    }

    pub(super) fn pop(&mut self) -> Option<(Id, Waiting<J>)> {
        self.backlog.as_mut().and_then(|backlog| backlog.pop())
    }

    pub(super) fn backlog_mut(&mut self) -> &mut Backlog<J> {
        self.backlog.get_or_insert_with(|| Box::new(Backlog::new()))
    }

    /// Empties the queue and the pauses, in order of arrival.
    pub(super) fn take_all(&mut self) -> Vec<Removed<J>> {
        let Some(backlog) = &mut self.backlog else { return Vec::new() };
        let queue = std::mem::take(&mut backlog.queue);
        let sleepers = std::mem::take(&mut backlog.sleepers);
        backlog.live = 0;
        backlog.places.clear();
        let waiting = queue.into_iter().filter_map(|(_, slot)| slot);
        let mut removed: Vec<_> = waiting
            .map(|w| Removed { id: w.id, job: w.job, timer: w.deadline, asleep: false })
            .collect();
        removed.extend(sleepers.into_iter().map(|(id, (job, due))| Removed {
            id,
            job,
            timer: Some(due),
            asleep: true,
        }));
        removed.sort_by_key(|gone| gone.id);
        removed
    }

    pub(super) fn view(&self, now: Instant) -> KeyStats {
        let backlog = self.backlog.as_ref();
        let head = backlog.and_then(|b| b.head()).map(|head| head.since);
        KeyStats {
            key: self.key.clone(),
            depth: self.depth(),
            running: self.running.is_some(),
            head_age: head.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            ended: backlog.map_or(0, |b| b.ended),
            busy: backlog.map_or(Duration::ZERO, |b| b.busy),
        }
    }
}

impl<J> Held<J> {
    pub(super) fn new(place: Id, Waiting { id, job, since, .. }: Waiting<J>) -> Self {
        Self { id, job, since, place }
    }
}

impl<J> Backlog<J> {
    fn new() -> Self {
        Self {
            hand: Vec::new(),
            condemned: Vec::new(),
            queue: VecDeque::new(),
            live: 0,
            places: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            ended: 0,
            busy: Duration::ZERO,
        }
    }

    pub(super) fn push(&mut self, place: Id, waiting: Waiting<J>) {
        self.queue.push_back((place, Some(waiting)));
        self.live += 1;
    }

    /// Queues a repeating job again, at the end; it keeps its name.
    pub(super) fn push_again(&mut self, place: Id, waiting: Waiting<J>) {
        self.places.insert(waiting.id, place);
        self.push(place, waiting);
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Waiting<J>> {
        let place = self.places.remove(&id).unwrap_or(id);
        let index = self.queue.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let removed = self.queue.get_mut(index)?.1.take()?;
        self.live -= 1;
        // A job under a long-running head may come and be cancelled for ever.
        if self.queue.len() > 2 * self.live + SPARE_HOLES {
            self.queue.retain(|(_, slot)| slot.is_some());
            self.shrink();
        }
        Some(removed)
    }

    /// Takes one more job along with the running one: the head of the queue, unless it has a
    /// deadline, which it must be able to meet with.
    pub(super) fn take_along(&mut self) -> Option<Held<J>> {
        if self.head()?.deadline.is_some() {
            return None;
        }
        let (place, waiting) = self.pop()?;
        self.hand.push(waiting.id);
        Some(Held::new(place, waiting))
    }

    /// Puts a job back where it was taken from.
    pub(super) fn put_back(&mut self, Held { id, job, since, place }: Held<J>) {
        if place != id {
            self.places.insert(id, place);
        }
        self.queue.push_front((place, Some(Waiting { id, job, since, deadline: None })));
        self.live += 1;
    }

    fn pop(&mut self) -> Option<(Id, Waiting<J>)> {
        while let Some((place, slot)) = self.queue.pop_front() {
            let Some(waiting) = slot else { continue };
            self.live -= 1;
            if !self.places.is_empty() {
                self.places.remove(&waiting.id);
            }
            self.shrink();
            return Some((place, waiting));
        }
        None
    }

    fn head(&self) -> Option<&Waiting<J>> {
        self.queue.iter().find_map(|(_, slot)| slot.as_ref())
    }

    /// Halves the room of a queue that has become short, so that a burst is not paid for
    /// until the key is idle.
    fn shrink(&mut self) {
        let room = self.queue.capacity();
        if room > SMALL_QUEUE && self.queue.len() < room / 4 {
            self.queue.shrink_to(room / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_come_and_are_cancelled_leave_no_holes_behind() {
        let mut backlog = Backlog::new();
        let since = Instant::now();
        let ids: Vec<Id> = (1..10_000).filter_map(Id::new).collect();
        backlog.push(ids[0], Waiting { id: ids[0], job: (), since, deadline: None });
        for &id in &ids[1..] {
            backlog.push(id, Waiting { id, job: (), since, deadline: None });
            assert!(backlog.remove(id).is_some());
            assert!(backlog.queue.len() <= 2 + SPARE_HOLES);
        }
        assert_eq!(backlog.pop().map(|(place, _)| place), Some(ids[0]));
    }

    #[test]
    fn a_queue_gives_its_room_back_as_it_empties() {
        let mut backlog = Backlog::new();
        let since = Instant::now();
        for id in (1..100_000).filter_map(Id::new) {
            backlog.push(id, Waiting { id, job: (), since, deadline: None });
        }
        while backlog.live > 100 {
            assert!(backlog.pop().is_some());
        }
        assert!(backlog.queue.capacity() <= 800, "room for {}", backlog.queue.capacity());
    }
}
