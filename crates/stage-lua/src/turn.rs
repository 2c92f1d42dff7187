use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Starts before a VM's thread looks after its timers and replies.
const STARTS_PER_TURN: u32 = 64;

/// Starts handlers in order, and lets those that wait go on between turns.
#[derive(Default)]
pub(crate) struct Turn {
    started: u32,
}

impl Turn {
    /// Runs a handler up to its first wait. Only one that waits costs a task.
    pub(crate) async fn start(&mut self, handler: impl Future<Output = ()> + 'static) {
        let mut handler: Pin<Box<dyn Future<Output = ()>>> = Box::pin(handler);
        let first =
            std::future::poll_fn(|context| Poll::Ready(handler.as_mut().poll(context))).await;
        if first.is_pending() {
            tokio::task::spawn_local(handler);
        }
        self.started += 1;
        if self.started >= STARTS_PER_TURN {
            self.started = 0;
            tokio::task::yield_now().await;
        }
    }
}
