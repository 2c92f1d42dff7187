use parking_lot::{Mutex, MutexGuard};

/// A lock around a state of many cache lines that is held for well under a microsecond.
///
/// A thread that finds it taken waits longer from try to try before it sleeps. One that stays off
/// the state while another goes through a run of steps costs both less than taking turns would,
/// which moves all those lines from core to core each time (a lock with exponential back-off: T. E.
/// Anderson, "The Performance of Spin Lock Alternatives for Shared-Memory Multiprocessors", 1990).
///
/// A panic under the lock would be a bug in this crate; it does not poison the lock, since the
/// state is consistent between steps.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        for pauses in PAUSES {
            if let Some(state) = self.0.try_lock() {
                return state;
            }
            for _ in 0..pauses {
                std::hint::spin_loop();
            }
        }
        self.0.lock()
    }
}

/// How often a thread pauses after each try. A pause is 10 to 50 ns, so all of them are 3 to 15 us.
const PAUSES: [u32; 4] = [4, 16, 64, 256];
