//! One node's side of the protocol, without clock or I/O: what it holds and waits for, what is to be
//! sent, and what came of it.

mod extending;
mod outgoing;
mod reporting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use outgoing::Outgoing;

use crate::coordinator::{Arrival, CategoryRefusal, ExtensionRefusal, NodeId, Refusal};
use crate::counted::Counted;
use crate::renewals::Renewals;
use crate::wire::{self, VERSION, WireError};
use crate::{CategoryId, CategoryName, ClockMap, Drift, Limit, Stamp, Time, Token};

/// What one node holds and waits for.
#[derive(Debug)]
pub(super) struct Holder {
    node: NodeId,
    drift: Drift,
    max_requests: usize,
    /// The highest epoch that the node has promised itself to. Grants of an older one are not taken.
    promised: u64,
    attached: Option<Attached>,
    /// The node has said good-bye, or would have: nothing more is asked for.
    left: bool,
    last_count: u64,
    requests: Counted<Entry>,
    held: BTreeMap<Stamp, u64>,
    due: BTreeSet<(Time, Stamp)>,
    /// Counts the extensions that somebody waits for.
    last_extension: u64,
    renewals: Renewals,
    names: HashMap<CategoryName, CategoryId>,
    categories: BTreeMap<CategoryId, Known>,
    out: Outgoing,
    outcomes: Vec<Outcome>,
    /// The length of a grant, as the coordinator said last.
    pub(super) grant: Duration,
    pub(super) max_grant: Duration,
}

#[derive(Debug)]
struct Attached {
    clock: ClockMap,
    used: BTreeSet<CategoryId>,
}

#[derive(Debug)]
struct Entry {
    category: CategoryId,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Waiting { waits: bool, arrival: Option<Arrival> },
    Holding { token: Token, until: Time },
}

/// A category as the coordinator described it last.
#[derive(Debug)]
struct Known {
    name: CategoryName,
    limit: Limit,
    version: Stamp,
    closes_at: Option<Time>,
    refused: Option<CategoryRefusal>,
    described: bool,
}

/// What came of something, for the driver to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Granted {
        count: u64,
        token: Token,
        /// Its deadline on the clock of this node.
        until: Time,
    },
    /// The grant was over when it came, or before anybody could have used it.
    TooLate {
        count: u64,
    },
    Refused {
        count: u64,
        category: CategoryId,
        refusal: Refusal,
    },
    /// The connection broke under a request that would not wait.
    Cut {
        count: u64,
    },
    Extended {
        token: Token,
        /// Which extension, as it was asked for.
        extension: u64,
        expires: Time,
    },
    NotExtended {
        token: Token,
        extension: u64,
        refusal: ExtensionRefusal,
    },
    /// The connection broke, under all extensions that are not answered.
    ExtensionsCut,
    /// A grant is over though it was not released.
    Lost {
        token: Token,
    },
    Notice {
        holders: Vec<Token>,
        message: bytes::Bytes,
    },
}

/// Why a node does not stay with a server that answered its hello.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error("the server speaks version {0} of the protocol, not {VERSION}")]
    Version(u32),
    #[error("the server leads epoch {epoch}, but {promised} has begun")]
    Past { epoch: u64, promised: u64 },
    #[error("the server does not say what time it is")]
    NoTime,
}

/// Why a request is not even sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotSent {
    Full,
    NotAttached,
    NotHeld,
}

impl Holder {
    pub(super) fn new(node: NodeId, drift: Drift, max_requests: usize) -> Self {
        Self {
            node,
            drift,
            max_requests,
            promised: 0,
            attached: None,
            left: false,
            last_count: 0,
            requests: Counted::default(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            last_extension: 0,
            renewals: Renewals::default(),
            names: HashMap::new(),
            categories: BTreeMap::new(),
            out: Outgoing::default(),
            outcomes: Vec::new(),
            grant: Duration::from_secs(1),
            max_grant: Duration::MAX,
        }
    }

    /// The category called `text`; it is not known yet whether it exists.
    pub(super) fn resolve(&mut self, text: &str) -> Result<CategoryName, crate::NameError> {
        if let Some((name, _)) = self.names.get_key_value(text) {
            return Ok(name.clone());
        }
        let name = CategoryName::try_new(text)?;
        if self.names.len() >= MAX_NAMES {
            self.forget_idle_names();
        }
        self.names.insert(name.clone(), name.id());
        Ok(name)
    }

    /// Asks for a grant; returns the count of the request.
    pub(super) fn request(&mut self, name: &CategoryName, waits: bool) -> Result<u64, NotSent> {
        if self.requests.len() >= self.max_requests {
            return Err(NotSent::Full);
        }
        if self.left || !waits && self.attached.is_none() {
            return Err(NotSent::NotAttached);
        }
        let category = self.names.get(name).copied().unwrap_or_else(|| name.id());
        self.last_count += 1;
        let count = self.last_count;
        let stage = Stage::Waiting { waits, arrival: None };
        self.requests.insert(count, Entry { category, stage });
        let is_first = self.attached.as_mut().is_none_or(|now| now.used.insert(category));
        if is_first {
            self.categories.entry(category).or_insert_with(|| Known::undescribed(name.clone()));
        }
        if self.attached.is_some() {
            if is_first {
                self.out.used(name);
            }
            self.out.request(proto::Request { count, category: category.0, waits });
        }
        Ok(count)
    }

    /// Gives a request up, also one that was granted.
    pub(super) fn cancel(&mut self, count: u64) {
        let Some(entry) = self.requests.remove(count) else { return };
        if let Stage::Holding { token, until } = entry.stage {
            self.forget_grant(token, until);
        }
        if self.attached.is_some() {
            self.out.cancel(count);
        }
    }

    /// Gives a grant back. Without a connection the coordinator learns it with the next report.
    pub(super) fn release(&mut self, token: Token) {
        let Some(count) = self.held.get(&token.stamp).copied() else { return };
        let Some(entry) = self.requests.remove(count) else { return };
        if let Stage::Holding { token, until } = entry.stage {
            self.forget_grant(token, until);
        }
        if self.attached.is_some() {
            self.out.release(wire::token_message(token));
        }
    }

    /// When a grant ends at the latest, by this node's clock, if it is held.
    pub(super) fn deadline(&self, token: Token) -> Option<Time> {
        let count = *self.held.get(&token.stamp)?;
        match self.requests.get(count)?.stage {
            Stage::Holding { token: held, until } if held == token => Some(until),
            _ => None,
        }
    }

    /// What is known of a category's limit, and why it was refused if it was.
    pub(super) fn category(&self, id: CategoryId) -> Option<(Limit, Option<CategoryRefusal>)> {
        self.categories.get(&id).map(|known| (known.limit, known.refused))
    }

    /// Takes in a frame of the coordinator, part by part in the order of the protocol.
    pub(super) fn receive(
        &mut self,
        now: Time,
        frame: proto::ServerFrame,
    ) -> Result<(), WireError> {
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if let Some(proto::HeartbeatEcho { sent_ns, server_ns }) = frame.echo {
            attached.clock.observe(Time(sent_ns), Time(server_ns));
        }
        for category in frame.categories {
            self.learn_category(now, &category)?;
        }
        for refused in frame.refused_categories {
            self.learn_refusal(&refused);
        }
        for proto::Enqueued { count, arrival } in frame.enqueued {
            let arrival = arrival.map(wire::arrival);
            if let Some(Entry { stage: Stage::Waiting { arrival: known, .. }, .. }) =
                self.requests.get_mut(count)
            {
                *known = arrival;
            }
        }
        for proto::Grant { count, token, expires_ns } in frame.grants {
            self.granted(now, count, wire::token(token)?, Time(expires_ns));
        }
        for refused in frame.refused {
            self.refused(&refused);
        }
        for proto::Extended { token, expires_ns, count } in frame.extended {
            self.extended(wire::token(token)?, count, Time(expires_ns));
        }
        for refused in frame.refused_extensions {
            let reason = refused.reason();
            self.not_extended(wire::token(refused.token)?, refused.count, reason);
        }
        for proto::Notice { category, message } in frame.notices {
            let of = |stamp: &Stamp| Some(self.token_of(*stamp)?.0);
            let holders = self.held.keys().filter_map(of);
            let holders = holders.filter(|token| token.category.0 == category).collect();
            self.outcomes.push(Outcome::Notice { holders, message });
        }
        for proto::Revoked { token } in frame.revoked {
            self.lose(wire::token(token)?.stamp);
        }
        Ok(())
    }

    fn learn_category(&mut self, now: Time, category: &proto::Category) -> Result<(), WireError> {
        let name = CategoryName::try_new(&category.name)?;
        let limit = Limit::try_new(category.limit)?;
        let version = wire::stamp(category.version);
        let closes_at = category.closes_in_ns.map(|left| now.after(Duration::from_nanos(left)));
        let known = Known { name, limit, version, closes_at, refused: None, described: true };
        self.categories.insert(known.name.id(), known);
        Ok(())
    }

    /// The next use asks anew, for an operator may have made room.
    fn learn_refusal(&mut self, refused: &proto::CategoryRefused) {
        let id = CategoryId(refused.category);
        if let Some(attached) = &mut self.attached {
            attached.used.remove(&id);
        }
        let reason = Some(wire::category_refusal(refused.reason()));
        match self.categories.get_mut(&id) {
            Some(known) => known.refused = reason,
            None => {
                let named = self.names.iter().find(|(_, known)| **known == id);
                let Some((name, _)) = named else { return };
                let known = Known { refused: reason, ..Known::undescribed(name.clone()) };
                self.categories.insert(id, known);
            }
        }
    }

    fn granted(&mut self, now: Time, count: u64, token: Token, expires: Time) {
        let local = self.attached.as_ref().and_then(|attached| attached.clock.local(expires));
        // A request that is not here was cancelled, which releases the grant.
        let Some(entry) = self.requests.get_mut(count) else { return };
        let (Stage::Waiting { .. }, Some(until)) = (entry.stage, local) else { return };
        if until <= now {
            self.requests.remove(count);
            self.out.cancel(count);
            return self.outcomes.push(Outcome::TooLate { count });
        }
        entry.stage = Stage::Holding { token, until };
        self.held.insert(token.stamp, count);
        self.due.insert((until, token.stamp));
        self.outcomes.push(Outcome::Granted { count, token, until });
    }

    fn refused(&mut self, refused: &proto::Refused) {
        let count = refused.count;
        let Some(Entry { category, stage: Stage::Waiting { .. } }) = self.requests.get(count)
        else {
            return;
        };
        let (category, refusal) = (*category, wire::refusal(refused.reason()));
        self.requests.remove(count);
        self.outcomes.push(Outcome::Refused { count, category, refusal });
    }

    fn token_of(&self, stamp: Stamp) -> Option<(Token, Time)> {
        match self.requests.get(*self.held.get(&stamp)?)?.stage {
            Stage::Holding { token, until } => Some((token, until)),
            Stage::Waiting { .. } => None,
        }
    }

    /// Ends a grant that was not released.
    fn lose(&mut self, stamp: Stamp) {
        let Some((token, until)) = self.token_of(stamp) else { return };
        let count = self.held.get(&stamp).copied().unwrap_or_default();
        self.requests.remove(count);
        self.forget_grant(token, until);
        self.outcomes.push(Outcome::Lost { token });
    }

    fn forget_grant(&mut self, token: Token, until: Time) {
        self.held.remove(&token.stamp);
        self.due.remove(&(until, token.stamp));
        self.renewals.remove(token.stamp);
    }

    /// Ends what is over by `now` and asks for the extensions that are due.
    pub(super) fn time_passed(&mut self, now: Time) {
        while let Some((_, stamp)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            self.lose(stamp);
        }
        self.ask_for_renewals(now);
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.renewals.next()).min()
    }

    pub(super) fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Asks what time the coordinator has.
    pub(super) fn beat(&mut self, now: Time) {
        if !self.left {
            self.out.beat(now);
        }
    }

    /// Says good-bye to the coordinator. What waits is cut off; what is held ends at its deadline, if it is
    /// not released before.
    pub(super) fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        self.cut(|_| true);
        if self.attached.is_some() {
            self.out.leave();
        }
    }

    pub(super) fn has_frame(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn take_frame(&mut self) -> Option<proto::ClientFrame> {
        self.out.take()
    }

    fn forget_idle_names(&mut self) {
        let used: BTreeSet<_> = self.requests.iter().map(|(_, entry)| entry.category).collect();
        self.names.retain(|_, id| used.contains(id));
        self.categories.retain(|id, _| used.contains(id));
        if let Some(attached) = &mut self.attached {
            attached.used.retain(|id| used.contains(id));
        }
    }
}

/// How many names of categories are remembered. Past it those that nobody uses are forgotten.
const MAX_NAMES: usize = 16_384;

impl Known {
    /// One that nobody has described yet.
    fn undescribed(name: CategoryName) -> Self {
        let version = Stamp { epoch: 0, sequence: 0 };
        let (closes_at, refused, described) = (None, None, false);
        Self { name, limit: Limit::ONE, version, closes_at, refused, described }
    }
}
