use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{
    Arrival, Command, NodeId, Report, ReportedCategory, ReportedGrant, ReportedWaiter,
};
use super::session::{self, Live};
use super::slots::Held;
use super::{Coordinator, Rules};
use crate::{Drift, Limit, Time, Token};

/// Whether a coordinator issues grants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It knows of every grant that somebody may believe in.
    Serving,
    /// It may not know of some grants of its predecessor, and issues nothing.
    Recovering {
        /// The nodes that have not reported.
        awaited: BTreeSet<NodeId>,
        /// When all grants of the predecessor are over, reported or not.
        until: Time,
    },
}

impl Phase {
    pub(super) fn ends(&self) -> Option<Time> {
        match self {
            Self::Serving => None,
            Self::Recovering { until, .. } => Some(*until),
        }
    }
}

/// How long after the start of a new epoch a grant of an older one may still live, on a clock that
/// runs apart from the old coordinator's by at most `drift`: it issued until its authority ended,
/// and its last grant ran for the longest it could.
#[must_use]
pub fn takeover_wait(authority: Duration, longest_grant: Duration, drift: Drift) -> Duration {
    drift.stretch(authority.saturating_add(longest_grant))
}

impl Coordinator {
    /// A coordinator that takes over from another, as leader of `epoch`.
    ///
    /// It issues once every node in `awaited` has [reported](super::Event::Reported), or at `until`
    /// (now plus [`takeover_wait`]), but only with authority, which it has none of until
    /// [`AuthorityExtended`](super::Event::AuthorityExtended). Meanwhile requests queue.
    #[must_use]
    pub fn recovering(rules: Rules, epoch: u64, awaited: BTreeSet<NodeId>, until: Time) -> Self {
        let mut coordinator = Self::new(rules, epoch);
        coordinator.authority = Time::ZERO;
        if !awaited.is_empty() {
            coordinator.phase = Phase::Recovering { awaited, until };
        }
        coordinator
    }

    pub(super) fn authority_extended(
        &mut self,
        now: Time,
        until: Time,
        commands: &mut Vec<Command>,
    ) {
        self.authority = self.authority.max(until);
        self.serve_all(now, commands);
    }

    /// Learns what a node knows; one that had vanished is back. While recovering, its grants take their slots; afterwards a
    /// report only asserts what is known (after a broken connection), and a grant that is not
    /// known here is over, whatever the node believes.
    pub(super) fn reported(
        &mut self,
        now: Time,
        node: NodeId,
        report: Report,
        commands: &mut Vec<Command>,
    ) {
        let is_new = !self.sessions.contains_key(&node);
        if let Some(session) = self.sessions.get_mut(&node) {
            session.vanished = false;
        }
        for category in report.categories {
            self.learn_category(now, category, commands);
        }
        for grant in report.grants.iter().filter(|grant| grant.request.node == node) {
            self.learn_grant(now, grant, commands);
        }
        for waiter in report.waiters.iter().filter(|waiter| waiter.request.node == node) {
            self.learn_waiter(now, waiter, is_new, commands);
        }
        if let Phase::Recovering { awaited, .. } = &mut self.phase {
            awaited.remove(&node);
            if awaited.is_empty() {
                self.phase = Phase::Serving;
            }
        }
        self.serve_all(now, commands);
    }

    fn learn_category(
        &mut self,
        now: Time,
        reported: ReportedCategory,
        commands: &mut Vec<Command>,
    ) {
        let ReportedCategory { name, limit, version, closes_in } = reported;
        match self.create(&name, limit, version) {
            Ok(category) if category.version <= version => {
                let closes_at = closes_in.map(|left| now.after(left));
                // Reports of one setting differ by their clocks and ways: the earliest end counts.
                let known = category.closes_at.filter(|_| category.version == version);
                category.set(limit, closes_at.into_iter().chain(known).min(), version);
            }
            Ok(_) => {}
            Err(refusal) => commands.push(Command::RefuseCategory { name, refusal }),
        }
    }

    fn learn_grant(&mut self, now: Time, grant: &ReportedGrant, commands: &mut Vec<Command>) {
        let ReportedGrant { request, token, remaining } = *grant;
        if self.deadline(token).is_some() {
            return;
        }
        let from_the_past = token.stamp.epoch < self.epoch && token.slot < Limit::MAX;
        let category = self.categories.get_mut(&token.category).filter(|_| from_the_past);
        let (Phase::Recovering { .. }, Some(category)) = (&self.phase, category) else {
            return commands.push(Command::Revoke { request, token });
        };
        let expires = now.after(self.rules.drift.stretch(remaining.min(self.rules.max_grant)));
        if let Some(other) = category.slots.at(token.slot) {
            if other.stamp > token.stamp {
                return commands.push(Command::Revoke { request, token });
            }
            // The slot was given on before, so the older grant is over, whoever reported it first:
            // its node has just let it expire, or is about to hear so.
            let older = Token { stamp: other.stamp, ..token };
            commands.push(Command::Revoke { request: other.request, token: older });
            session::end(&mut self.sessions, other.request);
            category.slots.remove(token.slot);
        }
        category.slots.restore(token.slot, Held::new(request, token.stamp, now, expires));
        let live = Live::holding(token.category, token.slot);
        session::begin(&mut self.sessions, request, live);
        self.raise_count(request.node, request.count);
    }

    /// Lets a waiter of a node that this coordinator hears for the first time keep its place. A
    /// waiter of a known node is a request that may have come before, and is treated as one.
    fn learn_waiter(
        &mut self,
        now: Time,
        waiter: &ReportedWaiter,
        is_new: bool,
        commands: &mut Vec<Command>,
    ) {
        let ReportedWaiter { request, category: id, arrival } = *waiter;
        let max_waiters = self.rules.max_waiters;
        let category = self.categories.get_mut(&id).filter(|category| {
            let open = category.limit.queues() && !category.is_closed(now);
            is_new && open && category.queue.len() < max_waiters
        });
        let Some(category) = category else {
            return self.requested(now, request, id, true, commands);
        };
        self.arrivals += 1;
        let newest = Arrival { epoch: self.epoch, number: self.arrivals };
        let arrival = arrival.filter(|arrival| arrival.epoch < self.epoch).unwrap_or(newest);
        let key = if arrival == newest {
            category.queue.push(request, arrival, now)
        } else {
            category.queue.restore(request, arrival, now)
        };
        session::begin(&mut self.sessions, request, Live::waiting(id, key));
        self.raise_count(request.node, request.count);
        commands.push(Command::Enqueue { request, arrival });
    }

    fn raise_count(&mut self, node: super::NodeId, count: u64) {
        let session = self.sessions.entry(node).or_default();
        session.highest = session.highest.max(count);
    }
}
