//! The submitter's end of a job.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::context::JobContext;
use crate::error::{Deadlock, JobError};
use crate::key::Hashed;
use crate::lanes::Id;
use crate::rt::{AbortHandle, JoinError, JoinHandle};
use crate::shard::{Root, Shard};
use crate::sync::{Arc, Ordering, lock};
use crate::waits::{WaitId, Waiter};

/// Awaits a job's result, and can cancel it. Dropping it lets the job go on.
///
/// Awaiting inside another job of the same scheduler is watched: if it could never end, because
/// the awaited job needs a key that the waiting one holds, directly or through others, it
/// resolves at once to [`JobError::Deadlock`] with the chain of keys. A job that had not started
/// is then taken out of its queue; one that has started goes on.
#[derive(Debug)]
#[must_use = "dropping a handle detaches the job; say so with `detach`"]
pub struct Handle<T> {
    source: Source<T>,
    wait: Wait,
}

#[derive(Debug)]
enum Source<T> {
    Direct {
        task: JoinHandle<Result<T, JobError>>,
        target: Waiter,
        /// Address of the scheduler's root, to tell schedulers apart. It cannot be reused while the
        /// job is unended, since the job keeps the root alive.
        owner: usize,
    },
    Queued {
        reply: oneshot::Receiver<Result<T, JobError>>,
        place: Place,
    },
}

/// Where to find a queued job.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) shard: Arc<Shard>,
    pub(crate) at: Hashed,
    pub(crate) id: Id,
}

#[derive(Debug)]
enum Wait {
    /// Nobody has waited yet; when somebody does, it is this job or the one being polled.
    Unknown(Option<Box<JobContext>>),
    /// Known to be no job's wait.
    Unwatched,
    // Boxed, because few handles are awaited by jobs and a million may be held.
    Watched(Box<(JobContext, WaitId)>),
}

/// Cancels a job from elsewhere, while its handle is being awaited. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Canceller(Reach);

#[derive(Clone, Debug)]
enum Reach {
    Direct(AbortHandle),
    Queued(Place),
}

impl<T> Handle<T> {
    pub(crate) fn direct(
        task: JoinHandle<Result<T, JobError>>,
        root: &Arc<Root>,
        target: Waiter,
    ) -> Self {
        let source = Source::Direct { task, target, owner: address(root) };
        Self { source, wait: Wait::Unknown(None) }
    }

    pub(crate) fn queued(reply: oneshot::Receiver<Result<T, JobError>>, place: Place) -> Self {
        Self { source: Source::Queued { reply, place }, wait: Wait::Unknown(None) }
    }

    /// Cancels the job: one that waits never starts, one that runs is dropped at the point where it
    /// waits for something, as soon as a worker gets to it. The handle then resolves to
    /// [`JobError::Cancelled`], or to the result if that came first.
    pub fn cancel(&self) {
        self.canceller().cancel();
    }

    /// A way to cancel the job while the handle is being awaited.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(match &self.source {
            Source::Direct { task, .. } => Reach::Direct(task.abort_handle()),
            Source::Queued { place, .. } => Reach::Queued(place.clone()),
        })
    }

    /// Lets the job go on without anybody waiting for it.
    pub fn detach(self) {
        drop(self);
    }

    /// Awaits for a job that is not being polled on this thread, say because it continues in
    /// another task or thread: a wait that could never end is then refused as if the job
    /// itself had awaited.
    pub fn on_behalf_of(mut self, job: JobContext) -> Self {
        self.wait = Wait::Unknown(Some(Box::new(job)));
        self
    }

    /// Called when the handle is first found not ready.
    fn begin_wait(&mut self) -> Result<(), Deadlock> {
        let Wait::Unknown(named) = &mut self.wait else { return Ok(()) };
        let context = named.take().map(|named| *named).or_else(JobContext::current);
        self.wait = Wait::Unwatched;
        let Some(context) = context else { return Ok(()) };
        let (owner, target) = match &self.source {
            Source::Direct { target, owner, .. } => (*owner, target.clone()),
            Source::Queued { place, .. } => {
                (address(&place.shard.root), Waiter::Key(place.at.key.clone()))
            }
        };
        if address(&context.root) != owner {
            return Ok(());
        }
        context.root.waits_begun.fetch_add(1, Ordering::Relaxed);
        let wait = lock(&context.root.waits).begin(&context.waiter, &target)?;
        self.wait = Wait::Watched(Box::new((context, wait)));
        Ok(())
    }

    fn end_wait(&mut self) {
        if let Wait::Watched(wait) = std::mem::replace(&mut self.wait, Wait::Unwatched) {
            let (context, wait) = *wait;
            lock(&context.root.waits).end(&context.waiter, wait);
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JobError>> {
        Poll::Ready(match &mut self.source {
            Source::Direct { task, .. } => {
                ready!(Pin::new(task).poll(cx)).unwrap_or_else(|error| Err(join_error(error)))
            }
            Source::Queued { reply, .. } => {
                ready!(Pin::new(reply).poll(cx)).unwrap_or(Err(JobError::Cancelled))
            }
        })
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(result) = this.poll_source(cx) {
            this.end_wait();
            return Poll::Ready(result);
        }
        let Err(deadlock) = this.begin_wait() else { return Poll::Pending };
        if let Source::Queued { place, .. } = &this.source {
            place.shard.withdraw(&place.at, place.id);
        }
        Poll::Ready(Err(deadlock.into()))
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.end_wait();
    }
}

impl<T> Unpin for Handle<T> {}

impl Canceller {
    /// See [`Handle::cancel`].
    pub fn cancel(&self) {
        match &self.0 {
            Reach::Direct(task) => task.abort(),
            Reach::Queued(Place { shard, at, id }) => drop(shard.cancel(at, *id)),
        }
    }
}

/// Jobs catch their own panics, so a task without a result was aborted.
#[allow(clippy::needless_pass_by_value)]
fn join_error(_: JoinError) -> JobError {
    JobError::Cancelled
}

fn address(root: &Arc<Root>) -> usize {
    Arc::as_ptr(root).addr()
}
