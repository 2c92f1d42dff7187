use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use stage_value::Id;

use crate::{Delivery, Inbox};

/// The stages of this node and their instances.
#[derive(Default)]
pub(crate) struct Locals {
    stages: ArcSwap<BTreeMap<Arc<str>, Arc<Stage>>>,
}

struct Stage {
    instances: Vec<Arc<dyn Inbox>>,
    turn: AtomicUsize,
}

/// Why no instance took a message.
pub(crate) enum Undelivered {
    /// The node does not carry the stage.
    Unknown(Delivery),
    /// The inboxes of all instances are full.
    Full(Delivery),
}

impl Locals {
    /// Adds an instance of a stage.
    pub(crate) fn add(&self, stage: &Id, inbox: &Arc<dyn Inbox>) {
        self.stages.rcu(|stages| {
            let mut stages = BTreeMap::clone(stages);
            let known = stages.get(stage.as_str());
            let mut instances = known.map_or_else(Vec::new, |stage| stage.instances.clone());
            instances.push(Arc::clone(inbox));
            stages.insert(stage.to_shared(), Arc::new(Stage { instances, turn: 0.into() }));
            stages
        });
    }

    pub(crate) fn carries(&self, stage: &str) -> bool {
        self.stages.load().contains_key(stage)
    }

    /// The names of all stages, sorted.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.stages.load().keys().cloned().collect()
    }

    /// Hands a message to an instance of the stage. O(1) unless inboxes are full.
    #[expect(clippy::result_large_err, reason = "what was not taken is given back whole")]
    pub(crate) fn deliver(&self, stage: &str, delivery: Delivery) -> Result<(), Undelivered> {
        let stages = self.stages.load();
        let Some(stage) = stages.get(stage) else { return Err(Undelivered::Unknown(delivery)) };
        stage.deliver(delivery).map_err(Undelivered::Full)
    }
}

impl Stage {
    /// The less loaded of two neighbours, which rotate, and only if both are full the others.
    #[expect(clippy::result_large_err, reason = "what was not taken is given back whole")]
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        let count = self.instances.len();
        if let [only] = self.instances.as_slice() {
            return only.deliver(delivery);
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let second = (first + 1) % count;
        let is_second_better = self.instances[second].load() < self.instances[first].load();
        let start = if is_second_better { [second, first] } else { [first, second] };
        let others = (2..count).map(|step| (first + step) % count);
        let mut rest = delivery;
        for index in start.into_iter().chain(others) {
            match self.instances[index].deliver(rest) {
                Ok(()) => return Ok(()),
                Err(back) => rest = back,
            }
        }
        Err(rest)
    }
}
