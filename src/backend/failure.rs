//! LanceDB's failures as ours: the one place that knows its error types.

use lance::Error as LanceError;
use lancedb::Error as DbError;
use object_store::Error as StoreError;

use super::location::Provider;
use super::reason::Evidence;
use crate::error::{Error, Status};
use crate::redact::presentable;

/// `what` says what was being done, to which table of which store.
pub fn from_lancedb(cause: DbError, what: impl FnOnce() -> String) -> Error {
    if let Some(evidence) = Evidence::in_chain(&cause) {
        return unreachable(&evidence, None, &what()).caused_by(&cause);
    }
    let status = match &cause {
        DbError::TableNotFound { .. } | DbError::DatabaseNotFound { .. } => Status::NotFound,
        DbError::TableAlreadyExists { .. } | DbError::DatabaseAlreadyExists { .. } => Status::AlreadyExists,
        DbError::InvalidTableName { .. } | DbError::InvalidInput { .. } => Status::InvalidArgument,
        DbError::TableCorrupted { .. } => Status::Corrupt,
        DbError::Schema { .. } => Status::SchemaMismatch,
        DbError::NotSupported { .. } => Status::Unsupported,
        DbError::Timeout { .. } => Status::Timeout,
        DbError::CreateDir { .. } => Status::Io,
        _ => status_of_chain(&cause),
    };
    describe(status, &cause, what)
}

/// As [`from_lancedb`], for what comes from Lance itself.
pub fn from_lance(cause: LanceError, what: impl FnOnce() -> String) -> Error {
    if let Some(evidence) = Evidence::in_chain(&cause) {
        return unreachable(&evidence, None, &what()).caused_by(&cause);
    }
    let status = status_of_chain(&cause);
    describe(status, &cause, what)
}

/// As [`from_lancedb`], for what the operating system says.
pub fn from_io(cause: &std::io::Error, what: impl FnOnce() -> String) -> Error {
    Error::new(status_of_io(cause), format!("{}: {cause}", what())).caused_by(cause)
}

/// The error for a storage of `provider` that cannot be reached, or refuses. `what` could not be done.
pub fn unreachable(evidence: &Evidence, provider: Option<Provider>, what: &str) -> Error {
    let reason = evidence.reason;
    Error::new(reason.status(), format!("{what}: {}", evidence.sentence(provider)))
        .with("reason", reason.word())
        .retryable(reason.is_passing())
}

/// Whether the same transaction may succeed on the table's newest version.
pub fn is_conflict(cause: &LanceError) -> bool {
    matches!(
        cause,
        LanceError::CommitConflict { .. }
            | LanceError::RetryableCommitConflict { .. }
            | LanceError::TooMuchWriteContention { .. }
            | LanceError::IncompatibleTransaction { .. }
    )
}

fn describe(
    status: Status,
    cause: &(dyn std::error::Error + 'static),
    what: impl FnOnce() -> String,
) -> Error {
    Error::new(status, format!("{}: {}", what(), presentable(&cause.to_string()))).caused_by(cause)
}

fn status_of_chain(cause: &(dyn std::error::Error + 'static)) -> Status {
    let mut next = Some(cause);
    let mut status = Status::Internal;
    while let Some(error) = next {
        // The innermost error that we know tells most.
        if let Some(known) = status_of(error) {
            status = known;
        }
        next = error.source();
    }
    status
}

fn status_of(error: &(dyn std::error::Error + 'static)) -> Option<Status> {
    if let Some(error) = error.downcast_ref::<LanceError>() {
        return match error {
            LanceError::DatasetNotFound { .. } | LanceError::NotFound { .. } => Some(Status::NotFound),
            LanceError::DatasetAlreadyExists { .. } => Some(Status::AlreadyExists),
            LanceError::CorruptFile { .. } => Some(Status::Corrupt),
            LanceError::SchemaMismatch { .. } | LanceError::Schema { .. } | LanceError::Arrow { .. } => {
                Some(Status::SchemaMismatch)
            }
            LanceError::InvalidInput { .. } => Some(Status::InvalidArgument),
            LanceError::NotSupported { .. } => Some(Status::Unsupported),
            LanceError::Timeout { .. } => Some(Status::Timeout),
            LanceError::IO { .. } => Some(Status::Io),
            error if is_conflict(error) => Some(Status::Conflict),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return match error {
            StoreError::NotFound { .. } => Some(Status::NotFound),
            StoreError::AlreadyExists { .. } => Some(Status::AlreadyExists),
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
                Some(Status::Permission)
            }
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => Some(Status::Unsupported),
            _ => Some(Status::Io),
        };
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(status_of_io(error));
    }
    None
}

fn status_of_io(error: &std::io::Error) -> Status {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Status::Permission,
        std::io::ErrorKind::NotFound => Status::NotFound,
        _ => Status::Io,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error as IoError, ErrorKind};

    use super::*;

    #[test]
    fn what_the_system_forbids_is_told_as_that() {
        for (kind, status) in [
            (ErrorKind::PermissionDenied, Status::Permission),
            (ErrorKind::ReadOnlyFilesystem, Status::Permission),
            (ErrorKind::NotFound, Status::NotFound),
            (ErrorKind::StorageFull, Status::Io),
        ] {
            let error = from_io(&IoError::from(kind), || "cannot look".to_owned());
            assert_eq!(error.status(), status);
            assert!(error.message().starts_with("cannot look: "), "{error}");
            // The same below any number of LanceDB's own errors.
            let wrapped =
                DbError::Other { message: "it failed".into(), source: Some(Box::new(IoError::from(kind))) };
            assert_eq!(from_lancedb(wrapped, String::new).status(), status);
        }
    }
}
