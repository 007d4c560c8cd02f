//! What a server's answer means, or that there was none.

use std::error::Error as StdError;
use std::fmt;

use lancedb::Error as DbError;

use crate::backend::failure::from_lancedb;
use crate::error::{Error, Status};

/// As much as is shown of what a server says: a gateway may answer with a whole page.
const SHOWN: usize = 300;

/// The shortest key that can be told from the rest of a text.
const SHORTEST_KEY: usize = 4;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server does not know the key.
    Credentials,
    Permission,
    Absent,
    Exists,
    Conflict,
    /// The server makes no sense of the request.
    Malformed,
    TooLarge,
    Throttled,
    Unsupported,
    /// The server, or a gateway before it, says that it failed.
    Server,
    /// The same, of a kind that passes.
    Busy,
    Host,
    Refused,
    Tls,
    Unreachable,
    /// The connection could not be made in time.
    Unanswered,
    /// The request was sent, and not answered in time.
    Timeout,
    /// The connection ended while the request was under way.
    Broken,
    /// Nothing of the network.
    Other,
}

impl Fault {
    pub fn of(cause: &DbError) -> Fault {
        match cause {
            DbError::TableNotFound { .. } | DbError::DatabaseNotFound { .. } => return Fault::Absent,
            DbError::TableAlreadyExists { .. } => return Fault::Exists,
            DbError::NotSupported { .. } => return Fault::Unsupported,
            _ => {}
        }
        let mut failed: Option<&reqwest::Error> = None;
        let mut of_http = false;
        for error in chain(cause) {
            if let Some(DbError::Http { status_code, .. } | DbError::Retry { status_code, .. }) =
                error.downcast_ref::<DbError>()
            {
                of_http = true;
                if let Some(status) = status_code {
                    return Fault::of_status(status.as_u16());
                }
            }
            failed = failed.or_else(|| error.downcast_ref::<reqwest::Error>());
        }
        match failed {
            Some(failed) if failed.is_connect() => Fault::of_connecting(failed),
            Some(failed) if failed.is_timeout() => Fault::Timeout,
            Some(_) => Fault::Broken,
            // An answer that was cut off, or is none of this protocol.
            None if of_http => Fault::Broken,
            None => Fault::Other,
        }
    }

    fn of_status(status: u16) -> Fault {
        match status {
            401 => Fault::Credentials,
            403 => Fault::Permission,
            404 => Fault::Absent,
            408 => Fault::Timeout,
            405 | 501 => Fault::Unsupported,
            409 => Fault::Conflict,
            413 => Fault::TooLarge,
            429 => Fault::Throttled,
            502..=504 => Fault::Busy,
            500.. => Fault::Server,
            _ => Fault::Malformed,
        }
    }

    fn of_connecting(failed: &reqwest::Error) -> Fault {
        if failed.is_timeout() {
            return Fault::Unanswered;
        }
        let refused = chain(failed).any(|error| {
            let error = error.downcast_ref::<std::io::Error>();
            error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        if refused {
            return Fault::Refused;
        }
        let text = chain(failed).map(|error| error.to_string().to_ascii_lowercase()).collect::<String>();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["dns error", "failed to lookup"]) {
            Fault::Host
        } else if says(&["certificate", "tls", "handshake", "corrupt message", "alert"]) {
            Fault::Tls
        } else {
            Fault::Unreachable
        }
    }

    /// Whether the server may have done, or may yet do, what it was asked for.
    pub fn may_have_happened(self) -> bool {
        matches!(self, Fault::Server | Fault::Busy | Fault::Timeout | Fault::Broken | Fault::Conflict)
    }

    /// Whether the same question may be answered in a moment.
    pub fn is_passing(self) -> bool {
        matches!(self, Fault::Busy | Fault::Broken)
    }

    fn status(self) -> Option<Status> {
        Some(match self {
            Fault::Credentials | Fault::Permission => Status::Permission,
            Fault::Absent => Status::NotFound,
            Fault::Exists => Status::AlreadyExists,
            Fault::Conflict => Status::Conflict,
            Fault::Malformed => Status::InvalidArgument,
            Fault::TooLarge | Fault::Unsupported => Status::Unsupported,
            Fault::Unanswered | Fault::Timeout => Status::Timeout,
            Fault::Throttled
            | Fault::Server
            | Fault::Busy
            | Fault::Host
            | Fault::Refused
            | Fault::Tls
            | Fault::Unreachable
            | Fault::Broken => Status::Unavailable,
            Fault::Other => return None,
        })
    }

    /// The detail `reason`.
    fn reason(self) -> Option<&'static str> {
        Some(match self {
            Fault::Credentials => "credentials",
            Fault::Permission => "permission",
            Fault::TooLarge => "size",
            Fault::Throttled => "throttled",
            Fault::Server | Fault::Busy => "server",
            Fault::Host => "host",
            Fault::Refused => "refused",
            Fault::Tls => "tls",
            Fault::Unreachable | Fault::Broken => "connection",
            Fault::Unanswered | Fault::Timeout => "timeout",
            _ => return None,
        })
    }

    fn is_retryable(self) -> bool {
        !matches!(self, Fault::Host | Fault::Tls)
            && matches!(self.status(), Some(Status::Unavailable | Status::Timeout | Status::Conflict))
    }

    fn advice(self) -> &'static str {
        match self {
            Fault::Credentials => {
                "give a valid key as the option api_key, or as LANCEDB_API_KEY in the environment"
            }
            Fault::Permission => "use a key that may do this",
            Fault::TooLarge => "write fewer rows at a time",
            Fault::Throttled => "ask less often, or try again later",
            Fault::Host => {
                "check the host in the URI of the store; that of LanceDB Cloud is made of the database's name and of the option \
                 region, or LANCEDB_REGION"
            }
            Fault::Refused => "check the host and the port in the URI of the store, and that the server runs",
            Fault::Tls => {
                "check that the server's certificate is for this host; an authority of one's own is given as the option \
                 tls.ca_file"
            }
            Fault::Unanswered => "check the address, or allow for more by the option connect.timeout_ms",
            Fault::Timeout => "try again, or allow for more by the option read.timeout_ms",
            Fault::Server | Fault::Busy | Fault::Unreachable | Fault::Broken => "try again",
            _ => "",
        }
    }
}

/// Whether it is the server itself that has answered, after the request was over, so that nothing may come of
/// it any more. A gateway that has given up says nothing of what goes on behind it.
pub fn has_ended(cause: &DbError) -> bool {
    chain(cause).any(|error| match error.downcast_ref::<DbError>() {
        Some(DbError::Http { status_code: Some(status), source, .. }) => match status.as_u16() {
            409 => true,
            500 => {
                is_of_protocol(source.to_string().strip_prefix(&format!("{status}: ")).unwrap_or_default())
            }
            _ => false,
        },
        _ => false,
    })
}

/// Whether an answer has the form of errors that the protocol prescribes.
fn is_of_protocol(answer: &str) -> bool {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    answer.get("error").is_some_and(|error| error.is_string())
        && answer.get("code").is_some_and(|code| code.is_number())
}

/// The server of a store, as messages call it, and what they must not say.
pub struct Peer {
    display: String,
    key: String,
}

impl Peer {
    pub fn new(display: &str, key: &str) -> Peer {
        Peer { display: display.to_owned(), key: key.to_owned() }
    }

    pub fn display(&self) -> &str {
        &self.display
    }

    /// The error for `cause`, which met who was `doing` something with `table`.
    pub fn failed(&self, doing: &str, table: &str, cause: DbError) -> Error {
        let what = format!("cannot {doing} the table {table} of {}", self.display);
        self.error(what, cause).with("table", table)
    }

    /// As [`Peer::failed`], where no single table is concerned.
    pub fn error(&self, what: String, cause: DbError) -> Error {
        let fault = Fault::of(&cause);
        let said = Said::new(&cause, &self.key);
        let Some(status) = fault.status() else {
            // Other errors name no key, but what they quote may.
            let error = from_lancedb(cause, || what.clone());
            let clean = Error::new(error.status(), hide(error.message(), &self.key));
            return clean.caused_by(&said).retryable(error.is_retryable()).with("store", &self.display);
        };
        let answer = said.innermost();
        let advice = fault.advice();
        let message = match advice {
            "" => format!("{what}: {answer}"),
            advice => format!("{what}: {answer}; {advice}"),
        };
        let error = Error::new(status, message).caused_by(&said).retryable(fault.is_retryable());
        let error = error.with("store", &self.display);
        match fault.reason() {
            Some(reason) => error.with("reason", reason),
            None => error,
        }
    }

    /// The beginning of what a server says, as it may be shown.
    pub fn shown(&self, text: &str) -> String {
        shown(&hide(text, &self.key))
    }
}

/// The texts of an error and its causes, as they may be shown.
#[derive(Debug)]
struct Said {
    text: String,
    source: Option<Box<Said>>,
}

impl Said {
    fn new(cause: &(dyn StdError + 'static), key: &str) -> Said {
        let source = cause.source().map(|source| Box::new(Said::new(source, key)));
        Said { text: shown(&hide(&cause.to_string(), key)), source }
    }

    fn innermost(&self) -> &str {
        let mut said = self;
        while let Some(source) = &said.source {
            said = source;
        }
        &said.text
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Said {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn hide(text: &str, key: &str) -> String {
    match key.len() {
        0 => text.to_owned(),
        // It may be in any word.
        length if length < SHORTEST_KEY => {
            "its answer, which is not shown beside an API key as short as this".to_owned()
        }
        _ => text.replace(key, "***"),
    }
}

/// The beginning of a text, in one line.
fn shown(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

fn chain<'a>(cause: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(cause), |error| (**error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, text: &str) -> DbError {
        let code = reqwest::StatusCode::from_u16(status).unwrap();
        DbError::Http { source: text.into(), request_id: "r".into(), status_code: Some(code) }
    }

    #[test]
    fn answers_are_told_apart() {
        let peer = Peer::new("S", "sk_SECRET");
        for (code, status, reason, retryable) in [
            (401, Status::Permission, Some("credentials"), false),
            (403, Status::Permission, Some("permission"), false),
            (404, Status::NotFound, None, false),
            (400, Status::InvalidArgument, None, false),
            (413, Status::Unsupported, Some("size"), false),
            (429, Status::Unavailable, Some("throttled"), true),
            (500, Status::Unavailable, Some("server"), true),
            (503, Status::Unavailable, Some("server"), true),
            (409, Status::Conflict, None, true),
        ] {
            let error = peer.failed("read", "t", answered(code, "key sk_SECRET\n\n is odd"));
            assert_eq!(
                (error.status(), error.detail("reason"), error.is_retryable()),
                (status, reason, retryable),
                "{code}"
            );
            assert!(error.message().starts_with("cannot read the table t of S: key *** is odd"), "{error}");
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn only_the_server_itself_ends_a_request() {
        for (status, text, ended) in [
            (409, "", true),
            (500, r#"500 Internal Server Error: {"error": "no space", "code": 18}"#, true),
            (500, r#"500 Internal Server Error: {"error": "no space"}"#, false),
            (500, "500 Internal Server Error: <html>", false),
            (502, r#"502 Bad Gateway: {"error": "no space", "code": 18}"#, false),
            (504, "", false),
            (524, "", false),
        ] {
            assert_eq!(has_ended(&answered(status, text)), ended, "{status} {text}");
        }
    }

    #[test]
    fn of_a_page_little_is_shown() {
        let error = Peer::new("S", "").failed("read", "t", answered(502, &"<p>".repeat(10_000)));
        assert!(error.message().len() < 500 && error.causes().iter().all(|cause| cause.len() < 500));
    }

    #[test]
    fn beside_a_short_key_nothing_is_shown() {
        let error = Peer::new("S", "e").failed("read", "t", answered(400, "the key e is odd"));
        assert!(error.message().starts_with("cannot read the table t of S: its answer, which is"), "{error}");
        assert!(!format!("{error:?}").contains("odd"), "{error:?}");
    }

    #[test]
    fn what_the_client_gave_up_is_what_it_met_last() {
        let cause = DbError::Retry {
            request_id: "r".into(),
            request_failures: 3,
            max_request_failures: 3,
            connect_failures: 0,
            max_connect_failures: 1,
            read_failures: 0,
            max_read_failures: 1,
            source: Box::new(answered(429, "slow down")),
            status_code: Some(reqwest::StatusCode::TOO_MANY_REQUESTS),
        };
        assert_eq!(Fault::of(&cause), Fault::Throttled);
    }
}
