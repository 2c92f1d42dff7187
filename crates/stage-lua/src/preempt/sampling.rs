//! Who collects samples of the stacks, if anybody does.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::profile::{Frame, Stacks};

static COLLECTOR: Mutex<Option<Arc<Stacks>>> = Mutex::new(None);

/// Has samples collected there from now on; false if they are collected elsewhere.
pub(crate) fn collect(stacks: Arc<Stacks>) -> bool {
    let mut collector = COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner);
    if collector.is_some() {
        return false;
    }
    *collector = Some(stacks);
    true
}

pub(crate) fn collect_no_more() {
    *COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Counts the stack of this thread, the innermost call first.
pub(crate) fn add(frames: &[Frame], times: u64) {
    let collector = COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(stacks) = collector {
        stacks.add(thread::current().name().unwrap_or("node"), frames, times);
    }
}
