//! What the driver needs of its runtime: tasks and time. Beside [`crate::sync`] the only part
//! that a schedule explorer replaces.

use std::time::Instant;

pub(crate) use tokio::task::{AbortHandle, JoinError, JoinHandle};

/// Where jobs run.
#[derive(Clone, Debug)]
pub(crate) struct Runtime(tokio::runtime::Handle);

impl Runtime {
    pub(crate) fn new(handle: tokio::runtime::Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.spawn(task)
    }
}

/// The runtime's clock, which tests may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for `event`, but not longer than until `at`.
pub(crate) async fn until(at: Instant, event: impl Future<Output = ()>) {
    let _ = tokio::time::timeout_at(at.into(), event).await;
}
