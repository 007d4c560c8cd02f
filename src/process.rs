//! What belongs to one process and must not be inherited by a forked child.
//!
//! After `fork()` only the calling thread exists in the child: the runtime's threads are gone and
//! any lock may be held for ever. Whatever the library keeps for a whole process therefore lives in
//! a [`PerProcess`], which hands a child a fresh, empty value instead of the parent's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the forks between the first process that loaded the library and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// How deep a chain of forked processes may be before the library refuses to work.
pub const MAX_FORKS: usize = 64;

/// Which process of a chain of forks this is; 0 in the one that loaded the library.
pub fn epoch() -> usize {
    FORKS.load(Ordering::Relaxed)
}

/// Called by the `atfork` handler in the child, and only there: one atomic, nothing else.
pub fn note_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
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
