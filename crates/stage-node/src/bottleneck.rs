//! Where a node's work spends its time, and what would help.
//!
//! Of all places where work can be, the one with the most of it is where messages spend most of their time: what is in a place is
//! what comes to it times how long it stays (Little's law).

use serde::{Deserialize, Serialize};

/// The place where most work is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// What it is.
    pub kind: Kind,
    /// Which stage, key, ticket or database; empty if there is nothing to name.
    pub name: String,
    /// How many messages, jobs or calls are there.
    pub work: usize,
    /// Whether more cores for this node would help.
    pub more_cores: bool,
    /// Whether more nodes would help.
    pub more_nodes: bool,
    /// What to do, for people.
    pub advice: String,
}

/// What a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing waits.
    None,
    /// Every core computes.
    Cpu,
    /// The VMs of a stage compute all the time, and cores idle.
    Stage,
    /// The workers compute all the time, and cores idle.
    Workers,
    /// Jobs of one key wait for each other.
    Key,
    /// Handlers wait for a ticket.
    Ticket,
    /// Calls wait for a database.
    Database,
}

/// How much work is at each place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// What waits for the VMs of a stage, or for the workers, by name.
    pub(crate) queues: Vec<(String, usize)>,
    /// Jobs that wait for their key, by key.
    pub(crate) keys: Vec<(String, usize)>,
    /// Handlers that wait for a ticket, by category.
    pub(crate) tickets: Vec<(String, usize)>,
    /// Calls that wait for a connection and those that have one, by database.
    pub(crate) databases: Vec<(String, usize, usize)>,
    /// VMs that compute, on average over the last window.
    pub(crate) computing: f64,
    /// The processor's cores.
    pub(crate) cores: usize,
}

/// The queue of the workers, as the node names it.
const WORKERS: &str = "workers";

/// More of the cores computing than this counts as all.
const FULL: f64 = 0.9;

impl Places {
    pub(crate) fn bottleneck(&self) -> Bottleneck {
        let queues = self.queues.iter().map(|(name, work)| (self.computes(name), name, *work, 0));
        let keys = self.keys.iter().map(|(name, work)| (Kind::Key, name, *work, 0));
        let tickets = self.tickets.iter().map(|(name, work)| (Kind::Ticket, name, *work, 0));
        let databases = self
            .databases
            .iter()
            .map(|(name, waiting, used)| (Kind::Database, name, waiting + used, *waiting));
        let places = queues.chain(keys).chain(tickets).chain(databases);
        match places.max_by_key(|(_, _, work, _)| *work).filter(|(_, _, work, _)| *work > 0) {
            Some((kind, name, work, waiting)) => named(kind, name, work, waiting),
            None if self.is_full() => named(Kind::Cpu, "", 0, 0),
            None => named(Kind::None, "", 0, 0),
        }
    }

    fn computes(&self, queue: &str) -> Kind {
        match queue {
            _ if self.is_full() => Kind::Cpu,
            WORKERS => Kind::Workers,
            _ => Kind::Stage,
        }
    }

    fn is_full(&self) -> bool {
        self.computing >= FULL * self.cores as f64
    }
}

fn named(kind: Kind, name: &str, work: usize, waiting: usize) -> Bottleneck {
    let (more_cores, more_nodes, advice) = match kind {
        Kind::None => (false, false, "nothing waits".to_owned()),
        Kind::Cpu => (true, true, "every core computes: more cores help, and so do more nodes".to_owned()),
        Kind::Stage => (false, true, format!(
            "the VMs of stage {name} compute all the time while cores idle: more instances of it help (#startup), or more nodes; more cores do not"
        )),
        Kind::Workers => (false, true, "the workers compute all the time while cores idle: raise #threads, or add nodes; more cores do not help".to_owned()),
        Kind::Key => (false, false, format!(
            "jobs of key {name} wait for each other: neither more cores nor more nodes help; make its jobs shorter, or use several keys"
        )),
        Kind::Ticket => (false, false, format!(
            "handlers wait for a ticket {name}: neither more cores nor more nodes help; raise its limit, or make its handlers shorter"
        )),
        Kind::Database if waiting > 0 => (false, false, format!(
            "calls wait for a connection to {name}: more cores do not help; raise its connections if the database can take more, or make its statements faster"
        )),
        Kind::Database => (false, false, format!(
            "handlers wait for {name} to answer: neither more cores nor more nodes help; make its statements faster"
        )),
    };
    Bottleneck { kind, name: name.to_owned(), work, more_cores, more_nodes, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let queue = |name: &str, work| (name.to_owned(), work);
        Places {
            queues: vec![queue("shop", 3), queue("workers", 1)],
            cores: 8,
            computing: 1.0,
            ..Places::default()
        }
    }

    #[test]
    fn a_node_with_nothing_to_do_has_no_bottleneck() {
        let idle = Places { cores: 2, ..Places::default() }.bottleneck();
        assert_eq!((idle.kind, idle.work), (Kind::None, 0));
        assert!(!idle.more_cores && !idle.more_nodes);
    }

    #[test]
    fn a_stage_that_computes_beside_idle_cores_wants_instances_and_not_cores() {
        let stage = places().bottleneck();
        assert_eq!((stage.kind, stage.name.as_str(), stage.work), (Kind::Stage, "shop", 3));
        assert!(!stage.more_cores && stage.more_nodes);
        let full = Places { computing: 7.5, ..places() }.bottleneck();
        assert_eq!(full.kind, Kind::Cpu);
        assert!(full.more_cores && full.more_nodes);
    }

    #[test]
    fn workers_are_told_apart_from_stages() {
        let busy = Places { queues: vec![("workers".to_owned(), 9)], ..places() }.bottleneck();
        assert_eq!(busy.kind, Kind::Workers);
        assert!(busy.advice.contains("#threads"));
    }

    #[test]
    fn where_most_work_is_the_time_goes_whatever_computes() {
        let mut places = places();
        places.keys.push(("kim".to_owned(), 5));
        assert_eq!(places.bottleneck().kind, Kind::Key);
        places.tickets.push(("login".to_owned(), 8));
        assert_eq!(places.bottleneck().kind, Kind::Ticket);
        places.databases.push(("main".to_owned(), 0, 9));
        let database = places.bottleneck();
        assert_eq!((database.kind, database.work), (Kind::Database, 9));
        assert!(database.advice.contains("to answer"), "{}", database.advice);
        places.databases[0].1 = 4;
        assert!(places.bottleneck().advice.contains("connection"));
    }

    #[test]
    fn cores_that_compute_without_a_queue_are_named_too() {
        let full = Places { computing: 2.0, cores: 2, ..Places::default() }.bottleneck();
        assert_eq!(full.kind, Kind::Cpu);
    }
}
