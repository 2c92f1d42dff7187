use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Mutex;

/// Calls of a VM to the ticket coordinator that are made one after the other.
#[derive(Default)]
pub(crate) struct InOrder {
    unfinished: Cell<usize>,
    turn: Mutex<()>,
}

impl InOrder {
    /// Whether every call has ended.
    pub(super) fn is_settled(&self) -> bool {
        self.unfinished.get() == 0
    }

    /// Waits for the calls that were made before.
    pub(super) async fn settled(&self) {
        drop(self.turn.lock().await);
    }

    /// Starts a call when those before it have ended.
    pub(super) fn make<F: Future, S: FnOnce() -> F>(
        self: &Rc<Self>,
        start: S,
    ) -> impl Future<Output = F::Output> + use<F, S> {
        self.unfinished.set(self.unfinished.get() + 1);
        let order = Rc::clone(self);
        async move {
            let turn = order.turn.lock().await;
            let result = start().await;
            drop(turn);
            order.unfinished.set(order.unfinished.get() - 1);
            result
        }
    }
}
