//! What belongs to one process and must not be inherited by a forked child.
//!
//! After `fork()` only the calling thread exists in the child: the runtime's threads are gone and
//! any lock may be held for ever. Whatever the library keeps for a whole process therefore lives in
//! a [`PerProcess`], which hands a child a fresh, empty value instead of the parent's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts the forks between the first process that loaded the library and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Whether this process has started threads of the library.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Whether a process before this one in the chain of forks had started them.
static INHERITED: AtomicBool = AtomicBool::new(false);

/// How deep a chain of forked processes may be before the library refuses to work.
pub const MAX_FORKS: usize = 64;

/// Which process of a chain of forks this is; 0 in the one that loaded the library.
pub fn epoch() -> usize {
    FORKS.load(Ordering::Relaxed)
}

/// Called by the `atfork` handler in the child, and only there: a few atomics, nothing else.
pub fn note_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    if STARTED.load(Ordering::Relaxed) {
        INHERITED.store(true, Ordering::Relaxed);
    }
}

/// Notes that threads are about to be started; false if they must not be.
///
/// LanceDB has tokio built with parking_lot, whose queues of waiting threads are global. A child
/// inherits them, full of threads that do not exist in it, in memory that its own threads then
/// reuse: a child that starts threads all the same hangs or crashes now and then.
pub fn may_start_threads() -> bool {
    STARTED.store(true, Ordering::Relaxed);
    !INHERITED.load(Ordering::Relaxed)
}

/// A value that each process of a chain of forks has for itself, made on first use.
pub struct PerProcess<T>([OnceLock<T>; MAX_FORKS]);

impl<T: Default> PerProcess<T> {
    pub const fn new() -> Self {
        PerProcess([const { OnceLock::new() }; MAX_FORKS])
    }

    /// `None` only beyond [`MAX_FORKS`] nested forks.
    pub fn get(&self) -> Option<&T> {
        self.0.get(epoch()).map(|slot| slot.get_or_init(T::default))
    }
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}
