//! Storages that cannot be reached, or refuse: each reason is told apart, in time, and without a secret.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metaxy::log::Level;
use metaxy::store::context::{Call, Context};
use metaxy::store::{Fallback, Outcome, ReadRequest, Store};
use metaxy::{Error, Result, Status};

use crate::servers::Server;
use crate::support::{failure, listen, options, read, read_with_schema, root, samples, write};

type Pairs = Vec<(String, String)>;

/// The bound in these tests, and how long a busy machine may take beyond it.
const BOUND_MS: &str = "2000";
const BOUND: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(4);

/// What every secret of these tests contains.
const SECRET: &str = "S3CRET";

fn storage_options(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| (format!("storage_options.{name}"), (*value).to_owned())).collect()
}

/// `base` with some options instead of those it has.
fn with(base: Pairs, pairs: &[(&str, &str)]) -> Pairs {
    let given = storage_options(pairs);
    let kept = base.into_iter().filter(|(name, _)| given.iter().all(|(other, _)| name != other));
    kept.chain(given.clone()).collect()
}

fn s3(endpoint: &str) -> Pairs {
    storage_options(&[
        ("aws_access_key_id", "AKIAS3CRETKEYID"),
        ("aws_secret_access_key", "S3CRETaccess/key"),
        ("aws_session_token", "S3CRETtoken"),
        ("aws_region", "us-east-1"),
        ("aws_endpoint", endpoint),
        ("allow_http", "true"),
    ])
}

fn open(mode: &str, uri: &str, pairs: &Pairs, call: &Call) -> Result<Store> {
    let mut all = vec![("mode", mode), ("connect.timeout_ms", BOUND_MS), ("read.timeout_ms", BOUND_MS)];
    all.extend(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let store = Store::open(uri, &options(&all), call)?;
    store.define(&root("r/a", &["x"]))?;
    Ok(store)
}

/// What the first read says.
fn read_failure(uri: &str, pairs: &Pairs) -> Error {
    let store = open("read", uri, pairs, &Call::default()).unwrap();
    let began = Instant::now();
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    in_time(began, &error);
    // The failure is not remembered, but it is the same.
    let again = failure(read(&store, "r/a", &ReadRequest::default()));
    assert_eq!(again.detail("reason"), error.detail("reason"), "{again:?}");
    error
}

/// Whether the storage answers that there is no table.
fn has_nothing(store: &Store) -> bool {
    let error = failure(read(store, "r/a", &ReadRequest::default()));
    error.status() == Status::NotFound && error.detail("reason").is_none()
}

fn in_time(began: Instant, error: &Error) {
    let took = began.elapsed();
    assert!(took < BOUND + SLACK, "{took:?}: {error:?}");
}

#[track_caller]
fn is(error: &Error, reason: &str, status: Status, retryable: bool) {
    assert_eq!(error.detail("reason"), Some(reason), "{error:?}");
    assert_eq!(error.status(), status, "{error:?}");
    assert_eq!(error.is_retryable(), retryable, "{error:?}");
    assert!(error.detail("store").is_some(), "{error:?}");
    tells_no_secret(error);
}

#[track_caller]
fn tells_no_secret(error: &Error) {
    let all = format!("{error:?}");
    for part in [SECRET, "sig=", "Bearer", ".rs:", "StringToSign"] {
        assert!(!all.contains(part), "{part}: {all}");
    }
}

/// A server that answers every request in the same way, as long as the test process lives.
fn answering(status: &'static str, body: &'static str) -> String {
    serving(move |mut stream| {
        let mut heard = [0; 1 << 16];
        while stream.read(&mut heard).is_ok_and(|bytes| bytes > 0) {
            let reply = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(reply.as_bytes()).is_err() {
                break;
            }
        }
    })
}

fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    endpoint
}

/// A server that takes requests and never answers.
fn silent() -> String {
    serving(|mut stream| {
        let mut heard = [0; 1 << 16];
        while stream.read(&mut heard).is_ok_and(|bytes| bytes > 0) {}
    })
}

/// Where nobody listens: no system hands this port out.
fn nobody() -> String {
    "http://127.0.0.1:1".to_owned()
}

#[test]
fn minio_tells_wrong_keys_and_buckets_apart() {
    let server = Server::shared("minio");
    let wrong_id = with(server.options(), &[("aws_access_key_id", "AKIAS3CRETKEYID")]);
    let error = read_failure(&server.uri("x"), &wrong_id);
    is(&error, "credentials", Status::Permission, false);
    assert!(error.message().contains("InvalidAccessKeyId"), "{error}");
    assert!(error.message().contains("storage_options.aws_access_key_id"), "{error}");
    assert!(error.message().contains(&server.uri("x")), "{error}");

    let wrong_key = with(server.options(), &[("aws_secret_access_key", "S3CRETwrong")]);
    let error = read_failure(&server.uri("x"), &wrong_key);
    is(&error, "credentials", Status::Permission, false);
    assert!(error.message().contains("SignatureDoesNotMatch"), "{error}");

    let error = read_failure("s3://no-such-bucket/x", &server.options());
    is(&error, "bucket", Status::NotFound, false);

    // Who may not list buckets that are not there is not told that they are not.
    let error = read_failure("s3://no-such-bucket/x", &server.read_only());
    assert!(["bucket", "permission"].contains(&error.detail("reason").unwrap()), "{error:?}");
    tells_no_secret(&error);
}

#[test]
fn who_may_only_read_is_told_when_opening_for_writing() {
    // One that no other test has been let write to: a storage is tried once.
    let server = Server::start("minio", &[]);
    let error = failure(open("write", &server.uri("read-only"), &server.read_only(), &Call::default()));
    is(&error, "permission", Status::Permission, false);
    assert!(error.message().starts_with("cannot write to s3://"), "{error}");
    let store = open("read", &server.uri("read-only"), &server.read_only(), &Call::default()).unwrap();
    assert!(has_nothing(&store));
}

#[test]
fn azurite_tells_wrong_keys_and_containers_apart() {
    let server = Server::shared("azurite");
    let key = "UzNDUkVUUzNDUkVUUzNDUkVU";
    let error = read_failure(&server.uri("x"), &with(server.options(), &[("account_key", key)]));
    is(&error, "credentials", Status::Permission, false);
    assert!(error.message().contains("AuthorizationFailure"), "{error}");
    assert!(error.message().contains("storage_options.azure_storage_account_key"), "{error}");
    assert!(!format!("{error:?}").contains(key), "{error:?}");
    let error = read_failure("az://no-such-container/x", &server.options());
    is(&error, "bucket", Status::NotFound, false);

    let signature = "sv=2021-12-02&sr=c&sp=rl&se=2099-01-01T00%3A00%3A00Z&sig=S3CRETS3CRETS3CRETS3CRETS3CRETS3CRETS3CRETS3CRE%3D";
    let signed = with(server.read_only(), &[("azure_storage_sas_key", signature)]);
    let error = read_failure(&server.uri("x"), &signed);
    is(&error, "credentials", Status::Permission, false);
    assert!(error.message().contains("azure_storage_sas_token"), "{error}");

    let malformed = with(server.options(), &[("account_key", "S3CRET!")]);
    let error = failure(open("read", &server.uri("x"), &malformed, &Call::default()));
    assert_eq!(error.status(), Status::InvalidArgument, "{error:?}");
    tells_no_secret(&error);

    let store = open("write", &server.uri("read-only"), &server.read_only(), &Call::default()).unwrap();
    is(&failure(write(&store, "r/a", &[samples(&["1"])], &[])), "permission", Status::Permission, false);
}

#[test]
fn google_tells_tokens_and_buckets_apart() {
    let server = Server::shared("gcs");
    let wrong = with(server.options(), &[("google_storage_token", "S3CRETtoken")]);
    let error = read_failure(&server.uri("x"), &wrong);
    is(&error, "credentials", Status::Permission, false);
    assert!(error.message().contains("storage_options.google_service_account"), "{error}");
    is(&read_failure("gs://no-such-bucket/x", &server.options()), "bucket", Status::NotFound, false);

    let store = open("write", &server.uri("read-only"), &server.read_only(), &Call::default()).unwrap();
    is(&failure(write(&store, "r/a", &[samples(&["1"])], &[])), "permission", Status::Permission, false);
}

/// Set in a process that inherits nothing, and finds nothing in files.
const ALONE: &str = "METAXY_TEST_ALONE";

/// Runs `test` of this module in a process that has `variables` alone.
fn alone(test: &str, variables: &[(&str, &str)]) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("unreachable::{test}"), "--exact", "--nocapture"])
        .env_clear()
        .env("HOME", "/nowhere")
        .env(ALONE, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
}

fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

#[test]
fn without_credentials_the_machine_is_asked_for_some_and_has_none() {
    if !is_alone() {
        return alone("without_credentials_the_machine_is_asked_for_some_and_has_none", &[]);
    }
    let endpoint = silent();
    for (uri, endpoint_option) in [
        ("s3://bucket/x", "aws_endpoint"),
        ("gs://bucket/x", "google_base_url"),
        ("az://container/x", "azure_endpoint"),
    ] {
        let mut pairs = storage_options(&[(endpoint_option, &endpoint), ("allow_http", "true")]);
        if uri.starts_with("az") {
            pairs.extend(storage_options(&[("account_name", "account")]));
        }
        let error = read_failure(uri, &pairs);
        is(&error, "credentials", Status::Permission, false);
        assert!(error.message().contains("no credentials are given"), "{error}");
    }
}

#[test]
fn keys_that_are_given_go_without_a_token_of_the_environment() {
    if !is_alone() {
        let server = Server::shared("minio");
        let options: Vec<String> =
            server.options().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let variables = [
            ("AWS_SESSION_TOKEN", "S3CRET"),
            ("TOKEN", "S3CRET"),
            ("TIMEOUT", "S3CRET"),
            ("URI", &server.uri("token")),
            ("OPTIONS", &options.join("\n")),
        ];
        return alone("keys_that_are_given_go_without_a_token_of_the_environment", &variables);
    }
    let (uri, given) = (std::env::var("URI").unwrap(), std::env::var("OPTIONS").unwrap());
    let pairs: Pairs = given
        .lines()
        .map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap())
        .collect();
    let store = open("write", &uri, &pairs, &Call::default()).unwrap();
    write(&store, "r/a", &[samples(&["1"])], &[]).unwrap();
    assert_eq!(read(&store, "r/a", &ReadRequest::default()).unwrap().len(), 1);
}

#[test]
fn the_server_of_a_profile_is_tried_before_it_is_written_to() {
    if !is_alone() {
        let server = Server::start("moto", &["--ignore-conditions"]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        let profile = format!(
            "[profile m]\nendpoint_url = {}\nregion = us-east-1\naws_access_key_id = a\naws_secret_access_key = S3CRET\n",
            server.endpoint()
        );
        std::fs::write(&file, profile).unwrap();
        let variables = [
            ("AWS_PROFILE", "m"),
            ("AWS_CONFIG_FILE", file.to_str().unwrap()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials"),
            ("URI", &server.uri("profile")),
        ];
        return alone("the_server_of_a_profile_is_tried_before_it_is_written_to", &variables);
    }
    let uri = std::env::var("URI").unwrap();
    let error = failure(open("write", &uri, &Pairs::new(), &Call::default()));
    assert!(error.message().contains("is not encrypted"), "{error}");
    let pairs = storage_options(&[("allow_http", "true")]);
    let error = failure(open("write", &uri, &pairs, &Call::default()));
    assert_eq!(error.status(), Status::Unsupported, "{error:?}");
    assert!(error.message().contains("ignores the condition"), "{error}");
    tells_no_secret(&error);
    assert!(has_nothing(&open("read", &uri, &pairs, &Call::default()).unwrap()));
}

#[test]
fn hosts_that_are_not_there_are_told_apart_from_those_that_refuse() {
    let refused = nobody();
    let error = read_failure("s3://bucket/x", &s3(&refused));
    is(&error, "refused", Status::Unavailable, true);
    assert!(error.message().contains("storage_options.aws_endpoint"), "{error}");
    // Some networks take their time to say that there is no such name.
    let patient = [("connect.timeout_ms", "60000"), ("read.timeout_ms", "60000")];
    let patient = patient.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let nameless = [s3("http://no-such-host.invalid"), patient].concat();
    let store = open("read", "s3://bucket/x", &nameless, &Call::default()).unwrap();
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    is(&error, "host", Status::Unavailable, false);

    let signature = "sv=2021-12-02&sr=c&sp=rl&se=2099-01-01T00%3A00%3A00Z&sig=S3CRET%3D";
    let azure = |endpoint: &str| {
        storage_options(&[
            ("account_name", "account"),
            ("azure_storage_sas_token", signature),
            ("azure_endpoint", endpoint),
            ("allow_http", "true"),
        ])
    };
    is(&read_failure("az://container/x", &azure(&refused)), "refused", Status::Unavailable, true);
    let google = |endpoint: &str| {
        storage_options(&[
            ("google_storage_token", "S3CRET"),
            ("google_base_url", endpoint),
            ("allow_http", "true"),
        ])
    };
    is(&read_failure("gs://bucket/x", &google(&refused)), "refused", Status::Unavailable, true);
}

#[test]
fn servers_without_a_certificate_to_believe_in_are_told_as_that() {
    let plain = Server::shared("moto").endpoint().replace("http://", "https://");
    is(&read_failure("s3://lance-bucket/x", &s3(&plain)), "tls", Status::Unavailable, false);
    let private = Server::start("moto", &["--tls"]);
    let error = read_failure(&private.uri("x"), &s3(private.endpoint()));
    is(&error, "tls", Status::Unavailable, false);
    assert!(error.message().contains("SSL_CERT_FILE"), "{error}");
}

#[test]
fn storages_that_fall_silent_or_fail_are_told_apart() {
    is(&read_failure("s3://bucket/x", &s3(&silent())), "timeout", Status::Timeout, true);
    for (status, body, reason) in [
        ("503 Service Unavailable", "<Error><Code>SlowDown</Code></Error>", "throttled"),
        ("503 Service Unavailable", "<Error><Code>ServerBusy</Code></Error>", "throttled"),
        ("429 Too Many Requests", "S3CRET", "throttled"),
        ("500 Internal Server Error", "<Error><Code>InternalError</Code><X>S3CRET</X></Error>", "server"),
        ("502 Bad Gateway", "<html>S3CRET</html>", "server"),
    ] {
        let error = read_failure("s3://bucket/x", &s3(&answering(status, body)));
        is(&error, reason, Status::Unavailable, true);
    }
    let broken = serving(|mut stream| {
        let _ = stream.read(&mut [0; 1 << 16]);
    });
    is(&read_failure("s3://bucket/x", &s3(&broken)), "server", Status::Unavailable, true);
    for (status, body, reason, expected) in [
        (
            "403 Forbidden",
            "<Error><Code>AccessDenied</Code><X>S3CRET</X></Error>",
            "permission",
            Status::Permission,
        ),
        ("401 Unauthorized", "", "credentials", Status::Permission),
        (
            "403 Server failed to authenticate the request",
            "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>sig=S3CRET</AuthenticationErrorDetail></Error>",
            "credentials",
            Status::Permission,
        ),
        (
            "400 Bad Request",
            "<Error><Code>ExpiredToken</Code><Token-0>S3CRETtoken</Token-0></Error>",
            "credentials",
            Status::Permission,
        ),
        (
            "301 Moved Permanently",
            "<Error><Code>PermanentRedirect</Code></Error>",
            "region",
            Status::InvalidArgument,
        ),
    ] {
        is(&read_failure("s3://bucket/x", &s3(&answering(status, body))), reason, expected, false);
    }
}

#[test]
fn what_hides_behind_retries_is_told_when_the_time_is_over() {
    // Refuses once, and is silent ever after.
    let asked = AtomicBool::new(false);
    let endpoint = serving(move |mut stream| {
        let mut heard = [0; 1 << 16];
        while stream.read(&mut heard).is_ok_and(|bytes| bytes > 0) {
            if !asked.swap(true, Ordering::Relaxed) {
                let _ = stream.write_all(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let store = open("read", "s3://bucket/x", &s3(&endpoint), &Call::default()).unwrap();
    let began = Instant::now();
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    in_time(began, &error);
    is(&error, "throttled", Status::Unavailable, true);
}

#[test]
fn a_storage_that_comes_back_is_used_by_the_next_call() {
    let server = Server::start("minio", &[]);
    let (uri, options) = (server.uri("x"), server.options());
    let port = server.port();
    drop(server);
    let store = open("read", &uri, &options, &Call::default()).unwrap();
    is(&failure(read(&store, "r/a", &ReadRequest::default())), "refused", Status::Unavailable, true);
    // A bucket with nothing in it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(std::result::Result::ok) {
            std::thread::spawn(move || {
                while stream.read(&mut [0; 1 << 16]).is_ok_and(|bytes| bytes > 0) {
                    let body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
                    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    let _ = stream.write_all(reply.as_bytes());
                }
            });
        }
    });
    assert!(has_nothing(&store));
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_noticed_in_time() {
    let server = Server::start("minio", &[]);
    let store = open("write", &server.uri("x"), &server.options(), &Call::default()).unwrap();
    write(&store, "r/a", &[samples(&["1", "2"])], &[]).unwrap();
    let reader = open("read", &server.uri("x"), &server.options(), &Call::default()).unwrap();
    assert_eq!(
        read(&reader, "r/a", &ReadRequest::default()).unwrap().iter().map(|b| b.num_rows()).sum::<usize>(),
        2
    );
    drop(server);
    let gone = Instant::now();
    is(&failure(read(&reader, "r/a", &ReadRequest::default())), "refused", Status::Unavailable, true);
    is(&failure(write(&store, "r/a", &[samples(&["3"])], &[])), "refused", Status::Unavailable, true);
    assert!(gone.elapsed() < Duration::from_secs(30), "{:?}", gone.elapsed());
}

#[test]
fn a_server_that_falls_silent_in_the_middle_is_noticed_in_time() {
    let server = Server::shared("minio");
    let quiet = Arc::new(AtomicBool::new(false));
    let proxy = between(server.port(), quiet.clone());
    let mut options = with(server.options(), &[("aws_endpoint", &proxy)]);
    options.push(("read.timeout_ms".to_owned(), "1000".to_owned()));
    let store = open("write", &server.uri("silent"), &options, &Call::default()).unwrap();
    write(&store, "r/a", &[samples(&["1", "2"])], &[]).unwrap();
    quiet.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    is(&error, "timeout", Status::Timeout, true);
    // Lance lists the versions up to six times.
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
}

/// Passes everything on to `port`, and back as long as it is not `quiet`.
fn between(port: u16, quiet: Arc<AtomicBool>) -> String {
    serving(move |mut client| {
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
        let (mut requests, mut sink) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut requests, &mut sink);
            let _ = sink.shutdown(std::net::Shutdown::Both);
        });
        let mut heard = [0; 1 << 16];
        while let Ok(bytes @ 1..) = server.read(&mut heard) {
            if !quiet.load(Ordering::Relaxed) && client.write_all(&heard[..bytes]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
    })
}

#[test]
fn a_server_that_does_not_keep_writers_apart_is_written_to_only_where_that_is_accepted() {
    let server = Server::start("moto", &["--ignore-conditions"]);
    let (uri, options) = (server.uri("apart"), server.options());
    let error = failure(open("write", &uri, &options, &Call::default()));
    assert_eq!(error.status(), Status::Unsupported, "{error:?}");
    assert!(error.message().contains(server.endpoint()), "{error}");
    assert!(error.message().contains("write.single_writer=accept"), "{error}");
    // Reading asks for nothing of the kind.
    let store = open("read", &uri, &options, &Call::default()).unwrap();
    assert!(has_nothing(&store));

    let log = listen(Level::Warn, "single_writer");
    let accepting = [options, vec![("write.single_writer".to_owned(), "accept".to_owned())]].concat();
    let store = open("write", &uri, &accepting, &Call::default()).unwrap();
    assert_eq!(log.heard().len(), 1);
    write(&store, "r/a", &[samples(&["1"])], &[]).unwrap();
    let listed = list(&server);
    assert!(listed.contains("<Key>apart/r__a.lance/"), "{listed}");
    assert!(!listed.contains("metaxy-writers"), "{listed}");
}

#[test]
fn a_server_that_refuses_conditions_is_not_written_to_at_all() {
    // An empty bucket that nothing can be put into.
    let endpoint = serving(|mut stream| {
        let mut heard = [0; 1 << 16];
        while let Ok(bytes @ 1..) = stream.read(&mut heard) {
            let (status, body) = match heard[..bytes].starts_with(b"GET") {
                true => ("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
                false => ("501 Not Implemented", "<Error><Code>NotImplemented</Code><X>S3CRET</X></Error>"),
            };
            let length = body.len();
            let reply =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.write_all(reply.as_bytes());
            // The body of a request may come by itself.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    });
    let accepting = [s3(&endpoint), vec![("write.single_writer".to_owned(), "accept".to_owned())]].concat();
    for pairs in [s3(&endpoint), accepting] {
        let error = failure(open("write", "s3://bucket/x", &pairs, &Call::default()));
        assert_eq!(error.status(), Status::Unsupported, "{error:?}");
        assert!(error.message().contains("refuses every request with the condition"), "{error}");
        assert!(!error.message().contains("single_writer"), "{error}");
        tells_no_secret(&error);
    }
}

#[test]
fn a_server_that_keeps_writers_apart_is_tried_once() {
    let server = Server::start("moto", &[]);
    for database in ["one", "two"] {
        open("write", &server.uri(database), &server.options(), &Call::default()).unwrap();
    }
    assert!(!list(&server).contains("<Key>"), "{}", list(&server));
    let (uri, options) = (server.uri("three"), server.options());
    drop(server);
    // Nothing is asked, so that nobody has to answer.
    open("write", &uri, &options, &Call::default()).unwrap();
}

/// What a server that checks no signatures has in its bucket.
fn list(server: &Server) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let request = format!(
        "GET /lance-bucket?list-type=2 HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\nConnection: close\r\n\r\n",
        server.port()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    reply
}

#[test]
fn opening_for_writing_says_why_the_storage_cannot_be_reached() {
    let began = Instant::now();
    let error = failure(open("write", "s3://bucket/x", &s3(&silent()), &Call::default()));
    in_time(began, &error);
    is(&error, "timeout", Status::Timeout, true);
    is(
        &failure(open("write", "s3://bucket/x", &s3(&nobody()), &Call::default())),
        "refused",
        Status::Unavailable,
        true,
    );
}

#[test]
fn a_chain_passes_over_a_storage_that_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let prod = crate::support::open(directory.path(), &[]);
    prod.define(&root("r/a", &["x"])).unwrap();
    write(&prod, "r/a", &[samples(&["1"])], &[]).unwrap();
    for endpoint in [nobody(), silent(), answering("403 Forbidden", "")] {
        let down = open("read", "s3://bucket/x", &s3(&endpoint), &Call::default()).unwrap();
        let dev = tempfile::tempdir().unwrap();
        let chain = |pairs: &[(&str, &str)], dev: &Path| {
            let fallbacks = vec![Fallback::from(down.clone()), Fallback::from(prod.clone())];
            let store =
                Store::open_chain(dev.to_str().unwrap(), fallbacks, &options(pairs), &Call::default())
                    .unwrap();
            store.define(&root("r/a", &["x"])).unwrap();
            store
        };
        let over = chain(&[("fallback.on_unavailable", "next")], dev.path());
        let (stream, batches) = read_with_schema(&over, "r/a", &ReadRequest::default()).unwrap();
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
        assert!(stream.visits().iter().any(|visit| visit.outcome == Outcome::Unavailable));
        let error = failure(read(&chain(&[], dev.path()), "r/a", &ReadRequest::default()));
        assert!(error.detail("reason").is_some(), "{error:?}");
        tells_no_secret(&error);
    }
}

#[test]
fn a_call_gives_up_a_storage_that_hangs() {
    let endpoint = silent();
    // Only the call itself can end in time.
    let hour = |name: &str| (name.to_owned(), "3600000".to_owned());
    let pairs = [s3(&endpoint), vec![hour("connect.timeout_ms"), hour("read.timeout_ms")]].concat();
    let mut context = Context::new();
    context.set_timeout(Some(Duration::from_millis(200)));
    let began = Instant::now();
    let error = failure(open("write", "s3://bucket/x", &pairs, &context.begin()));
    assert_eq!(error.status(), Status::Timeout);
    assert!(error.message().contains("200 ms"), "{error}");
    let store = open("read", "s3://bucket/x", &pairs, &Call::default()).unwrap();
    let call = context.begin();
    let error = failure(store.runtime().block_on(store.read("r/a", &ReadRequest::default(), &call)));
    assert!(error.message().contains("200 ms"), "{error}");
    in_time(began, &error);

    let context = Context::new();
    let call = context.begin();
    let cancelling = std::thread::spawn({
        let context = context.clone();
        move || {
            std::thread::sleep(Duration::from_millis(200));
            context.cancel();
        }
    });
    let began = Instant::now();
    let error = failure(store.runtime().block_on(store.read("r/a", &ReadRequest::default(), &call)));
    assert_eq!(error.status(), Status::Cancelled);
    in_time(began, &error);
    cancelling.join().unwrap();
}
