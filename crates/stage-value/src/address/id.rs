use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::error::{AddressError, AddressProblem};

/// The most bytes of one id.
const ID_BYTES: usize = 128;

/// The most bytes of one dotted message id.
const MESSAGE_BYTES: usize = 512;

/// A name of a stage or a ticket category.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Arc<str>);

/// A dotted name of a message: `lobby.join`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

/// What a handler is registered under.
///
/// `"lobby.join"` hears that message alone; with a trailing dot, `"lobby."` hears every message
/// below it that has no closer handler. `"ticket:..."` and `"route:state"` name the events of the
/// node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandlerId {
    /// One message.
    Exact(MessageId),
    /// All messages below a dotted prefix; the text includes the trailing dot.
    Prefix(Arc<str>),
    /// An event of the node: `ticket:@`, `ticket:CATEGORY`, `route:state`.
    Event(Arc<str>),
}

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared.
            #[must_use]
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text!(Id);
text!(MessageId);

impl MessageId {
    /// The dotted prefixes that may have a handler, longest first: `a.b.c` has `a.b.` and `a.`.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.0.rmatch_indices('.').map(|(at, _)| &self.0[..=at])
    }
}

impl FromStr for Id {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = check_id(text, 0)?;
        if rest < text.len() {
            return Err(AddressError::new(text, rest, AddressProblem::Character));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for MessageId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = check_message(text, 0)?;
        if rest < text.len() {
            return Err(AddressError::new(text, rest, AddressProblem::Character));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for HandlerId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text == "route:state" || text == "ticket:@" {
            return Ok(Self::Event(text.into()));
        }
        if let Some(category) = text.strip_prefix("ticket:") {
            let start = text.len() - category.len();
            let end = check_id(text, start)?;
            return if end == text.len() {
                Ok(Self::Event(text.into()))
            } else {
                Err(AddressError::new(text, end, AddressProblem::Character))
            };
        }
        match text.strip_suffix('.') {
            Some(prefix) => {
                let end = check_message(text, 0)?;
                if end == prefix.len() {
                    Ok(Self::Prefix(text.into()))
                } else {
                    Err(AddressError::new(text, end, AddressProblem::Character))
                }
            }
            None => text.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for HandlerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => fmt::Display::fmt(id, f),
            Self::Prefix(text) | Self::Event(text) => f.write_str(text),
        }
    }
}

/// Checks that an id starts at `start` and returns where it ends.
pub(super) fn check_id(text: &str, start: usize) -> Result<usize, AddressError> {
    let length = text[start..].find(|c| !is_id_character(c)).unwrap_or(text.len() - start);
    let end = start + length;
    match length {
        0 if end == text.len() => Err(AddressError::new(text, end, AddressProblem::Missing)),
        0 => Err(AddressError::new(text, end, AddressProblem::Character)),
        1..=ID_BYTES => Ok(end),
        _ => Err(AddressError::new(text, start, AddressProblem::IdTooLong { limit: ID_BYTES })),
    }
}

/// Checks that a dotted message id starts at `start` and returns where it ends.
///
/// A dot that no id follows is left unread: it may end a handler's prefix.
pub(super) fn check_message(text: &str, start: usize) -> Result<usize, AddressError> {
    let mut end = check_id(text, start)?;
    while text[end..].starts_with('.') && text.len() > end + 1 {
        end = check_id(text, end + 1)?;
    }
    if end - start > MESSAGE_BYTES {
        let problem = AddressProblem::IdTooLong { limit: MESSAGE_BYTES };
        return Err(AddressError::new(text, start, problem));
    }
    Ok(end)
}

/// Makes ids of text that has been checked.
pub(super) fn checked_id(text: &str) -> Id {
    Id(text.into())
}

/// Makes message ids of text that has been checked.
pub(super) fn checked_message(text: &str) -> MessageId {
    MessageId(text.into())
}

fn is_id_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$')
}
