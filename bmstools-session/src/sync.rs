//! Short locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks for a few instructions: what holds one of these never waits, calls out or
/// drops what somebody else made.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
