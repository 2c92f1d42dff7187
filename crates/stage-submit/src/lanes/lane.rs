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
    /// Nothing is left to do, and the turn is kept for a moment.
    pub(super) resting: bool,
}

/// A job in the queue, or just taken from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waiting<J> {
    pub(crate) id: Id,
    pub(crate) job: J,
    pub(crate) since: Instant,
    pub(crate) deadline: Option<Instant>,
}

/// A place in a queue with its job; without one it is a hole.
pub(crate) type Slot<J> = (Id, Option<Waiting<J>>);

/// Which of the jobs that the turn holder has are to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(super) all: bool,
    pub(super) some: Vec<Id>,
}

/// Jobs that the turn holder took along with the running one. They had followed each other in
/// the queue, so that two names say which they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hand {
    pub(super) first: Id,
    pub(super) last: Id,
    /// How many, the running one not counted.
    pub(super) others: usize,
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
    pub(super) hand: Option<Hand>,
    /// Which of the jobs in hand are to end.
    pub(super) marks: Marks,
    /// In order; places ascend. A cancelled job leaves a hole, so that taking it out moves
    /// nothing.
    pub(super) queue: VecDeque<Slot<J>>,
    pub(super) live: usize,
    /// Where the repeating jobs are that came back under a new place.
    places: BTreeMap<Id, Id>,
    pub(super) sleepers: BTreeMap<Id, (J, Instant)>,
    ended: u64,
    busy: Duration,
}

impl<J, R> Lane<J, R> {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            running: None,
            runner: None,
            backlog: None,
            turn: false,
            cancelled: false,
            resting: false,
        }
    }

    /// Unended jobs.
    pub(super) fn depth(&self) -> usize {
        let queued = self.backlog.as_ref();
        let in_hand = |b: &Backlog<J>| b.hand.map_or(0, |hand| hand.others);
        let queued = queued.map_or(0, |b| in_hand(b) + b.live + b.sleepers.len());
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
            if backlog.hand.take().is_some() {
                backlog.marks.all = false;
                backlog.marks.some.clear();
            }
            backlog.ended += runs;
            backlog.busy += time;
        }
    }

    /// Whether the turn holder has this job. One that it has run and not put away counts.
    pub(super) fn has_in_hand(&self, id: Id) -> bool {
        let hand = self.backlog.as_ref().and_then(|backlog| backlog.hand);
        self.running == Some(id) || hand.is_some_and(|hand| (hand.first..=hand.last).contains(&id))
    }

    pub(super) fn is_condemned(&self, id: Id) -> bool {
        let marked = |backlog: &Backlog<J>| backlog.marks.has(id) && self.has_in_hand(id);
        self.cancelled && self.running == Some(id)
            || self.backlog.as_ref().is_some_and(|backlog| marked(backlog))
    }

    /// Marks the job if the turn holder has it.
    pub(super) fn condemn(&mut self, id: Id) -> bool {
        if !self.has_in_hand(id) {
            return false;
        }
        match &mut self.backlog {
            Some(backlog) if self.running != Some(id) => backlog.marks.some.push(id),
            _ => self.cancelled = true,
        }
        true
    }

    /// Marks all jobs that the turn holder has, and counts them.
    pub(super) fn condemn_all(&mut self) -> usize {
        self.cancelled = self.running.is_some();
        let mut count = usize::from(self.cancelled);
        if let Some(Backlog { hand: Some(hand), marks, .. }) = self.backlog.as_deref_mut() {
            count += hand.others;
            marks.all = true;
        }
        count
    }

    /// What [`Lane::is_condemned`] says of each job in hand.
    pub(super) fn marks(&self) -> Marks {
        let marks = self.backlog.as_ref().map(|backlog| backlog.marks.clone());
        let mut marks = marks.unwrap_or_default();
        marks.some.extend(self.running.filter(|_| self.cancelled));
        marks
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

impl Marks {
    /// Whether this job, which must be in hand, is to end.
    pub(crate) fn has(&self, id: Id) -> bool {
        self.all || self.some.contains(&id)
    }
}

impl<J> Backlog<J> {
    fn new() -> Self {
        Self {
            hand: None,
            marks: Marks::default(),
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

    /// How many places from the front can be taken at once, and how many jobs are there. A job with
    /// a deadline has to meet it, and one that came back has another place than name: they are
    /// taken one by one.
    pub(super) fn plain(&self, most: usize) -> (usize, usize) {
        let is_plain = |(place, slot): &&Slot<J>| {
            slot.as_ref().is_none_or(|w| w.deadline.is_none() && w.id == *place)
        };
        let plain = self.queue.iter().take(most).take_while(is_plain);
        plain
            .fold((0, 0), |(places, jobs), slot| (places + 1, jobs + usize::from(slot.1.is_some())))
    }

    /// Moves that many places from the front into `hand`, which is empty.
    pub(super) fn take(&mut self, places: usize, hand: &mut VecDeque<Slot<J>>) {
        if places == self.queue.len() && self.queue.capacity() <= SMALL_QUEUE {
            std::mem::swap(&mut self.queue, hand);
        } else {
            hand.extend(self.queue.drain(..places));
            self.shrink();
        }
    }

    /// Puts a job back where it was taken from.
    pub(super) fn put_back(&mut self, place: Id, waiting: Waiting<J>) {
        if place != waiting.id {
            self.places.insert(waiting.id, place);
        }
        self.queue.push_front((place, Some(waiting)));
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
