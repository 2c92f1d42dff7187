use std::fmt;

/// Text that is no address, with the place where it stops being one.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressError {
    excerpt: String,
    caret: usize,
    column: usize,
    found: Option<char>,
    problem: AddressProblem,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressProblem {
    /// A character that cannot stand at this place.
    Character,
    /// The text ends where a name is expected.
    Missing,
    /// A name exceeds its limit in bytes.
    IdTooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The whole address exceeds its limit in bytes.
    TooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The text ends where `=callback` of a ticket is expected.
    MissingCallback,
    /// A scope stands before `ticket:`.
    TicketWithScope,
}

impl AddressError {
    /// An error at a byte of the text; the excerpt shows some characters around it.
    pub(super) fn new(text: &str, at: usize, problem: AddressProblem) -> Self {
        const BEFORE: usize = 40;
        const AFTER: usize = 30;
        let column = text[..at].chars().count();
        let cut = column.saturating_sub(BEFORE);
        let mut excerpt = String::from(if cut > 0 { "..." } else { "" });
        let caret = excerpt.len() + column - cut;
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        excerpt.extend(text.chars().skip(cut).take(BEFORE + AFTER).map(shown));
        if text.chars().nth(cut + BEFORE + AFTER).is_some() {
            excerpt.push_str("...");
        }
        Self { excerpt, caret, column: column + 1, found: text[at..].chars().next(), problem }
    }

    /// Where the text stops being an address, in characters from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong there.
    #[must_use]
    pub fn problem(&self) -> &AddressProblem {
        &self.problem
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address, column {}: ", self.column)?;
        match (&self.problem, self.found) {
            (AddressProblem::Character, Some(c)) if c.is_control() => {
                write!(f, "a control character cannot stand here")
            }
            (AddressProblem::Character, Some(c)) => write!(f, "'{c}' cannot stand here"),
            (AddressProblem::Character, None) | (AddressProblem::Missing, _) => {
                write!(f, "a name is expected here")
            }
            (AddressProblem::IdTooLong { limit }, _) => {
                write!(f, "the name that starts here exceeds {limit} bytes")
            }
            (AddressProblem::TooLong { limit }, _) => write!(f, "longer than {limit} bytes"),
            (AddressProblem::TicketWithScope, _) => {
                write!(f, "a ticket takes no scope: its callback runs at the sender")
            }
            (AddressProblem::MissingCallback, _) => {
                write!(f, "a ticket needs '=callback' here, as in ticket:login=login_callback")
            }
        }?;
        write!(f, "\n  {}\n  {:width$}^", self.excerpt, "", width = self.caret)
    }
}

impl fmt::Debug for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for AddressError {}
