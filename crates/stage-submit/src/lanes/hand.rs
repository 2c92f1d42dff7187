//! Several jobs of one key in the hands of a turn holder: it saves a hold of the lock per job.

use std::collections::VecDeque;
use std::time::Duration;

use super::lane::{Hand, Marks, Slot};
use super::{Id, Lanes, occupied};
use crate::key::Hashed;

impl<J, R: Clone> Lanes<J, R> {
    /// The jobs in hand have ended, so many runs in that time: fills the empty `hand` with up to
    /// `most` jobs to run one after the other, as long as none of them waits for anything. False if
    /// nothing waits, or what comes next is for [`Lanes::next`] alone. O(most).
    #[must_use]
    pub(crate) fn take(
        &mut self,
        at: &Hashed,
        most: usize,
        ran: (u64, Duration),
        hand: &mut VecDeque<Slot<J>>,
    ) -> bool {
        let Some(mut place) = occupied(&mut self.table, at) else { return false };
        let lane = place.get_mut();
        let Some(backlog) = &lane.backlog else { return false };
        let (places, jobs) = backlog.plain(most);
        if jobs == 0 {
            return false;
        }
        lane.rest(ran);
        if std::mem::take(&mut lane.resting) {
            self.resting -= 1;
        }
        let backlog = lane.backlog_mut();
        backlog.take(places, hand);
        backlog.live -= jobs;
        self.waiting -= jobs;
        let mut names = hand.iter().filter_map(|(_, slot)| slot.as_ref()).map(|w| w.id);
        if let Some(first) = names.next() {
            let last = names.next_back().unwrap_or(first);
            backlog.hand = Some(Hand { first, last, others: jobs - 1 });
            lane.run(first);
        }
        true
    }

    /// The first of the jobs in hand waits for something: it is the one that runs, and the rest
    /// goes back to where it came from, with what was cancelled meanwhile left over. O(rest).
    pub(crate) fn put_back(
        &mut self,
        at: &Hashed,
        running: Id,
        rest: impl DoubleEndedIterator<Item = Slot<J>>,
        ran: (u64, Duration),
    ) -> Vec<J> {
        let mut over = Vec::new();
        let Some(mut place) = occupied(&mut self.table, at) else { return over };
        let lane = place.get_mut();
        let cancelled = lane.is_condemned(running);
        for (place, slot) in rest.rev() {
            let Some(waiting) = slot else { continue };
            if lane.is_condemned(waiting.id) {
                over.push(waiting.job);
            } else {
                lane.backlog_mut().put_back(place, waiting);
                self.waiting += 1;
            }
        }
        lane.rest(ran);
        lane.run(running);
        lane.cancelled = cancelled;
        over
    }

    /// If nothing waits, the jobs in hand have ended, and the caller keeps the turn although it has
    /// nothing to run: arrivals count on its asking again. O(1).
    #[must_use]
    pub(crate) fn linger(&mut self, at: &Hashed, ran: (u64, Duration)) -> bool {
        let Some(mut place) = occupied(&mut self.table, at) else { return false };
        let lane = place.get_mut();
        if lane.has_waiting() {
            return false;
        }
        lane.rest(ran);
        if lane.depth() == 0 && !std::mem::replace(&mut lane.resting, true) {
            self.resting += 1;
        }
        true
    }

    /// Which of the jobs in hand are to end. O(1) and as many as were cancelled.
    pub(crate) fn marks(&mut self, at: &Hashed) -> Marks {
        occupied(&mut self.table, at).map(|place| place.get().marks()).unwrap_or_default()
    }
}
