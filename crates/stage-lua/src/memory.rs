use crate::preempt::Entry;

/// What a handler has taken of its VM's memory: by how much the VM has grown in its slices.
///
/// Garbage counts until somebody's slice frees it, so a handler is past its limit only if it still is after the garbage
/// of two cycles was collected: one may have begun before.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: i64,
    grown: i64,
    /// The cycles that were collected since it was found past its limit.
    cycles: u32,
}

/// Cycles that free all garbage of before the first of them.
const CYCLES: u32 = 2;

/// The least that is collected at a time, in bytes of growth that would call for as much.
const PORTION: i64 = 4 << 20;

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: i64::try_from(limit).unwrap_or(i64::MAX), grown: 0, cycles: 0 }
    }

    /// Adds what a slice has taken; whether it is more than a handler may.
    pub(crate) fn is_over(&mut self, grown: i64, vm: &mut Entry) -> bool {
        self.grown += grown;
        if self.grown <= self.limit {
            self.cycles = 0;
            return false;
        }
        // Twice what comes, so that it ends.
        let collected = vm.collect(PORTION.max(grown.saturating_mul(2)));
        self.grown += collected.grown;
        self.cycles += u32::from(collected.ends_cycle);
        self.cycles >= CYCLES && self.grown > self.limit
    }

    /// Why the handler was ended, and where it was paused.
    pub(crate) fn error(&self, place: Option<&str>) -> mlua::Error {
        let place = place.map_or_else(String::new, |place| format!("{place}: "));
        mlua::Error::runtime(format!(
            "{place}stopped: it has taken more than {} bytes of memory, the limit for one handler \
             (#limits.handler_memory_bytes)",
            self.limit
        ))
    }
}
