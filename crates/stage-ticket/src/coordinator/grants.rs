use std::time::Duration;

use super::event::{Command, ExtensionRefusal, NodeId, Refusal, RequestId};
use super::session::{self, Live, Place};
use super::{Arrival, Coordinator, Issue};
use crate::{CategoryId, Stamp, Time, Token};

impl Coordinator {
    pub(super) fn requested(
        &mut self,
        now: Time,
        request: RequestId,
        category: CategoryId,
        waits: bool,
        commands: &mut Vec<Command>,
    ) {
        match self.admit(request) {
            Ok(None) => {}
            Ok(Some(live)) => return self.answer_again(request, live, commands),
            Err(refusal) => return commands.push(Command::Refuse { request, refusal }),
        }
        if let Err(refusal) = self.grant_or_enqueue(now, request, category, waits, commands) {
            if let Some(category) = self.categories.get_mut(&category) {
                category.totals.refused += 1;
            }
            commands.push(Command::Refuse { request, refusal });
        }
    }

    /// Sees whether a request is new; a repeated one is answered as before.
    fn admit(&mut self, request: RequestId) -> Result<Option<Live>, Refusal> {
        let full = self.sessions.len() >= self.rules.max_nodes;
        if full && !self.sessions.contains_key(&request.node) {
            return Err(Refusal::TooManyNodes);
        }
        let session = self.sessions.entry(request.node).or_default();
        if request.count > session.highest && !session.vanished {
            session.highest = request.count;
            return Ok(None);
        }
        session.live.get(request.count).copied().map(Some).ok_or(Refusal::Finished)
    }

    fn answer_again(&self, request: RequestId, live: Live, commands: &mut Vec<Command>) {
        let Some(category) = self.categories.get(&live.category) else { return };
        match live.place {
            Place::Waiting(key) => {
                commands.push(Command::Enqueue { request, arrival: category.queue.arrival(key) });
            }
            Place::Holding(slot) => {
                let Some(held) = category.slots.at(slot) else { return };
                let token = Token { category: live.category, slot, stamp: held.stamp };
                commands.push(Command::Grant { request, token, expires: held.expires });
            }
        }
    }

    fn grant_or_enqueue(
        &mut self,
        now: Time,
        request: RequestId,
        id: CategoryId,
        waits: bool,
        commands: &mut Vec<Command>,
    ) -> Result<(), Refusal> {
        let may_issue = self.may_issue(now);
        let category = self.categories.get_mut(&id).ok_or(Refusal::UnknownCategory)?;
        if category.is_closed(now) {
            return Err(Refusal::Closed);
        }
        let mut issue = Issue::new(now, self.epoch, &self.rules, &mut self.sequence);
        if category.slots.overdue(now).is_some() {
            category.serve(id, may_issue, &mut issue, &mut self.sessions, commands);
        }
        let live = if may_issue && category.slots.has_room() && category.queue.len() == 0 {
            Live::holding(id, category.grant(id, request, &mut issue, commands))
        } else if !waits || !category.limit.queues() {
            return Err(if may_issue { Refusal::Busy } else { Refusal::NoAuthority });
        } else if category.queue.len() >= self.rules.max_waiters {
            return Err(Refusal::QueueFull);
        } else {
            self.arrivals += 1;
            let arrival = Arrival { epoch: self.epoch, number: self.arrivals };
            commands.push(Command::Enqueue { request, arrival });
            Live::waiting(id, category.queue.push(request, arrival, now))
        };
        session::begin(&mut self.sessions, request, live);
        Ok(())
    }

    pub(super) fn cancelled(&mut self, now: Time, request: RequestId, commands: &mut Vec<Command>) {
        let session = self.sessions.get(&request.node);
        let Some(live) = session.and_then(|session| session.live.get(request.count)).copied()
        else {
            return;
        };
        let Some(category) = self.categories.get_mut(&live.category) else { return };
        match live.place {
            Place::Waiting(key) => {
                category.queue.remove(key);
                session::end(&mut self.sessions, request);
            }
            Place::Holding(slot) => self.free(now, live.category, slot, None, commands),
        }
    }

    pub(super) fn released(&mut self, now: Time, token: Token, commands: &mut Vec<Command>) {
        self.free(now, token.category, token.slot, Some(token.stamp), commands);
    }

    /// Takes a grant back from its holder (exactly the one with `stamp`, if given) and gives the
    /// permit on.
    fn free(
        &mut self,
        now: Time,
        id: CategoryId,
        slot: u32,
        stamp: Option<Stamp>,
        commands: &mut Vec<Command>,
    ) {
        let may_issue = self.may_issue(now);
        let Some(category) = self.categories.get_mut(&id) else { return };
        let held = category.slots.at(slot).map(|held| held.stamp);
        if held.is_none() || stamp.is_some_and(|stamp| held != Some(stamp)) {
            return;
        }
        let Some(held) = category.slots.remove(slot) else { return };
        session::end(&mut self.sessions, held.request);
        if category.queue.len() > 0 {
            let mut issue = Issue::new(now, self.epoch, &self.rules, &mut self.sequence);
            category.serve(id, may_issue, &mut issue, &mut self.sessions, commands);
        }
    }

    pub(super) fn extension_requested(
        &mut self,
        now: Time,
        token: Token,
        by: Duration,
        commands: &mut Vec<Command>,
    ) {
        let expires = now.after(by);
        let extended = match self.deadline(token) {
            Some(known) if known <= now => Err(ExtensionRefusal::NotHeld),
            None => Err(ExtensionRefusal::NotHeld),
            Some(known) if known >= expires => Ok(known),
            Some(_) if by > self.rules.max_grant => Err(ExtensionRefusal::TooLong),
            // While recovering, even a reported grant may not grow: the old coordinator may have
            // seen it expire, and given its slot on to a node that has yet to report.
            Some(_) if !self.may_issue(now) => Err(ExtensionRefusal::NoAuthority),
            Some(_) => Ok(expires),
        };
        match extended {
            Err(refusal) => commands.push(Command::RefuseExtension { token, refusal }),
            Ok(expires) => {
                if let Some(category) = self.categories.get_mut(&token.category) {
                    category.slots.set_deadline(token.slot, expires);
                }
                commands.push(Command::Extend { token, expires });
            }
        }
    }

    pub(super) fn vanished(&mut self, now: Time, node: NodeId, commands: &mut Vec<Command>) {
        let Some(session) = self.sessions.get_mut(&node) else { return };
        session.vanished = true;
        let waiting =
            session.live.iter().filter(|(_, live)| matches!(live.place, Place::Waiting(_)));
        let waiting: Vec<u64> = waiting.map(|(count, _)| count).collect();
        if session.live.is_empty() {
            self.sessions.remove(&node);
        }
        for count in waiting {
            self.cancelled(now, RequestId { node, count }, commands);
        }
    }
}
