use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Who leads, as it is written down in the store: one line of text.
///
/// The leader may issue until `authority` after it sent the write that put the record there, and no
/// grant of it runs longer than `longest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Rises by one with each takeover.
    pub epoch: u64,
    /// Where the leader listens; empty if it has resigned.
    pub leader: String,
    /// Chosen at random when the leader starts: one that starts again is another one.
    pub incarnation: u64,
    /// How long one write lets the leader issue (D); zero if it has resigned.
    pub authority: Duration,
    /// The longest that a grant runs from its issue or extension (Gmax).
    pub longest: Duration,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, leader, incarnation, authority, longest } = self;
        let (authority, longest) = (authority.as_nanos(), longest.as_nanos());
        write!(f, "1 {epoch} {leader} {incarnation:016x} {authority} {longest}")
    }
}

impl FromStr for Record {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let fields: Vec<&str> = text.split(' ').collect();
        let ["1", epoch, leader, incarnation, authority, longest] = fields[..] else {
            return Err(RecordError);
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| RecordError);
        Ok(Self {
            epoch: number(epoch)?,
            leader: leader.to_owned(),
            incarnation: u64::from_str_radix(incarnation, 16).map_err(|_| RecordError)?,
            authority: Duration::from_nanos(number(authority)?),
            longest: Duration::from_nanos(number(longest)?),
        })
    }
}

/// A text that is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a leadership record of version 1")]
pub struct RecordError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written_and_nothing_else_does() {
        let record = Record {
            epoch: 7,
            leader: "10.0.0.1:4000".into(),
            incarnation: 0xfeed,
            authority: Duration::from_secs(3),
            longest: Duration::from_millis(1500),
        };
        let text = record.to_string();
        assert_eq!(text, "1 7 10.0.0.1:4000 000000000000feed 3000000000 1500000000");
        assert_eq!(text.parse(), Ok(record));
        for other in ["", "2 7 a 1 3 1", "1 7 a 1 3", "1 7 a 1 3 x", "1 -7 a 1 3 1"] {
            assert_eq!(other.parse::<Record>(), Err(RecordError), "{other}");
        }
    }
}
