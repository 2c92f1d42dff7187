use std::sync::Arc;

use stage_proto::ticket::v1 as proto;
use tokio::sync::Notify;

/// What is to be told to one node: the frame that its stream takes next.
///
/// Whatever becomes ready while a frame is being written goes into the next one, so a busy stream
/// carries large frames and an idle one small ones, without a timer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frame: proto::ServerFrame,
    entries: usize,
    pub(super) wake: Arc<Notify>,
}

/// The most entries that may wait for a stream. Answers are bounded by the requests of the node,
/// so only a node that reads nothing while it is sent notices comes here.
const MAX_ENTRIES: usize = 1 << 18;

/// What an entry takes on the wire, roughly.
const ENTRY_BYTES: usize = 64;

impl Outbox {
    /// Adds to the frame, and wakes the stream if this is the first.
    pub(super) fn put(&mut self, add: impl FnOnce(&mut proto::ServerFrame)) {
        if self.entries == 0 {
            self.wake.notify_one();
        }
        add(&mut self.frame);
        self.entries += 1;
    }

    /// Counts a message by its length as well.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.entries += bytes / ENTRY_BYTES;
    }

    /// Whether the node reads so slowly that its stream has to end.
    pub(super) fn is_overfull(&self) -> bool {
        self.entries > MAX_ENTRIES
    }

    pub(super) fn take(&mut self) -> Option<proto::ServerFrame> {
        (self.entries > 0).then(|| {
            self.entries = 0;
            std::mem::take(&mut self.frame)
        })
    }
}
