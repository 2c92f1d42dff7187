use std::time::Duration;

use super::record::Record;
use crate::coordinator::takeover_wait;
use crate::{Drift, Time};

/// One member's part in the decision who leads: no clock, no I/O.
///
/// There is one record, and a write of it succeeds only if nobody wrote since the writer looked
/// (the store compares revisions). A leader writes it again and again and may issue until
/// [`Record::authority`] after it **sent** the last write that succeeded. A member that has seen
/// one revision for that long may put its own name there: the old leader's authority has ended by
/// then, for its last write was sent before it could be seen, and its next one will fail.
///
/// C. Gray and D. Cheriton, "Leases" (SOSP 1989), for authority that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leadership {
    terms: Terms,
    seen: Option<Seen>,
    attempt: Option<Attempt>,
    leading: Option<Leading>,
    courtesy: Duration,
}

/// How long tickets may go without a coordinator that could be had.
const MOST_COURTESY: Duration = Duration::from_millis(100);

/// What a member brings to the decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Where the member listens.
    pub address: String,
    /// Chosen at random when the member starts.
    pub incarnation: u64,
    /// How long one write lets it issue (D).
    pub authority: Duration,
    /// How long its grants run unless they are extended.
    pub grant: Duration,
    /// The epoch of the very first leader; above any whose tokens a resource may remember.
    pub first_epoch: u64,
    /// How far the members' clocks may run apart.
    pub drift: Drift,
}

/// The record as it was seen, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    record: Option<Record>,
    revision: i64,
    since: Time,
}

/// A takeover that was sent: its record, and when the predecessor's grants are over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    record: Record,
    over: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Leading {
    epoch: u64,
    longest: Duration,
    renew: Time,
}

/// A write of the record, to succeed only at `expected` (0: no record).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Write {
    /// The revision that the record must still have.
    pub expected: i64,
    /// What is written.
    pub record: Record,
}

/// What the driver has to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Lead: ask every node that is written down, and issue when all have reported or at `over`.
    Lead {
        /// The epoch.
        epoch: u64,
        /// When every grant of a predecessor is over.
        over: Time,
        /// The longest grant that may be under way until then.
        longest: Duration,
    },
    /// Issue until then.
    Issue {
        /// By this member's clock.
        until: Time,
    },
    /// Lead no longer.
    StepDown,
    /// Somebody else leads.
    Follow {
        /// Where the leader listens.
        leader: String,
    },
}

impl Leadership {
    /// A member that has seen nothing yet.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, seen: None, attempt: None, leading: None, courtesy: Duration::ZERO }
    }

    /// Lets other members go first, for so long: one that leads much already does. Where tickets may be held it is for at
    /// most a tenth of a second, since they are not extended meanwhile.
    pub fn defer(&mut self, courtesy: Duration) {
        self.courtesy = courtesy;
    }

    /// The epoch that this member leads, if it does, and the longest grant of its record.
    #[must_use]
    pub fn leads(&self) -> Option<(u64, Duration)> {
        self.leading.as_ref().map(|leading| (leading.epoch, leading.longest))
    }

    /// Notes what the store held when it was asked; `revision` is 0 if there was no record. `now`
    /// is when the answer came.
    #[must_use]
    pub fn observed(&mut self, now: Time, record: Option<Record>, revision: i64) -> Vec<Step> {
        if self.seen.as_ref().is_some_and(|seen| seen.revision == revision) {
            return Vec::new();
        }
        let mine = record.clone().filter(|record| record.incarnation == self.terms.incarnation);
        let leader = record.as_ref().map(|record| record.leader.clone()).unwrap_or_default();
        self.seen = Some(Seen { record, revision, since: now });
        match (mine, &self.leading) {
            // A renewal whose answer was lost.
            (Some(mine), Some(leading)) if mine.epoch == leading.epoch => Vec::new(),
            // A takeover whose answer was lost.
            (Some(mine), None) => self.lead(now, &mine),
            (_, Some(_)) => {
                self.leading = None;
                vec![Step::StepDown, Step::Follow { leader }]
            }
            (None, None) => vec![Step::Follow { leader }],
        }
    }

    /// What is to be written now: a renewal that is due or `pressed` for, or a takeover after
    /// silence. `longest` is the longest grant from now on, for a renewal.
    #[must_use]
    pub fn due(&mut self, now: Time, pressed: bool, longest: Duration) -> Option<Write> {
        let seen = self.seen.as_ref()?;
        if let Some(leading) = &self.leading {
            let record = self.record(leading.epoch, longest);
            return (pressed || leading.renew <= now)
                .then_some(Write { expected: seen.revision, record });
        }
        if self.silent_at().is_none_or(|at| now < at) {
            return None;
        }
        let Terms { grant, first_epoch, drift, .. } = self.terms;
        let (epoch, longest, over) = match &seen.record {
            None => (first_epoch, grant, now),
            Some(old) => {
                let wait = takeover_wait(old.authority, old.longest, drift);
                (old.epoch.saturating_add(1), old.longest.max(grant), seen.since.after(wait))
            }
        };
        let (expected, record) = (seen.revision, self.record(epoch, longest));
        self.attempt = Some(Attempt { record: record.clone(), over });
        Some(Write { expected, record })
    }

    /// Gives up leading: nothing may be issued from here on, and what is to be written lets the next member lead
    /// at once. `longest` is how long a grant may still live.
    #[must_use]
    pub fn resign(&mut self, longest: Duration) -> Option<Write> {
        let leading = self.leading.take()?;
        let seen = self.seen.as_ref()?;
        let nobody = Record {
            leader: String::new(),
            authority: Duration::ZERO,
            ..self.record(leading.epoch, longest)
        };
        Some(Write { expected: seen.revision, record: nobody })
    }

    /// Notes that a write sent at `sent` succeeded and gave the record this revision.
    #[must_use]
    pub fn written(&mut self, sent: Time, now: Time, record: Record, revision: i64) -> Vec<Step> {
        let until = sent.after(record.authority);
        let mut steps = match self.leading {
            Some(_) => Vec::new(),
            None => self.lead(now, &record),
        };
        if let Some(leading) = &mut self.leading {
            leading.renew = sent.after(record.authority / 4);
            leading.longest = record.longest;
            steps.push(Step::Issue { until });
        }
        self.seen = Some(Seen { record: Some(record), revision, since: now });
        steps
    }

    /// When [`due`](Self::due) has something to write, if nothing else happens.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        match &self.leading {
            Some(leading) => Some(leading.renew),
            None => self.silent_at(),
        }
    }

    /// When the record's leader has been silent for so long that its authority is over, and others had their chance.
    fn silent_at(&self) -> Option<Time> {
        let seen = self.seen.as_ref()?;
        let Some(record) = &seen.record else { return Some(seen.since.after(self.courtesy)) };
        let over = seen.since.after(self.terms.drift.stretch(record.authority));
        Some(over.after(self.courtesy.min(MOST_COURTESY)))
    }

    fn record(&self, epoch: u64, longest: Duration) -> Record {
        let Terms { address, incarnation, authority, .. } = &self.terms;
        let (leader, incarnation, authority) = (address.clone(), *incarnation, *authority);
        Record { epoch, leader, incarnation, authority, longest }
    }

    fn lead(&mut self, now: Time, record: &Record) -> Vec<Step> {
        // Without a memory of the attempt nothing tells when the predecessor's grants are over.
        let attempt = self.attempt.take().filter(|attempt| attempt.record == *record);
        let Some(Attempt { over, .. }) = attempt else { return Vec::new() };
        let (epoch, longest) = (record.epoch, record.longest);
        self.leading = Some(Leading { epoch, longest, renew: now });
        vec![Step::Lead { epoch, over, longest }]
    }
}
