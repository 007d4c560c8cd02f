//! The one error of the library: a status, a sentence, the facts behind it and its causes.
//!
//! An error is built where the facts are known, so that its message can say what was wrong, with
//! which value, and what to do about it. The C layer only carries it across.

use std::fmt;

use crate::redact::presentable;

pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
///
/// The numbers are part of the ABI: they are never changed and never used again for another
/// meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    Ok = 0,
    InvalidArgument = 1,
    InvalidHandle = 2,
    InvalidState = 3,
    NotFound = 4,
    AlreadyExists = 5,
    Unsupported = 6,
    SchemaMismatch = 7,
    Conflict = 8,
    Unavailable = 9,
    Permission = 10,
    Corrupt = 11,
    Io = 12,
    Cancelled = 13,
    Timeout = 14,
    Busy = 15,
    Reentrant = 16,
    Forked = 17,
    Panic = 18,
    Internal = 19,
}

impl Status {
    pub const ALL: [Status; 20] = [
        Status::Ok,
        Status::InvalidArgument,
        Status::InvalidHandle,
        Status::InvalidState,
        Status::NotFound,
        Status::AlreadyExists,
        Status::Unsupported,
        Status::SchemaMismatch,
        Status::Conflict,
        Status::Unavailable,
        Status::Permission,
        Status::Corrupt,
        Status::Io,
        Status::Cancelled,
        Status::Timeout,
        Status::Busy,
        Status::Reentrant,
        Status::Forked,
        Status::Panic,
        Status::Internal,
    ];

    pub fn code(self) -> i32 {
        self as i32
    }

    /// The name of the constant in `metaxy.h`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "METAXY_OK",
            Status::InvalidArgument => "METAXY_INVALID_ARGUMENT",
            Status::InvalidHandle => "METAXY_INVALID_HANDLE",
            Status::InvalidState => "METAXY_INVALID_STATE",
            Status::NotFound => "METAXY_NOT_FOUND",
            Status::AlreadyExists => "METAXY_ALREADY_EXISTS",
            Status::Unsupported => "METAXY_UNSUPPORTED",
            Status::SchemaMismatch => "METAXY_SCHEMA_MISMATCH",
            Status::Conflict => "METAXY_CONFLICT",
            Status::Unavailable => "METAXY_UNAVAILABLE",
            Status::Permission => "METAXY_PERMISSION",
            Status::Corrupt => "METAXY_CORRUPT",
            Status::Io => "METAXY_IO",
            Status::Cancelled => "METAXY_CANCELLED",
            Status::Timeout => "METAXY_TIMEOUT",
            Status::Busy => "METAXY_BUSY",
            Status::Reentrant => "METAXY_REENTRANT",
            Status::Forked => "METAXY_FORKED",
            Status::Panic => "METAXY_PANIC",
            Status::Internal => "METAXY_INTERNAL",
        }
    }
}

/// The detail by which an error says that it is not known what became of a write.
const OUTCOME: &str = "outcome";
const UNKNOWN: &str = "unknown";

/// A failure, with everything a caller may want to show or decide by.
#[derive(Clone, Debug)]
pub struct Error {
    status: Status,
    message: String,
    details: Vec<(&'static str, String)>,
    causes: Vec<String>,
    retryable: bool,
}

impl Error {
    /// `message` says what was wrong, with which value, and what to do.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Error {
            status,
            message: message.into(),
            details: Vec::new(),
            causes: Vec::new(),
            retryable: matches!(status, Status::Conflict | Status::Unavailable | Status::Busy),
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Status::InvalidArgument, message)
    }

    /// The error for a write of which nobody knows whether it was made, or may yet be.
    pub fn unknown(message: impl Into<String>) -> Self {
        Error::new(Status::Unavailable, message).of_unknown_outcome()
    }

    /// Says that the write may have been made, so that making it again might double it: the detail `outcome`
    /// is `unknown`.
    #[must_use]
    pub fn of_unknown_outcome(self) -> Self {
        self.retryable(false).with(OUTCOME, UNKNOWN)
    }

    pub fn is_of_unknown_outcome(&self) -> bool {
        self.detail(OUTCOME) == Some(UNKNOWN)
    }

    /// Adds a fact under a stable key such as `store`, `feature`, `column`, `option`, `uri`. The
    /// innermost statement of a fact stands: a key that is already there keeps its value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if self.detail(key).is_none() {
            self.details.push((key, value.to_string()));
        }
        self
    }

    /// Records `cause` and everything below it, outermost first, as far as it may be shown.
    #[must_use]
    pub fn caused_by(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = presentable(&error.to_string());
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Says the same with another sentence, such as one that names what the error is about.
    #[must_use]
    pub fn reworded(mut self, sentence: impl FnOnce(&str) -> String) -> Self {
        self.message = sentence(&self.message);
        self
    }

    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    pub fn status(&self) -> Status {
        self.status
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn details(&self) -> &[(&'static str, String)] {
        &self.details
    }

    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Whether the same call may succeed when it is simply made again.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
