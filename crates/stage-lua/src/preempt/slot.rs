use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a VM's thread, its signal handler and the watchdog know of the slice that runs.
///
/// A slice is the time from when the host lets a handler run until it has the thread back. All
/// fields are atomics because a signal may come between any two instructions.
#[derive(Default)]
pub(crate) struct Slot {
    /// When the slice began, in nanoseconds of [`now`]; zero if none runs.
    began: AtomicU64,
    /// When its quantum is over.
    quantum_ends: AtomicU64,
    /// When it is ended for good.
    ends: AtomicU64,
    /// Whether the hook has yielded in this slice.
    preempted: AtomicBool,
    /// Whether the hook has raised the error that ends the handler for good.
    ended: AtomicBool,
    /// How many calls that cannot yield are between the host and the running coroutine.
    blocked: AtomicU32,
}

/// What is to become of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Pause,
    End,
}

/// What a handler has computed without waiting, over all its slices since it waited last.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    spent: Duration,
}

impl Slot {
    pub(crate) fn begin(&self, slice: &Slice, bounds: super::Bounds) {
        let now = now();
        let left = bounds.busy.saturating_sub(slice.spent);
        self.blocked.store(0, Ordering::Relaxed);
        self.preempted.store(false, Ordering::Relaxed);
        self.ended.store(false, Ordering::Relaxed);
        self.quantum_ends.store(now.saturating_add(nanos(bounds.quantum)), Ordering::Relaxed);
        self.ends.store(now.saturating_add(nanos(left)), Ordering::Relaxed);
        self.began.store(now, Ordering::Release);
    }

    /// Ends the slice: whether it was preempted, and how long it took.
    pub(crate) fn end(&self, slice: &mut Slice) -> (bool, Duration) {
        let began = self.began.load(Ordering::Relaxed);
        self.began.store(0, Ordering::Release);
        let took = Duration::from_nanos(now().saturating_sub(began));
        let preempted = self.preempted.load(Ordering::Relaxed);
        slice.spent = if preempted { slice.spent + took } else { Duration::ZERO };
        (preempted, took)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let now = now();
        if self.began.load(Ordering::Acquire) == 0 {
            Verdict::GoOn
        } else if now >= self.ends.load(Ordering::Relaxed) {
            Verdict::End
        } else if now >= self.quantum_ends.load(Ordering::Relaxed) {
            Verdict::Pause
        } else {
            Verdict::GoOn
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.began.load(Ordering::Acquire) != 0
    }

    /// Whether the watchdog has something to say, as seen from its thread.
    pub(crate) fn is_overdue(&self) -> bool {
        self.verdict() != Verdict::GoOn
    }

    pub(crate) fn preempt(&self) {
        self.preempted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_preempted(&self) -> bool {
        self.preempted.load(Ordering::Relaxed)
    }

    pub(crate) fn end_for_good(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn can_pause(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn block(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unblock(&self) {
        let lower = |count: u32| Some(count.saturating_sub(1));
        // The closure never refuses.
        let _ = self.blocked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }
}

/// Nanoseconds since the process asked first, never zero.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanos(START.elapsed()).saturating_add(1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preempt::Bounds;

    const LONG: Duration = Duration::from_secs(3600);

    fn verdict(quantum: Duration, busy: Duration, slice: &Slice) -> Verdict {
        let slot = Slot::default();
        slot.begin(slice, Bounds { quantum, busy });
        slot.verdict()
    }

    #[test]
    fn a_slice_goes_on_pauses_and_ends_in_this_order() {
        let fresh = Slice::default();
        assert_eq!(verdict(LONG, LONG, &fresh), Verdict::GoOn);
        assert_eq!(verdict(Duration::ZERO, LONG, &fresh), Verdict::Pause);
        assert_eq!(verdict(Duration::ZERO, Duration::ZERO, &fresh), Verdict::End);
        assert_eq!(verdict(LONG, LONG, &Slice { spent: LONG }), Verdict::End);
        assert_eq!(Slot::default().verdict(), Verdict::GoOn, "no slice runs");
    }

    #[test]
    fn only_preempted_slices_add_up() {
        let slot = Slot::default();
        let mut slice = Slice { spent: Duration::from_secs(1) };
        slot.begin(&slice, Bounds { quantum: LONG, busy: LONG });
        slot.preempt();
        assert!(slot.end(&mut slice).0);
        assert!(slice.spent >= Duration::from_secs(1));
        slot.begin(&slice, Bounds { quantum: LONG, busy: LONG });
        assert!(!slot.end(&mut slice).0);
        assert_eq!(slice.spent, Duration::ZERO, "it has waited");
    }
}
