//! One end of a link as a pure state machine: what is queued, what waits for its end, what the
//! peer still wants to hear. No clock, no I/O; times are arguments and frames come out as data.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use stage_proto::signal::v1 as proto;
use stage_value::{FunctionHash, MessageId, Prototype};
use tokio::time::Instant;
use tracing::Span;

use super::functions::{self, Functions};
use crate::{Failure, Reason, Trace};

/// A message on its way to a node; cloning shares the arguments.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) stage: Arc<str>,
    pub(crate) message: MessageId,
    /// The arguments, with functions by hash.
    pub(crate) args: Bytes,
    /// The functions that the arguments name.
    pub(crate) functions: Vec<Arc<Prototype>>,
    pub(crate) origin_stage: Arc<str>,
    pub(crate) wants_results: bool,
    /// Whether it may be sent again when it may have started.
    pub(crate) idempotent: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<Trace>,
    /// Lasts as long as the letter is queued; it decides nothing.
    pub(crate) queued: Span,
}

/// One end of a link.
///
/// `W` is whoever waits for the end of a letter that this end sent, `C` what reaches the
/// handler of an envelope that the peer sent.
pub(crate) struct Machine<W, C> {
    sizes: Sizes,
    queue: VecDeque<(u64, Letter)>,
    queued_bytes: usize,
    waiting: BTreeMap<u64, W>,
    expired: Vec<W>,
    next_id: u64,
    credit: u32,
    unfinished: BTreeMap<u64, C>,
    told: Functions,
    heard: Functions,
    last_received: u64,
    granted: u32,
    endings: VecDeque<proto::Ending>,
    cancels: VecDeque<u64>,
    stages: Option<Vec<String>>,
    goodbye: Option<proto::Bye>,
    last_word: Option<proto::Bye>,
    is_bye_written: bool,
    is_bye_heard: bool,
    /// The peer has said bye for another link, which is not up here yet.
    is_bridge: bool,
    is_lost: bool,
}

/// The bounds of one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Letters that may wait to be written.
    pub(crate) queue: usize,
    /// Bytes of letters that may wait to be written; one letter may exceed it alone.
    pub(crate) queue_bytes: usize,
    /// Envelopes of the peer that may be unfinished here.
    pub(crate) window: u32,
    /// The most bytes of a frame that the peer reads.
    pub(crate) peer_frame: usize,
}

/// What a lost link leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost<W, C> {
    /// Whoever waits for letters that the peer has never seen.
    pub(crate) unwritten: Vec<W>,
    /// Whoever waits for letters that the peer may have started.
    pub(crate) written: Vec<W>,
    /// What reaches the handlers of the peer's envelopes.
    pub(crate) handlers: Vec<C>,
}

/// The bytes at which a frame is full; a larger part travels alone.
const FRAME_BYTES: usize = 64 << 10;

/// The most parts of each kind in a frame.
const FRAME_PARTS: usize = 1024;

/// What the fields around the arguments may take in an encoded envelope or ending.
const OVERHEAD: usize = 64;

/// What room a frame leaves for its advert and other small parts.
const FRAME_OVERHEAD: usize = 1024;

/// How a peer has broken the protocol; the link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("envelope id {id} is not above {last}: ids must rise")]
    Repeated { id: u64, last: u64 },
    #[error("envelope id {id} exceeds the credit that was granted")]
    NoCredit { id: u64 },
    #[error("ending or cancel of envelope {id}, which was never sent")]
    NeverSent { id: u64 },
    #[error("an envelope after the bye")]
    AfterBye,
    #[error("more credit than can be counted")]
    Credit,
    #[error("a second hello")]
    Hello,
    #[error("{0}")]
    Stages(String),
    #[error("envelope {id} brings functions that make no sense")]
    Functions { id: u64 },
}

impl<W, C> Machine<W, C> {
    pub(crate) fn new(sizes: Sizes, credit: u32) -> Self {
        Self {
            sizes,
            queue: VecDeque::new(),
            queued_bytes: 0,
            waiting: BTreeMap::new(),
            expired: Vec::new(),
            next_id: 1,
            credit,
            unfinished: BTreeMap::new(),
            told: Functions::default(),
            heard: Functions::default(),
            last_received: 0,
            granted: sizes.window,
            endings: VecDeque::new(),
            cancels: VecDeque::new(),
            stages: None,
            goodbye: None,
            last_word: None,
            is_bye_written: false,
            is_bye_heard: false,
            is_bridge: false,
            is_lost: false,
        }
    }

    /// Queues a letter and returns its id, or gives the waiter back with what is wrong.
    pub(crate) fn submit(&mut self, letter: Letter, waiter: W) -> Result<u64, (W, Failure)> {
        if !self.is_open() {
            let detail = "the link takes no more messages";
            return Err((waiter, Failure::new(Reason::Stopping, detail)));
        }
        let (size, room) = (letter.weight() + FRAME_OVERHEAD, self.sizes.peer_frame);
        if size > room {
            let detail = format!("the message takes {size} bytes; the peer reads at most {room}");
            return Err((waiter, Failure::new(Reason::Malformed, detail)));
        }
        if self.queue.len() >= self.sizes.queue {
            let detail = format!("{} messages wait for the node already", self.queue.len());
            return Err((waiter, Failure::new(Reason::Overloaded, detail)));
        }
        if self.queued_bytes > 0 && self.queued_bytes + size > self.sizes.queue_bytes {
            let detail = format!("{} bytes wait for the node already", self.queued_bytes);
            return Err((waiter, Failure::new(Reason::Overloaded, detail)));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.queued_bytes += letter.weight();
        self.queue.push_back((id, letter));
        self.waiting.insert(id, waiter);
        Ok(id)
    }

    /// Whoever waits for a letter no longer does. Returns the waiter unless the end came first.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<W> {
        let waiter = self.waiting.remove(&id)?;
        match self.queue.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(index) => {
                let removed = self.queue.remove(index);
                self.queued_bytes -= removed.map_or(0, |(_, letter)| letter.weight());
            }
            Err(_) => self.cancels.push_back(id),
        }
        Some(waiter)
    }

    /// The peer reports an end. Returns who waits for it, or `None` if nobody does any more.
    pub(crate) fn ended(&mut self, id: u64) -> Result<Option<W>, Violation> {
        self.check_sent(id)?;
        Ok(self.waiting.remove(&id))
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
        let outcome = match outcome {
            Ok(results) => proto::ending::Outcome::Results(results),
            Err(failure) => proto::ending::Outcome::Failure(failure.into_proto()),
        };
        self.endings.push_back(proto::Ending { id, outcome: Some(outcome) });
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

    /// The peer has said bye because the pair has another link, which is still under way to this end: until it
    /// is here, letters go on over this one. The peer takes them until it hears this end's bye.
    pub(crate) fn bridge(&mut self) {
        self.is_bye_heard = true;
        self.is_bridge = true;
    }

    /// The peer has broken the protocol: the link ends once it has been told how.
    pub(crate) fn condemn(&mut self, why: &str) {
        let reason = proto::ByeReason::Protocol.into();
        self.last_word = Some(proto::Bye { why: why.to_owned(), reason });
    }

    /// What a lost link still has to say.
    pub(crate) fn take_last_word(&mut self) -> Option<proto::Frame> {
        let bye = self.last_word.take()?;
        Some(proto::Frame { bye: Some(bye), ..Default::default() })
    }

    /// The link has broken. Returns all who wait, and all handlers, for which nobody waits any more.
    pub(crate) fn lose(&mut self) -> Lost<W, C> {
        self.is_lost = true;
        let queued = std::mem::take(&mut self.queue);
        let unwritten = queued.iter().filter_map(|(id, _)| self.waiting.remove(id)).collect();
        self.queued_bytes = 0;
        self.endings.clear();
        self.cancels.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let unfinished = std::mem::take(&mut self.unfinished);
        Lost {
            unwritten,
            written: waiting.into_values().collect(),
            handlers: unfinished.into_values().collect(),
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
    pub(crate) fn compose(&mut self, now: Instant) -> Option<proto::Frame> {
        if self.is_lost {
            return None;
        }
        let mut frame = proto::Frame::default();
        let mut bytes = 0;
        self.compose_endings(&mut frame, &mut bytes);
        let cancels = self.cancels.len().min(FRAME_PARTS);
        frame.cancels.extend(self.cancels.drain(..cancels));
        frame.stages = self.stages.take().map(|ids| proto::Stages { ids });
        self.compose_envelopes(&mut frame, &mut bytes, now);
        if self.queue.is_empty() && !self.is_bye_written {
            frame.bye.clone_from(&self.goodbye);
            self.is_bye_written = frame.bye.is_some();
        }
        let is_empty = frame == proto::Frame::default();
        (!is_empty).then_some(frame)
    }

    /// Who waits for letters that `compose` found past their deadline.
    pub(crate) fn take_expired(&mut self) -> Vec<W> {
        std::mem::take(&mut self.expired)
    }

    fn compose_endings(&mut self, frame: &mut proto::Frame, bytes: &mut usize) {
        frame.endings.reserve(self.endings.len().min(FRAME_PARTS));
        while frame.endings.len() < FRAME_PARTS
            && let Some(ending) = self.endings.front()
        {
            let size = ending_size(ending);
            if *bytes > 0 && *bytes + size > FRAME_BYTES {
                break;
            }
            *bytes += size;
            frame.endings.extend(self.endings.pop_front());
        }
        frame.credit = u32::try_from(frame.endings.len()).unwrap_or(u32::MAX);
        self.granted = self.granted.saturating_add(frame.credit);
    }

    fn compose_envelopes(&mut self, frame: &mut proto::Frame, bytes: &mut usize, now: Instant) {
        frame.envelopes.reserve(self.queue.len().min(FRAME_PARTS).min(self.credit as usize));
        while self.credit > 0
            && frame.envelopes.len() < FRAME_PARTS
            && let Some((id, letter)) = self.queue.front()
        {
            let (weight, remaining_ms) = (letter.weight(), letter.remaining_ms(now));
            if remaining_ms == Some(0) {
                self.expired.extend(self.waiting.remove(id));
            } else {
                let along = self.told.missing(&letter.functions);
                let whole = letter.size() + sizes(&along);
                if *bytes > 0 && *bytes + whole > FRAME_BYTES {
                    break;
                }
                *bytes += whole;
                self.credit -= 1;
                along.iter().for_each(|function| self.told.insert(function));
                let functions = functions::encode(&along);
                let envelope = letter.to_envelope(*id, remaining_ms.unwrap_or(0), functions);
                frame.envelopes.push(envelope);
            }
            self.queue.pop_front();
            self.queued_bytes -= weight;
        }
    }

    fn check_results(&self, results: Bytes) -> Result<Bytes, Failure> {
        let (size, room) = (results.len() + OVERHEAD + FRAME_OVERHEAD, self.sizes.peer_frame);
        if size <= room {
            return Ok(results);
        }
        let detail = format!("the results take {size} bytes; the sender reads at most {room}");
        Err(Failure::new(Reason::Malformed, detail))
    }

    fn check_sent(&self, id: u64) -> Result<(), Violation> {
        let is_written = id < self.queue.front().map_or(self.next_id, |(first, _)| *first);
        if is_written && id > 0 { Ok(()) } else { Err(Violation::NeverSent { id }) }
    }
}

impl Letter {
    fn size(&self) -> usize {
        let text = self.stage.len() + self.message.as_str().len() + self.origin_stage.len();
        self.args.len() + text + OVERHEAD
    }

    /// What it keeps in memory, and takes in a frame at most.
    fn weight(&self) -> usize {
        self.size() + sizes(&self.functions)
    }

    /// What is left until the deadline, rounded up; `None` without one.
    fn remaining_ms(&self, now: Instant) -> Option<u64> {
        let remaining = self.deadline?.saturating_duration_since(now);
        Some(u64::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    fn to_envelope(&self, id: u64, remaining_ms: u64, functions: Bytes) -> proto::Envelope {
        proto::Envelope {
            id,
            stage: self.stage.to_string(),
            message: self.message.to_string(),
            args: self.args.clone(),
            wants_results: self.wants_results,
            remaining_ms,
            origin_stage: self.origin_stage.to_string(),
            traceparent: self.trace.map_or_else(String::new, |trace| trace.to_string()),
            functions,
        }
    }
}

/// What functions take in a frame.
fn sizes(functions: &[Arc<Prototype>]) -> usize {
    functions.iter().map(|function| functions::size(function)).sum()
}

fn ending_size(ending: &proto::Ending) -> usize {
    let body = match &ending.outcome {
        Some(proto::ending::Outcome::Results(results)) => results.len(),
        Some(proto::ending::Outcome::Failure(failure)) => failure.detail.len(),
        None => 0,
    };
    body + OVERHEAD
}

#[cfg(test)]
mod tests;
