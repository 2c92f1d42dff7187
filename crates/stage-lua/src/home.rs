use std::sync::Arc;

use stage_route::{Arrival, Meter};
use stage_signal::{Delivery, Inbox};
use stage_value::{Address, Id, Value};

use crate::mailbox::Mailbox;
use crate::testing::Question;

/// The stage instance that a run belongs to.
///
/// A function that the instance submitted runs elsewhere; its signals go out from here and their
/// replies come back here.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) stage: Id,
    pub(crate) mailbox: Mailbox<Mail>,
    pub(crate) meter: Meter,
}

impl Inbox for Home {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
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
    /// A signal of a function that it submitted.
    Signal(Address, Vec<Value>),
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
