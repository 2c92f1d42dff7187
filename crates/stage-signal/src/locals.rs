use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use stage_value::Id;

use crate::session::host_of_client;
use crate::{Delivery, Inbox};

/// The stages of this node and their instances.
#[derive(Default)]
pub(crate) struct Locals {
    stages: ArcSwap<BTreeMap<Arc<str>, Arc<Stage>>>,
    /// Connected clients: inboxes that are in no list and go with their connections.
    hidden: DashMap<Arc<str>, Arc<dyn Inbox>>,
}

pub(crate) struct Stage {
    instances: Vec<Arc<dyn Inbox>>,
    turn: AtomicUsize,
}

/// A stage or a connected client that was found by its name.
pub(crate) enum Found {
    Stage(Arc<Stage>),
    Client(Arc<dyn Inbox>),
}

impl Found {
    /// Hands a message to an instance, or gives it back if the inboxes of all are full. O(1) unless they are.
    #[expect(clippy::result_large_err, reason = "what was not taken is given back whole")]
    #[inline]
    pub(crate) fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        match self {
            Self::Stage(stage) => stage.deliver(delivery),
            Self::Client(inbox) => inbox.deliver(delivery),
        }
    }
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

    /// Adds an inbox that is in no list; whether the name was free.
    pub(crate) fn add_hidden(&self, name: &Id, inbox: &Arc<dyn Inbox>) -> bool {
        if self.carries(name.as_str()) {
            return false;
        }
        self.hidden.insert(name.to_shared(), Arc::clone(inbox)).is_none()
    }

    pub(crate) fn remove_hidden(&self, name: &str) {
        self.hidden.remove(name);
    }

    pub(crate) fn carries(&self, stage: &str) -> bool {
        self.stages.load().contains_key(stage)
            || (is_hidden(stage) && self.hidden.contains_key(stage))
    }

    pub(crate) fn find(&self, stage: &str) -> Option<Found> {
        if let Some(stage) = self.stages.load().get(stage) {
            return Some(Found::Stage(Arc::clone(stage)));
        }
        let inbox = self.hidden.get(stage).map(|inbox| Arc::clone(&inbox));
        inbox.map(Found::Client)
    }

    /// The names of all stages, sorted.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.stages.load().keys().cloned().collect()
    }
}

/// Clients have names that say on which node they are; no other name is looked for among theirs.
fn is_hidden(name: &str) -> bool {
    host_of_client(name).is_some()
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use stage_value::Value;
    use tokio::time::Instant;

    use super::*;
    use crate::{Origin, Outcomes, Responder};

    /// An instance that keeps what it gets, up to its size, on top of what it had.
    struct Shelf {
        had: usize,
        size: usize,
        kept: Mutex<Vec<Delivery>>,
    }

    impl Inbox for Shelf {
        fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
            if self.load() >= self.size {
                return Err(delivery);
            }
            self.kept.lock().unwrap().push(delivery);
            Ok(())
        }

        fn load(&self) -> usize {
            self.had + self.kept.lock().unwrap().len()
        }
    }

    fn delivery(outcomes: &mut Outcomes) -> Delivery {
        let nobody: Arc<str> = "".into();
        Delivery {
            message: "m".parse().unwrap(),
            args: vec![Value::Nil],
            origin: Origin { node: Arc::clone(&nobody), stage: nobody },
            deadline: None,
            received: Instant::now(),
            remote: false,
            wants_results: false,
            trace: None,
            responder: Responder::local(outcomes.promise(tracing::Span::none()), None),
        }
    }

    /// Delivers messages to shelves that had something and returns what each has then.
    fn spread(had: &[usize], size: usize, messages: usize) -> (Vec<usize>, usize) {
        let (locals, stage) = (Locals::default(), "work".parse().unwrap());
        let shelf = |had: &usize| Shelf { had: *had, size, kept: Mutex::default() };
        let shelves: Vec<_> = had.iter().map(|had| Arc::new(shelf(had))).collect();
        for shelf in &shelves {
            let inbox: Arc<dyn Inbox> = Arc::clone(shelf) as _;
            locals.add(&stage, &inbox);
        }
        let mut outcomes = Outcomes::new(None, Arc::default());
        let full = (0..messages)
            .filter(|_| locals.find("work").unwrap().deliver(delivery(&mut outcomes)).is_err())
            .count();
        (shelves.iter().map(|shelf| shelf.load()).collect(), full)
    }

    #[test]
    fn idle_instances_take_turns_and_a_busy_one_is_spared() {
        assert_eq!(spread(&[0, 0, 0, 0], 100, 8).0, [2, 2, 2, 2]);
        assert_eq!(spread(&[50, 0], 100, 20).0, [50, 20]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_message_is_turned_away_only_if_every_instance_is_full(
            had in prop::collection::vec(0..5usize, 1..5),
            messages in 0..30usize,
        ) {
            const SIZE: usize = 5;
            let room = had.iter().map(|had| SIZE - had).sum::<usize>();
            let (loads, full) = spread(&had, SIZE, messages);
            prop_assert_eq!(full, messages.saturating_sub(room));
            prop_assert_eq!(loads.iter().sum::<usize>(), had.iter().sum::<usize>() + messages - full);
        }
    }
}
