use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Starts before a VM's thread looks after its timers and replies, and after handlers that wait
/// or were preempted.
const STARTS_PER_TURN: u32 = 64;

/// The time after which it does so whatever the number of starts. Without that, handlers that overrun
/// their quantum would be started one after the other before the first of them goes on.
const TIME_PER_TURN: Duration = Duration::from_millis(5);

/// Starts handlers in order, and lets those that wait go on between turns.
#[derive(Default)]
pub(crate) struct Turn {
    started: u32,
    /// When its first handler was started. It counts as well that its thread sleeps meanwhile: to yield is cheap then.
    begun: Option<Instant>,
}

impl Turn {
    /// Runs a handler up to its first wait. Only one that waits costs a task.
    pub(crate) async fn start(&mut self, handler: impl Future<Output = ()> + 'static) {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let mut handler: Pin<Box<dyn Future<Output = ()>>> = Box::pin(handler);
        let first =
            std::future::poll_fn(|context| Poll::Ready(handler.as_mut().poll(context))).await;
        if first.is_pending() {
            tokio::task::spawn_local(handler);
        }
        self.started += 1;
        if self.started >= STARTS_PER_TURN || begun.elapsed() >= TIME_PER_TURN {
            *self = Self::default();
            tokio::task::yield_now().await;
        }
    }
}
