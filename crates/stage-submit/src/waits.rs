//! Who waits for whom, so that a circle of waits is refused instead of lasting for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Deadlock;
use crate::key::Key;

/// Something that can wait, or be waited for.
///
/// A job with a key is known by the key alone: only one job of a key runs, so "the job of key
/// 7 waits" is unambiguous, and who waits for any job of key 7 waits for the running one to end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Waiter {
    /// The job that runs under this key; as a target, any job of this key.
    Key(Key),
    /// A job without a limit, by its number.
    Free(u64),
}

impl Waiter {
    /// The key, zero for a job without a limit.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Key(key) => key.clone(),
            Self::Free(_) => Key::UNLIMITED,
        }
    }
}

/// Names a wait until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(u64);

/// The graph of waits among running jobs. Pure; it holds only jobs that wait for jobs right now.
///
/// A wait that would close a circle is refused, also if one of the jobs in it could give up by
/// itself (it waits with a timeout, say): the graph knows waits, not their reasons.
#[derive(Debug, Default)]
pub struct WaitGraph {
    waits: BTreeMap<Waiter, Vec<(u64, Waiter)>>,
    last: u64,
}

impl WaitGraph {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `waiter` waits for `target` from now on. O(waits).
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if `target` already waits, directly or through others, for `waiter`; the
    /// graph is as before.
    pub fn begin(&mut self, waiter: &Waiter, target: &Waiter) -> Result<WaitId, Deadlock> {
        if let Some(path) = self.path(target, waiter) {
            let nodes = std::iter::once(waiter).chain(&path);
            return Err(Deadlock { chain: nodes.map(Waiter::key).collect() });
        }
        self.last += 1;
        self.waits.entry(waiter.clone()).or_default().push((self.last, target.clone()));
        Ok(WaitId(self.last))
    }

    /// That wait is over. Nothing happens if it was over already.
    pub fn end(&mut self, waiter: &Waiter, wait: WaitId) {
        if let Some(targets) = self.waits.get_mut(waiter) {
            targets.retain(|(id, _)| *id != wait.0);
            if targets.is_empty() {
                self.waits.remove(waiter);
            }
        }
    }

    /// The job has ended, and with it all its waits.
    pub fn forget(&mut self, waiter: &Waiter) {
        self.waits.remove(waiter);
    }

    /// How many jobs wait for jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether no job waits for a job.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// A chain of waits from `from` to `to`, both included. Depth first without recursion.
    fn path(&self, from: &Waiter, to: &Waiter) -> Option<Vec<Waiter>> {
        let mut seen = BTreeSet::from([from]);
        let mut path = vec![(from, 0)];
        while let Some((node, next)) = path.last_mut() {
            if *node == to {
                return Some(path.into_iter().map(|(node, _)| node.clone()).collect());
            }
            let target = self.waits.get(*node).and_then(|targets| targets.get(*next));
            *next += 1;
            match target {
                Some((_, target)) if seen.insert(target) => path.push((target, 0)),
                Some(_) => {}
                None => drop(path.pop()),
            }
        }
        None
    }
}
