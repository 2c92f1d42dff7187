use std::collections::BTreeMap;

use super::event::{Arrival, CategoryRefusal, Command, NodeId, Refusal, RequestId};
use super::queue::Queue;
use super::session::{self, Live, Session};
use super::slots::{Held, Slots};
use super::{Coordinator, Issue};
use crate::{CategoryId, CategoryName, Limit, Stamp, Time, Token};

type Sessions = BTreeMap<NodeId, Session>;

/// One category: its limit, who holds, who waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Category {
    name: CategoryName,
    pub(super) limit: Limit,
    pub(super) version: Stamp,
    pub(super) closes_at: Option<Time>,
    pub(super) slots: Slots,
    pub(super) queue: Queue,
    pub(super) totals: Totals,
}

/// What happened in a category since the coordinator knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Totals {
    /// Grants made.
    pub granted: u64,
    /// Requests refused, for whatever reason.
    pub refused: u64,
    /// Grants that ended by their deadline instead of a release.
    pub expired: u64,
}

impl Category {
    fn new(name: CategoryName, limit: Limit, version: Stamp) -> Self {
        Self {
            name,
            limit,
            version,
            closes_at: None,
            slots: Slots::new(limit.permits()),
            queue: Queue::new(),
            totals: Totals::default(),
        }
    }

    pub(super) fn name(&self) -> &CategoryName {
        &self.name
    }

    pub(super) fn is_closed(&self, now: Time) -> bool {
        self.closes_at.is_some_and(|at| at <= now)
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let closes_at = self.closes_at.filter(|at| *at > Time::ZERO);
        self.slots.next_due().into_iter().chain(closes_at).min()
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        let category = self.name.id();
        self.slots.iter().map(move |(slot, held)| Token { category, slot, stamp: held.stamp })
    }

    pub(super) fn set(&mut self, limit: Limit, closes_at: Option<Time>, version: Stamp) {
        self.limit = limit;
        self.closes_at = closes_at;
        self.version = version;
        self.slots.set_limit(limit.permits());
    }

    /// Ends the grants that are over by `now`.
    fn expire(
        &mut self,
        id: CategoryId,
        now: Time,
        sessions: &mut Sessions,
        commands: &mut Vec<Command>,
    ) {
        while let Some(slot) = self.slots.overdue(now) {
            let Some(held) = self.slots.remove(slot) else { return };
            session::end(sessions, held.request);
            self.totals.expired += 1;
            let token = Token { category: id, slot, stamp: held.stamp };
            commands.push(Command::Revoke { request: held.request, token });
        }
    }

    /// Ends what is over and gives free permits to those who wait, in order.
    pub(super) fn serve(
        &mut self,
        id: CategoryId,
        may_issue: bool,
        issue: &mut Issue<'_>,
        sessions: &mut Sessions,
        commands: &mut Vec<Command>,
    ) {
        self.expire(id, issue.now, sessions, commands);
        if self.is_closed(issue.now) {
            self.close(sessions, commands);
        } else if !self.limit.queues() {
            self.turn_away(Refusal::Busy, sessions, commands);
        }
        while may_issue
            && self.slots.has_room()
            && let Some((key, request)) = self.queue.first()
        {
            self.queue.remove(key);
            let slot = self.grant(id, request, issue, commands);
            session::begin(sessions, request, Live::holding(id, slot));
        }
    }

    /// Makes a grant. The caller has seen that there is room.
    pub(super) fn grant(
        &mut self,
        id: CategoryId,
        request: RequestId,
        issue: &mut Issue<'_>,
        commands: &mut Vec<Command>,
    ) -> u32 {
        let stamp = issue.stamp();
        let expires = issue.now.after(issue.grant);
        let slot = self.slots.fill(Held::new(request, stamp, issue.now, expires));
        self.totals.granted += 1;
        let token = Token { category: id, slot, stamp };
        commands.push(Command::Grant { request, token, expires });
        slot
    }

    /// Lets nobody in any more, and tells those who wait.
    pub(super) fn close(&mut self, sessions: &mut Sessions, commands: &mut Vec<Command>) {
        self.closes_at = Some(Time::ZERO);
        self.turn_away(Refusal::Closed, sessions, commands);
    }

    fn turn_away(
        &mut self,
        refusal: Refusal,
        sessions: &mut Sessions,
        commands: &mut Vec<Command>,
    ) {
        while let Some((key, request)) = self.queue.first() {
            self.queue.remove(key);
            session::end(sessions, request);
            self.totals.refused += 1;
            commands.push(Command::Refuse { request, refusal });
        }
    }
}

impl Coordinator {
    /// The category called `name`, made if there is room.
    pub(super) fn create(
        &mut self,
        name: &CategoryName,
        limit: Limit,
        version: Stamp,
    ) -> Result<&mut Category, CategoryRefusal> {
        let id = name.id();
        if !self.categories.contains_key(&id) && self.categories.len() >= self.rules.max_categories
        {
            self.forget_a_closed_category()?;
        }
        let category = self
            .categories
            .entry(id)
            .or_insert_with(|| Category::new(name.clone(), limit, version));
        if category.name() == name { Ok(category) } else { Err(CategoryRefusal::SameId) }
    }

    /// Makes room for a category. A closed one that is at rest has nothing left to remember: its
    /// grants' stamps are not used again, for all categories count together.
    fn forget_a_closed_category(&mut self) -> Result<(), CategoryRefusal> {
        let at_rest = |category: &Category| {
            category.closes_at == Some(Time::ZERO)
                && category.slots.live() == 0
                && category.queue.len() == 0
        };
        let idle = self.categories.iter().find(|(_, category)| at_rest(category));
        let id = *idle.ok_or(CategoryRefusal::TooMany)?.0;
        self.categories.remove(&id);
        Ok(())
    }
}

/// A grant that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// What was granted.
    pub token: Token,
    /// Who holds it.
    pub node: NodeId,
    /// When it was made; after a takeover, when it was reported.
    pub issued: Time,
    /// When it ends.
    pub expires: Time,
}

/// A category as it stands.
#[derive(Debug, Clone, Copy)]
pub struct CategoryView<'a> {
    pub(super) category: &'a Category,
}

impl<'a> CategoryView<'a> {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'a CategoryName {
        &self.category.name
    }

    /// Its limit.
    #[must_use]
    pub fn limit(self) -> Limit {
        self.category.limit
    }

    /// When it was set, in the order of all settings; zero if nobody set it.
    #[must_use]
    pub fn version(self) -> Stamp {
        self.category.version
    }

    /// Whether it grants nothing more.
    #[must_use]
    pub fn is_closed(self, now: Time) -> bool {
        self.category.is_closed(now)
    }

    /// After when it grants nothing more, if it closes; zero if it was closed.
    #[must_use]
    pub fn closes_at(self) -> Option<Time> {
        self.category.closes_at
    }

    /// How many grants live.
    #[must_use]
    pub fn holder_count(self) -> u32 {
        self.category.slots.live()
    }

    /// How many wait.
    #[must_use]
    pub fn waiter_count(self) -> u32 {
        self.category.queue.len()
    }

    /// The grants that live, by slot. O(slots) for all.
    pub fn holders(self) -> impl Iterator<Item = Holding> + use<'a> {
        let tokens = self.category.tokens();
        tokens.zip(self.category.slots.iter()).map(|(token, (_, held))| Holding {
            token,
            node: held.request.node,
            issued: held.issued,
            expires: held.expires,
        })
    }

    /// At most so many of the grants that live, the oldest first. O(slots).
    #[must_use]
    pub fn oldest_holders(self, most: usize) -> Vec<Holding> {
        let age = |holding: &Holding| (holding.issued, holding.token);
        let mut holders: Vec<Holding> = self.holders().collect();
        if holders.len() > most && most > 0 {
            holders.select_nth_unstable_by_key(most - 1, age);
        }
        holders.truncate(most);
        holders.sort_unstable_by_key(age);
        holders
    }

    /// Since when the first in the queue has waited (after a takeover: since it was reported).
    #[must_use]
    pub fn waiting_since(self) -> Option<Time> {
        self.category.queue.waiting_since()
    }

    /// Those who wait, in order, with their places.
    pub fn waiters(self) -> impl Iterator<Item = (RequestId, Arrival)> + use<'a> {
        self.category.queue.iter()
    }

    /// What happened in it so far.
    #[must_use]
    pub fn totals(self) -> Totals {
        self.category.totals
    }
}
