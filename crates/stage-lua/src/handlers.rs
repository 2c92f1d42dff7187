use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use stage_value::{HandlerId, MessageId};

/// Which handler hears a message: the one of its exact id, else the one of its longest prefix.
#[derive(Debug)]
pub(crate) struct Handlers<H> {
    by_id: HashMap<Arc<str>, H, RandomState>,
    /// Who else is to know their ids.
    known: Option<Arc<Known>>,
}

/// The ids of an instance's handlers, for other threads.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// None before its script has run up to its first wait: nobody knows then what it will hear.
    ids: RwLock<Option<HashSet<Arc<str>, RandomState>>>,
}

impl Known {
    /// Whether the instance may have a handler of a message. O(parts of the id).
    pub(crate) fn may_hear(&self, id: &MessageId) -> bool {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        let Some(ids) = &*ids else { return true };
        ids.contains(id.as_str()) || id.prefixes().any(|prefix| ids.contains(prefix))
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<Arc<str>, RandomState>) -> bool) {
        if let Some(ids) = &mut *self.ids.write().unwrap_or_else(PoisonError::into_inner) {
            change(ids);
        }
    }
}

impl<H> Default for Handlers<H> {
    fn default() -> Self {
        Self { by_id: HashMap::default(), known: None }
    }
}

impl<H> Handlers<H> {
    /// Registers a handler in place of an earlier one of the same id.
    pub(crate) fn insert(&mut self, id: &HandlerId, handler: H) {
        let id: Arc<str> = id.to_string().into();
        if let Some(known) = &self.known {
            known.change(|ids| ids.insert(Arc::clone(&id)));
        }
        self.by_id.insert(id, handler);
    }

    /// From now on others know the ids.
    pub(crate) fn make_known(&mut self, known: &Arc<Known>) {
        self.known = Some(Arc::clone(known));
        self.tell();
    }

    /// Tells those who know the ids all of them.
    fn tell(&self) {
        if let Some(known) = &self.known {
            let ids = self.by_id.keys().cloned().collect();
            *known.ids.write().unwrap_or_else(PoisonError::into_inner) = Some(ids);
        }
    }

    /// Puts the handlers of another set in place of those that are to go.
    pub(crate) fn replace(&mut self, goes: impl Fn(&H) -> bool, others: Self) {
        self.by_id.retain(|_, handler| !goes(handler));
        self.by_id.extend(others.by_id);
        self.tell();
    }

    /// Removes a handler; whether there was one.
    pub(crate) fn remove(&mut self, id: &HandlerId) -> bool {
        let id = id.to_string();
        if let Some(known) = &self.known {
            known.change(|ids| ids.remove(id.as_str()));
        }
        self.by_id.remove(id.as_str()).is_some()
    }

    /// The handler of a message. O(parts of the id).
    pub(crate) fn of_message(&self, id: &MessageId) -> Option<&H> {
        self.by_id
            .get(id.as_str())
            .or_else(|| id.prefixes().find_map(|prefix| self.by_id.get(prefix)))
    }

    /// The handler of an event of the node.
    pub(crate) fn of_event(&self, name: &str) -> Option<&H> {
        self.by_id.get(name)
    }

    /// How many handlers there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The registered ids, sorted.
    pub(crate) fn ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> = self.by_id.keys().cloned().collect();
        ids.sort();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handlers(ids: &[&'static str]) -> Handlers<&'static str> {
        let mut handlers = Handlers::default();
        for id in ids {
            handlers.insert(&id.parse().unwrap(), *id);
        }
        handlers
    }

    fn heard(handlers: &Handlers<&'static str>, message: &str) -> Option<&'static str> {
        handlers.of_message(&message.parse().unwrap()).copied()
    }

    #[test]
    fn the_closest_handler_hears_a_message() {
        let handlers = handlers(&["a.", "a.b.", "a.b.c"]);
        assert_eq!(heard(&handlers, "a.b.c"), Some("a.b.c"));
        assert_eq!(heard(&handlers, "a.b.d"), Some("a.b."));
        assert_eq!(heard(&handlers, "a.x.y"), Some("a."));
        assert_eq!(heard(&handlers, "b"), None);
    }

    #[test]
    fn an_id_without_a_trailing_dot_is_no_prefix() {
        assert_eq!(heard(&handlers(&["a"]), "a.b"), None);
    }

    #[test]
    fn handlers_that_are_replaced_go_and_the_others_stay() {
        let mut handlers = handlers(&["old", "both", "own"]);
        let mut anew = Handlers::default();
        anew.insert(&"both".parse().unwrap(), "new");
        handlers.replace(|handler| *handler != "own", anew);
        assert_eq!(heard(&handlers, "old"), None);
        assert_eq!(heard(&handlers, "both"), Some("new"));
        assert_eq!(heard(&handlers, "own"), Some("own"));
    }

    #[test]
    fn others_know_what_is_heard_once_the_script_has_run() {
        let id = |id: &str| id.parse::<MessageId>().unwrap();
        let known = Arc::<Known>::default();
        let mut handlers = handlers(&["a.", "b"]);
        assert!(known.may_hear(&id("c")), "the script has not run yet");
        handlers.make_known(&known);
        let heard = |known: &Known| ["a.x", "b", "b.x", "c"].map(|name| known.may_hear(&id(name)));
        assert_eq!(heard(&known), [true, true, false, false]);
        handlers.insert(&"c".parse().unwrap(), "c");
        handlers.remove(&"b".parse().unwrap());
        assert_eq!(heard(&known), [true, false, false, true]);
        handlers.replace(|_| true, Handlers::default());
        assert_eq!(heard(&known), [false; 4]);
    }

    #[test]
    fn a_removed_handler_hears_nothing() {
        let mut handlers = handlers(&["a"]);
        assert!(handlers.remove(&"a".parse().unwrap()));
        assert!(!handlers.remove(&"a".parse().unwrap()));
        assert_eq!(heard(&handlers, "a"), None);
    }
}
