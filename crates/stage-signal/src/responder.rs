use std::future::pending;

use stage_value::Value;
use tokio::time::{Instant, sleep_until};

use crate::outcomes::{Outcome, Promise};
use crate::{Failure, Reason};

/// How the receiver of a message reports its end, once.
///
/// Dropping it unanswered reports a failure, so that no sender waits in vain.
pub struct Responder {
    channel: Option<Channel>,
    deadline: Option<Instant>,
}

enum Channel {
    Local(Promise),
}

impl Responder {
    pub(crate) fn local(promise: Promise, deadline: Option<Instant>) -> Self {
        Self { channel: Some(Channel::Local(promise)), deadline }
    }

    /// The handler has ended with these results.
    pub fn reply(mut self, results: Vec<Value>) {
        self.end(Ok(results));
    }

    /// The handler has failed or has not run.
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// Whether the sender has stopped waiting or its deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_abandoned = match &self.channel {
            Some(Channel::Local(promise)) => promise.is_abandoned(),
            None => true,
        };
        is_abandoned || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits until the sender has stopped waiting or its deadline has passed. Cancel-safe.
    pub async fn cancelled(&mut self) {
        let deadline = self.deadline;
        let passed = async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let abandoned = async {
            match &mut self.channel {
                Some(Channel::Local(promise)) => promise.abandoned().await,
                None => {}
            }
        };
        tokio::select! {
            () = abandoned => {}
            () = passed => {}
        }
    }

    fn end(&mut self, outcome: Outcome) {
        match self.channel.take() {
            Some(Channel::Local(promise)) => promise.keep(outcome),
            None => {}
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.channel.is_some() {
            self.end(Err(Failure::new(Reason::Handler, "ended without an answer")));
        }
    }
}
