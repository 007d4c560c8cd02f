//! Messages for people: one sink per process, none by default.
//!
//! The library prints nothing and installs no global subscriber; it hands a message to the sink
//! that the host has set, if its level is wanted.

use std::sync::{Arc, RwLock};

use crate::process::PerProcess;

/// How urgent a message is; the numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

impl Level {
    pub fn from_code(code: i32) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug].into_iter().find(|level| *level as i32 == code)
    }
}

pub type Sink = Arc<dyn Fn(Level, &str) + Send + Sync>;

type Slot = RwLock<Option<(Level, Sink)>>;

static SINK: PerProcess<Slot> = PerProcess::new();

/// Sends messages of `level` and more urgent ones to `sink`, or, with `None`, nowhere.
///
/// When this returns, the former sink is no longer running and will not run again.
pub fn set_sink(sink: Option<(Level, Sink)>) {
    if let Some(slot) = SINK.get() {
        *slot.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = sink;
    }
}

/// Hands `message()` to the sink; the text is not even built when nobody wants it.
pub fn emit(level: Level, message: impl FnOnce() -> String) {
    let Some(slot) = SINK.get() else { return };
    // The lock is held during the call, so that `set_sink` can promise that the former sink is idle.
    let guard = slot.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((wanted, sink)) = guard.as_ref()
        && level <= *wanted
    {
        sink(level, &message());
    }
}
