//! Addresses: everything a signal can be sent to, in one typed value.
//!
//! ```text
//! address   = [scope] [target] message [reply] [failure]
//! scope     = "*" every stage of that name | "=" same host group | "+" other nodes
//! target    = stage-id ":"            absent: this stage;  ":" alone: this very instance
//! message   = id { "." id }
//! reply     = "=" id                  handler at the sender that gets the results
//! failure   = "!" id                  handler at the sender that gets (reason, address)
//! ticket    = "ticket:" category "=" callback [ "?" feedback ]
//!             "ticket:@" category     create or alter
//!             "ticket:=" category     broadcast to the holders
//! ```
//!
//! An id is 1 to 128 bytes of letters and digits of any script, `_`, `-` and `$`. [`Display`]
//! writes the text that parses to the same value.
//!
//! [`Display`]: std::fmt::Display

mod display;
mod error;
mod id;
mod parse;

pub use error::{AddressError, AddressProblem};
pub use id::{HandlerId, Id, MessageId};

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A message to a handler, or a function to run.
    Signal(SignalAddress),
    /// `ticket:category=callback?feedback`: run the callback once a permit is granted.
    Ticket {
        /// Which permits.
        category: Id,
        /// The handler that runs while the permit is held.
        callback: MessageId,
        /// The handler that learns whether the permit was granted.
        feedback: Option<MessageId>,
    },
    /// `ticket:@category`: create or alter a category.
    TicketCategory(Id),
    /// `ticket:=category`: tell all holders of a category.
    TicketBroadcast(Id),
}

/// Where a message goes and who hears of its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignalAddress {
    /// Whether one stage gets it or many.
    pub scope: Option<Scope>,
    /// Which stage.
    pub target: Target,
    /// Which handler there.
    pub message: MessageId,
    /// The handler at the sender that gets the results.
    pub reply: Option<MessageId>,
    /// The handler at the sender that gets the reason and the address.
    pub failure: Option<MessageId>,
}

/// The set of stages that a message is for; none means one stage of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// `*`: every stage of that name, here and elsewhere.
    Every,
    /// `=`: every stage of that name on nodes of the same host group.
    Group,
    /// `+`: every stage of that name on other nodes.
    Others,
}

/// Which stage a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// No target: the sender's stage, any instance of it on this node.
    Own,
    /// `:`: the very instance that sends.
    Instance,
    /// `name:`: a stage by name, on whichever node is best.
    Stage(Id),
}

impl SignalAddress {
    /// An address of a handler on the sender's own stage, without scope, reply or failure.
    #[must_use]
    pub fn own(message: MessageId) -> Self {
        Self { scope: None, target: Target::Own, message, reply: None, failure: None }
    }
}
