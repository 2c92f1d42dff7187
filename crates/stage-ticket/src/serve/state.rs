#[cfg(feature = "etcd")]
mod recording;
mod seats;
#[cfg(all(test, feature = "etcd"))]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use super::outbox::Outbox;
use super::wants::{Extension, Wants};
use crate::coordinator::{
    Command, Coordinator, Event, ExtensionRefusal, NodeId, Phase, Refusal, Report, ReportedGrant,
    ReportedWaiter, RequestId,
};
use crate::wire::{self, WireError};
use crate::{CategoryId, CategoryName, Shard, Time, Token};

/// The coordinator and the nodes it serves: what they send becomes events, what it commands goes
/// into their outboxes. Reads no clock and does no I/O.
#[derive(Debug)]
pub(super) struct State {
    pub(super) coordinator: Coordinator,
    /// The categories of the others are not counted here.
    shard: Shard,
    node_requests: usize,
    max_nodes: usize,
    absence: Duration,
    streams: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Nodes without a stream, by when they count as vanished.
    absent: BTreeSet<(Time, NodeId)>,
    pub(super) wants: Wants,
    commands: Vec<Command>,
    /// When the timer wakes next, at the latest.
    armed: Time,
    pub(super) rearm: bool,
    pub(super) closed: bool,
}

/// A node that is known here: with a stream, or without one for a while.
#[derive(Debug)]
struct Peer {
    /// As its last hello said, for people.
    name: Arc<str>,
    /// The stream that speaks for the node; older ones are not listened to.
    stream: u64,
    outbox: Option<Outbox>,
    absent_until: Time,
}

/// The right of one stream to speak for its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) node: NodeId,
    stream: u64,
}

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("this stream no longer speaks for its node")]
    Unseated,
    #[error("as many nodes are known as may be")]
    TooManyNodes,
    #[error("this server no longer leads")]
    Closed,
    #[error("the stream reads too slowly")]
    Overfull,
    #[error("more requests reported than a node may have")]
    TooManyRequests,
    #[error(transparent)]
    Malformed(#[from] WireError),
}

impl State {
    pub(super) fn new(
        coordinator: Coordinator,
        shard: Shard,
        config: &super::ServerConfig,
        wants: Wants,
    ) -> Self {
        Self {
            coordinator,
            shard,
            node_requests: config.node_requests as usize,
            max_nodes: config.tickets.rules.max_nodes,
            absence: config.absence,
            streams: 0,
            peers: BTreeMap::new(),
            absent: BTreeSet::new(),
            wants,
            commands: Vec::new(),
            armed: Time::NEVER,
            rearm: false,
            closed: false,
        }
    }

    /// What is to be written to a stream now.
    pub(super) fn take(&mut self, seat: Seat) -> Result<Option<proto::ServerFrame>, Ended> {
        let outbox = self.outbox_of(seat)?;
        if outbox.is_overfull() {
            return Err(Ended::Overfull);
        }
        Ok(outbox.take())
    }

    fn outbox_of(&mut self, seat: Seat) -> Result<&mut Outbox, Ended> {
        if self.closed {
            return Err(Ended::Closed);
        }
        let peer = self.peers.get_mut(&seat.node).filter(|peer| peer.stream == seat.stream);
        peer.and_then(|peer| peer.outbox.as_mut()).ok_or(Ended::Unseated)
    }

    /// Takes in the report of a node whose stream is new. What the node does not mention it neither
    /// holds nor waits for, whatever was sent on an earlier stream.
    pub(super) fn report(
        &mut self,
        now: Time,
        seat: Seat,
        report: Report,
        uses: &[String],
    ) -> Result<(), Ended> {
        self.outbox_of(seat)?;
        let Report { mut categories, grants, waiters } = report;
        categories.iter().try_for_each(|category| self.is_here(&category.name))?;
        if grants.len() + waiters.len() > self.node_requests {
            return Err(Ended::TooManyRequests);
        }
        if *self.coordinator.phase() == Phase::Serving {
            categories.clear();
        }
        // A category that the report describes is made by it, the others by their use.
        let described: BTreeSet<_> =
            categories.iter().map(|category| category.name.as_str().to_owned()).collect();
        let (after, before): (Vec<_>, Vec<_>) =
            uses.iter().partition(|name| described.contains(*name));
        for name in before {
            self.used(now, seat, name)?;
        }
        self.end_unmentioned(now, seat.node, &grants, &waiters);
        let report = Report { categories, grants, waiters };
        self.step(now, Event::Reported { node: seat.node, report });
        for name in after {
            self.used(now, seat, name)?;
        }
        self.route();
        if let Some(at) = self.coordinator.next_timeout() {
            self.arm(at);
        }
        Ok(())
    }

    fn end_unmentioned(
        &mut self,
        now: Time,
        node: NodeId,
        grants: &[ReportedGrant],
        waiters: &[ReportedWaiter],
    ) {
        let mentioned = grants.iter().map(|grant| grant.request.count);
        let mentioned: BTreeSet<u64> =
            mentioned.chain(waiters.iter().map(|waiter| waiter.request.count)).collect();
        let live = self.coordinator.live_requests(node);
        let over: Vec<u64> = live.filter(|count| !mentioned.contains(count)).collect();
        for count in over {
            self.step(now, Event::Cancelled { request: RequestId { node, count } });
        }
    }

    /// Takes in what a node sent, part by part in the order of the protocol.
    pub(super) fn frame(
        &mut self,
        now: Time,
        seat: Seat,
        frame: proto::ClientFrame,
    ) -> Result<(), Ended> {
        let outbox = self.outbox_of(seat)?;
        if let Some(proto::Heartbeat { sent_ns }) = frame.heartbeat {
            let echo = proto::HeartbeatEcho { sent_ns, server_ns: now.0 };
            outbox.put(|frame| frame.echo = Some(echo));
        }
        for name in frame.uses {
            self.used(now, seat, &name)?;
        }
        for proto::Extend { token, by_ns, count } in frame.extensions {
            let (token, by) = (wire::token(token)?, Duration::from_nanos(by_ns));
            self.extend(now, Extension { node: seat.node, token, by, count });
        }
        for token in frame.releases {
            let token = wire::token(Some(token))?;
            if self.holds(seat.node, token) {
                self.step(now, Event::Released { token });
            }
        }
        for request in frame.requests {
            self.request(now, seat.node, request);
        }
        for count in frame.cancels {
            let request = RequestId { node: seat.node, count };
            self.step(now, Event::Cancelled { request });
        }
        if frame.goodbye {
            self.leave(now, seat.node);
        }
        self.route();
        Ok(())
    }

    fn used(&mut self, now: Time, seat: Seat, name: &str) -> Result<(), Ended> {
        let name = CategoryName::try_new(name).map_err(WireError::from)?;
        self.is_here(&name)?;
        let id = name.id();
        self.step(now, Event::Used { name });
        let refused = match self.commands.last() {
            Some(Command::RefuseCategory { refusal, .. }) => Some(*refusal),
            _ => None,
        };
        let known = self.coordinator.category(id);
        let message = known.map(|category| wire::category_message(category, now));
        let outbox = self.outbox_of(seat)?;
        match (refused, message) {
            (Some(refusal), _) => {
                let reason = wire::category_refusal_message(refusal).into();
                let refused = proto::CategoryRefused { category: id.0, reason };
                outbox.put(|frame| frame.refused_categories.push(refused));
            }
            (None, Some(message)) => outbox.put(|frame| frame.categories.push(message)),
            (None, None) => {}
        }
        Ok(())
    }

    /// Two coordinators must never count one category.
    fn is_here(&self, category: &CategoryName) -> Result<(), WireError> {
        let (category, shard) = (category.clone(), self.shard);
        let owns = shard.owns(category.id());
        if owns { Ok(()) } else { Err(WireError::Misplaced { category, shard }) }
    }

    fn request(&mut self, now: Time, node: NodeId, request: proto::Request) {
        let proto::Request { count, category, waits } = request;
        let request = RequestId { node, count };
        if self.coordinator.live_request_count(node) >= self.node_requests {
            let refusal = Refusal::QueueFull;
            return self.commands.push(Command::Refuse { request, refusal });
        }
        self.step(now, Event::Requested { request, category: CategoryId(category), waits });
    }

    /// Whether it is this node that holds a grant. A node can neither release nor extend what it
    /// does not hold, even with a token it has seen or guessed.
    fn holds(&self, node: NodeId, token: Token) -> bool {
        self.coordinator.holder(token).is_some_and(|request| request.node == node)
    }

    fn extend(&mut self, now: Time, extension: Extension) {
        let Extension { node, token, by, count } = extension;
        if !self.holds(node, token) {
            return self.refuse_extension(extension, ExtensionRefusal::NotHeld);
        }
        // A grant may not outlive what the leadership record promises to a successor.
        if by > self.wants.longest() && by <= self.coordinator.rules().max_grant {
            if !self.wants.park(extension) {
                self.refuse_extension(extension, ExtensionRefusal::NoAuthority);
            }
            return;
        }
        self.step(now, Event::ExtensionRequested { token, by });
        match self.commands.pop() {
            Some(Command::Extend { token, expires }) => {
                self.arm(expires);
                let token = Some(wire::token_message(token));
                let extended = proto::Extended { token, expires_ns: expires.0, count };
                self.tell(node, |frame| frame.extended.push(extended));
            }
            Some(Command::RefuseExtension { refusal, .. }) => {
                self.refuse_extension(extension, refusal);
            }
            _ => {}
        }
    }

    fn refuse_extension(&mut self, extension: Extension, refusal: ExtensionRefusal) {
        let Extension { node, token, count, .. } = extension;
        let reason = wire::extension_refusal_message(refusal).into();
        let token = Some(wire::token_message(token));
        let refused = proto::ExtensionRefused { token, reason, count };
        self.tell(node, |frame| frame.refused_extensions.push(refused));
    }

    /// Carries out the extensions that had to wait until the record allows them.
    #[cfg(feature = "etcd")]
    pub(super) fn extend_parked(&mut self, now: Time) {
        for extension in self.wants.unparked() {
            self.extend(now, extension);
        }
        self.route();
    }

    /// Hands a message to the nodes that hold a grant of a category; returns how many grants.
    pub(super) fn broadcast(&mut self, now: Time, category: CategoryId, message: Arc<[u8]>) -> u32 {
        let notice = proto::Notice {
            category: category.0,
            message: bytes::Bytes::copy_from_slice(&message),
        };
        self.step(now, Event::Broadcast { category, message });
        let notified = take(&mut self.commands);
        let holder = |command: &Command| match command {
            Command::Notify { token, .. } => Some(self.coordinator.holder(*token)?.node),
            _ => None,
        };
        let nodes: BTreeSet<NodeId> = notified.iter().filter_map(holder).collect();
        for node in nodes {
            self.tell(node, |frame| frame.notices.push(notice.clone()));
            if let Some(outbox) = self.peers.get_mut(&node).and_then(|peer| peer.outbox.as_mut()) {
                outbox.weigh(notice.message.len());
            }
        }
        u32::try_from(notified.len()).unwrap_or(u32::MAX)
    }

    /// Tells every node of a category that was set or closed.
    pub(super) fn announce(&mut self, now: Time, category: CategoryId) {
        let Some(known) = self.coordinator.category(category) else { return };
        let message = wire::category_message(known, now);
        for outbox in self.peers.values_mut().filter_map(|peer| peer.outbox.as_mut()) {
            outbox.put(|frame| frame.categories.push(message.clone()));
        }
    }

    /// Does what is due by `now`, and returns when to come again.
    pub(super) fn time_passed(&mut self, now: Time) -> Time {
        while let Some((_, node)) = self.absent.first().copied().filter(|(at, _)| *at <= now) {
            self.leave(now, node);
        }
        self.step(now, Event::TimePassed);
        self.route();
        let absent = self.absent.first().map(|(at, _)| *at);
        let due = self.coordinator.next_timeout().into_iter().chain(absent);
        self.armed = due.min().unwrap_or(Time::NEVER);
        self.rearm = false;
        self.armed
    }

    /// Ends every stream; nothing is issued after this.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for peer in self.peers.values_mut() {
            if let Some(outbox) = peer.outbox.take() {
                outbox.wake.notify_one();
            }
        }
    }

    pub(super) fn step(&mut self, now: Time, event: Event) {
        self.coordinator.step(now, event, &mut self.commands);
    }

    /// Puts what the coordinator commands into the outboxes.
    pub(super) fn route(&mut self) {
        let mut commands = take(&mut self.commands);
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.commands = commands;
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Grant { request, token, expires } => {
                self.arm(expires);
                let token = Some(wire::token_message(token));
                let count = request.count;
                let grant = proto::Grant { count, token, expires_ns: expires.0 };
                self.tell(request.node, |frame| frame.grants.push(grant));
            }
            Command::Enqueue { request, arrival } => {
                let arrival = Some(wire::arrival_message(arrival));
                let enqueued = proto::Enqueued { count: request.count, arrival };
                self.tell(request.node, |frame| frame.enqueued.push(enqueued));
            }
            Command::Refuse { request, refusal } => {
                let reason = wire::refusal_message(refusal).into();
                let refused = proto::Refused { count: request.count, reason };
                self.tell(request.node, |frame| frame.refused.push(refused));
            }
            Command::Revoke { request, token } => {
                tracing::debug!(%token, "ticket expired before it was released");
                let revoked = proto::Revoked { token: Some(wire::token_message(token)) };
                self.tell(request.node, |frame| frame.revoked.push(revoked));
            }
            Command::AnnounceCategory { name, limit } => {
                tracing::info!(category = %name, %limit, "ticket category made by its first use");
            }
            // Answered where they are asked for.
            Command::Extend { .. }
            | Command::RefuseExtension { .. }
            | Command::Notify { .. }
            | Command::RefuseCategory { .. } => {}
        }
    }

    /// Adds to what a node is sent. One without a stream asks again when it has one.
    fn tell(&mut self, node: NodeId, add: impl FnOnce(&mut proto::ServerFrame)) {
        let peer = self.peers.get_mut(&node);
        let Some(outbox) = peer.and_then(|peer| peer.outbox.as_mut()) else { return };
        outbox.put(add);
    }

    pub(super) fn arm(&mut self, at: Time) {
        if at < self.armed {
            self.armed = at;
            self.rearm = true;
        }
    }
}
