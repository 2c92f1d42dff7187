use std::time::Duration;

use crate::Time;

/// Carries deadlines from a coordinator's clock to the holder's, erring only to the early side.
///
/// "Receipt plus time to live" is unsafe: a grant that was delayed on the way would end later at
/// the holder than at the coordinator, which gives the slot on. Here the holder keeps one heartbeat
/// pair: it sent a probe at local time `sent`, and the answer carries `remote`, the coordinator's
/// time when it answered. The coordinator read `remote` no earlier than `sent`, so its clock
/// reaches a deadline `D` no earlier than `sent + (D - remote)`, less what the two clocks may drift
/// apart. See C. Gray and D. Cheriton, "Leases" (SOSP 1989), for leases under bounded drift.
#[derive(Debug, Clone)]
pub struct ClockMap {
    drift: Drift,
    pair: Option<(Time, Time)>,
}

impl ClockMap {
    /// A map without a heartbeat, for clocks that run apart by at most `drift`.
    #[must_use]
    pub fn new(drift: Drift) -> Self {
        Self { drift, pair: None }
    }

    /// Notes a heartbeat: sent at local time `sent`, answered at the coordinator's time `remote`.
    ///
    /// A pair is kept over a newer one while it still gives later (equally safe) deadlines: a
    /// heartbeat that took long says less.
    pub fn observe(&mut self, sent: Time, remote: Time) {
        let known = self.local(remote);
        if known.is_none_or(|known| known <= sent) {
            self.pair = Some((sent, remote));
        }
    }

    /// The local time at which a holder must have stopped, for a deadline of the coordinator.
    ///
    /// `None` without a heartbeat: then no grant may be used.
    #[must_use]
    pub fn local(&self, deadline: Time) -> Option<Time> {
        let (sent, remote) = self.pair?;
        Some(if deadline >= remote {
            sent.after(self.drift.shrink(deadline.since(remote)))
        } else {
            sent.before(self.drift.stretch(remote.since(deadline)))
        })
    }
}

/// A bound on how far two clocks may run apart, in parts per million of elapsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drift {
    /// Parts per million.
    pub ppm: u32,
}

impl Drift {
    /// 500 ppm on each of the two clocks: what NTP may slew a clock by.
    pub const NTP: Self = Self { ppm: 1000 };

    /// A duration on the other clock that surely lasts no longer than `duration` here.
    #[must_use]
    pub fn shrink(self, duration: Duration) -> Duration {
        duration.saturating_sub(self.share(duration))
    }

    /// A duration on the other clock that surely lasts no shorter than `duration` here.
    #[must_use]
    pub fn stretch(self, duration: Duration) -> Duration {
        // 1 / (1 - rho) < 1 + 2 rho for any rho below one half.
        duration.saturating_add(self.share(duration).saturating_mul(2))
    }

    fn share(self, duration: Duration) -> Duration {
        let nanos = duration.as_nanos().saturating_mul(u128::from(self.ppm)).div_ceil(1_000_000);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
