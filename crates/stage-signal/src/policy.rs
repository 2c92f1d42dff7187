//! Who may do what: rules for the identities of certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the holders of certificates may do on this node. Who is not named may do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    exact: BTreeMap<Arc<str>, Arc<Rule>>,
    prefixes: BTreeMap<Arc<str>, Arc<Rule>>,
}

/// What one identity may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stages of this node that it may signal; `None`: all of them.
    pub stages: Option<BTreeSet<Arc<str>>>,
    /// Whether functions may be among what it sends.
    pub functions: bool,
    /// Whether it may be a node of the mesh: link, carry stages, share tickets.
    pub link: bool,
}

impl Policy {
    /// Adds a rule for an identity, or for all that start with what stands before a final `*`.
    #[must_use]
    pub fn allow(mut self, who: &str, rule: Rule) -> Self {
        let rule = Arc::new(rule);
        match who.strip_suffix('*') {
            Some(prefix) => self.prefixes.insert(prefix.into(), rule),
            None => self.exact.insert(who.into(), rule),
        };
        self
    }

    /// The rule for an identity: that of its name, else that of the longest prefix.
    /// O(rules with a prefix).
    pub(crate) fn rule(&self, identity: &str) -> Option<Arc<Rule>> {
        let prefixes = || {
            let fit = self.prefixes.iter().filter(|(prefix, _)| identity.starts_with(&***prefix));
            fit.max_by_key(|(prefix, _)| prefix.len()).map(|(_, rule)| rule)
        };
        self.exact.get(identity).or_else(prefixes).cloned()
    }
}

impl Rule {
    /// All of it.
    #[must_use]
    pub fn everything() -> Self {
        Self { stages: None, functions: true, link: true }
    }

    pub(crate) fn may_signal(&self, stage: &str) -> bool {
        self.stages.as_ref().is_none_or(|stages| stages.contains(stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(stage: &str) -> Rule {
        let stages = Some(BTreeSet::from([stage.into()]));
        Rule { stages, functions: false, link: false }
    }

    #[test]
    fn the_name_wins_over_prefixes_and_the_longest_prefix_over_the_others() {
        let policy = Policy::default()
            .allow("*", only("lobby"))
            .allow("game-*", only("arena"))
            .allow("game-7", only("shop"));
        let may = |who: &str, stage: &str| policy.rule(who).unwrap().may_signal(stage);
        assert!(may("web", "lobby") && !may("web", "arena"));
        assert!(may("game-1", "arena") && !may("game-1", "lobby"));
        assert!(may("game-7", "shop") && !may("game-7", "arena"));
    }

    #[test]
    fn who_is_not_named_has_no_rule() {
        let policy = Policy::default().allow("game-*", Rule::everything());
        assert_eq!(policy.rule("web"), None);
        assert_eq!(policy.rule("game"), None);
        assert!(policy.rule("game-").unwrap().may_signal("anything"));
    }
}
