//! Why a storage could not be reached, or refused.

use std::error::Error as StdError;
use std::io::{Error as IoError, ErrorKind};

use object_store::client::{HttpError, HttpErrorKind};

use super::location::Provider;
use crate::error::Status;
use crate::redact::code_of;

/// Why a storage that is not local does not do what it is asked for, whoever keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not know who asks, or there is nothing to tell it.
    Credentials,
    /// It knows, and does not permit it.
    Permission,
    Bucket,
    /// The bucket is kept elsewhere.
    Region,
    /// Its host has no address.
    Host,
    Refused,
    Tls,
    Timeout,
    Throttled,
    Server,
}

/// What a storage answers, by the codes in its answers.
const CODES: [(Reason, &[&str]); 6] = [
    (
        Reason::Credentials,
        &[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidToken",
            "InvalidTokenId",
            "ExpiredToken",
            "TokenRefreshRequired",
            "RequestTimeTooSkewed",
            "RequestExpired",
            "MissingSecurityHeader",
            "AuthenticationRequired",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
            "NoAuthenticationInformation",
            "PublicAccessNotPermitted",
            "InvalidCredential",
            "InvalidSecurity",
        ],
    ),
    (
        Reason::Permission,
        &[
            "AccessDenied",
            "AllAccessDisabled",
            "AccountProblem",
            "AccountIsDisabled",
            "AuthorizationFailure",
            "AuthorizationPermissionMismatch",
            "AuthorizationProtocolMismatch",
            "AuthorizationResourceTypeMismatch",
            "AuthorizationServiceMismatch",
            "AuthorizationSourceIPMismatch",
            "InsufficientAccountPermissions",
            "UserProjectAccountProblem",
        ],
    ),
    (
        Reason::Bucket,
        &[
            "NoSuchBucket",
            "ContainerNotFound",
            "ContainerBeingDeleted",
            "InvalidBucketName",
            "FilesystemNotFound",
        ],
    ),
    (
        Reason::Region,
        &["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"],
    ),
    (
        Reason::Throttled,
        &[
            "SlowDown",
            "ServerBusy",
            "ServiceUnavailable",
            "TooManyRequests",
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "OperationTimedOut",
        ],
    ),
    (Reason::Timeout, &["RequestTimeout"]),
];

/// How the errors begin of those who could not get the credentials that a request takes.
const WITHOUT_CREDENTIALS: [&str; 10] = [
    "Failed to get AWS credentials",
    "Error performing token request",
    "Error getting token response body",
    "Error performing CreateSession request",
    "Unable to open service account file",
    "Unable to decode service account file",
    "Error encoding jwt payload",
    "Error reading federated token file",
    "Invalid Access Key",
    "'az account get-access-token' command failed",
];

/// A reason with the storage's own code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub reason: Reason,
    pub code: Option<String>,
}

impl Reason {
    /// The word for it in the detail `reason`, which never changes.
    pub fn word(self) -> &'static str {
        self.row().0
    }

    pub fn status(self) -> Status {
        self.row().1
    }

    /// Whether the same may succeed when it is simply tried again.
    pub fn is_passing(self) -> bool {
        self.row().2
    }

    fn row(self) -> (&'static str, Status, bool, &'static str) {
        match self {
            Reason::Credentials => {
                ("credentials", Status::Permission, false, "the storage does not accept the credentials")
            }
            Reason::Permission => (
                "permission",
                Status::Permission,
                false,
                "the storage does not permit it to these credentials",
            ),
            Reason::Bucket => ("bucket", Status::NotFound, false, "there is no such bucket or container"),
            Reason::Region => ("region", Status::InvalidArgument, false, "the bucket is in another region"),
            Reason::Host => ("host", Status::Unavailable, false, "there is no such host"),
            Reason::Refused => ("refused", Status::Unavailable, true, "nothing answers at its address"),
            Reason::Tls => (
                "tls",
                Status::Unavailable,
                false,
                "no encrypted connection could be agreed on with the server",
            ),
            Reason::Timeout => ("timeout", Status::Timeout, true, "there was no answer in time"),
            Reason::Throttled => ("throttled", Status::Unavailable, true, "the storage has too much to do"),
            Reason::Server => {
                ("server", Status::Unavailable, true, "the server failed, or broke the connection off")
            }
        }
    }

    /// What has happened.
    pub fn sentence(self) -> &'static str {
        self.row().3
    }

    /// What can be done about it, at a storage of `provider` if that is known.
    pub fn advice(self, provider: Option<Provider>) -> &'static str {
        use Provider::{Azure, Gcs, S3};
        match (self, provider) {
            (Reason::Credentials, Some(S3)) => {
                "check storage_options.aws_access_key_id and storage_options.aws_secret_access_key, with \
                 storage_options.aws_session_token if they are temporary, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
                 AWS_SESSION_TOKEN in the environment"
            }
            (Reason::Credentials, Some(Gcs)) => {
                "check storage_options.google_service_account, or GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS \
                 in the environment"
            }
            (Reason::Credentials, Some(Azure)) => {
                "check storage_options.azure_storage_account_key or storage_options.azure_storage_sas_token, or \
                 AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN in the environment"
            }
            (Reason::Credentials, None) => "check those in storage_options, or in the environment",
            (Reason::Permission, Some(Azure)) => {
                "check that storage_options.azure_storage_account_key or storage_options.azure_storage_sas_token is the \
                 account's, and that it lets this machine in; to read it takes the right to list and read, to write also \
                 to create, write and delete"
            }
            (Reason::Permission, _) => {
                "to read it takes the right to list the bucket and read its objects, to write also to create and delete them"
            }
            (Reason::Bucket, Some(S3)) => {
                "create it, or correct the URI, or storage_options.aws_endpoint or AWS_ENDPOINT"
            }
            (Reason::Bucket, _) => "create it, or correct the URI",
            (Reason::Region, Some(S3)) => "give the bucket's as storage_options.aws_region, or AWS_REGION",
            (Reason::Region, _) => "give the address that the storage asks for",
            (Reason::Host | Reason::Refused, Some(S3)) => {
                "check storage_options.aws_endpoint, or AWS_ENDPOINT in the environment, and the network"
            }
            (Reason::Host | Reason::Refused, Some(Gcs)) => {
                "check storage_options.google_base_url, or GOOGLE_BASE_URL in the environment, and the network"
            }
            (Reason::Host | Reason::Refused, Some(Azure)) => {
                "check storage_options.azure_storage_account_name and storage_options.azure_storage_endpoint, or \
                 AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ENDPOINT in the environment, and the network"
            }
            (Reason::Host | Reason::Refused, None) => "check the endpoint and the network",
            (Reason::Tls, _) => {
                "check that the endpoint speaks https, and that SSL_CERT_FILE names its authority, or allow any certificate \
                 by storage_options.allow_invalid_certificates=true"
            }
            (Reason::Timeout, _) => {
                "try again, check the endpoint and the network, or give more time by connect.timeout_ms and read.timeout_ms"
            }
            (Reason::Throttled, _) => "try again later, or with fewer calls at a time",
            (Reason::Server, _) => "try again",
        }
    }
}

impl Evidence {
    pub fn of(reason: Reason) -> Evidence {
        Evidence { reason, code: None }
    }

    /// What the chain of errors below `cause` tells; nothing if it is not about reaching a storage.
    pub fn in_chain(cause: &(dyn StdError + 'static)) -> Option<Evidence> {
        let mut found = None;
        let mut sent = false;
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            if WITHOUT_CREDENTIALS.iter().any(|start| text.starts_with(start)) {
                // What is below is about whom the credentials were asked of, not about the storage.
                return Some(Evidence::of(Reason::Credentials));
            }
            sent = sent || error.is::<HttpError>() || text.starts_with("Failed to resolve region for bucket");
            // The innermost error tells most.
            found = of_error(error, &text, sent).or(found);
            next = below(error);
        }
        found
    }

    /// What the storage says, and what can be done about it.
    pub fn sentence(&self, provider: Option<Provider>) -> String {
        let code = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        format!("{}{code}; {}", self.reason.sentence(), self.reason.advice(provider))
    }
}

/// The error below; an error of the system hides one that it was made of.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<IoError>().and_then(IoError::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// What one error tells, whose text is `text`; `sent` if it is about a request that was sent.
fn of_error(error: &(dyn StdError + 'static), text: &str, sent: bool) -> Option<Evidence> {
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(Evidence::of(match error.kind() {
            HttpErrorKind::Connect => Reason::Refused,
            HttpErrorKind::Timeout => Reason::Timeout,
            _ => Reason::Server,
        }));
    }
    if let Some(error) = error.downcast_ref::<IoError>() {
        return of_io(error.kind()).filter(|_| sent).map(Evidence::of);
    }
    // The types of these are nobody's business.
    if sent && (text.starts_with("dns error") || text.starts_with("failed to lookup address")) {
        return Some(Evidence::of(Reason::Host));
    }
    if sent && text == "operation timed out" {
        return Some(Evidence::of(Reason::Timeout));
    }
    if text.starts_with("Failed to resolve region for bucket") {
        return Some(Evidence::of(Reason::Refused));
    }
    if text.starts_with("Failed to parse the region for bucket")
        || text.starts_with("Received redirect without LOCATION")
    {
        return Some(Evidence::of(Reason::Region));
    }
    if text.starts_with("Bucket '") && text.ends_with("' not found") {
        return Some(Evidence::of(Reason::Bucket));
    }
    if let Some(answer) = text.strip_prefix("Server returned non-2xx status code: ") {
        let status = answer.get(..3).and_then(|status| status.parse().ok()).unwrap_or_default();
        return of_answer(status, answer);
    }
    text.strip_prefix("Server returned error response: ").and_then(|answer| of_answer(500, answer))
}

fn of_answer(status: u16, answer: &str) -> Option<Evidence> {
    let code = code_of(answer);
    let by_code = code.and_then(|code| CODES.iter().find(|(_, codes)| codes.contains(&code)));
    let reason = match (by_code, status) {
        // Azurite has the same code for both.
        (Some((Reason::Permission, _)), _) if answer.contains("Server failed to authenticate") => {
            Reason::Credentials
        }
        (Some((reason, _)), _) => *reason,
        (None, 301 | 307 | 308) => Reason::Region,
        (None, 401) => Reason::Credentials,
        (None, 403) => Reason::Permission,
        (None, 408 | 504) => Reason::Timeout,
        (None, 429) => Reason::Throttled,
        // It will never know how.
        (None, 501) => return None,
        (None, 500..) => Reason::Server,
        (None, _) => return None,
    };
    Some(Evidence { reason, code: code.map(str::to_owned) })
}

fn of_io(kind: ErrorKind) -> Option<Reason> {
    match kind {
        ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Some(Reason::Refused),
        ErrorKind::TimedOut => Some(Reason::Timeout),
        // What is no TLS at all, or no certificate to believe in, is no data.
        ErrorKind::InvalidData => Some(Reason::Tls),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(Reason::Server),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use object_store::Error as StoreError;

    use super::*;

    /// An error whose type nobody can name.
    #[derive(Debug)]
    struct Said(String, Option<Box<dyn StdError + Send + Sync>>);

    impl std::fmt::Display for Said {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl StdError for Said {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|below| below as _)
        }
    }

    /// `below` as it comes out of Lance: below its own error, that of the storage, and that of its retries.
    fn through_lance(below: impl StdError + Send + Sync + 'static) -> lance::Error {
        let retried =
            Said(format!("Error performing GET http://h/b?sig=x in 2ms - {below}"), Some(Box::new(below)));
        let stored = StoreError::Generic { store: "S3", source: Box::new(retried) };
        lance::Error::io_source(Box::new(stored))
    }

    fn answered(answer: &str) -> lance::Error {
        through_lance(Said(format!("Server returned non-2xx status code: {answer}"), None))
    }

    fn reason(cause: &lance::Error) -> Option<&'static str> {
        Evidence::in_chain(cause).map(|evidence| evidence.reason.word())
    }

    #[test]
    fn answers_are_told_apart_by_their_codes_and_then_by_their_status() {
        // As MinIO, moto, Azurite and their originals answer.
        for (answer, expected) in [
            (
                "403 Forbidden: <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>The \
                 Access Key Id you provided does not exist in our records.</Message></Error>",
                Some("credentials"),
            ),
            ("403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code></Error>", Some("credentials")),
            ("403 Forbidden: <Error><Code>InvalidTokenId</Code></Error>", Some("credentials")),
            ("400 Bad Request: <Error><Code>ExpiredToken</Code></Error>", Some("credentials")),
            (
                "403 Forbidden: <?xml version=\"1.0\"?>\n<Error>\n  <Code>AuthorizationFailure</Code>\n  <Message>Server failed \
                 to authenticate the request. Make sure</Message>\n</Error>",
                Some("credentials"),
            ),
            (
                "403 Forbidden: <Error><Code>AuthorizationFailure</Code><Message>This request is not authorized to perform \
                 this operation.</Message></Error>",
                Some("permission"),
            ),
            ("403 Forbidden: <Error><Code>AuthenticationFailed</Code></Error>", Some("credentials")),
            ("409 Conflict: <Error><Code>PublicAccessNotPermitted</Code></Error>", Some("credentials")),
            ("401 Unauthorized: ", Some("credentials")),
            ("403 Forbidden: <Error><Code>AccessDenied</Code></Error>", Some("permission")),
            (
                "403 Forbidden: <Error><Code>AuthorizationPermissionMismatch</Code></Error>",
                Some("permission"),
            ),
            ("403 Forbidden: ", Some("permission")),
            (
                "404 Not Found: <Error><Code>NoSuchBucket</Code><BucketName>b</BucketName></Error>",
                Some("bucket"),
            ),
            ("404 Not Found: <Error>\n<Code>ContainerNotFound</Code></Error>", Some("bucket")),
            ("404 Not Found: <Error><Code>NoSuchKey</Code><Key>NoSuchBucket</Key></Error>", None),
            ("404 Not Found: ", None),
            ("412 Precondition Failed: <Error><Code>PreconditionFailed</Code></Error>", None),
            ("301 Moved Permanently: ", Some("region")),
            ("400 Bad Request: <Error><Code>AuthorizationHeaderMalformed</Code></Error>", Some("region")),
            ("503 Service Unavailable: <Error><Code>SlowDown</Code></Error>", Some("throttled")),
            ("503 The server is busy.: <Error><Code>ServerBusy</Code></Error>", Some("throttled")),
            ("429 Too Many Requests: ", Some("throttled")),
            ("503 Service Unavailable: <html>", Some("server")),
            ("500 Internal Server Error: <Error><Code>InternalError</Code></Error>", Some("server")),
            ("504 Gateway Timeout: ", Some("timeout")),
            ("501 Not Implemented: ", None),
        ] {
            assert_eq!(reason(&answered(answer)), expected, "{answer}");
        }
        let error = through_lance(Said(
            "Server returned error response: <Error><Code>SlowDown</Code></Error>".into(),
            None,
        ));
        assert_eq!(reason(&error), Some("throttled"));
    }

    #[test]
    fn connections_that_fail_are_told_apart_by_what_the_system_says() {
        let connecting = |cause: IoError| {
            let connect = Said("client error (Connect)".into(), Some(Box::new(cause)));
            through_lance(HttpError::new(HttpErrorKind::Connect, connect))
        };
        for (cause, expected) in [
            (IoError::from(ErrorKind::ConnectionRefused), "refused"),
            (IoError::from(ErrorKind::NetworkUnreachable), "refused"),
            (IoError::from(ErrorKind::TimedOut), "timeout"),
            // As the client for https wraps them.
            (
                IoError::other(IoError::new(
                    ErrorKind::InvalidData,
                    "invalid peer certificate: UnknownIssuer",
                )),
                "tls",
            ),
            (IoError::other("something else"), "refused"),
        ] {
            let shown = format!("{cause:?}");
            assert_eq!(reason(&connecting(cause)), Some(expected), "{shown}");
        }
        let names = IoError::other("failed to lookup address information: Name or service not known");
        let resolving = Said("dns error".into(), Some(Box::new(names)));
        assert_eq!(reason(&through_lance(HttpError::new(HttpErrorKind::Connect, resolving))), Some("host"));
        for (kind, expected) in [
            (HttpErrorKind::Timeout, "timeout"),
            (HttpErrorKind::Interrupted, "server"),
            (HttpErrorKind::Request, "server"),
            (HttpErrorKind::Decode, "server"),
        ] {
            let error = through_lance(HttpError::new(kind, Said("error sending request".into(), None)));
            assert_eq!(reason(&error), Some(expected), "{kind:?}");
        }
    }

    #[test]
    fn who_has_no_credentials_is_told_so_whatever_became_of_the_search() {
        let searching = HttpError::new(HttpErrorKind::Connect, IoError::from(ErrorKind::TimedOut));
        let token = Said(format!("Error performing token request: {searching}"), Some(Box::new(searching)));
        assert_eq!(reason(&through_lance(token)), Some("credentials"));
        let amazon = Said("Failed to get AWS credentials: CredentialsNotLoaded(x)".into(), None);
        assert_eq!(reason(&through_lance(amazon)), Some("credentials"));
    }

    #[test]
    fn what_is_not_about_reaching_a_storage_has_no_reason() {
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::PermissionDenied,
            ErrorKind::InvalidData,
            ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(reason(&lance::Error::io_source(Box::new(IoError::from(kind)))), None, "{kind:?}");
        }
        let quoted =
            lance::Error::io_source("the file Error performing token request is damaged: 503".into());
        assert_eq!(reason(&quoted), None);
    }

    #[test]
    fn each_reason_says_what_to_do() {
        for reason in [
            Reason::Credentials,
            Reason::Permission,
            Reason::Bucket,
            Reason::Region,
            Reason::Host,
            Reason::Refused,
            Reason::Tls,
            Reason::Timeout,
            Reason::Throttled,
            Reason::Server,
        ] {
            for provider in [None, Some(Provider::S3), Some(Provider::Gcs), Some(Provider::Azure)] {
                let sentence = Evidence { reason, code: Some("Code".into()) }.sentence(provider);
                assert!(sentence.contains(" (Code); "), "{sentence}");
                assert!(!sentence.ends_with('.') && !sentence.contains('\n'), "{sentence}");
            }
            assert!(!reason.is_passing() || matches!(reason.status(), Status::Unavailable | Status::Timeout));
        }
    }
}
