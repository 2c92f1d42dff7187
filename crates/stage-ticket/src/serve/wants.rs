use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "etcd")]
use std::mem::take;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::Token;
use crate::coordinator::NodeId;

/// What a coordinator needs to have written into the store of its cluster before it goes on.
///
/// A successor asks the nodes that are written down and waits for the longest grant that is written
/// down, so a node is served and a grant grows only after that. Without a cluster all is granted.
#[derive(Debug)]
pub(crate) struct Wants {
    /// Without a cluster nothing is written down.
    recorded: Option<BTreeSet<NodeId>>,
    arriving: BTreeMap<NodeId, Vec<oneshot::Sender<()>>>,
    leaving: BTreeSet<NodeId>,
    longest: Duration,
    parked: Vec<Extension>,
}

/// An extension as a node asked for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extension {
    pub(crate) node: NodeId,
    pub(crate) token: Token,
    pub(crate) by: Duration,
    /// The node's own count, for the answer.
    pub(crate) count: u64,
}

/// What is to be written in one go.
#[cfg(feature = "etcd")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) arriving: BTreeSet<NodeId>,
    pub(crate) leaving: BTreeSet<NodeId>,
    /// The longest extension that is asked for, zero if none waits.
    pub(crate) longest: Duration,
}

/// How many nodes are added, and how many struck off, in one go. A transaction of etcd has at most
/// 128 parts unless configured.
#[cfg(feature = "etcd")]
const MAX_OF_A_KIND: usize = 60;

/// How many extensions may wait for the record.
const MAX_PARKED: usize = 4096;

impl Wants {
    /// Of a coordinator without a cluster.
    pub(crate) fn nothing() -> Self {
        Self {
            recorded: None,
            arriving: BTreeMap::new(),
            leaving: BTreeSet::new(),
            longest: Duration::MAX,
            parked: Vec::new(),
        }
    }

    /// Of a coordinator whose store holds `recorded` and the longest grant.
    #[cfg(feature = "etcd")]
    pub(crate) fn of_cluster(recorded: BTreeSet<NodeId>, longest: Duration) -> Self {
        Self { recorded: Some(recorded), longest, ..Self::nothing() }
    }

    /// A receiver that resolves once the node is written down; `None` if it is.
    pub(crate) fn arrived(&mut self, node: NodeId) -> Option<oneshot::Receiver<()>> {
        self.leaving.remove(&node);
        let recorded = self.recorded.as_ref()?;
        (!recorded.contains(&node)).then(|| {
            let (written, wait) = oneshot::channel();
            self.arriving.entry(node).or_default().push(written);
            wait
        })
    }

    /// Notes that a node is gone, for it to be struck off some time after its grants are over.
    pub(crate) fn left(&mut self, node: NodeId) {
        if self.recorded.as_ref().is_some_and(|recorded| recorded.contains(&node)) {
            self.leaving.insert(node);
        }
    }

    /// The longest grant that may be given now.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Has an extension wait; false if too many do.
    pub(crate) fn park(&mut self, extension: Extension) -> bool {
        let has_room = self.parked.len() < MAX_PARKED;
        if has_room {
            self.parked.push(extension);
        }
        has_room
    }

    /// The extensions that waited and may be given now.
    #[cfg(feature = "etcd")]
    pub(crate) fn unparked(&mut self) -> Vec<Extension> {
        let longest = self.longest;
        let (ready, waiting) =
            take(&mut self.parked).into_iter().partition(|parked| parked.by <= longest);
        self.parked = waiting;
        ready
    }

    /// What is to be written now. `is_idle` tells that a node may be struck off. A node that comes
    /// back while it is struck off waits to be written down again.
    #[cfg(feature = "etcd")]
    pub(crate) fn wanted(&mut self, is_idle: impl Fn(NodeId) -> bool) -> Wanted {
        let idle = self.leaving.iter().copied().filter(|node| is_idle(*node));
        let leaving: BTreeSet<_> = idle.take(MAX_OF_A_KIND).collect();
        for node in &leaving {
            self.leaving.remove(node);
            if let Some(recorded) = &mut self.recorded {
                recorded.remove(node);
            }
        }
        Wanted {
            arriving: self.arriving.keys().copied().take(MAX_OF_A_KIND).collect(),
            leaving,
            longest: self.parked.iter().map(|parked| parked.by).max().unwrap_or_default(),
        }
    }

    /// Notes that a write may have failed: who was to be struck off may still be there.
    #[cfg(feature = "etcd")]
    pub(crate) fn failed(&mut self, wanted: &Wanted) {
        let Self { leaving, arriving, .. } = self;
        leaving.extend(wanted.leaving.iter().filter(|node| !arriving.contains_key(node)));
    }

    /// Whether somebody waits for a write.
    pub(crate) fn is_pressing(&self) -> bool {
        !self.arriving.is_empty() || !self.parked.is_empty()
    }

    /// Lets no grant be longer than `longest` from now on, for a shorter one is being written.
    #[cfg(feature = "etcd")]
    pub(crate) fn shorten(&mut self, longest: Duration) {
        self.longest = self.longest.min(longest);
    }

    /// Notes what was written, and lets go on who waited for it.
    #[cfg(feature = "etcd")]
    pub(crate) fn written(&mut self, wanted: &Wanted, longest: Duration) {
        self.longest = longest;
        let Some(recorded) = &mut self.recorded else { return };
        for node in &wanted.arriving {
            recorded.insert(*node);
            for waiting in self.arriving.remove(node).unwrap_or_default() {
                // Nobody listens any more if the stream has ended, which does no harm.
                let _ = waiting.send(());
            }
        }
    }
}
