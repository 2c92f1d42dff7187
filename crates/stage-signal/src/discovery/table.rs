//! The nodes that etcd lists: a pure table that events are applied to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Target;

/// The most bytes of one node's record.
const RECORD_BYTES: usize = 256 << 10;

/// What a node says of itself, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) node: String,
    pub(super) incarnation: u64,
    pub(super) address: String,
    pub(super) stages: Vec<String>,
}

/// The nodes as of a revision.
#[derive(Debug, Default)]
pub(super) struct Table {
    nodes: BTreeMap<Vec<u8>, Record>,
    revision: i64,
}

impl Table {
    /// What the table is up to; 0 if nothing was read yet.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// All that was read at a revision, in place of what was known.
    pub(super) fn reset<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        revision: i64,
    ) {
        self.nodes.clear();
        self.revision = revision;
        entries.for_each(|(key, value)| self.insert(key, value));
    }

    /// What follows can no longer be told one by one: everything must be read again.
    pub(super) fn forget_revision(&mut self) {
        self.revision = 0;
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8], revision: i64) {
        self.insert(key, value);
        self.revision = self.revision.max(revision);
    }

    pub(super) fn delete(&mut self, key: &[u8], revision: i64) {
        self.nodes.remove(key);
        self.revision = self.revision.max(revision);
    }

    pub(super) fn advance(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    /// A record that makes no sense is not there.
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        let record = Some(value).filter(|value| value.len() <= RECORD_BYTES);
        match record.and_then(|value| serde_json::from_slice(value).ok()) {
            Some(record) => self.nodes.insert(key.to_owned(), record),
            None => self.nodes.remove(key),
        };
    }

    pub(super) fn record(&self, key: &[u8]) -> Option<&Record> {
        self.nodes.get(key)
    }

    /// Where the nodes are, without that of one name.
    pub(super) fn targets(&self, without: &str) -> BTreeSet<Target> {
        let others = self.nodes.values().filter(|record| record.node != without);
        let fit = others.filter(|record| crate::config::is_host_and_port(&record.address));
        fit.map(|record| Target::new(&record.address)).collect()
    }
}

/// The record of a node.
pub(super) fn record(identity: &crate::Identity, address: &str, stages: &[Arc<str>]) -> Record {
    Record {
        node: identity.name.to_string(),
        incarnation: identity.incarnation,
        address: address.to_owned(),
        stages: stages.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(node: &str, address: &str) -> Vec<u8> {
        format!(r#"{{"node":"{node}","incarnation":7,"address":"{address}","stages":["work"]}}"#)
            .into_bytes()
    }

    fn addresses(table: &Table) -> Vec<String> {
        table.targets("me").iter().map(|target| target.address.to_string()).collect()
    }

    #[test]
    fn events_after_a_reading_change_what_was_read() {
        let mut table = Table::default();
        let (me, a) = (text("me", "h:1"), text("a", "h:2"));
        table.reset([(&b"me"[..], &me[..]), (&b"a"[..], &a[..])].into_iter(), 10);
        assert_eq!(addresses(&table), ["h:2"]);
        table.put(b"b", &text("b", "h:3"), 11);
        table.put(b"a", &text("a", "h:4"), 12);
        assert_eq!((addresses(&table), table.revision()), (vec!["h:3".into(), "h:4".into()], 12));
        table.delete(b"b", 13);
        assert_eq!((addresses(&table), table.revision()), (vec!["h:4".into()], 13));
        table.forget_revision();
        assert_eq!((addresses(&table), table.revision()), (vec!["h:4".into()], 0));
        table.reset(std::iter::empty(), 20);
        assert_eq!((addresses(&table), table.revision()), (vec![], 20));
    }

    #[test]
    fn records_that_make_no_sense_are_not_dialled() {
        let mut table = Table::default();
        for (key, value) in [
            (b"a", &b"not json"[..]),
            (b"b", &text("b", "no port")),
            (b"c", &text("c", "a b:1")),
            (b"d", &vec![b' '; RECORD_BYTES + 1]),
        ] {
            table.put(key, value, 1);
        }
        assert_eq!(addresses(&table), Vec::<String>::new());
        table.put(b"e", &text("e", "h:1"), 2);
        table.put(b"e", b"{}", 3);
        assert_eq!(addresses(&table), Vec::<String>::new());
    }
}
