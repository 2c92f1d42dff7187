//! The locks and atomics that the driver uses, in one place so that a schedule explorer can put
//! its own in their stead.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
pub(crate) use std::thread_local;

/// Locks, whatever happened to an earlier holder: no code of a job ever runs under a lock, so
/// what a lock guards is whole even if some thread died.
///
/// A thread that finds it taken waits longer from try to try before it sleeps: a lock is held for
/// less than a microsecond, and a thread that goes through a run of steps undisturbed keeps what
/// they touch in its cache (T. E. Anderson, "The Performance of Spin Lock Alternatives for
/// Shared-Memory Multiprocessors", 1990).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for pauses in PAUSES {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(guard)) => return guard.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
        for _ in 0..pauses {
            std::hint::spin_loop();
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a thread pauses after each try. A pause is 10 to 50 ns, so all of them are 3 to 15 us.
const PAUSES: [u32; 4] = [4, 16, 64, 256];
