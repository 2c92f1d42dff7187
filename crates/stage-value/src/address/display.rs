use std::fmt;

use super::{Address, Scope, SignalAddress, Target};

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => fmt::Display::fmt(signal, f),
            Self::Ticket { category, callback, feedback } => {
                write!(f, "ticket:{category}={callback}")?;
                feedback.iter().try_for_each(|feedback| write!(f, "?{feedback}"))
            }
            Self::TicketCategory(category) => write!(f, "ticket:@{category}"),
            Self::TicketBroadcast(category) => write!(f, "ticket:={category}"),
        }
    }
}

impl fmt::Display for SignalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scope {
            None => "",
            Some(Scope::Every) => "*",
            Some(Scope::Group) => "=",
            Some(Scope::Others) => "+",
        })?;
        match &self.target {
            Target::Own => {}
            Target::Instance => f.write_str(":")?,
            Target::Stage(stage) => write!(f, "{stage}:")?,
        }
        write!(f, "{}", self.message)?;
        self.reply.iter().try_for_each(|reply| write!(f, "={reply}"))?;
        self.failure.iter().try_for_each(|failure| write!(f, "!{failure}"))
    }
}
