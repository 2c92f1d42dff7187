use std::collections::BTreeMap;

use super::event::{NodeId, RequestId};
use crate::CategoryId;
use crate::counted::Counted;

/// What a coordinator knows of one node: its requests that wait or hold, and its highest count.
///
/// A node counts its requests upwards, so a count that is not live and not above the highest is a
/// request that is over: that is all the memory it takes never to grant one twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) highest: u64,
    pub(super) live: Counted<Live>,
    pub(super) vanished: bool,
}

/// Where a live request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Live {
    pub(super) category: CategoryId,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// In the queue, under this key.
    Waiting(u32),
    /// In this slot.
    Holding(u32),
}

impl Live {
    pub(super) fn waiting(category: CategoryId, key: u32) -> Self {
        Self { category, place: Place::Waiting(key) }
    }

    pub(super) fn holding(category: CategoryId, slot: u32) -> Self {
        Self { category, place: Place::Holding(slot) }
    }
}

/// Notes where a request is now.
pub(super) fn begin(sessions: &mut BTreeMap<NodeId, Session>, request: RequestId, live: Live) {
    let session = sessions.entry(request.node).or_default();
    session.live.insert(request.count, live);
}

/// Forgets a request, and a vanished node with its last one.
pub(super) fn end(sessions: &mut BTreeMap<NodeId, Session>, request: RequestId) {
    let Some(session) = sessions.get_mut(&request.node) else { return };
    session.live.remove(request.count);
    if session.vanished && session.live.is_empty() {
        sessions.remove(&request.node);
    }
}
