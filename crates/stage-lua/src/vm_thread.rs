use std::future::Future;
use std::thread::JoinHandle;

use tokio::task::LocalSet;

use crate::StartError;
use crate::preempt::Post;

/// Native stack of a VM's thread. Lua bounds its own C stack far below this.
const STACK_BYTES: usize = 4 << 20;

/// Where a VM runs.
pub(crate) enum VmThread {
    /// On a thread of its own.
    Own(JoinHandle<()>),
    /// On the thread that has made the runtime.
    Here(tokio::task::JoinHandle<()>),
}

impl VmThread {
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Self::Own(thread) => thread.is_finished(),
            Self::Here(task) => task.is_finished(),
        }
    }
}

/// Runs a VM's loop on a thread of its own; ends when the loop ends, with all that it spawned. For tests of scripts, on
/// the current thread, within its `LocalSet`.
///
/// # Errors
/// [`StartError::Thread`] if the operating system gives no thread.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    name: &str,
    here: bool,
    serve: impl FnOnce() -> F + Send + 'static,
) -> Result<VmThread, StartError> {
    if here {
        return Ok(VmThread::Here(tokio::task::spawn_local(async move {
            let _post = Post::share();
            serve().await;
        })));
    }
    let refused = |reason: String| StartError::Thread { stage: name.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| refused(error.to_string()))?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let post = Post::share();
            LocalSet::new().block_on(&runtime, serve());
            drop(post);
        })
        .map(VmThread::Own)
        .map_err(|error| refused(error.to_string()))
}
