use std::future::Future;
use std::thread::JoinHandle;

use tokio::task::LocalSet;

use crate::StartError;
use crate::preempt::Post;

/// Native stack of a VM's thread. Lua bounds its own C stack far below this.
const STACK_BYTES: usize = 4 << 20;

/// Runs a VM's loop on a thread of its own; ends when the loop ends, with all that it spawned.
///
/// # Errors
/// [`StartError::Thread`] if the operating system gives no thread.
pub(crate) fn spawn<F: Future<Output = ()>>(
    name: &str,
    serve: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let refused = |reason: String| StartError::Thread { stage: name.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| refused(error.to_string()))?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let post = Post::take();
            LocalSet::new().block_on(&runtime, serve());
            drop(post);
        })
        .map_err(|error| refused(error.to_string()))
}
