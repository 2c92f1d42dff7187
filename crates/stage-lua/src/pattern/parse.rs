use super::set::Set;

/// The most captures of a pattern.
const CAPTURES: usize = 32;

/// Steps that are done before anybody would want to go on with something else.
const SOON: f64 = 4e6;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(super) items: Vec<Item>,
    /// Whether it matches at the beginning alone.
    pub(super) is_anchored: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    One(Set, Times),
    Open,
    Position,
    /// Closes a capture, by its number from 0.
    Close(usize),
    Balance(u8, u8),
    Frontier(Set),
    /// What a capture has matched, by its number from 0.
    Back(usize),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Maybe,
    /// As often as possible, and at least so often.
    Most(usize),
    /// As often as necessary.
    Least,
}

impl Item {
    fn repeats(&self) -> bool {
        matches!(self, Self::One(_, Times::Most(_) | Times::Least))
    }

    /// Whether there are texts that it does not match.
    fn can_fail(&self) -> bool {
        match self {
            Self::One(_, times) => matches!(times, Times::Once | Times::Most(1..)),
            Self::Balance(..) | Self::Frontier(_) | Self::Back(_) | Self::End => true,
            Self::Open | Self::Position | Self::Close(_) => false,
        }
    }
}

/// A pattern that is none, in the words of Lua.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("malformed pattern (ends with '%')")]
    EndsWithEscape,
    #[error("malformed pattern (missing ']')")]
    MissingBracket,
    #[error("malformed pattern (missing arguments to '%b')")]
    MissingBalance,
    #[error("missing '[' after '%f' in pattern")]
    MissingFrontier,
    #[error("invalid pattern capture")]
    InvalidCapture,
    #[error("invalid capture index %{0}")]
    InvalidIndex(usize),
    #[error("unfinished capture")]
    UnfinishedCapture,
    #[error("too many captures")]
    TooManyCaptures,
    #[error("pattern too long: at most {} bytes", Pattern::LONGEST)]
    TooLong,
}

impl Pattern {
    /// The longest text of one: compiled it takes many times as much, of which the VM's limit knows nothing.
    pub(crate) const LONGEST: usize = 1 << 16;

    /// Reads a pattern; without anchors `^` at its beginning is a character like any other.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &[u8], anchors: bool) -> Result<Self, PatternError> {
        if text.len() > Self::LONGEST {
            return Err(PatternError::TooLong);
        }
        let (is_anchored, text) = match text {
            [b'^', rest @ ..] if anchors => (true, rest),
            all => (false, all),
        };
        let mut reader = Reader { rest: text, items: Vec::new(), captures: Vec::new() };
        while !reader.rest.is_empty() {
            reader.item()?;
        }
        if reader.captures.contains(&Opened::Unfinished) {
            return Err(PatternError::UnfinishedCapture);
        }
        Ok(Self { items: reader.items, is_anchored })
    }

    /// The longest text for which a matcher without interruption is soon done, whatever the text is.
    pub(crate) fn harmless_length(&self) -> usize {
        let count = |counts: fn(&Item) -> bool| {
            self.items.iter().filter(|item| counts(item)).count() as i32
        };
        // Each of them tries up to as many places as the text is long, if something behind it can fail.
        let last = self.items.iter().rposition(Item::can_fail).unwrap_or(0);
        let repetitions = self.items.iter().take(last).filter(|item| item.repeats()).count() as i32;
        let walks = count(|item| matches!(item, Item::Balance(..) | Item::Back(_)));
        let loops = repetitions + walks;
        let branches = count(|item| matches!(item, Item::One(_, Times::Maybe)));
        let exponent = loops + i32::from(!self.is_anchored);
        let per_place = (self.items.len().max(1) as f64) * 2f64.powi(branches);
        if exponent == 0 {
            return if per_place <= SOON { usize::MAX } else { 0 };
        }
        // A float that is too large becomes the largest integer, one below 1 becomes 0.
        (SOON / per_place).powf(1.0 / f64::from(exponent)) as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Unfinished,
    Finished,
}

struct Reader<'a> {
    rest: &'a [u8],
    items: Vec<Item>,
    captures: Vec<Opened>,
}

impl Reader<'_> {
    fn item(&mut self) -> Result<(), PatternError> {
        let (item, rest) = match self.rest {
            [b'(', b')', rest @ ..] => {
                self.open(Opened::Finished)?;
                (Item::Position, rest)
            }
            [b'(', rest @ ..] => {
                self.open(Opened::Unfinished)?;
                (Item::Open, rest)
            }
            [b')', rest @ ..] => (Item::Close(self.close()?), rest),
            [b'$'] => (Item::End, &[][..]),
            [b'%', b'b', first, last, rest @ ..] => (Item::Balance(*first, *last), rest),
            [b'%', b'b', ..] => return Err(PatternError::MissingBalance),
            [b'%', b'f', rest @ ..] => {
                if rest.first() != Some(&b'[') {
                    return Err(PatternError::MissingFrontier);
                }
                let (set, rest) = class(rest)?;
                (Item::Frontier(set), rest)
            }
            [b'%', digit @ b'0'..=b'9', rest @ ..] => (self.back(*digit)?, rest),
            other => {
                let (set, rest) = class(other)?;
                let (times, rest) = match rest {
                    [b'?', rest @ ..] => (Times::Maybe, rest),
                    [b'*', rest @ ..] => (Times::Most(0), rest),
                    [b'+', rest @ ..] => (Times::Most(1), rest),
                    [b'-', rest @ ..] => (Times::Least, rest),
                    rest => (Times::Once, rest),
                };
                (Item::One(set, times), rest)
            }
        };
        self.items.push(item);
        self.rest = rest;
        Ok(())
    }

    fn open(&mut self, opened: Opened) -> Result<(), PatternError> {
        if self.captures.len() >= CAPTURES {
            return Err(PatternError::TooManyCaptures);
        }
        self.captures.push(opened);
        Ok(())
    }

    /// Closes the capture that was opened last and is open.
    fn close(&mut self) -> Result<usize, PatternError> {
        let unfinished = self.captures.iter().rposition(|opened| *opened == Opened::Unfinished);
        let last = unfinished.ok_or(PatternError::InvalidCapture)?;
        self.captures[last] = Opened::Finished;
        Ok(last)
    }

    fn back(&self, digit: u8) -> Result<Item, PatternError> {
        let number = usize::from(digit - b'0');
        let known = number.checked_sub(1).and_then(|index| self.captures.get(index));
        if known != Some(&Opened::Finished) {
            return Err(PatternError::InvalidIndex(number));
        }
        Ok(Item::Back(number - 1))
    }
}

/// One class of characters at the beginning of a text, which is not empty, and what follows.
fn class(text: &[u8]) -> Result<(Set, &[u8]), PatternError> {
    match text {
        [b'%'] => Err(PatternError::EndsWithEscape),
        [b'%', class, rest @ ..] => Ok((Set::of_class(*class), rest)),
        [b'.', rest @ ..] => Ok((Set::ALL, rest)),
        [b'[', rest @ ..] => {
            let end = bracket_end(rest).ok_or(PatternError::MissingBracket)?;
            Ok((Set::of_brackets(&rest[..end]), &rest[end + 1..]))
        }
        [byte, rest @ ..] => Ok((Set::of(*byte), rest)),
        [] => Ok((Set::EMPTY, text)),
    }
}

/// Where the `]` of a set stands. One that comes first is a character of the set.
fn bracket_end(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(text.first() == Some(&b'^'));
    loop {
        at += if *text.get(at)? == b'%' { 2 } else { 1 };
        if *text.get(at)? == b']' {
            return Some(at);
        }
    }
}
