//! What reaches the handler of a peer's envelope.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Tells one handler that nobody waits for it any more.
#[derive(Debug, Default)]
pub(crate) struct Handler {
    is_cancelled: AtomicBool,
    waker: AtomicWaker,
}

impl Handler {
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Ready when it is cancelled. One task at a time hears of it: the last that asked.
    pub(crate) fn poll_cancelled(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}
