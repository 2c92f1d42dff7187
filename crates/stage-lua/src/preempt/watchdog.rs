use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use crate::raw::Beat;

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(5);

/// The VMs of the process whose threads are alive.
static BEATS: Mutex<Vec<Beat>> = Mutex::new(Vec::new());

/// Watches a VM until [`leave`].
pub(crate) fn watch(beat: Beat) {
    static THREAD: Once = Once::new();
    BEATS.lock().unwrap_or_else(PoisonError::into_inner).push(beat);
    THREAD.call_once(|| {
        let started = thread::Builder::new().name("stage-watchdog".to_owned()).spawn(|| {
            loop {
                thread::sleep(PERIOD);
                look();
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread for the watchdog: nothing stops an endless loop");
        }
    });
}

/// Forgets a VM. When this returns, its thread gets no signal any more.
pub(crate) fn leave(beat: &Beat) {
    let mut beats = BEATS.lock().unwrap_or_else(PoisonError::into_inner);
    beats.retain(|other| !other.is(beat));
}

/// Has every VM that is executing note its stack.
pub(crate) fn sample() {
    let beats = BEATS.lock().unwrap_or_else(PoisonError::into_inner);
    beats.iter().for_each(Beat::ask_for_sample);
}

/// Knocks at every VM that is overdue.
pub(crate) fn look() {
    let beats = BEATS.lock().unwrap_or_else(PoisonError::into_inner);
    beats.iter().filter(|beat| beat.is_overdue()).for_each(Beat::knock);
}
