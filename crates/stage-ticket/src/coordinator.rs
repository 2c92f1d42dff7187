//! The coordinator as a pure state machine: no clock, no I/O, no randomness, no hash order.
//!
//! [`Coordinator::step`] takes what happened and appends what is to be done about it. Time is an
//! argument and may step back a little between calls (threads that read the clock before they take
//! turns); each decision depends only on the state and on the time given with it.
//!
//! A permit is in one of three places: free, held under a deadline, or unknown. The unknown ones
//! exist only after a takeover: a [recovering](Coordinator::recovering) coordinator issues nothing
//! until every node of its predecessor has reported, or until all its predecessor's grants are
//! over whoever held them.

mod category;
mod due;
mod event;
mod grants;
mod queue;
mod recovery;
mod rules;
mod session;
mod slots;

use std::collections::BTreeMap;
use std::time::Duration;

use category::Category;
use session::Session;

pub use category::{CategoryView, Holding, Totals};
pub use event::{
    Arrival, CategoryRefusal, Command, Event, ExtensionRefusal, NodeId, Refusal, Report,
    ReportedCategory, ReportedGrant, ReportedWaiter, RequestId,
};
pub use recovery::{Phase, takeover_wait};
pub use rules::{Rules, Unlisted};

use crate::{CategoryId, CategoryName, Limit, Stamp, Time, Token};

/// The one place that gives out the permits of its categories. See the [module](self) for how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coordinator {
    rules: Rules,
    epoch: u64,
    phase: Phase,
    authority: Time,
    sequence: u64,
    arrivals: u64,
    settings: u64,
    categories: BTreeMap<CategoryId, Category>,
    sessions: BTreeMap<NodeId, Session>,
}

impl Coordinator {
    /// A coordinator that starts with every permit free and may issue without end: the only one
    /// there is. `epoch` must be greater than any epoch whose tokens a resource may remember.
    #[must_use]
    pub fn new(rules: Rules, epoch: u64) -> Self {
        Self {
            rules,
            epoch,
            phase: Phase::Serving,
            authority: Time::NEVER,
            sequence: 0,
            arrivals: 0,
            settings: 0,
            categories: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// Tells the coordinator what happened at `now`; what is to be done is appended to `commands`.
    ///
    /// Requests, releases and extensions cost O(log n) in the live requests of a node and the
    /// grants of a category; `TimePassed` costs O(categories) besides what it expires.
    pub fn step(&mut self, now: Time, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::Requested { request, category, waits } => {
                self.requested(now, request, category, waits, commands);
            }
            Event::Cancelled { request } => self.cancelled(now, request, commands),
            Event::ExtensionRequested { token, by } => {
                self.extension_requested(now, token, by, commands);
            }
            Event::Released { token } => self.released(now, token, commands),
            Event::TimePassed => self.time_passed(now, commands),
            Event::Used { name } => self.used(name, commands),
            Event::Set { name, limit, close_after } => {
                self.set(now, name, limit, close_after, commands);
            }
            Event::Closed { category } => self.closed(category, commands),
            Event::Broadcast { category, message } => {
                if let Some(category) = self.categories.get(&category) {
                    commands.extend(
                        category
                            .tokens()
                            .map(|token| Command::Notify { token, message: message.clone() }),
                    );
                }
            }
            Event::Reported { node, report } => self.reported(now, node, report, commands),
            Event::Vanished { node } => self.vanished(now, node, commands),
            Event::AuthorityExtended { until } => self.authority_extended(now, until, commands),
        }
    }

    /// When the next `TimePassed` is due, if anything is. O(categories).
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let categories = self.categories.values().filter_map(Category::next_timeout);
        categories.chain(self.phase.ends()).min()
    }

    /// The deadline of a grant, if it lives.
    #[must_use]
    pub fn deadline(&self, token: Token) -> Option<Time> {
        let held = self.categories.get(&token.category)?.slots.at(token.slot)?;
        (held.stamp == token.stamp).then_some(held.expires)
    }

    /// The request that a grant answers, if the grant lives.
    #[must_use]
    pub fn holder(&self, token: Token) -> Option<RequestId> {
        let held = self.categories.get(&token.category)?.slots.at(token.slot)?;
        (held.stamp == token.stamp).then_some(held.request)
    }

    /// The counts of a node's requests that wait or hold, by rising count.
    pub fn live_requests(&self, node: NodeId) -> impl Iterator<Item = u64> + '_ {
        let session = self.sessions.get(&node);
        session.into_iter().flat_map(|session| session.live.iter().map(|(count, _)| count))
    }

    /// How many requests of a node wait or hold. O(log nodes).
    #[must_use]
    pub fn live_request_count(&self, node: NodeId) -> usize {
        self.sessions.get(&node).map_or(0, |session| session.live.len())
    }

    /// How much longer the grant with the last deadline lives. O(slots of all categories).
    #[must_use]
    pub fn longest_remaining(&self, now: Time) -> Duration {
        let held = self.categories.values().flat_map(|category| category.slots.iter());
        held.map(|(_, held)| held.expires.since(now)).max().unwrap_or_default()
    }

    /// A category, for those who look.
    #[must_use]
    pub fn category(&self, id: CategoryId) -> Option<CategoryView<'_>> {
        self.categories.get(&id).map(|category| CategoryView { category })
    }

    /// All categories, by their ids.
    pub fn categories(&self) -> impl Iterator<Item = CategoryView<'_>> {
        self.categories.values().map(|category| CategoryView { category })
    }

    /// The coordinator's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it is bound by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether it issues, or what it waits for.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether a free permit may be given out at `now`.
    #[must_use]
    pub fn may_issue(&self, now: Time) -> bool {
        now < self.authority && self.phase == Phase::Serving
    }

    fn time_passed(&mut self, now: Time, commands: &mut Vec<Command>) {
        if self.phase.ends().is_some_and(|until| until <= now) {
            self.phase = Phase::Serving;
        }
        self.serve_all(now, commands);
    }

    /// Expires, closes and grants whatever is due, in every category.
    fn serve_all(&mut self, now: Time, commands: &mut Vec<Command>) {
        let may_issue = self.may_issue(now);
        let mut issue = Issue::new(now, self.epoch, &self.rules, &mut self.sequence);
        for (id, category) in &mut self.categories {
            category.serve(*id, may_issue, &mut issue, &mut self.sessions, commands);
        }
    }

    /// The same in one category.
    fn serve(&mut self, now: Time, id: CategoryId, commands: &mut Vec<Command>) {
        let may_issue = self.may_issue(now);
        let Some(category) = self.categories.get_mut(&id) else { return };
        let mut issue = Issue::new(now, self.epoch, &self.rules, &mut self.sequence);
        category.serve(id, may_issue, &mut issue, &mut self.sessions, commands);
    }

    fn used(&mut self, name: CategoryName, commands: &mut Vec<Command>) {
        match (self.categories.get(&name.id()), self.rules.unlisted) {
            (Some(known), _) if *known.name() == name => {}
            (None, Unlisted::Create(limit)) => {
                let unset = Stamp { epoch: 0, sequence: 0 };
                match self.create(&name, limit, unset) {
                    Ok(_) => commands.push(Command::AnnounceCategory { name, limit }),
                    Err(refusal) => commands.push(Command::RefuseCategory { name, refusal }),
                }
            }
            (None, Unlisted::Refuse) => {
                commands.push(Command::RefuseCategory { name, refusal: CategoryRefusal::Unlisted });
            }
            (Some(_), _) => {
                commands.push(Command::RefuseCategory { name, refusal: CategoryRefusal::SameId });
            }
        }
    }

    fn set(
        &mut self,
        now: Time,
        name: CategoryName,
        limit: Limit,
        close_after: Option<Duration>,
        commands: &mut Vec<Command>,
    ) {
        self.settings += 1;
        let version = Stamp { epoch: self.epoch, sequence: self.settings };
        match self.create(&name, limit, version) {
            Err(refusal) => commands.push(Command::RefuseCategory { name, refusal }),
            Ok(category) => {
                category.set(limit, close_after.map(|after| now.after(after)), version);
                self.serve(now, name.id(), commands);
            }
        }
    }

    fn closed(&mut self, id: CategoryId, commands: &mut Vec<Command>) {
        let Some(category) = self.categories.get_mut(&id) else { return };
        // At a takeover a node that has not heard of it must not count as much as one that has.
        self.settings += 1;
        category.version = Stamp { epoch: self.epoch, sequence: self.settings };
        category.close(&mut self.sessions, commands);
    }
}

/// What a category needs to make grants: the moment, the rules, and the count of grants.
struct Issue<'a> {
    now: Time,
    epoch: u64,
    grant: Duration,
    sequence: &'a mut u64,
}

impl<'a> Issue<'a> {
    fn new(now: Time, epoch: u64, rules: &Rules, sequence: &'a mut u64) -> Self {
        Self { now, epoch, grant: rules.grant, sequence }
    }

    fn stamp(&mut self) -> Stamp {
        *self.sequence += 1;
        Stamp { epoch: self.epoch, sequence: *self.sequence }
    }
}
