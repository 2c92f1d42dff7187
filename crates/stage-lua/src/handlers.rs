use std::collections::HashMap;
use std::sync::Arc;

use stage_value::{HandlerId, MessageId};

/// Which handler hears a message: the one of its exact id, else the one of its longest prefix.
#[derive(Debug)]
pub(crate) struct Handlers<H> {
    by_id: HashMap<Arc<str>, H>,
}

impl<H> Default for Handlers<H> {
    fn default() -> Self {
        Self { by_id: HashMap::new() }
    }
}

impl<H> Handlers<H> {
    /// Registers a handler in place of an earlier one of the same id.
    pub(crate) fn insert(&mut self, id: &HandlerId, handler: H) {
        self.by_id.insert(id.to_string().into(), handler);
    }

    /// Puts the handlers of another set in place of those that are to go.
    pub(crate) fn replace(&mut self, goes: impl Fn(&H) -> bool, others: Self) {
        self.by_id.retain(|_, handler| !goes(handler));
        self.by_id.extend(others.by_id);
    }

    /// Removes a handler; whether there was one.
    pub(crate) fn remove(&mut self, id: &HandlerId) -> bool {
        self.by_id.remove(id.to_string().as_str()).is_some()
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
    fn a_removed_handler_hears_nothing() {
        let mut handlers = handlers(&["a"]);
        assert!(handlers.remove(&"a".parse().unwrap()));
        assert!(!handlers.remove(&"a".parse().unwrap()));
        assert_eq!(heard(&handlers, "a"), None);
    }
}
