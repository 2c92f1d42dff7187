//! A job as the queue holds it: any future, with its result's way back.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::error::JobError;

/// What a run of a repeating job says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat<T> {
    /// The job is done; this is its result.
    Done(T),
    /// Run it again after this time.
    Again(Duration),
}

/// A job in a queue or in the hands of a turn holder.
pub(crate) struct Queued {
    pub(crate) body: Pin<Box<dyn Job>>,
    pub(crate) bytes: u64,
}

/// The result's way to the handle.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, JobError>>;

/// A future that has lost its type.
pub(crate) trait Job: Send {
    /// Runs until it waits or this run is over. Never panics. What the future owned is
    /// dropped before `Ready`, and if the job is done, what else it owned.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step>;

    /// Drops a job that is to end with `error`, as long as its key is not free. Never panics; a
    /// destructor's panic becomes the error.
    fn stop(self: Pin<&mut Self>, error: JobError) -> JobError;

    /// Tells the handle: the result, or `error` if the job is not done.
    fn end(self: Pin<&mut Self>, error: JobError);
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Completed,
    Panicked(JobError),
    Again(Duration),
}

impl Queued {
    pub(crate) fn once<F>(future: F, reply: Reply<F::Output>, bytes: u64) -> Self
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let once = Once { future: Some(future), result: None, reply: Some(reply) };
        Self { body: Box::pin(once), bytes }
    }

    pub(crate) fn repeating<M, F, T>(make: M, reply: Reply<T>, bytes: u64) -> Self
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Repeat<T>> + Send + 'static,
        T: Send + 'static,
    {
        let repeating =
            Repeating { make: Some(make), future: None, result: None, reply: Some(reply) };
        Self { body: Box::pin(repeating), bytes }
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queued").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Calls into a job; a panic becomes an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| JobError::Panicked { message: message_of(payload.as_ref()) })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}

pin_project! {
    struct Once<F: Future> {
        #[pin]
        future: Option<F>,
        result: Option<Result<F::Output, JobError>>,
        reply: Option<Reply<F::Output>>,
    }
}

impl<F: Future<Output: Send> + Send> Job for Once<F> {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let mut this = self.project();
        let polled = guarded(|| this.future.as_mut().as_pin_mut().map(|future| future.poll(cx)));
        let result = match polled {
            Ok(Some(poll)) => Ok(ready!(poll)),
            Ok(None) => return Poll::Ready(Step::Completed),
            Err(error) => Err(error),
        };
        let result = unless_panicked(guarded(|| this.future.set(None)), result);
        let step = result.as_ref().err().cloned().map_or(Step::Completed, Step::Panicked);
        *this.result = Some(result);
        Poll::Ready(step)
    }

    fn stop(self: Pin<&mut Self>, error: JobError) -> JobError {
        let mut this = self.project();
        guarded(|| this.future.set(None)).err().unwrap_or(error)
    }

    fn end(mut self: Pin<&mut Self>, error: JobError) {
        let error = self.as_mut().stop(error);
        let this = self.project();
        answer(this.reply, this.result.take().unwrap_or(Err(error)));
    }
}

pin_project! {
    struct Repeating<M, F, T> {
        make: Option<M>,
        #[pin]
        future: Option<F>,
        result: Option<Result<T, JobError>>,
        reply: Option<Reply<T>>,
    }
}

impl<M, F, T> Job for Repeating<M, F, T>
where
    M: FnMut() -> F + Send,
    F: Future<Output = Repeat<T>> + Send,
    T: Send,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let mut this = self.project();
        let polled = guarded(|| {
            if this.future.is_none() {
                this.future.set(this.make.as_mut().map(|make| make()));
            }
            this.future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx))
        });
        let said = match polled {
            Ok(poll) => Ok(ready!(poll)),
            Err(error) => Err(error),
        };
        let mut said = unless_panicked(guarded(|| this.future.set(None)), said);
        if !matches!(said, Ok(Repeat::Again(_))) {
            said = unless_panicked(guarded(|| *this.make = None), said);
        }
        let (step, result) = match said {
            Ok(Repeat::Again(after)) => return Poll::Ready(Step::Again(after)),
            Ok(Repeat::Done(value)) => (Step::Completed, Ok(value)),
            Err(error) => (Step::Panicked(error.clone()), Err(error)),
        };
        *this.result = Some(result);
        Poll::Ready(step)
    }

    fn stop(self: Pin<&mut Self>, error: JobError) -> JobError {
        let mut this = self.project();
        let dropped = guarded(|| this.future.set(None));
        let dropped = dropped.and(guarded(|| *this.make = None));
        dropped.err().unwrap_or(error)
    }

    fn end(mut self: Pin<&mut Self>, error: JobError) {
        let error = self.as_mut().stop(error);
        let this = self.project();
        answer(this.reply, this.result.take().unwrap_or(Err(error)));
    }
}

/// The result, unless what was dropped before it panicked. The result's destructor may panic as well.
fn unless_panicked<T>(
    dropped: Result<(), JobError>,
    result: Result<T, JobError>,
) -> Result<T, JobError> {
    match dropped {
        Ok(()) => result,
        Err(error) => {
            let _ = guarded(|| drop(result));
            Err(error)
        }
    }
}

/// Sends the result if anybody waits for it. A detached handle leaves the result here, to be
/// dropped; its destructor is the job's code too.
fn answer<T>(reply: &mut Option<Reply<T>>, result: Result<T, JobError>) {
    if let Some(reply) = reply.take() {
        let _ = guarded(|| drop(reply.send(result)));
    }
}
