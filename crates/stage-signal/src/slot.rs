//! Where the end of a signal at one stage comes in, and who is to hear what of it.

use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use tracing::Span;

use crate::link::{Link, lock};
use crate::outcomes::Outcome;
use crate::step::record_end;
use crate::{Failure, Reason};

/// A link on which a signal waits for its end, and its id there.
pub(crate) type Place = (Arc<Link>, u64);

/// The place of one end, between the sender and whoever reports it.
pub(crate) struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    end: End,
    /// Where the signal waits now, if not where its sender has put it.
    moved: Moved,
    /// Wakes the sender when the end is there.
    sender: Option<Waker>,
    /// Wakes the handler when nobody waits any more.
    handler: Option<Waker>,
}

#[derive(Default)]
enum Moved {
    #[default]
    Never,
    /// To another link; its id there.
    Link(Weak<Link>, u64),
    /// Back to this node.
    Home,
}

#[derive(Default)]
enum End {
    #[default]
    Awaited,
    Come(Outcome),
    /// The sender has it, or no longer wants it.
    Unwanted,
}

impl Slot {
    /// A place, and the promise that something will come to it.
    pub(crate) fn new(span: Span) -> (Arc<Self>, Promise) {
        let slot = Arc::new(Self { state: Mutex::default() });
        let span = Some(span).filter(|span| !span.is_none()).map(Box::new);
        (Arc::clone(&slot), Promise { slot: Some(slot), span })
    }

    /// The end, or if there is none yet, whether a link keeps its deadline; `at_link` if the signal was put there.
    pub(crate) fn poll(&self, at_link: bool, context: &mut Context<'_>) -> Result<Outcome, bool> {
        let mut state = lock(&self.state);
        if matches!(state.end, End::Come(_))
            && let End::Come(outcome) = std::mem::replace(&mut state.end, End::Unwanted)
        {
            return Ok(outcome);
        }
        match &mut state.sender {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Err(match state.moved {
            Moved::Never => at_link,
            Moved::Link(..) => true,
            Moved::Home => false,
        })
    }

    /// The signal has left its link and waits here: its sender keeps the deadline itself from now on.
    fn come_home(&self) {
        let mut state = lock(&self.state);
        state.moved = Moved::Home;
        let sender = state.sender.take();
        drop(state);
        sender.into_iter().for_each(Waker::wake);
    }

    /// The signal waits here now; withdraws it if its sender has left meanwhile.
    pub(crate) fn waits_at(&self, (link, id): &Place) {
        let (mut state, id) = (lock(&self.state), *id);
        match state.end {
            End::Awaited => state.moved = Moved::Link(Arc::downgrade(link), id),
            End::Come(_) => {}
            End::Unwanted => {
                drop(state);
                link.withdraw(id);
            }
        }
    }

    /// Nobody waits any more: the handler learns it, here or at the far end of a link.
    pub(crate) fn withdraw(&self) {
        let mut state = lock(&self.state);
        state.end = End::Unwanted;
        let (moved, handler) = (std::mem::take(&mut state.moved), state.handler.take());
        drop(state);
        handler.into_iter().for_each(Waker::wake);
        if let Moved::Link(link, id) = moved
            && let Some(link) = link.upgrade()
        {
            link.withdraw(id);
        }
    }

    /// The end has come. Returns what wakes the sender, unless it has left.
    fn settle(&self, outcome: Outcome) -> Option<Waker> {
        let mut state = lock(&self.state);
        if matches!(state.end, End::Unwanted) {
            return None;
        }
        state.end = End::Come(outcome);
        state.sender.take()
    }
}

/// The other end of one stage's place in [`Outcomes`](crate::Outcomes).
///
/// Dropped without an end it says that the node is gone.
pub(crate) struct Promise {
    slot: Option<Arc<Slot>>,
    /// Lasts until the end is known.
    span: Option<Box<Span>>,
}

impl Promise {
    /// Gives the end to whoever waits for it.
    pub(crate) fn keep(self, outcome: Outcome) {
        self.keep_quietly(outcome).into_iter().for_each(Waker::wake);
    }

    /// Gives the end to whoever waits for it, and leaves it to the caller to wake them: of many ends that come
    /// together, a sender that is woken by the first would find the next one missing and fall asleep again.
    pub(crate) fn keep_quietly(mut self, outcome: Outcome) -> Option<Waker> {
        if let Some(span) = &self.span {
            record_end(span, &outcome);
        }
        self.slot.take()?.settle(outcome)
    }

    /// The signal waits at this node now.
    pub(crate) fn come_home(&self) {
        if let Some(slot) = &self.slot {
            slot.come_home();
        }
    }

    /// Its place, for who says where it waits.
    pub(crate) fn slot(&self) -> Option<Arc<Slot>> {
        self.slot.clone()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| matches!(lock(&slot.state).end, End::Unwanted))
    }

    /// Ready when nobody wants to know the end.
    pub(crate) fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = &self.slot else { return Poll::Ready(()) };
        let mut state = lock(&slot.state);
        if matches!(state.end, End::Unwanted) {
            return Poll::Ready(());
        }
        state.handler = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let gone = Failure::new(Reason::LinkLost, "the node is gone");
            slot.settle(Err(gone)).into_iter().for_each(Waker::wake);
        }
    }
}
