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
    /// As what the job of this name waits.
    pub(crate) fn of(key: &Key, id: u64) -> Self {
        if key.is_unlimited() { Self::Free(id) } else { Self::Key(key.clone()) }
    }

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
    waits: BTreeMap<Waiter, Vec<Wait>>,
    /// The waits for a job of this key with this number.
    awaited: BTreeMap<(Waiter, u64), (Waiter, WaitId)>,
    last: u64,
}

#[derive(Debug)]
struct Wait {
    id: WaitId,
    target: Waiter,
    /// Which job of the target's key is waited for, if that is known.
    job: Option<u64>,
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
        let wait = Wait { id: WaitId(self.last), target: target.clone(), job: None };
        self.waits.entry(waiter.clone()).or_default().push(wait);
        Ok(WaitId(self.last))
    }

    /// As [`WaitGraph::begin`], for one job of the target's key: the wait is over when
    /// [`WaitGraph::job_ended`] is told of its end, even if the waiter goes on only later.
    pub(crate) fn begin_for(
        &mut self,
        waiter: &Waiter,
        target: &Waiter,
        job: u64,
    ) -> Result<WaitId, Deadlock> {
        let id = self.begin(waiter, target)?;
        if let Some(wait) = self.waits.get_mut(waiter).and_then(|waits| waits.last_mut()) {
            wait.job = Some(job);
        }
        self.awaited.insert((target.clone(), job), (waiter.clone(), id));
        Ok(id)
    }

    /// That wait is over. Nothing happens if it was over already.
    pub fn end(&mut self, waiter: &Waiter, wait: WaitId) {
        let Some(waits) = self.waits.get_mut(waiter) else { return };
        if let Some(index) = waits.iter().position(|other| other.id == wait) {
            let Wait { target, job, .. } = waits.remove(index);
            if waits.is_empty() {
                self.waits.remove(waiter);
            }
            self.unlist(target, job);
        }
    }

    /// That job of the target's key has ended, or is sure to: nobody waits for it any more.
    pub(crate) fn job_ended(&mut self, target: Waiter, job: u64) {
        if let Some((waiter, wait)) = self.awaited.remove(&(target, job)) {
            self.end(&waiter, wait);
        }
    }

    /// All jobs of the target's key have ended, or are sure to. O(waits for them).
    pub(crate) fn jobs_ended(&mut self, target: &Waiter) {
        let all = (target.clone(), 0)..=(target.clone(), u64::MAX);
        let ended: Vec<_> = self.awaited.range(all).map(|(_, wait)| wait.clone()).collect();
        for (waiter, wait) in ended {
            self.end(&waiter, wait);
        }
    }

    /// The job has ended, and with it all its waits.
    pub fn forget(&mut self, waiter: &Waiter) {
        for Wait { target, job, .. } in self.waits.remove(waiter).unwrap_or_default() {
            self.unlist(target, job);
        }
    }

    fn unlist(&mut self, target: Waiter, job: Option<u64>) {
        if let Some(job) = job {
            self.awaited.remove(&(target, job));
        }
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
            let target = self.waits.get(*node).and_then(|waits| waits.get(*next));
            *next += 1;
            match target {
                Some(Wait { target, .. }) if seen.insert(target) => path.push((target, 0)),
                Some(_) => {}
                None => drop(path.pop()),
            }
        }
        None
    }
}
