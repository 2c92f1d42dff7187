use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Stamp, Time, Token};

/// The grants that are extended again and again, and when each is due next.
///
/// A renewal is due when two thirds of the grant are left, so that two more can fail in time.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    by_time: BTreeSet<(Time, Stamp)>,
    by_stamp: BTreeMap<Stamp, Renewal>,
}

#[derive(Debug)]
struct Renewal {
    token: Token,
    at: Time,
    until: Time,
}

impl Renewals {
    /// Notes a grant that ends at `expires`, to be kept until `until`; returns when it is due.
    pub(crate) fn add(
        &mut self,
        token: Token,
        expires: Time,
        until: Time,
        grant: Duration,
    ) -> Time {
        self.remove(token.stamp);
        let at = if expires < until { expires.before(grant / 3 * 2) } else { Time::NEVER };
        self.by_time.insert((at, token.stamp));
        self.by_stamp.insert(token.stamp, Renewal { token, at, until });
        at
    }

    pub(crate) fn remove(&mut self, stamp: Stamp) {
        if self.by_stamp.is_empty() {
            return;
        }
        if let Some(renewal) = self.by_stamp.remove(&stamp) {
            self.by_time.remove(&(renewal.at, stamp));
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at).filter(|at| *at < Time::NEVER)
    }

    /// A grant to be extended now, and by how much.
    pub(crate) fn due(&self, now: Time, grant: Duration) -> Option<(Token, Duration)> {
        let (_, stamp) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        let renewal = self.by_stamp.get(stamp)?;
        Some((renewal.token, grant.min(renewal.until.since(now))))
    }

    /// Has a renewal come at `at`, unless it is answered before.
    #[cfg(feature = "grpc")]
    pub(crate) fn postpone(&mut self, stamp: Stamp, at: Time) {
        if let Some(renewal) = self.by_stamp.get_mut(&stamp) {
            self.by_time.remove(&(renewal.at, stamp));
            self.by_time.insert((at, stamp));
            renewal.at = at;
        }
    }

    /// Notes that a grant that was due ends at `expires` now.
    pub(crate) fn extended(&mut self, token: Token, expires: Time, grant: Duration) {
        if let Some(renewal) = self.by_stamp.get(&token.stamp) {
            self.add(token, expires, renewal.until, grant);
        }
    }
}
