//! The frames of a link as the stream that gRPC writes.
//!
//! There is no writer task: the transport asks for the next frame when it has room, and gets
//! all that is ready then. While it has no room, signals gather and share a frame.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use stage_proto::signal::v1 as proto;
use tokio::time::{Instant, Sleep, sleep_until};

use super::frame::Frame;
use super::{Gossip, Link, lock};
use crate::mesh::Shared;

/// What a link writes. Dropping it before its end is the loss of the link.
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    link: Arc<Link>,
    first: Option<Frame>,
    heartbeat: Pin<Box<Sleep>>,
    pace: Pace,
    is_ended: bool,
}

/// Whether the transport has been told that nothing is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Idle,
    /// Something is ready; whoever else runs now may add to it.
    Gathering,
    Writing,
}

/// With so many signals under way, more of them are likely to be ready in a moment.
const BUSY: usize = 8;

impl Outbound {
    /// The frames of a link, after a first one.
    pub(crate) fn new(shared: Arc<Shared>, link: Arc<Link>, first: Option<proto::Frame>) -> Self {
        let heartbeat = Box::pin(sleep_until(Instant::now() + shared.config.heartbeat));
        Self {
            shared,
            link,
            first: first.map(Frame::from),
            heartbeat,
            pace: Pace::Writing,
            is_ended: false,
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.link.writer.register(context.waker());
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if self.gathers() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let now = Instant::now();
        let frame = self.link.compose(now);
        if self.link.machine().is_lost() {
            return Poll::Ready(self.link.machine().take_last_word());
        }
        if let Some(frame) = frame {
            return Poll::Ready(Some(self.with_advert(frame, now)));
        }
        if self.link.machine().is_finished() {
            self.link.close();
            return Poll::Ready(None);
        }
        let is_due = lock(&self.link.gossip).is_due;
        if is_due || self.heartbeat.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(self.with_advert(Frame::default(), now)));
        }
        self.pace = Pace::Idle;
        Poll::Pending
    }

    /// Whether to let other tasks run once before the first frame after a silence: of many senders that are ready
    /// to run, the first one wakes this task, and its signal would travel alone. No time passes if there are none.
    fn gathers(&mut self) -> bool {
        self.pace = match self.pace {
            Pace::Idle if self.link.is_busy(BUSY) => Pace::Gathering,
            _ => Pace::Writing,
        };
        self.pace == Pace::Gathering
    }

    fn with_advert(&mut self, mut frame: Frame, now: Instant) -> Frame {
        let advert = self.shared.advert();
        *lock(&self.link.gossip) = Gossip { told: Some(advert), is_due: false };
        frame.small.advert = Some(advert.to_proto());
        self.heartbeat.as_mut().reset(now + self.shared.config.heartbeat);
        frame
    }
}

impl Stream for Outbound {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = self.poll_frame(context);
        self.is_ended |= matches!(frame, Poll::Ready(None));
        frame
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if !self.is_ended {
            self.shared.lose(&self.link, "the connection closed");
        }
    }
}
