use std::ops::Deref;
use std::sync::Arc;

use stage_route::{Arrival, Meter};
use stage_signal::{Delivery, Inbox};
use stage_value::{Address, Id, Value};

use crate::caller::Caller;
use crate::handlers::Known;
use crate::mailbox::Mailbox;
use crate::testing::Question;
use crate::worker::{Call, Workers};

/// The stage instance that a run belongs to.
///
/// A function that the instance submitted runs elsewhere; its signals go out from here and their
/// replies come back here.
#[derive(Clone)]
pub(crate) struct Home(Arc<Front>);

/// What is in front of an instance.
pub(crate) struct Front {
    pub(crate) stage: Id,
    pub(crate) mailbox: Mailbox<Mail>,
    pub(crate) meter: Meter,
    /// What the instance hears.
    pub(crate) known: Arc<Known>,
    pub(crate) workers: Arc<Workers>,
}

impl Home {
    /// Has a worker run the function that came with a message, and answer its sender.
    pub(crate) fn ship(&self, delivery: Delivery) {
        let for_peer = is_of_peer(&delivery);
        let Delivery { message, mut args, responder, trace, .. } = delivery;
        let Value::Function(function) = args.remove(0) else { return };
        let call = Call {
            name: message.to_shared(),
            function,
            args,
            home: self.clone(),
            takes_reply: true,
            thread: None,
            for_peer,
            trace,
        };
        self.workers.start(call, Caller::sender(responder));
    }
}

/// Whether another node sent it, which can send it elsewhere if it is told in time.
pub(crate) fn is_of_peer(delivery: &Delivery) -> bool {
    delivery.remote && !delivery.origin.node.is_empty()
}

impl From<Front> for Home {
    fn from(front: Front) -> Self {
        Self(Arc::new(front))
    }
}

impl Deref for Home {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.0
    }
}

impl Inbox for Home {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        // A function that no handler is to get need not wait until the instance has time to see that.
        if matches!(delivery.args.first(), Some(Value::Function(_)))
            && !self.known.may_hear(&delivery.message)
        {
            self.ship(delivery);
            return Ok(());
        }
        match self.mailbox.room() {
            Some(room) => {
                room.send(Mail::Delivery(Box::new(delivery), self.meter.arrived()));
                Ok(())
            }
            None => Err(delivery),
        }
    }

    fn load(&self) -> usize {
        self.mailbox.waiting() + self.mailbox.running()
    }
}

/// What an instance finds in its mailbox.
pub(crate) enum Mail {
    /// A message for one of its handlers.
    Delivery(Box<Delivery>, Arrival),
    /// A signal of a function that it submitted, and whether it may run twice.
    Signal(Address, bool, Vec<Value>),
    /// What a thread that it started has to tell; without arguments the thread has ended.
    Thread(Arc<str>, Option<Vec<Value>>),
    /// Something that happened to the node.
    Event(Event),
    /// Something about its tests.
    Test(Question),
    /// To stop.
    Stop,
}

/// Something that happened to the node, for handlers registered under its name.
#[derive(Clone, Debug)]
pub struct Event {
    /// The id that handlers are registered under: `route:state` and others.
    pub name: Arc<str>,
    /// What the handlers get.
    pub args: Vec<Value>,
}
