//! The submitter's end of a job.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::context::JobContext;
use crate::error::{Deadlock, JobError};
use crate::key::{Hashed, Key};
use crate::lanes::Id;
use crate::rt::{AbortHandle, JoinError, JoinHandle};
use crate::shard::{Pass, Root};
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
    /// Somebody waited: whether for a job is known.
    watched: bool,
    /// Whose wait it is, if it is a job's. Boxed, because few handles are awaited by jobs and a
    /// million may be held.
    wait: Option<Box<Wait>>,
}

#[derive(Debug)]
enum Source<T> {
    Direct {
        task: JoinHandle<Result<T, JobError>>,
        key: Key,
        /// The job's name among those of the key.
        id: u64,
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
    pub(crate) shard: Arc<Pass>,
    pub(crate) at: Hashed,
    pub(crate) id: Id,
}

#[derive(Debug)]
enum Wait {
    /// This job will wait, whoever polls.
    Of(JobContext),
    /// This job waits.
    Begun(JobContext, WaitId),
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
        key: Key,
        id: u64,
    ) -> Self {
        let source = Source::Direct { task, key, id, owner: address(root) };
        Self { source, watched: false, wait: None }
    }

    pub(crate) fn queued(reply: oneshot::Receiver<Result<T, JobError>>, place: Place) -> Self {
        Self { source: Source::Queued { reply, place }, watched: false, wait: None }
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
        self.end_wait();
        self.watched = false;
        self.wait = Some(Box::new(Wait::Of(job)));
        self
    }

    /// Called when the handle is found not ready; the first time counts. Nothing if no job of the
    /// same scheduler begins to wait.
    fn begin_wait(&mut self) -> Option<Result<(), Deadlock>> {
        if std::mem::replace(&mut self.watched, true) {
            return None;
        }
        let context = match self.wait.take().map(|wait| *wait) {
            Some(Wait::Of(job)) => Some(job),
            _ => JobContext::current(),
        };
        self.watch(context?)
    }

    #[cold]
    fn watch(&mut self, context: JobContext) -> Option<Result<(), Deadlock>> {
        let (owner, target, id) = match &self.source {
            Source::Direct { key, id, owner, .. } => (*owner, Waiter::of(key, *id), *id),
            Source::Queued { place, .. } => {
                let target = Waiter::Key(place.at.key.clone());
                (address(&place.shard.root), target, place.id.get())
            }
        };
        if address(&context.root) != owner {
            return None;
        }
        context.root.waits_begun.fetch_add(1, Ordering::Relaxed);
        let begun = lock(&context.root.waits).begin_for(&context.waiter, &target, id);
        Some(begun.map(|wait| self.wait = Some(Box::new(Wait::Begun(context, wait)))))
    }

    /// A job has just begun to wait, or was refused.
    #[cold]
    fn poll_begun(
        &mut self,
        begun: Result<(), Deadlock>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, JobError>> {
        // What it waits for may have ended between the first look and the wait.
        if let Poll::Ready(result) = self.poll_source(cx) {
            self.end_wait();
            return Poll::Ready(result);
        }
        let Err(deadlock) = begun else { return Poll::Pending };
        if let Source::Queued { place, .. } = &self.source {
            place.shard.withdraw(&place.at, place.id);
        }
        Poll::Ready(Err(deadlock.into()))
    }

    #[inline]
    fn end_wait(&mut self) {
        if let Some(wait) = self.wait.take() {
            (*wait).end();
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
        match this.begin_wait() {
            None => Poll::Pending,
            Some(begun) => this.poll_begun(begun, cx),
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.end_wait();
    }
}

impl<T> Unpin for Handle<T> {}

impl Wait {
    #[cold]
    fn end(self) {
        if let Self::Begun(context, wait) = self {
            lock(&context.root.waits).end(&context.waiter, wait);
        }
    }
}

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
