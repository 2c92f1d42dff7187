//! The nodes that this one knows: their links, and how dialling goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use tokio::sync::watch;

use crate::Identity;
use crate::arbitration::{Verdict, arbitrate};
use crate::link::hello::Refusal;
use crate::link::{Link, lock};
use stage_proto::signal::v1::ByeReason;

/// A node as this one sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerView {
    /// Its name; empty as long as it has never been linked.
    pub name: Arc<str>,
    /// Where it listens or is dialled; empty if neither.
    pub address: String,
    /// `joined`, `held`, `draining`, `isolated`, `probing` or `leaving` as it says itself, else
    /// `connecting`, `lost` or `refused`.
    pub state: &'static str,
    /// Why it is lost or refused.
    pub why: Option<String>,
    /// Its host group.
    pub group: Arc<str>,
    /// What it says it has to do, per worker.
    pub load: f32,
    /// Busy share of its workers, 0 to 1.
    pub utilisation: f32,
    /// How long ago it said its state and load; zero if it is not linked.
    pub age: Duration,
    /// The stages that it carries, sorted.
    pub stages: Vec<Arc<str>>,
    /// Signals to it that have not ended.
    pub unfinished: usize,
    /// What its hello carries beside.
    pub metadata: BTreeMap<String, Bytes>,
}

/// How dialling an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Connecting,
    Linked(Arc<str>),
    Lost(String),
    Refused(String),
    /// The address is this node's own.
    Oneself,
}

/// All links and dials of a node.
pub(crate) struct Peers {
    table: Mutex<Table>,
    open: ArcSwap<Vec<Arc<Link>>>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    seats: BTreeMap<Arc<str>, Seat>,
    dials: BTreeMap<String, Dialled>,
}

/// How dialling an address goes, and who answered there last.
struct Dialled {
    name: Option<Arc<str>>,
    dial: Dial,
}

/// The links to one node: one that takes letters, and those that only finish theirs.
#[derive(Default)]
struct Seat {
    active: Option<Arc<Link>>,
    retired: Vec<Arc<Link>>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { table: Mutex::default(), open: ArcSwap::default(), changes: watch::channel(()).0 }
    }
}

/// What becomes of the link that a new one replaces.
pub(crate) enum Replaced {
    Nothing,
    /// It was lost with a former life of the peer.
    Buried(Arc<Link>),
}

impl Peers {
    /// The links that take letters, sorted by the names of their nodes.
    pub(crate) fn open(&self) -> Guard<Arc<Vec<Arc<Link>>>> {
        self.open.load()
    }

    /// Takes in a link that has said hello.
    ///
    /// A duplicate that this node dialled may have been accepted over there already, so it is
    /// run without new letters until all that came over it has ended.
    pub(crate) fn admit(&self, own: &Identity, link: &Arc<Link>) -> Result<Replaced, Refusal> {
        let name = &link.peer.name;
        if **name == *own.name {
            return Err(name_taken(own.address.as_deref(), link));
        }
        let mut table = lock(&self.table);
        let seat = table.seats.entry(Arc::clone(name)).or_default();
        let present = seat.active.clone();
        let claim = present.as_ref().map(|present| present.claim());
        let mut replaced = Replaced::Nothing;
        match arbitrate(&own.name, name, claim.as_ref(), &link.claim()) {
            Verdict::Accept => seat.active = Some(Arc::clone(link)),
            Verdict::Retire => {
                seat.retired.extend(seat.active.replace(Arc::clone(link)));
            }
            Verdict::Bury => {
                if let Some(old) = seat.active.replace(Arc::clone(link)) {
                    replaced = Replaced::Buried(old);
                }
            }
            Verdict::Duplicate if link.is_ours => {
                seat.retired.push(Arc::clone(link));
                link.retire(ByeReason::Duplicate, "the pair has another link");
            }
            Verdict::Duplicate => {
                return Err(Refusal::Duplicate {
                    own: Arc::clone(&own.name),
                    peer: Arc::clone(name),
                });
            }
            Verdict::NameTaken => {
                let present = present.and_then(|present| present.peer.address.clone());
                return Err(name_taken(present.as_deref(), link));
            }
        }
        for old in &seat.retired {
            old.retire(ByeReason::Duplicate, "the pair has another link");
        }
        self.publish(&mut table);
        Ok(replaced)
    }

    /// A link has ended.
    pub(crate) fn remove(&self, link: &Arc<Link>) {
        let mut table = lock(&self.table);
        if let Some(seat) = table.seats.get_mut(&link.peer.name) {
            seat.retired.retain(|other| !Arc::ptr_eq(other, link));
            seat.active.take_if(|active| Arc::ptr_eq(active, link));
        }
        self.publish(&mut table);
    }

    /// The link that takes the letters to a node instead of this one, if this one has been replaced.
    pub(crate) fn newer(&self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let table = lock(&self.table);
        let active = table.seats.get(&link.peer.name)?.active.as_ref()?;
        (!Arc::ptr_eq(active, link)).then(|| Arc::clone(active))
    }

    /// Whether this link takes the letters to its node.
    pub(crate) fn is_active(&self, link: &Arc<Link>) -> bool {
        let table = lock(&self.table);
        let seat = table.seats.get(&link.peer.name);
        seat.and_then(|seat| seat.active.as_ref()).is_some_and(|active| Arc::ptr_eq(active, link))
    }

    /// A link has said bye.
    pub(crate) fn refresh(&self) {
        let mut table = lock(&self.table);
        self.publish(&mut table);
    }

    fn publish(&self, table: &mut Table) {
        for seat in table.seats.values_mut() {
            seat.retired.extend(seat.active.take_if(|active| !active.is_open()));
            seat.retired.retain(|link| !link.is_over());
        }
        table.seats.retain(|_, seat| seat.active.is_some() || !seat.retired.is_empty());
        let open = table.seats.values().filter_map(|seat| seat.active.clone());
        self.open.store(Arc::new(open.collect()));
        self.changes.send_replace(());
    }

    /// All links, those that only finish included.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let table = lock(&self.table);
        let links = table.seats.values().flat_map(|seat| seat.active.iter().chain(&seat.retired));
        links.cloned().collect()
    }

    /// Waits until there is no link to a node.
    pub(crate) async fn gone(&self, name: &str) {
        self.until(|table| !table.seats.contains_key(name)).await;
    }

    /// Waits until there is no link at all.
    pub(crate) async fn all_gone(&self) {
        self.until(|table| table.seats.is_empty()).await;
    }

    async fn until(&self, is_done: impl Fn(&Table) -> bool) {
        let mut changes = self.changes.subscribe();
        while !is_done(&lock(&self.table)) {
            // The sender lives as long as `self`.
            drop(changes.changed().await);
        }
    }

    /// Notes how dialling an address goes. True if that is news.
    pub(crate) fn note(&self, address: &str, dial: Dial) -> bool {
        let mut table = lock(&self.table);
        let known = table.dials.remove(address);
        let is_news = known.as_ref().is_none_or(|known| known.dial != dial);
        let name = match &dial {
            Dial::Linked(name) => Some(Arc::clone(name)),
            _ => known.and_then(|known| known.name),
        };
        table.dials.insert(address.to_owned(), Dialled { name, dial });
        is_news
    }

    /// An address is no longer dialled.
    pub(crate) fn forget(&self, address: &str) {
        lock(&self.table).dials.remove(address);
    }

    /// All nodes that are linked, then all addresses that are dialled and are not.
    pub(crate) fn view(&self) -> Vec<PeerView> {
        let table = lock(&self.table);
        let linked = table.seats.values().filter_map(Seat::view);
        let dialled = table.dials.iter().filter_map(|(address, dialled)| {
            dialled.view(address, |name| table.seats.contains_key(name))
        });
        linked.chain(dialled).collect()
    }
}

impl Seat {
    fn view(&self) -> Option<PeerView> {
        let link = self.active.as_ref().or(self.retired.last())?;
        let (advert, age) = link.heard();
        let is_active = self.active.is_some();
        Some(PeerView {
            name: Arc::clone(&link.peer.name),
            address: link.peer.address.clone().unwrap_or_default(),
            state: if is_active { advert.state.as_str() } else { "leaving" },
            why: None,
            group: Arc::clone(&link.peer.group),
            load: advert.load,
            utilisation: advert.utilisation,
            age,
            stages: link.stages().iter().cloned().collect(),
            unfinished: link.unfinished().0,
            metadata: link.peer.metadata.clone(),
        })
    }
}

impl Dialled {
    /// `None` if the address is this node's own or its node is seen as linked already.
    fn view(&self, address: &str, is_linked: impl Fn(&str) -> bool) -> Option<PeerView> {
        if self.name.as_deref().is_some_and(is_linked) {
            return None;
        }
        let (state, why) = match &self.dial {
            Dial::Oneself => return None,
            Dial::Linked(_) => ("lost", None),
            Dial::Connecting => ("connecting", None),
            Dial::Lost(why) => ("lost", Some(why.clone())),
            Dial::Refused(why) => ("refused", Some(why.clone())),
        };
        Some(PeerView {
            name: self.name.clone().unwrap_or_default(),
            address: address.to_owned(),
            state,
            why,
            group: "".into(),
            load: 0.0,
            utilisation: 0.0,
            age: Duration::ZERO,
            stages: Vec::new(),
            unfinished: 0,
            metadata: BTreeMap::new(),
        })
    }
}

fn name_taken(present: Option<&str>, link: &Link) -> Refusal {
    let place = |address: Option<&str>| address.unwrap_or("an unknown address").to_owned();
    Refusal::NameTaken {
        name: Arc::clone(&link.peer.name),
        present: place(present),
        new: place(link.peer.address.as_deref()),
    }
}
