//! The locks and atomics that the driver uses, in one place so that a schedule explorer can put
//! its own in their stead.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread_local;

/// Locks, whatever happened to an earlier holder: no code of a job ever runs under a lock, so
/// what a lock guards is whole even if some thread died.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
