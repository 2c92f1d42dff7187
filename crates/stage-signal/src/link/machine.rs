//! One end of a link as a pure state machine: what is queued, what waits for its end, what the
//! peer still wants to hear. No clock, no I/O; times are arguments and frames come out as data.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use stage_proto::signal::v1 as proto;
use stage_value::{FunctionHash, Prototype};
use tokio::time::Instant;

use super::frame::{Envelope, Frame, Run, Writing};
use super::functions::{self, Functions};
use super::ids::{Ids, in_order};
use super::letter::{Letter, OVERHEAD, sizes};
use super::violation::Violation;
use crate::{Failure, Reason};

/// One end of a link.
///
/// `W` is whoever waits for the end of a letter that this end sent, `C` what reaches the
/// handler of an envelope that the peer sent.
pub(crate) struct Machine<W, C> {
    sizes: Sizes,
    /// Letters that wait to be written; each is in `waiting`.
    queue: VecDeque<u64>,
    queued_bytes: usize,
    /// Bytes of letters that are written and kept for another try.
    kept_bytes: usize,
    waiting: Ids<Sent<W>>,
    /// No letter that waits is due before this.
    due: Option<Instant>,
    expired: Vec<W>,
    next_id: u64,
    credit: u32,
    unfinished: Ids<C>,
    told: Functions,
    heard: Functions,
    last_received: u64,
    granted: u32,
    /// Endings in runs, each of which fits a frame.
    endings: VecDeque<Writing>,
    /// Bytes of these.
    ending_bytes: usize,
    /// What the last run took: the next one will take about as much.
    endings_before: usize,
    cancels: VecDeque<u64>,
    stages: Option<Vec<String>>,
    goodbye: Option<proto::Bye>,
    last_word: Option<proto::Bye>,
    is_bye_written: bool,
    is_bye_heard: bool,
    /// The peer has said bye for another link, which is not up here yet.
    is_bridge: bool,
    is_lost: bool,
    /// Whoever writes has been told that nothing is ready, and waits to be woken.
    sleeps: bool,
}

/// The bounds of one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Letters that may wait to be written.
    pub(crate) queue: usize,
    /// Bytes of letters that may wait to be written, of those that may be kept beyond that for another try, and of endings that may
    /// wait to be written: one may exceed it alone.
    pub(crate) queue_bytes: usize,
    /// Envelopes of the peer that may be unfinished here.
    pub(crate) window: u32,
    /// The most bytes of a frame that the peer reads.
    pub(crate) peer_frame: usize,
}

/// Whoever waits for a letter, and the letter itself until it is written, or longer if it is kept.
#[derive(Debug)]
pub(crate) struct Sent<W> {
    pub(crate) waiter: W,
    pub(crate) deadline: Option<Instant>,
    pub(crate) letter: Option<Arc<Letter>>,
}

/// A letter that is not taken, and why.
#[derive(Debug)]
pub(crate) struct NotTaken<W> {
    pub(crate) letter: Arc<Letter>,
    pub(crate) waiter: W,
    pub(crate) failure: Failure,
}

/// What a lost link leaves behind, in the order in which it was sent.
#[derive(Debug)]
pub(crate) struct Lost<W, C> {
    /// Whoever waits for letters that the peer has never seen.
    pub(crate) unwritten: Vec<Sent<W>>,
    /// Whoever waits for letters that the peer may have started.
    pub(crate) written: Vec<Sent<W>>,
    /// What reaches the handlers of the peer's envelopes.
    pub(crate) handlers: Vec<C>,
}

/// The bytes at which a frame is full; a larger part travels alone.
const FRAME_BYTES: usize = 64 << 10;

/// The most parts of each kind in a frame.
const FRAME_PARTS: usize = 1024;

/// The most cancels in a frame: with everything else that is small they take less than [`FRAME_OVERHEAD`].
const FRAME_CANCELS: usize = 64;

/// What room a frame leaves for its advert and other small parts.
const FRAME_OVERHEAD: usize = 1024;

impl<W, C> Machine<W, C> {
    pub(crate) fn new(sizes: Sizes, credit: u32) -> Self {
        Self {
            sizes,
            queue: VecDeque::new(),
            queued_bytes: 0,
            kept_bytes: 0,
            waiting: Ids::default(),
            due: None,
            expired: Vec::new(),
            next_id: 1,
            credit,
            unfinished: Ids::default(),
            told: Functions::default(),
            heard: Functions::default(),
            last_received: 0,
            granted: sizes.window,
            endings: VecDeque::new(),
            ending_bytes: 0,
            endings_before: 0,
            cancels: VecDeque::new(),
            stages: None,
            goodbye: None,
            last_word: None,
            is_bye_written: false,
            is_bye_heard: false,
            is_bridge: false,
            is_lost: false,
            sleeps: true,
        }
    }

    /// Queues a letter and returns its id, or gives it back with what is wrong.
    pub(crate) fn submit(&mut self, letter: Arc<Letter>, waiter: W) -> Result<u64, NotTaken<W>> {
        if let Err(failure) = self.check_room(&letter) {
            return Err(NotTaken { letter, waiter, failure });
        }
        let id = self.next_id;
        self.next_id += 1;
        self.queued_bytes += letter.weight();
        self.queue.push_back(id);
        let deadline = letter.deadline;
        self.due = self.due.min(deadline).or(self.due).or(deadline);
        self.waiting.insert(id, Sent { waiter, deadline, letter: Some(letter) });
        Ok(id)
    }

    fn check_room(&self, letter: &Letter) -> Result<(), Failure> {
        let full = |reason, detail: String| Err(Failure::new(reason, detail));
        if !self.is_open() {
            return full(Reason::Stopping, "the link takes no more messages".to_owned());
        }
        let (size, room) = (letter.weight() + FRAME_OVERHEAD, self.sizes.peer_frame);
        if size > room {
            let detail = format!("the message takes {size} bytes; the peer reads at most {room}");
            return full(Reason::Malformed, detail);
        }
        if self.queue.len() >= self.sizes.queue {
            let detail = format!("{} messages wait for the node already", self.queue.len());
            return full(Reason::Overloaded, detail);
        }
        if self.queued_bytes > 0 && self.queued_bytes + size > self.sizes.queue_bytes {
            let detail = format!("{} bytes wait for the node already", self.queued_bytes);
            return full(Reason::Overloaded, detail);
        }
        Ok(())
    }

    /// Whoever waits for a letter no longer does. Returns the waiter unless the end came first.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<W> {
        let sent = self.waiting.remove(&id)?;
        match self.queue.binary_search(&id) {
            Ok(index) => {
                self.queue.remove(index);
                self.queued_bytes -= weight(&sent);
            }
            Err(_) => {
                self.kept_bytes -= weight(&sent);
                self.cancels.push_back(id);
            }
        }
        Some(sent.waiter)
    }

    /// When to ask for [`Machine::overdue`] letters again; `None` if none has a deadline.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Withdraws the letters whose deadline has passed and returns who waits for them. O(1) as long as none is due, else
    /// O(waiting).
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<W> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let is_late = |sent: &Sent<W>| sent.deadline.is_some_and(|deadline| deadline <= now);
        let late = self.waiting.iter().filter(|(_, sent)| is_late(sent));
        let mut ids: Vec<u64> = late.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let waiters = ids.into_iter().filter_map(|id| self.withdraw(id)).collect();
        self.due = self.waiting.values().filter_map(|sent| sent.deadline).min();
        waiters
    }

    /// The peer reports an end. Returns who waits for it, or `None` if nobody does any more.
    pub(crate) fn ended(&mut self, id: u64) -> Result<Option<Sent<W>>, Violation> {
        self.check_sent(id)?;
        let sent = self.waiting.remove(&id);
        self.kept_bytes -= sent.as_ref().map_or(0, weight);
        Ok(sent)
    }

    /// The peer sends an envelope.
    pub(crate) fn received(&mut self, id: u64, handler: C) -> Result<(), Violation> {
        if id <= self.last_received {
            return Err(Violation::Repeated { id, last: self.last_received });
        }
        if self.is_bye_heard {
            return Err(Violation::AfterBye);
        }
        self.granted = self.granted.checked_sub(1).ok_or(Violation::NoCredit { id })?;
        self.last_received = id;
        self.unfinished.insert(id, handler);
        Ok(())
    }

    /// The peer has sent functions along with an envelope.
    pub(crate) fn hear(&mut self, functions: &[Arc<Prototype>]) {
        functions.iter().for_each(|function| self.heard.insert(function));
    }

    /// The code of a function that the peer has sent.
    pub(crate) fn heard(&self, hash: &FunctionHash) -> Option<Arc<Prototype>> {
        self.heard.find(hash)
    }

    /// The peer no longer waits for an envelope. Returns what reaches its handler.
    pub(crate) fn cancelled(&mut self, id: u64) -> Result<Option<&C>, Violation> {
        if id > self.last_received {
            return Err(Violation::NeverSent { id });
        }
        Ok(self.unfinished.get(&id))
    }

    /// A handler here has ended; the ending gives the peer its credit back.
    pub(crate) fn finish(&mut self, id: u64, outcome: Result<Bytes, Failure>) {
        if self.unfinished.remove(&id).is_none() {
            return;
        }
        let outcome = outcome.and_then(|results| self.check_results(results));
        let size = ending_size(&outcome);
        let fits =
            |run: &&mut Writing| run.count() < FRAME_PARTS && run.len() + size <= FRAME_BYTES;
        if self.endings.back_mut().filter(fits).is_none() {
            let capacity = self.endings_before.max(size).min(FRAME_BYTES);
            self.endings.push_back(Writing::with_capacity(capacity));
        }
        if let Some(run) = self.endings.back_mut() {
            let before = run.len();
            run.ending(id, outcome);
            self.ending_bytes += run.len() - before;
        }
    }

    pub(crate) fn granted(&mut self, credit: u32) -> Result<(), Violation> {
        self.credit = self.credit.checked_add(credit).ok_or(Violation::Credit)?;
        Ok(())
    }

    /// The stages that this node carries have changed.
    pub(crate) fn tell_stages(&mut self, stages: Vec<String>) {
        self.stages = Some(stages);
    }

    /// Takes no more letters; what is queued is still written, then the bye.
    pub(crate) fn retire(&mut self, reason: proto::ByeReason, why: &str) {
        let bye = || proto::Bye { why: why.to_owned(), reason: reason.into() };
        self.goodbye.get_or_insert_with(bye);
    }

    pub(crate) fn bye_heard(&mut self) {
        self.is_bye_heard = true;
    }

    pub(crate) fn is_bye_heard(&self) -> bool {
        self.is_bye_heard
    }

    /// The peer has said bye because the pair has another link, which is still under way to this end: until it
    /// is here, letters go on over this one. The peer takes them until it hears this end's bye.
    pub(crate) fn bridge(&mut self) {
        self.is_bye_heard = true;
        self.is_bridge = true;
    }

    /// The peer has broken the protocol: the link ends once it has been told how, unless this end has said goodbye already.
    pub(crate) fn condemn(&mut self, why: &str) {
        let reason = proto::ByeReason::Protocol.into();
        let bye = || proto::Bye { why: why.to_owned(), reason };
        self.last_word = (!self.is_bye_written).then(bye);
    }

    /// What a lost link still has to say.
    pub(crate) fn take_last_word(&mut self) -> Option<Frame> {
        let bye = self.last_word.take()?;
        Some(proto::Frame { bye: Some(bye), ..Default::default() }.into())
    }

    /// The link has broken. Returns all who wait, and all handlers, for which nobody waits any more.
    pub(crate) fn lose(&mut self) -> Lost<W, C> {
        self.is_lost = true;
        let queued = std::mem::take(&mut self.queue);
        let unwritten = queued.iter().filter_map(|id| self.waiting.remove(id)).collect();
        (self.queued_bytes, self.kept_bytes, self.ending_bytes) = (0, 0, 0);
        self.endings.clear();
        self.cancels.clear();
        Lost {
            unwritten,
            written: in_order(&mut self.waiting),
            handlers: in_order(&mut self.unfinished),
        }
    }

    /// Whether letters can be submitted.
    pub(crate) fn is_open(&self) -> bool {
        self.goodbye.is_none() && (!self.is_bye_heard || self.is_bridge) && !self.is_lost
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Letters that have not ended.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Envelopes of the peer that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// Whether both ends have said bye and nothing is left to write or to wait for.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_bye_written
            && self.is_bye_heard
            && self.queue.is_empty()
            && self.waiting.is_empty()
            && self.unfinished.is_empty()
            && self.endings.is_empty()
            && self.cancels.is_empty()
    }

    /// A frame of what is ready, or `None`. Letters whose deadline has passed are not written;
    /// [`Machine::take_expired`] tells who waits for them.
    pub(crate) fn compose(&mut self, now: Instant) -> Option<Frame> {
        if self.is_lost {
            return None;
        }
        let mut small = proto::Frame::default();
        if let Some(ids) = self.stages.take() {
            // Alone: beside the largest letter that is taken it might not fit what the peer reads.
            small.stages = Some(proto::Stages { ids });
            self.sleeps = false;
            return Some(small.into());
        }
        let endings = self.endings.pop_front().map_or_else(Run::default, Writing::end);
        self.endings_before = endings.len();
        self.ending_bytes -= endings.len();
        small.credit = u32::try_from(endings.count).unwrap_or(u32::MAX);
        self.granted = self.granted.saturating_add(small.credit);
        let cancels = self.cancels.len().min(FRAME_CANCELS);
        small.cancels.extend(self.cancels.drain(..cancels));
        let envelopes = self.compose_envelopes(endings.len(), now);
        if self.queue.is_empty() && !self.is_bye_written {
            small.bye.clone_from(&self.goodbye);
            self.is_bye_written = small.bye.is_some();
        }
        let frame = Frame { small, endings, envelopes };
        self.sleeps = frame.is_empty();
        (!self.sleeps).then_some(frame)
    }

    /// Whether whoever writes is to be woken for what was added. The first that adds does so for all.
    pub(crate) fn rouse(&mut self) -> bool {
        std::mem::take(&mut self.sleeps)
    }

    /// Who waits for letters that `compose` found past their deadline.
    pub(crate) fn take_expired(&mut self) -> Vec<W> {
        std::mem::take(&mut self.expired)
    }

    /// Letters to write behind so many bytes of endings, as many as fit.
    fn compose_envelopes(&mut self, before: usize, now: Instant) -> Vec<Envelope> {
        let mut envelopes = Vec::new();
        if self.credit == 0 {
            return envelopes;
        }
        envelopes.reserve(self.queue.len().min(FRAME_PARTS));
        let mut bytes = before;
        while self.credit > 0
            && envelopes.len() < FRAME_PARTS
            && let Some(id) = self.queue.front().copied()
        {
            let Some(kept) = self.waiting.get_mut(&id).map(|sent| &mut sent.letter) else {
                self.queue.pop_front();
                continue;
            };
            let Some(letter) = kept else {
                self.queue.pop_front();
                continue;
            };
            let (weight, remaining_ms) = (letter.weight(), letter.remaining_ms(now));
            if remaining_ms == Some(0) {
                self.expired.extend(self.waiting.remove(&id).map(|sent| sent.waiter));
            } else {
                let along = self.told.missing(&letter.functions);
                let whole = letter.size() + sizes(&along);
                if bytes > 0 && bytes + whole > FRAME_BYTES {
                    break;
                }
                bytes += whole;
                self.credit -= 1;
                along.iter().for_each(|function| self.told.insert(function));
                letter.end_queue();
                let is_kept = letter.is_kept
                    && (self.kept_bytes == 0 || self.kept_bytes + weight <= self.sizes.queue_bytes);
                let written = if is_kept { Some(Arc::clone(letter)) } else { kept.take() };
                self.kept_bytes += if is_kept { weight } else { 0 };
                envelopes.extend(written.map(|letter| Envelope {
                    id,
                    remaining_ms: remaining_ms.unwrap_or(0),
                    functions: functions::encode(&along),
                    letter,
                }));
            }
            self.queue.pop_front();
            self.queued_bytes -= weight;
        }
        envelopes
    }

    /// The handler has run, and no failure here may have it run again elsewhere.
    fn check_results(&self, results: Bytes) -> Result<Bytes, Failure> {
        let waits = self.ending_bytes;
        if waits > 0 && waits + results.len() > self.sizes.queue_bytes {
            let detail = format!("{waits} bytes of results wait for the sender already");
            return Err(Failure::new(Reason::Handler, detail));
        }
        let (size, room) = (results.len() + OVERHEAD + FRAME_OVERHEAD, self.sizes.peer_frame);
        if size <= room {
            return Ok(results);
        }
        let detail = format!("the results take {size} bytes; the sender reads at most {room}");
        Err(Failure::new(Reason::Handler, detail))
    }

    fn check_sent(&self, id: u64) -> Result<(), Violation> {
        let is_written = id < self.queue.front().copied().unwrap_or(self.next_id);
        if is_written && id > 0 { Ok(()) } else { Err(Violation::NeverSent { id }) }
    }
}

fn weight<W>(sent: &Sent<W>) -> usize {
    sent.letter.as_ref().map_or(0, |letter| letter.weight())
}

fn ending_size(outcome: &Result<Bytes, Failure>) -> usize {
    let body = match outcome {
        Ok(results) => results.len(),
        Err(failure) => failure.detail.len(),
    };
    body + OVERHEAD
}

#[cfg(test)]
mod tests;
