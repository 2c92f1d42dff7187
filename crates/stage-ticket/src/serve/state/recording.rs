//! Which nodes the cluster's store must have.
//!
//! A successor asks every node that is written down and waits for those that do not answer, so two
//! things must hold. Whoever may believe in a grant is written down: else the successor would issue
//! without having heard of that grant. And whoever is gone is struck off some day: else every
//! takeover would wait for it.
//!
//! The second holds because a node that is written down is always known here, with a stream or as
//! absent until some time: also one whose connection broke before it was seated, and one that a
//! predecessor wrote down and that never came here. The first holds because a node is struck off only if
//!
//! - this coordinator serves: while it recovers, a node that has not reported may hold a grant of the
//!   predecessor that nobody here knows of;
//! - none of the node's requests lives here: a grant leaves this coordinator's memory not before its
//!   deadline, which the holder's clock reaches first;
//! - the node has left, and has not come back ([`Wants::arrived`](crate::serve::Wants) takes it back): it
//!   asks for nothing until it is seated, and is seated only once it is written down anew, in a write that
//!   comes after this one.

use std::time::Duration;

use super::{Peer, Seat, State};
use crate::Time;
use crate::coordinator::{NodeId, Phase};
use crate::serve::Wanted;

impl State {
    /// Counts nodes that are written down as absent from now on, unless they are known.
    pub(in crate::serve) fn expect(&mut self, now: Time, nodes: impl IntoIterator<Item = NodeId>) {
        let absent_until = now.after(self.absence);
        for node in nodes {
            self.peers.entry(node).or_insert_with(|| {
                self.absent.insert((absent_until, node));
                Peer { name: "".into(), stream: 0, outbox: None, absent_until }
            });
        }
        self.arm(absent_until);
    }

    /// What is to be written down now.
    pub(in crate::serve) fn wanted(&mut self) -> Wanted {
        let Self { coordinator, wants, .. } = self;
        let serves = *coordinator.phase() == Phase::Serving;
        wants.wanted(|node| serves && coordinator.live_request_count(node) == 0)
    }

    /// Notes what was written down.
    pub(in crate::serve) fn written(&mut self, now: Time, wanted: &Wanted, longest: Duration) {
        // Before those who wait for it are seated: not all of them may be there any more.
        self.expect(now, wanted.arriving.iter().copied());
        self.wants.written(wanted, longest);
        self.extend_parked(now);
    }

    /// Ends every stream, as if each had broken.
    pub(in crate::serve) fn dismiss(&mut self, now: Time) {
        let peers = self.peers.iter().filter(|(_, peer)| peer.outbox.is_some());
        let seats: Vec<_> =
            peers.map(|(node, peer)| Seat { node: *node, stream: peer.stream }).collect();
        for seat in seats {
            self.detach(now, seat);
        }
    }
}
