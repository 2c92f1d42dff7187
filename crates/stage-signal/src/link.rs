//! A link to another node: the machine behind its lock, and what wakes its writer.

pub(crate) mod codec;
mod field;
pub(crate) mod frame;
pub(crate) mod functions;
pub(crate) mod heard;
pub(crate) mod hello;
mod ids;
pub(crate) mod letter;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod outbound;
pub(crate) mod reader;
#[cfg(test)]
mod simulation;
mod violation;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use stage_proto::signal::v1 as proto;
use stage_value::{FunctionHash, Prototype};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arbitration::Claim;
use crate::handler::Handler;
use crate::slot::Promise;
use crate::step::Step;
use crate::tls::Certified;
use crate::{Advert, Failure, Reason, Rule};
use frame::Frame;
use hello::Peer;
use letter::Letter;
use machine::{Lost, Machine, NotTaken, Sizes};

/// One end of a link that has been agreed on.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) is_ours: bool,
    /// The peer's certificate, if the link is encrypted.
    pub(crate) certified: Option<Certified>,
    /// What the peer may do here; `None`: everything.
    pub(crate) rule: Option<Arc<Rule>>,
    machine: Mutex<Machine<Promise, Arc<Handler>>>,
    stages: ArcSwap<BTreeSet<Arc<str>>>,
    heard: Mutex<Heard>,
    writer: AtomicWaker,
    /// Some letter is due sooner than the reader knows.
    alarm: Notify,
    gossip: Mutex<Gossip>,
    over: CancellationToken,
}

/// What the peer last said of itself, and when that arrived.
struct Heard {
    advert: Advert,
    at: Instant,
}

/// What the peer was last told of this node, and whether it is due to hear more.
#[derive(Default)]
struct Gossip {
    told: Option<Advert>,
    is_due: bool,
}

impl Link {
    pub(crate) fn new(
        peer: Peer,
        is_ours: bool,
        sizes: Sizes,
        (certified, rule): (Option<Certified>, Option<Arc<Rule>>),
    ) -> Self {
        let stages = peer.stages.iter().map(|stage| Arc::from(stage.as_str())).collect();
        Self {
            is_ours,
            certified,
            rule,
            machine: Mutex::new(Machine::new(sizes, peer.credit)),
            stages: ArcSwap::from_pointee(stages),
            heard: Mutex::new(Heard { advert: peer.advert, at: Instant::now() }),
            writer: AtomicWaker::new(),
            alarm: Notify::new(),
            gossip: Mutex::default(),
            over: CancellationToken::new(),
            peer,
        }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            incarnation: self.peer.incarnation,
            address: self.peer.address.clone(),
            is_ours: self.is_ours,
        }
    }

    pub(crate) fn carries(&self, stage: &str) -> bool {
        self.stages.load().contains(stage)
    }

    pub(crate) fn stages(&self) -> Arc<BTreeSet<Arc<str>>> {
        self.stages.load_full()
    }

    pub(crate) fn advert(&self) -> Advert {
        lock(&self.heard).advert
    }

    /// What the peer last said of itself, and how long ago.
    pub(crate) fn heard(&self) -> (Advert, Duration) {
        let heard = lock(&self.heard);
        (heard.advert, heard.at.elapsed())
    }

    fn hear(&self, advert: Advert) {
        *lock(&self.heard) = Heard { advert, at: Instant::now() };
    }

    pub(crate) fn is_open(&self) -> bool {
        self.machine().is_open()
    }

    /// Letters that have not ended, and envelopes of the peer that have not.
    pub(crate) fn unfinished(&self) -> (usize, usize) {
        let machine = self.machine();
        (machine.waiting(), machine.unfinished())
    }

    /// Whether so many signals are under way in both directions together.
    fn is_busy(&self, count: usize) -> bool {
        let (letters, envelopes) = self.unfinished();
        letters + envelopes >= count
    }

    /// Queues a letter and returns its id, or gives it back with what is wrong.
    pub(crate) fn submit(
        &self,
        mut letter: Arc<Letter>,
        promise: Promise,
    ) -> Result<u64, NotTaken<Promise>> {
        if let Some(trace) = letter.trace.as_deref().copied() {
            let node = &self.peer.name;
            let step = Step::queue(Some(trace), node, &letter.stage, &letter.message);
            Arc::make_mut(&mut letter).queued = Some(Arc::new(step.span));
        }
        let mut machine = self.machine();
        let due = machine.due();
        let id = machine.submit(letter, promise)?;
        let (is_sooner, rouses) = (machine.due() != due, machine.rouse());
        drop(machine);
        if rouses {
            self.writer.wake();
        }
        if is_sooner {
            self.alarm.notify_one();
        }
        Ok(id)
    }

    pub(crate) fn withdraw(&self, id: u64) {
        let withdrawn = self.machine().withdraw(id);
        if withdrawn.is_some() {
            self.writer.wake();
        }
    }

    /// The code of a function that the peer has sent over this link.
    pub(crate) fn function(&self, hash: &FunctionHash) -> Option<Arc<Prototype>> {
        self.machine().heard(hash)
    }

    /// A handler of this node has ended an envelope of the peer.
    pub(crate) fn finish(&self, id: u64, outcome: Result<Bytes, Failure>) {
        let mut machine = self.machine();
        machine.finish(id, outcome);
        let rouses = machine.rouse();
        drop(machine);
        if rouses {
            self.writer.wake();
        }
    }

    pub(crate) fn tell_stages(&self, stages: Vec<String>) {
        self.machine().tell_stages(stages);
        self.writer.wake();
    }

    /// Writes a frame for the advert alone if it differs from what was written last, or if the peer is to
    /// hear that it still holds.
    pub(crate) fn tell_advert(&self, advert: Advert, still_holds: bool) {
        let mut gossip = lock(&self.gossip);
        if still_holds || gossip.told != Some(advert) {
            gossip.is_due = true;
            drop(gossip);
            self.writer.wake();
        }
    }

    /// Takes no more letters and closes when all that is under way has ended.
    pub(crate) fn retire(&self, reason: proto::ByeReason, why: &str) {
        self.machine().retire(reason, why);
        self.writer.wake();
    }

    /// Ends the link now. Returns whether that is news, and who is to hear of it.
    pub(crate) fn lose(&self) -> (bool, Lost<Promise, Arc<Handler>>) {
        let was_over = self.is_over();
        let lost = self.machine().lose();
        self.over.cancel();
        self.writer.wake();
        lost.handlers.iter().for_each(|handler| handler.cancel());
        (!was_over, lost)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until the link has ended, in whichever way.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// All is done and said: the link ends without a loss.
    fn close(&self) {
        self.over.cancel();
    }

    /// Ends the letters whose deadline has passed.
    fn pass_deadlines(&self, now: Instant) {
        let overdue = self.machine().overdue(now);
        if !overdue.is_empty() {
            self.writer.wake();
        }
        for promise in overdue {
            promise.keep(Err(Failure::new(Reason::Deadline, "no answer before the deadline")));
        }
    }

    /// The next frame of what is ready; settles letters whose deadline has passed.
    fn compose(&self, now: Instant) -> Option<Frame> {
        let mut machine = self.machine();
        let frame = machine.compose(now);
        let expired = machine.take_expired();
        drop(machine);
        for promise in expired {
            let detail = format!("{} took no message before the deadline", self.peer.name);
            promise.keep(Err(Failure::new(Reason::Deadline, detail)));
        }
        frame
    }

    fn machine(&self) -> MutexGuard<'_, Machine<Promise, Arc<Handler>>> {
        lock(&self.machine)
    }
}

/// No code here panics while it holds a lock, and the state stays whole if it did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
