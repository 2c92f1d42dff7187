//! Who speaks for a node, and for how long one without a stream is remembered.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Ended, Outbox, Peer, Seat, State};
use crate::Time;
use crate::coordinator::{Event, NodeId};

impl State {
    /// Lets a new stream speak for a node; an older one of that node ends.
    pub(in crate::serve) fn attach(
        &mut self,
        node: NodeId,
        name: Arc<str>,
    ) -> Result<(Seat, Arc<Notify>), Ended> {
        if self.closed {
            return Err(Ended::Closed);
        }
        if self.peers.len() >= self.max_nodes && !self.peers.contains_key(&node) {
            return Err(Ended::TooManyNodes);
        }
        self.streams += 1;
        let outbox = Outbox::default();
        let wake = outbox.wake.clone();
        let (stream, absent_until) = (self.streams, Time::NEVER);
        let peer = Peer { name, stream, outbox: Some(outbox), absent_until };
        if let Some(old) = self.peers.insert(node, peer) {
            self.absent.remove(&(old.absent_until, node));
            if let Some(outbox) = old.outbox {
                outbox.wake.notify_one();
            }
        }
        Ok((Seat { node, stream: self.streams }, wake))
    }

    /// What a node calls itself; empty if it is not known here.
    pub(in crate::serve) fn name(&self, node: NodeId) -> &str {
        self.peers.get(&node).map_or("", |peer| &peer.name)
    }

    /// Notes that a stream is gone. The node may come back; what it holds stays until it expires.
    pub(in crate::serve) fn detach(&mut self, now: Time, seat: Seat) {
        let absent_until = now.after(self.absence);
        let peer = self.peers.get_mut(&seat.node).filter(|peer| peer.stream == seat.stream);
        // A stream that was sent away ends a second time, when its reader sees that it is over.
        let Some(peer) = peer else { return };
        let Some(outbox) = peer.outbox.take() else { return };
        outbox.wake.notify_one();
        peer.absent_until = absent_until;
        self.absent.insert((absent_until, seat.node));
        self.arm(absent_until);
    }

    /// Forgets a node, whose places in the queues go with it. Its grants stay until they expire.
    pub(super) fn leave(&mut self, now: Time, node: NodeId) {
        if let Some(peer) = self.peers.remove(&node) {
            self.absent.remove(&(peer.absent_until, node));
            if let Some(outbox) = peer.outbox {
                outbox.wake.notify_one();
            }
        }
        self.wants.left(node);
        self.step(now, Event::Vanished { node });
    }
}
