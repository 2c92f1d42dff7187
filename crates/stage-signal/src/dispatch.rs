//! The way of a signal: to an inbox of this node or into the queue of a link.

use std::sync::Arc;

use stage_value::{FunctionHash, Id, MessageId, Prototype, Value, wire};
use tokio::time::Instant;

use crate::budget::{Cost, may_run_elsewhere};
use crate::choice::{Candidate, Choice, choose, choose_any, is_panic};
use crate::link::Link;
use crate::link::letter::Letter;
use crate::link::machine::{NotTaken, Sent};
use crate::link::reader::Arrived;
use crate::locals::{Found, Locals};
use crate::mesh::Shared;
use crate::session::host_of_client;
use crate::slot::{Place, Promise};
use crate::stats::count;
use crate::step::Step;
use crate::{
    Delivery, Destination, Failure, Inbox, NodeState, Origin, Outcomes, Outgoing, Reason,
    Responder, Rule,
};

/// The most stages that an error lists.
const LISTED: usize = 16;

impl Shared {
    /// Sends a signal of this node or of an outside client.
    pub(crate) fn send(&self, outgoing: Outgoing, sender: Sender) -> Outcomes {
        let now = Instant::now();
        let deadline = outgoing.timeout.and_then(|timeout| now.checked_add(timeout));
        let mut outcomes = Outcomes::new(deadline, Arc::clone(&self.counters));
        match &outgoing.destination {
            Destination::Local(_) => self.send_here(outgoing, sender, deadline, &mut outcomes),
            Destination::Stage(stage) if sender.is_served_here(&self.locals, stage) => {
                self.send_here(outgoing, sender, deadline, &mut outcomes);
            }
            Destination::Stage(_) => {
                self.send_to_best(outgoing, sender, (now, deadline), &mut outcomes);
            }
            _ => self.send_to_all(outgoing, sender, deadline, &mut outcomes),
        }
        outcomes
    }

    /// Delivers to one inbox of this node, whatever the destination says.
    pub(crate) fn send_to(&self, inbox: &dyn Inbox, outgoing: Outgoing) -> Outcomes {
        let deadline = outgoing.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut outcomes = Outcomes::new(deadline, Arc::clone(&self.counters));
        let delivery = self.delivery(outgoing, Sender::Node, deadline, &mut outcomes);
        if let Err(delivery) = inbox.deliver(delivery) {
            let detail = format!("the instance's queue on {} is full", self.identity.name);
            delivery.responder.fail(Failure::new(Reason::Overloaded, detail));
        }
        outcomes
    }

    fn send_here(
        &self,
        outgoing: Outgoing,
        sender: Sender,
        deadline: Option<Instant>,
        outcomes: &mut Outcomes,
    ) {
        let stage = outgoing.destination.stage().clone();
        let delivery = self.delivery(outgoing, sender, deadline, outcomes);
        self.deliver(stage.as_str(), delivery);
    }

    /// A message that is not encoded, for this node.
    fn delivery(
        &self,
        outgoing: Outgoing,
        sender: Sender,
        deadline: Option<Instant>,
        outcomes: &mut Outcomes,
    ) -> Delivery {
        let sent = self.send_step(&outgoing);
        let promise = outcomes.promise(sent.span);
        let stage = outgoing.destination.stage();
        let handled = Step::handle(sent.trace, &self.identity.name, stage, &outgoing.message);
        Delivery {
            message: outgoing.message,
            args: outgoing.args,
            origin: Origin {
                node: match sender {
                    Sender::Node => Arc::clone(&self.identity.name),
                    Sender::Client => "".into(),
                },
                stage: outgoing.origin_stage,
            },
            deadline,
            received: Instant::now(),
            remote: sender == Sender::Client,
            wants_results: outgoing.wants_results,
            trace: handled.trace,
            responder: Responder::local(promise, deadline).spanned(handled.span),
        }
    }

    fn send_step(&self, outgoing: &Outgoing) -> Step {
        let stage = outgoing.destination.stage();
        Step::send(outgoing.trace, &self.identity.name, stage, &outgoing.message)
    }

    fn send_to_best(
        &self,
        outgoing: Outgoing,
        sender: Sender,
        (now, deadline): (Instant, Option<Instant>),
        outcomes: &mut Outcomes,
    ) {
        let stage = outgoing.destination.stage();
        match self.choose(stage.as_str()) {
            Target::Here => self.send_here(outgoing, sender, deadline, outcomes),
            Target::Nowhere => outcomes.failed(self.no_stage(stage.as_str())),
            Target::Link(link) => {
                let sent = self.send_step(&outgoing);
                let mut letter = Letter::new(outgoing, deadline);
                (letter.trace, letter.is_kept) = (sent.trace.map(Box::new), true);
                self.retries.sent(now);
                let place = self.post(link, Arc::new(letter), outcomes.promise(sent.span));
                outcomes.wait_at(place);
            }
        }
    }

    fn send_to_all(
        &self,
        outgoing: Outgoing,
        sender: Sender,
        deadline: Option<Instant>,
        outcomes: &mut Outcomes,
    ) {
        let destination = outgoing.destination.clone();
        let stage = destination.stage();
        let group = matches!(destination, Destination::Group(_)).then_some(&self.identity.group);
        let is_meant = |link: &&Arc<Link>| {
            link.carries(stage.as_str()) && group.is_none_or(|group| *group == link.peer.group)
        };
        let open = self.peers.open();
        let links: Vec<_> = open.iter().filter(is_meant).collect();
        if !links.is_empty() {
            let letter = Letter::new(outgoing.clone(), deadline);
            for link in links {
                let sent = self.send_step(&outgoing);
                let mut letter = letter.clone();
                letter.trace = sent.trace.map(Box::new);
                let promise = outcomes.promise(sent.span);
                let place = self.post(Arc::clone(link), Arc::new(letter), promise);
                outcomes.wait_at(place);
            }
        }
        let is_here =
            !matches!(destination, Destination::Others(_)) && self.locals.carries(stage.as_str());
        if is_here {
            self.send_here(outgoing, sender, deadline, outcomes);
        }
        if outcomes.is_empty() {
            outcomes.failed(self.no_stage(stage.as_str()));
        }
    }

    /// Queues a letter at a link, and returns where it waits now; if that fails before it started, at another one,
    /// of which its slot is told.
    fn post(&self, link: Arc<Link>, letter: Arc<Letter>, promise: Promise) -> Option<Place> {
        let mut refused = match link.submit(letter, promise) {
            Ok(id) => return Some((link, id)),
            Err(refused) => refused,
        };
        // Between the choice and now the pair may have taken another link.
        if refused.letter.is_kept
            && let Some(newer) = self.peers.newer(&link)
        {
            match newer.submit(refused.letter, refused.waiter) {
                Ok(id) => return Some((newer, id)),
                Err(again) => refused = again,
            }
        }
        let NotTaken { letter, waiter, mut failure } = refused;
        failure.detail = format!("node {}: {}", link.peer.name, failure.detail);
        let letter = Some(letter).filter(|letter| letter.is_kept);
        let sent = Sent { waiter, deadline: None, letter };
        self.settle(sent, &link.peer.name, failure, Cost::Free);
        None
    }

    /// A letter has failed at a node: tries another one, once, if it has not started there or may run twice.
    pub(crate) fn settle(&self, sent: Sent<Promise>, node: &str, mut failure: Failure, cost: Cost) {
        let (promise, letter) = (sent.waiter, sent.letter.filter(|letter| letter.is_kept));
        let is_idempotent = letter.as_ref().is_some_and(|letter| letter.idempotent);
        let may_run = may_run_elsewhere(failure.reason, cost, is_idempotent) && !self.is_stopping();
        let Some(mut letter) = letter.filter(|_| may_run) else {
            return promise.keep(Err(failure));
        };
        Arc::make_mut(&mut letter).is_kept = false;
        let target = self.choose_other(&letter.stage, node, failure.reason);
        if !matches!(target, Target::Nowhere)
            && cost == Cost::Retry
            && !self.retries.retry(Instant::now())
        {
            count(&self.counters.retries_spent);
            failure.detail.push_str("; no other node is tried: too many signals were, lately");
            return promise.keep(Err(failure));
        }
        match target {
            Target::Nowhere => promise.keep(Err(failure)),
            Target::Link(link) => {
                count(&self.counters.retries);
                let slot = promise.slot();
                if let (Some(slot), Some(place)) = (slot, self.post(link, letter, promise)) {
                    slot.waits_at(&place);
                }
            }
            Target::Here => {
                count(&self.counters.retries);
                self.bring_home(Arc::unwrap_or_clone(letter), promise);
            }
        }
    }

    /// Delivers here what was on its way to another node.
    fn bring_home(&self, letter: Letter, promise: Promise) {
        promise.come_home();
        let responder = Responder::local(promise, letter.deadline);
        let known = |hash: &FunctionHash| find(&letter.functions, hash);
        let args = match wire::decode_known(&letter.args, &self.config.limits, &known) {
            Ok(args) => args,
            Err(error) => {
                return responder.fail(Failure::new(Reason::Malformed, error.to_string()));
            }
        };
        let node = &self.identity.name;
        let trace = letter.trace.as_deref().copied();
        let handled = Step::handle(trace, node, &letter.stage, &letter.message);
        let delivery = Delivery {
            message: letter.message,
            args,
            origin: Origin { node: Arc::clone(&self.identity.name), stage: letter.origin_stage },
            deadline: letter.deadline,
            received: Instant::now(),
            remote: false,
            wants_results: letter.wants_results,
            trace: handled.trace,
            responder: responder.spanned(handled.span),
        };
        self.deliver(&letter.stage, delivery);
    }

    /// Takes an envelope of a peer, or fails it before its arguments are looked at.
    pub(crate) fn receive(
        &self,
        arrived: Arrived,
        along: &[Arc<Prototype>],
        link: &Link,
        responder: Responder,
    ) {
        let (from, rule) = (&link.peer.name, link.rule.as_deref());
        let stage = &arrived.stage;
        let taken = self
            .permit(from, rule, stage)
            .and_then(|()| self.admit(stage))
            .and_then(|found| Ok((found, self.open(&arrived, along, link)?)));
        let (found, (message, args)) = match taken {
            Ok(taken) => taken,
            Err(failure) => {
                count(&self.counters.turned_away);
                if matches!(failure.reason, Reason::Malformed | Reason::Denied) {
                    self.complain(from, &failure.detail);
                }
                return responder.fail(failure);
            }
        };
        count(&self.counters.received);
        let handled = Step::handle(arrived.trace, &self.identity.name, stage, &message);
        let delivery = Delivery {
            message,
            args,
            origin: Origin { node: Arc::clone(from), stage: arrived.origin_stage },
            deadline: arrived.deadline,
            received: arrived.at,
            remote: true,
            wants_results: arrived.wants_results,
            trace: handled.trace,
            responder: responder.spanned(handled.span),
        };
        self.hand_over(&arrived.stage, &found, delivery);
    }

    /// Whether a sender may signal a stage of this node at all; without a rule it may.
    pub(crate) fn permit(
        &self,
        who: &str,
        rule: Option<&Rule>,
        stage: &str,
    ) -> Result<(), Failure> {
        if rule.is_none_or(|rule| rule.may_signal(stage)) {
            return Ok(());
        }
        let node = &self.identity.name;
        let detail = format!("node {node} does not let '{who}' signal stage '{stage}'");
        Err(Failure::new(Reason::Denied, detail))
    }

    /// Whether a peer's signal for a stage may come in.
    fn admit(&self, stage: &str) -> Result<Found, Failure> {
        self.admit_client()?;
        self.locals.find(stage).ok_or_else(|| self.no_stage(stage))
    }

    /// Whether a signal from outside may come in.
    pub(crate) fn admit_client(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            let detail = format!("node {} is stopping", self.identity.name);
            return Err(Failure::new(Reason::Stopping, detail));
        }
        self.gate.admit()
    }

    fn open(
        &self,
        arrived: &Arrived,
        along: &[Arc<Prototype>],
        link: &Link,
    ) -> Result<(MessageId, Vec<Value>), Failure> {
        let malformed = |what: String| Failure::new(Reason::Malformed, what);
        let message = arrived
            .message
            .clone()
            .map_err(|error| malformed(format!("the message id of an envelope: {error}")))?;
        let (bytes, limits) = (&arrived.args, &self.config.limits);
        let known = |hash: &FunctionHash| find(along, hash).or_else(|| link.function(hash));
        let args = match link.rule.as_ref().is_none_or(|rule| rule.functions) {
            true => wire::decode_known(bytes, limits, &known),
            false => wire::decode_data(bytes, limits),
        };
        match args {
            Ok(args) => Ok((message, args)),
            Err(error) if error.problem == wire::DecodeProblem::Function => {
                let (node, from) = (&self.identity.name, &link.peer.name);
                let detail = format!("node {node} does not let '{from}' ship functions");
                Err(Failure::new(Reason::Denied, detail))
            }
            Err(error) => Err(malformed(format!("the arguments of '{message}': {error}"))),
        }
    }

    /// Logs what a peer does wrong, though not all of it if that is much.
    pub(crate) fn complain(&self, who: &str, what: &str) {
        if let Some(left_out) = self.complaints.admit(Instant::now()) {
            tracing::warn!(who, left_out, "{what}");
        }
    }

    /// Hands a message to an instance of a stage of this node, or fails it.
    pub(crate) fn deliver(&self, stage: &str, delivery: Delivery) {
        match self.locals.find(stage) {
            Some(found) => self.hand_over(stage, &found, delivery),
            None => delivery.responder.fail(self.no_stage(stage)),
        }
    }

    fn hand_over(&self, stage: &str, found: &Found, delivery: Delivery) {
        if let Err(delivery) = found.deliver(delivery) {
            let node = &self.identity.name;
            let detail = format!("the queue of stage '{stage}' on node {node} is full");
            delivery.responder.fail(Failure::new(Reason::Overloaded, detail));
        }
    }

    /// The node for a signal that has been nowhere yet.
    fn choose(&self, stage: &str) -> Target {
        self.choose_by(stage, None, |candidates, rng| {
            let here = self.locals.carries(stage).then(|| self.advert().state);
            if !is_panic(candidates, here) {
                return choose(candidates, here, rng);
            }
            count(&self.counters.panics);
            choose_any(candidates, here, rng)
        })
    }

    /// The node for a signal that another one has not started or lost. What that one had no room for comes home only
    /// if there is room here.
    fn choose_other(&self, stage: &str, than: &str, why: Reason) -> Target {
        let was_shed = matches!(why, Reason::Refused | Reason::Overloaded);
        let here = self.locals.carries(stage).then(|| self.advert().state);
        let here = here.filter(|state| !was_shed || *state == NodeState::Joined);
        self.choose_by(stage, Some(than), |candidates, rng| choose(candidates, here, rng))
    }

    fn choose_by(
        &self,
        stage: &str,
        without: Option<&str>,
        choose: impl FnOnce(&[Candidate], &mut fastrand::Rng) -> Choice,
    ) -> Target {
        let open = self.peers.open();
        let carries = |link: &&Arc<Link>| {
            (link.carries(stage) || host_of_client(stage) == Some(&*link.peer.name))
                && without.is_none_or(|name| *name != *link.peer.name)
        };
        let mut carrying = open.iter().filter(carries);
        let (first, second) = (carrying.next(), carrying.next());
        let (Some(first), Some(second)) = (first, second) else {
            return match first {
                // Of one node that is in the mesh any choice is that one.
                Some(only) if only.advert().state == NodeState::Joined => {
                    Target::Link(Arc::clone(only))
                }
                only => target(only.map_or(&[][..], std::slice::from_ref), choose),
            };
        };
        let links: Vec<_> = [first, second].into_iter().chain(carrying).cloned().collect();
        target(&links, choose)
    }

    fn no_stage(&self, stage: &str) -> Failure {
        let mut known = self.locals.names();
        self.peers.open().iter().for_each(|link| known.extend(link.stages().iter().cloned()));
        known.sort();
        known.dedup();
        let more = if known.len() > LISTED { ", ..." } else { "" };
        let list = known.iter().take(LISTED).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
        let known = if list.is_empty() { "none".to_owned() } else { list + more };
        let node = &self.identity.name;
        let detail = format!("node {node} reaches no stage '{stage}'; known stages: {known}");
        Failure::new(Reason::NoStage, detail)
    }
}

/// Asks for a choice among links.
fn target(
    links: &[Arc<Link>],
    choose: impl FnOnce(&[Candidate], &mut fastrand::Rng) -> Choice,
) -> Target {
    let candidate = |link: &Arc<Link>| {
        let advert = link.advert();
        Candidate { state: advert.state, load: advert.load, unfinished: link.unfinished().0 }
    };
    let candidates: Vec<_> = links.iter().map(candidate).collect();
    match choose(&candidates, &mut fastrand::Rng::new()) {
        Choice::Peer(index) => {
            links.get(index).map_or(Target::Nowhere, |link| Target::Link(Arc::clone(link)))
        }
        Choice::Here => Target::Here,
        Choice::Nowhere => Target::Nowhere,
    }
}

fn find(functions: &[Arc<Prototype>], hash: &FunctionHash) -> Option<Arc<Prototype>> {
    functions.iter().find(|function| function.hash() == *hash).cloned()
}

/// Who sends a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A stage of this node: another node's stage is as good as this one's, and less busy.
    Node,
    /// An outside client: it has come to this node, so this node serves it if it can.
    Client,
}

impl Sender {
    fn is_served_here(self, locals: &Locals, stage: &Id) -> bool {
        self == Self::Client && locals.carries(stage.as_str())
    }
}

/// Where a signal goes.
enum Target {
    Link(Arc<Link>),
    Here,
    Nowhere,
}

impl Letter {
    fn new(outgoing: Outgoing, deadline: Option<Instant>) -> Self {
        let (args, functions) = wire::encode_by_hash(&outgoing.args);
        Self {
            stage: outgoing.destination.stage().to_shared(),
            message: outgoing.message,
            args,
            functions,
            origin_stage: outgoing.origin_stage,
            wants_results: outgoing.wants_results,
            idempotent: outgoing.idempotent,
            is_kept: false,
            deadline,
            trace: outgoing.trace.map(Box::new),
            queued: None,
        }
    }
}
