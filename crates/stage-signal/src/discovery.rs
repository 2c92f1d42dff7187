//! Whom to dial: a fixed list, names that resolve to many addresses, and what etcd knows.
//!
//! Each source says which addresses it knows now; an address is dialled for as long as one of
//! them has it. A source that fails keeps what it last knew: links outlive it.

#[cfg(feature = "etcd")]
mod etcd;
mod names;
#[cfg(any(test, feature = "etcd"))]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::link::lock;
use crate::mesh::Shared;
use crate::{ConfigError, dial};

/// Where nodes find each other in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Members of etcd, `HOST:PORT` each. One is used at a time.
    pub endpoints: Vec<String>,
    /// What the keys of this mesh start with; a node is at `PREFIX/nodes/NAME`.
    pub prefix: String,
    /// How long a node that has vanished is still listed.
    pub lease: Duration,
}

impl Etcd {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let problems = [
            (!cfg!(feature = "etcd"), "this program was built without the feature `etcd`"),
            (self.endpoints.is_empty(), "there must be an endpoint"),
            (self.lease < Duration::from_secs(1), "a lease is at least a second"),
        ];
        let problem = problems.into_iter().find(|(is_so, _)| *is_so);
        problem.map_or(Ok(()), |(_, what)| Err(ConfigError::Etcd(what)))
    }
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// `HOST:PORT`.
    pub(crate) address: Arc<str>,
    /// The host that the certificate there must name.
    pub(crate) host: Arc<str>,
}

/// What all sources know now.
pub(crate) struct Directory {
    sources: Mutex<BTreeMap<Arc<str>, BTreeSet<Target>>>,
    changes: watch::Sender<()>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { sources: Mutex::default(), changes: watch::channel(()).0 }
    }
}

impl Target {
    pub(crate) fn new(address: &str) -> Self {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self { address: address.into(), host: host.into() }
    }
}

impl Directory {
    /// A source knows these addresses now, and no others.
    pub(crate) fn set(&self, source: &str, targets: BTreeSet<Target>) {
        let mut sources = lock(&self.sources);
        if sources.get(source) != Some(&targets) {
            sources.insert(source.into(), targets);
            self.changes.send_replace(());
        }
    }

    fn all(&self) -> BTreeSet<Target> {
        lock(&self.sources).values().flatten().cloned().collect()
    }
}

/// Starts all sources and keeps links to whatever they know, for as long as the node runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.directory.changes.subscribe();
    let mut tasks = JoinSet::new();
    start(&shared, &mut tasks);
    let mut dialled: BTreeMap<Target, CancellationToken> = BTreeMap::new();
    loop {
        let wanted = shared.directory.all();
        dialled.retain(|target, given_up| {
            let is_wanted = wanted.contains(target);
            if !is_wanted {
                given_up.cancel();
            }
            is_wanted
        });
        for target in wanted {
            if shared.identity.address.as_deref() == Some(&*target.address) {
                continue;
            }
            dialled.entry(target).or_insert_with_key(|target| {
                let given_up = CancellationToken::new();
                tasks.spawn(dial::keep(Arc::clone(&shared), target.clone(), given_up.clone()));
                given_up
            });
        }
        while tasks.try_join_next().is_some() {}
        // The sender lives as long as the mesh.
        drop(changes.changed().await);
    }
}

fn start(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let listed = shared.config.peers.iter().map(|address| Target::new(address));
    shared.directory.set("list", listed.collect());
    for name in &shared.config.names {
        tasks.spawn(names::watch(Arc::clone(shared), name.clone()));
    }
}

/// Lists this node where others look for it, and takes up what is listed there. When the node
/// stops, this ends by itself as soon as the node is listed no more.
#[cfg_attr(not(feature = "etcd"), expect(unused_variables, reason = "there is nothing to list in"))]
pub(crate) fn list(shared: &Arc<Shared>) -> JoinSet<()> {
    #[cfg_attr(not(feature = "etcd"), expect(unused_mut, reason = "there is nothing to list in"))]
    let mut listings = JoinSet::new();
    #[cfg(feature = "etcd")]
    if let Some(config) = &shared.config.etcd {
        listings.spawn(etcd::watch(Arc::clone(shared), config.clone()));
    }
    listings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(addresses: &[&str]) -> BTreeSet<Target> {
        addresses.iter().map(|address| Target::new(address)).collect()
    }

    #[test]
    fn an_address_is_wanted_for_as_long_as_one_source_has_it() {
        let directory = Directory::default();
        directory.set("list", targets(&["a:1", "b:1"]));
        directory.set("dns", targets(&["b:1", "c:1"]));
        assert_eq!(directory.all(), targets(&["a:1", "b:1", "c:1"]));
        directory.set("dns", targets(&[]));
        assert_eq!(directory.all(), targets(&["a:1", "b:1"]));
    }

    #[test]
    fn the_same_answer_again_is_no_change() {
        let directory = Directory::default();
        let mut changes = directory.changes.subscribe();
        directory.set("dns", targets(&["a:1"]));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        directory.set("dns", targets(&["a:1"]));
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_target_knows_the_host_of_its_address() {
        assert_eq!(&*Target::new("[::1]:7701").host, "::1");
        assert_eq!(&*Target::new("node-b:7701").host, "node-b");
    }
}
