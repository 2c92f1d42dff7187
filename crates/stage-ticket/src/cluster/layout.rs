use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::record::Record;
use crate::coordinator::takeover_wait;
use crate::{Drift, Shards, Time};

/// Over how many shards the cluster counts, as it is written down in the store: one line of text.
///
/// A leader's write of its record succeeds only while the layout is the one it took part in, so two layouts never
/// count at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The number of shards.
    pub shards: Shards,
    /// No epoch of this layout is lower, and none of an earlier layout is as high: a category that moves to
    /// another shard keeps rising tokens.
    pub first_epoch: u64,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 {} {}", self.shards.count(), self.first_epoch)
    }
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let fields: Vec<&str> = text.split(' ').collect();
        let ["1", shards, first_epoch] = fields[..] else { return Err(LayoutError) };
        let shards = shards.parse().map_err(|_| LayoutError)?;
        Ok(Self {
            shards: Shards::try_new(shards).map_err(|_| LayoutError)?,
            first_epoch: first_epoch.parse().map_err(|_| LayoutError)?,
        })
    }
}

/// A text that is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a layout of shards of version 1")]
pub struct LayoutError;

/// What the store holds besides the nodes: the layout, and the records of its shards, each with its revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The layout; none if nobody has written one.
    pub layout: Option<(Layout, i64)>,
    /// The records of the shards that have been led, by their index.
    pub records: BTreeMap<u32, (Record, i64)>,
}

impl Survey {
    /// Rises with every write.
    fn revision(&self) -> i64 {
        let records = self.records.values().map(|(_, revision)| *revision);
        records.chain(self.layout.map(|(_, revision)| revision)).max().unwrap_or_default()
    }
}

/// How a member comes to the layout that it is configured for: no clock, no I/O.
///
/// The first member of a cluster writes the layout down. A member that is configured for another number of shards takes
/// no part until nothing that was granted under the old layout can be held any more: until every shard has been silent
/// for its authority and its longest grant, as at a takeover without reports. Then it writes its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    shards: Shards,
    first_epoch: u64,
    drift: Drift,
    /// The newest revision that was seen, and since when.
    seen: Option<(i64, Time)>,
}

/// What a member does about the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes part.
    Agreed {
        /// The layout.
        layout: Layout,
        /// Its revision, which every write of a leader compares.
        revision: i64,
    },
    /// It writes the layout, which succeeds only if nothing that was surveyed has changed.
    Write {
        /// The new layout.
        layout: Layout,
    },
    /// It waits for those who count otherwise.
    Wait {
        /// Their layout; none if it was removed.
        theirs: Option<Layout>,
    },
}

impl Entry {
    /// A member that is configured for `shards`; `first_epoch` is for a cluster that has none yet.
    #[must_use]
    pub fn new(shards: Shards, first_epoch: u64, drift: Drift) -> Self {
        Self { shards, first_epoch, drift, seen: None }
    }

    /// Decides by what the store holds. `now` is when it answered.
    #[must_use]
    pub fn decide(&mut self, now: Time, survey: &Survey) -> Verdict {
        if let Some((layout, revision)) = survey.layout
            && layout.shards == self.shards
        {
            return Verdict::Agreed { layout, revision };
        }
        let theirs = survey.layout.map(|(layout, _)| layout);
        let newest = survey.revision();
        let since = match self.seen {
            Some((revision, since)) if revision == newest => since,
            _ => now,
        };
        self.seen = Some((newest, since));
        if now < since.after(self.patience(survey)) {
            return Verdict::Wait { theirs };
        }
        let used = survey.records.values().map(|(record, _)| record.epoch.saturating_add(1));
        let first_epoch = used.chain(theirs.map(|theirs| theirs.first_epoch));
        let first_epoch = first_epoch.fold(self.first_epoch, u64::max);
        Verdict::Write { layout: Layout { shards: self.shards, first_epoch } }
    }

    /// How long all shards must be silent until nothing of theirs is held.
    fn patience(&self, survey: &Survey) -> Duration {
        let over = |record: &Record| takeover_wait(record.authority, record.longest, self.drift);
        survey.records.values().map(|(record, _)| over(record)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn shards(count: u32) -> Shards {
        Shards::try_new(count).unwrap()
    }

    fn entry(count: u32) -> Entry {
        Entry::new(shards(count), 100, Drift { ppm: 0 })
    }

    fn record(epoch: u64, authority: u64) -> Record {
        Record {
            epoch,
            leader: "a:1".into(),
            incarnation: 7,
            authority: Duration::from_millis(authority),
            longest: Duration::from_millis(500),
        }
    }

    fn survey(layout: (u32, u64, i64), records: &[(Record, i64)]) -> Survey {
        let (count, first_epoch, revision) = layout;
        let layout = Layout { shards: shards(count), first_epoch };
        let records = (0..).zip(records.iter().cloned()).collect();
        Survey { layout: Some((layout, revision)), records }
    }

    #[test]
    fn a_layout_reads_back_as_it_was_written_and_nothing_else_does() {
        let layout = Layout { shards: shards(4), first_epoch: 9 };
        assert_eq!(layout.to_string(), "1 4 9");
        assert_eq!(layout.to_string().parse(), Ok(layout));
        for other in ["", "2 4 9", "1 0 9", "1 65 9", "1 4", "1 4 -9", "1 4 9 "] {
            assert_eq!(other.parse::<Layout>(), Err(LayoutError), "{other}");
        }
    }

    #[test]
    fn the_first_member_writes_the_layout_and_the_next_ones_join_it() {
        let written = Layout { shards: shards(2), first_epoch: 100 };
        assert_eq!(
            entry(2).decide(Time::ZERO, &Survey::default()),
            Verdict::Write { layout: written }
        );
        let there = survey((2, 40, 3), &[(record(41, 1000), 8)]);
        let layout = Layout { shards: shards(2), first_epoch: 40 };
        assert_eq!(entry(2).decide(Time::ZERO, &there), Verdict::Agreed { layout, revision: 3 });
    }

    #[test]
    fn a_member_of_another_layout_waits_for_the_authority_and_the_longest_grant_of_every_shard() {
        let mut entry = entry(4);
        let theirs = Some(Layout { shards: shards(2), first_epoch: 40 });
        let one = survey((2, 40, 3), &[(record(141, 1000), 8), (record(50, 0), 5)]);
        assert_eq!(entry.decide(Time(0), &one), Verdict::Wait { theirs });
        assert_eq!(entry.decide(Time(1499 * MS), &one), Verdict::Wait { theirs });
        // Any of them is heard of again.
        let two = survey((2, 40, 3), &[(record(141, 1000), 8), (record(50, 0), 9)]);
        assert_eq!(entry.decide(Time(1500 * MS), &two), Verdict::Wait { theirs });
        assert_eq!(entry.decide(Time(2999 * MS), &two), Verdict::Wait { theirs });
        let layout = Layout { shards: shards(4), first_epoch: 142 };
        assert_eq!(entry.decide(Time(3000 * MS), &two), Verdict::Write { layout });
    }

    #[test]
    fn records_without_a_layout_are_waited_for_too() {
        let mut entry = entry(1);
        let removed = Survey { layout: None, ..survey((1, 0, 0), &[(record(141, 1000), 8)]) };
        assert_eq!(entry.decide(Time(0), &removed), Verdict::Wait { theirs: None });
        let layout = Layout { shards: shards(1), first_epoch: 142 };
        assert_eq!(entry.decide(Time(1500 * MS), &removed), Verdict::Write { layout });
    }

    #[test]
    fn epochs_never_fall_with_a_new_layout() {
        let mut entry = entry(1);
        let led_by_nobody = survey((2, 400, 3), &[]);
        let layout = Layout { shards: shards(1), first_epoch: 400 };
        assert_eq!(entry.decide(Time(0), &led_by_nobody), Verdict::Write { layout });
    }
}
