//! The explorer's tasks, under the names of the driver's `rt`. Time stands still, and who waits
//! until some moment only gives way once: the explorer tries out what that can mean.

use std::sync::LazyLock;
use std::time::Instant;

pub(crate) use shuttle::future::{AbortHandle, JoinError, JoinHandle};

#[derive(Clone, Debug)]
pub(crate) struct Runtime;

impl Runtime {
    pub(crate) fn new(_: tokio::runtime::Handle) -> Self {
        Self
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        shuttle::future::spawn(task)
    }
}

pub(crate) fn now() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

pub(crate) async fn until(_: Instant, _: impl Future<Output = ()>) {
    shuttle::future::yield_now().await;
}
