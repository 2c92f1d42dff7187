use std::str::FromStr;

use super::error::{AddressError, AddressProblem};
use super::id::{check_id, check_message, checked_id, checked_message};
use super::{Address, Id, MessageId, Scope, SignalAddress, Target};

/// The most bytes of an address.
const ADDRESS_BYTES: usize = 2048;

const TICKET: &str = "ticket:";

impl FromStr for Address {
    type Err = AddressError;

    /// Parses an address. O(length).
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES {
            let problem = AddressProblem::TooLong { limit: ADDRESS_BYTES };
            return Err(AddressError::new(text, 0, problem));
        }
        let mut cursor = Cursor { text, at: 0 };
        let address = if cursor.take(TICKET) { cursor.ticket()? } else { cursor.signal()? };
        cursor.end()?;
        Ok(address)
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn ticket(&mut self) -> Result<Address, AddressError> {
        if self.take("@") {
            return self.id().map(Address::TicketCategory);
        }
        if self.take("=") {
            return self.id().map(Address::TicketBroadcast);
        }
        let category = self.id()?;
        if self.at == self.text.len() {
            return Err(self.error(AddressProblem::MissingCallback));
        }
        if !self.take("=") {
            return Err(self.error(AddressProblem::Character));
        }
        let callback = self.message()?;
        let feedback = self.after("?")?;
        Ok(Address::Ticket { category, callback, feedback })
    }

    fn signal(&mut self) -> Result<Address, AddressError> {
        let scope = self.scope();
        let target = self.target()?;
        let message = self.message()?;
        let reply = self.after("=")?;
        let failure = self.after("!")?;
        Ok(Address::Signal(SignalAddress { scope, target, message, reply, failure }))
    }

    fn scope(&mut self) -> Option<Scope> {
        let scopes = [("*", Scope::Every), ("=", Scope::Group), ("+", Scope::Others)];
        scopes.into_iter().find(|(sign, _)| self.take(sign)).map(|(_, scope)| scope)
    }

    fn target(&mut self) -> Result<Target, AddressError> {
        if self.take(":") {
            return Ok(Target::Instance);
        }
        let end = check_id(self.text, self.at)?;
        if !self.text[end..].starts_with(':') {
            return Ok(Target::Own);
        }
        if self.text[self.at..=end] == *TICKET {
            return Err(self.error(AddressProblem::TicketWithScope));
        }
        let stage = checked_id(&self.text[self.at..end]);
        self.at = end + 1;
        Ok(Target::Stage(stage))
    }

    /// A handler's name behind a sign, if the sign is there.
    fn after(&mut self, sign: &str) -> Result<Option<MessageId>, AddressError> {
        if self.take(sign) { self.message().map(Some) } else { Ok(None) }
    }

    fn id(&mut self) -> Result<Id, AddressError> {
        let end = check_id(self.text, self.at)?;
        let id = checked_id(&self.text[self.at..end]);
        self.at = end;
        Ok(id)
    }

    fn message(&mut self) -> Result<MessageId, AddressError> {
        let end = check_message(self.text, self.at)?;
        let message = checked_message(&self.text[self.at..end]);
        self.at = end;
        Ok(message)
    }

    fn take(&mut self, sign: &str) -> bool {
        let taken = self.text[self.at..].starts_with(sign);
        if taken {
            self.at += sign.len();
        }
        taken
    }

    fn end(&self) -> Result<(), AddressError> {
        if self.at < self.text.len() {
            return Err(self.error(AddressProblem::Character));
        }
        Ok(())
    }

    fn error(&self, problem: AddressProblem) -> AddressError {
        AddressError::new(self.text, self.at, problem)
    }
}
