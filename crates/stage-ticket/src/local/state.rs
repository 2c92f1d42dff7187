use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

use super::error::AcquireError;
use crate::coordinator::{
    CategoryRefusal, Command, Coordinator, Event, ExtensionRefusal, NodeId, Refusal, RequestId,
};
use crate::counted::Counted;
use crate::renewals::Renewals;
use crate::{CategoryId, CategoryName, Stamp, Time, Token};

/// Everything under the one lock: the coordinator, and where its commands go in this process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) coordinator: Coordinator,
    /// The categories used so far, so that a name is hashed into an id once.
    names: HashMap<CategoryName, CategoryId>,
    requests: u64,
    waiting: Counted<oneshot::Sender<Answer>>,
    /// The tickets that somebody watches. The sender is dropped when the grant is over.
    watched: BTreeMap<Stamp, broadcast::Sender<Arc<[u8]>>>,
    renewals: Renewals,
    commands: Vec<Command>,
    grant: Duration,
    /// When the timer wakes next, at the latest.
    armed: Time,
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Granted(Token),
    Refused(Refusal),
}

/// What a step leaves to be done once the lock is given back.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Effects {
    first: Option<(oneshot::Sender<Answer>, Answer)>,
    others: Vec<(oneshot::Sender<Answer>, Answer)>,
    pub(super) rearm: bool,
    /// The greatest sequence of a grant that ended without its holder.
    pub(super) revoked: u64,
}

impl Effects {
    /// Answers those who waited. One that no longer listens has cancelled its request or is about
    /// to, which frees what it was granted.
    pub(super) fn answer_all(self) {
        for (waiting, answer) in self.first.into_iter().chain(self.others) {
            let _ = waiting.send(answer);
        }
    }

    /// A release answers one waiter as a rule, and needs no memory for that.
    fn answer(&mut self, waiting: oneshot::Sender<Answer>, answer: Answer) {
        match self.first {
            None => self.first = Some((waiting, answer)),
            Some(_) => self.others.push((waiting, answer)),
        }
    }
}

/// How many messages a watcher of a ticket may be behind before it misses the oldest.
const NOTICES_KEPT: usize = 16;

/// This process is the only node of its coordinator.
const NODE: NodeId = NodeId(0);

impl State {
    pub(super) fn new(coordinator: Coordinator, grant: Duration) -> Self {
        Self {
            coordinator,
            names: HashMap::new(),
            requests: 0,
            waiting: Counted::default(),
            watched: BTreeMap::new(),
            renewals: Renewals::default(),
            commands: Vec::new(),
            grant,
            armed: Time::NEVER,
        }
    }

    /// Requests a grant. Without an answer the request waits, under its count.
    pub(super) fn request(
        &mut self,
        now: Time,
        category: CategoryId,
        effects: &mut Effects,
    ) -> Result<Answer, (u64, oneshot::Receiver<Answer>)> {
        self.ask(now, category, true, effects).ok_or_else(|| {
            let (waiting, answer) = oneshot::channel();
            self.waiting.insert(self.requests, waiting);
            (self.requests, answer)
        })
    }

    /// Requests a grant that is to be had at once.
    pub(super) fn try_request(
        &mut self,
        now: Time,
        category: CategoryId,
        effects: &mut Effects,
    ) -> Answer {
        self.ask(now, category, false, effects).unwrap_or(Answer::Refused(Refusal::Busy))
    }

    fn ask(
        &mut self,
        now: Time,
        category: CategoryId,
        waits: bool,
        effects: &mut Effects,
    ) -> Option<Answer> {
        self.requests += 1;
        let request = RequestId { node: NODE, count: self.requests };
        let event = Event::Requested { request, category, waits };
        self.coordinator.step(now, event, &mut self.commands);
        // The answer to this request comes last; overdue grants may have ended before it.
        let answer = match self.commands.pop()? {
            Command::Grant { token, expires, .. } => {
                self.arm(expires, effects);
                Some(Answer::Granted(token))
            }
            Command::Refuse { refusal, .. } => Some(Answer::Refused(refusal)),
            _ => None,
        };
        if !self.commands.is_empty() {
            self.carry_out(effects);
        }
        answer
    }

    /// Gives up a request that waits, or the grant it got unseen.
    pub(super) fn cancel(&mut self, now: Time, count: u64, effects: &mut Effects) {
        self.waiting.remove(count);
        self.step(now, Event::Cancelled { request: RequestId { node: NODE, count } }, effects);
    }

    pub(super) fn release(&mut self, now: Time, token: Token, effects: &mut Effects) {
        if !self.watched.is_empty() {
            self.watched.remove(&token.stamp);
        }
        self.renewals.remove(token.stamp);
        self.step(now, Event::Released { token }, effects);
    }

    pub(super) fn extend(
        &mut self,
        now: Time,
        token: Token,
        by: Duration,
        effects: &mut Effects,
    ) -> Result<Time, ExtensionRefusal> {
        self.coordinator.step(now, Event::ExtensionRequested { token, by }, &mut self.commands);
        match self.commands.pop() {
            Some(Command::Extend { expires, .. }) => {
                self.arm(expires, effects);
                Ok(expires)
            }
            Some(Command::RefuseExtension { refusal, .. }) => Err(refusal),
            _ => Err(ExtensionRefusal::NotHeld),
        }
    }

    /// The category called `text`, made if the rules say so.
    pub(super) fn resolve(
        &mut self,
        now: Time,
        text: &str,
        effects: &mut Effects,
    ) -> Result<(CategoryName, CategoryId), AcquireError> {
        if let Some((name, id)) = self.names.get_key_value(text)
            && self.coordinator.category(*id).is_some_and(|known| known.name() == name)
        {
            return Ok((name.clone(), *id));
        }
        let name = CategoryName::try_new(text)?;
        match self.define(now, Event::Used { name: name.clone() }, effects) {
            None => {}
            Some(CategoryRefusal::Unlisted) => {
                let nearest = self.nearest(text);
                return Err(AcquireError::UnknownCategory { category: name, nearest });
            }
            Some(_) => return Err(AcquireError::TooManyCategories { category: name }),
        }
        self.remember(&name);
        Ok((name.clone(), name.id()))
    }

    /// Steps an event that makes or alters a category; returns why not.
    pub(super) fn define(
        &mut self,
        now: Time,
        event: Event,
        effects: &mut Effects,
    ) -> Option<CategoryRefusal> {
        self.coordinator.step(now, event, &mut self.commands);
        let refused = match self.commands.last() {
            Some(Command::RefuseCategory { refusal, .. }) => Some(*refusal),
            _ => None,
        };
        self.carry_out(effects);
        if let Some(at) = self.coordinator.next_timeout() {
            self.arm(at, effects);
        }
        refused
    }

    /// Names of categories that the coordinator has forgotten are dropped all at once.
    fn remember(&mut self, name: &CategoryName) {
        if self.names.len() > 2 * self.coordinator.categories().count() {
            self.names.clear();
        }
        self.names.insert(name.clone(), name.id());
    }

    fn nearest(&self, text: &str) -> Vec<CategoryName> {
        let names = self.coordinator.categories().map(|category| category.name().clone());
        let scored = names.map(|name| (strsim::jaro_winkler(text, name.as_str()), name));
        let mut alike: Vec<_> = scored.filter(|(score, _)| *score > LOOKS_ALIKE).collect();
        alike.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then_with(|| a_name.cmp(b_name)));
        alike.into_iter().map(|(_, name)| name).take(3).collect()
    }

    /// A receiver of the messages to the holders of a grant; it ends when the grant does.
    pub(super) fn watch(&mut self, token: Token) -> broadcast::Receiver<Arc<[u8]>> {
        if self.coordinator.deadline(token).is_none() {
            return broadcast::channel(1).1;
        }
        let new = || broadcast::channel(NOTICES_KEPT).0;
        self.watched.entry(token.stamp).or_insert_with(new).subscribe()
    }

    /// Has a grant extended again and again until `until`.
    pub(super) fn renew(&mut self, token: Token, until: Time, effects: &mut Effects) {
        if let Some(expires) = self.coordinator.deadline(token) {
            let at = self.renewals.add(token, expires, until, self.grant);
            self.arm(at, effects);
        }
    }

    /// Does what is due by `now` and returns when to come again.
    pub(super) fn time_passed(&mut self, now: Time, effects: &mut Effects) -> Time {
        while let Some((token, by)) = self.renewals.due(now, self.grant) {
            if let Ok(expires) = self.extend(now, token, by, effects) {
                self.renewals.extended(token, expires, self.grant);
            } else {
                self.renewals.remove(token.stamp);
            }
        }
        self.step(now, Event::TimePassed, effects);
        let timeouts = self.coordinator.next_timeout().into_iter().chain(self.renewals.next());
        self.armed = timeouts.min().unwrap_or(Time::NEVER);
        effects.rearm = false;
        self.armed
    }

    pub(super) fn step(&mut self, now: Time, event: Event, effects: &mut Effects) {
        self.coordinator.step(now, event, &mut self.commands);
        if !self.commands.is_empty() {
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            match command {
                Command::Grant { request, token, expires } => {
                    self.arm(expires, effects);
                    self.answer(request.count, Answer::Granted(token), effects);
                }
                Command::Refuse { request, refusal } => {
                    self.answer(request.count, Answer::Refused(refusal), effects);
                }
                Command::Revoke { token, .. } => self.revoked(token, effects),
                Command::Notify { token, message } => {
                    if let Some(watched) = self.watched.get(&token.stamp) {
                        // An error says that nobody listens any more, which is their choice.
                        let _ = watched.send(message);
                    }
                }
                Command::AnnounceCategory { name, limit } => {
                    tracing::info!(category = %name, %limit, "ticket category made by its first use");
                }
                Command::RefuseCategory { .. }
                | Command::Enqueue { .. }
                | Command::Extend { .. }
                | Command::RefuseExtension { .. } => {}
            }
        }
        self.commands = commands;
    }

    fn revoked(&mut self, token: Token, effects: &mut Effects) {
        effects.revoked = effects.revoked.max(token.stamp.sequence);
        self.watched.remove(&token.stamp);
        self.renewals.remove(token.stamp);
        tracing::debug!(%token, "ticket expired before it was released");
    }

    fn answer(&mut self, count: u64, answer: Answer, effects: &mut Effects) {
        if let Some(waiting) = self.waiting.remove(count) {
            effects.answer(waiting, answer);
        }
    }

    fn arm(&mut self, at: Time, effects: &mut Effects) {
        if at < self.armed {
            self.armed = at;
            effects.rearm = true;
        }
    }
}

/// The least similarity (Jaro-Winkler) of a name that is worth suggesting.
const LOOKS_ALIKE: f64 = 0.7;
