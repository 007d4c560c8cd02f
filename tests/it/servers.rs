//! Real object stores on loopback, each a program of `tests/servers` that lives as long as its standard input is open.
//!
//! Where the environment has an HTTP_PROXY, NO_PROXY must name 127.0.0.1 and localhost, as it does below `make`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::native::{ROOT, cache, python};

/// How long a server may take to answer; machines are busy while tests run.
const START: Duration = Duration::from_secs(120);

/// A running server; it ends when this is dropped, or with this process.
pub struct Server {
    process: Child,
    /// The server lives until this is closed.
    input: Option<ChildStdin>,
    report: Value,
}

impl Server {
    /// Starts `tests/servers/<kind>.py`, and waits until it answers.
    pub fn start(kind: &str, arguments: &[&str]) -> Self {
        let mut heard = tempfile::tempfile().expect("a temporary file");
        let mut process = Command::new(python())
            .args(["-B", "-m", &format!("servers.{kind}")])
            .args(arguments)
            .current_dir(format!("{ROOT}/tests"))
            .env("METAXY_CACHE", cache())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(heard.try_clone().expect("a second handle"))
            .spawn()
            .unwrap_or_else(|error| panic!("server {kind}: {error}"));
        let input = process.stdin.take();
        let Some(report) = first_line(&mut process).and_then(|line| serde_json::from_str(&line).ok()) else {
            let ended = process.try_wait().expect("the state of a child");
            let _ = process.kill();
            panic!(
                "server {kind} {arguments:?} does not answer ({ended:?}; make test-tools installs what it needs):\n{}",
                said(&mut heard)
            );
        };
        Self { process, input, report }
    }

    /// The one server of this kind that all tests of this process share; it ends with the process.
    pub fn shared(kind: &'static str) -> &'static Self {
        static SERVERS: Mutex<BTreeMap<&str, &OnceLock<Server>>> = Mutex::new(BTreeMap::new());
        let server: &'static OnceLock<Self> = SERVERS
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .entry(kind)
            .or_insert_with(|| Box::leak(Box::default()));
        server.get_or_init(|| Self::start(kind, &[]))
    }

    /// What the server says of itself, see `tests/servers`.
    pub fn report(&self) -> &Value {
        &self.report
    }

    /// A text of the report.
    pub fn said(&self, name: &str) -> &str {
        self.report[name].as_str().unwrap_or_else(|| panic!("this server says no {name}"))
    }

    pub fn port(&self) -> u16 {
        self.port_of("port")
    }

    fn port_of(&self, name: &str) -> u16 {
        self.report[name].as_u64().and_then(|port| port.try_into().ok()).expect("a port")
    }

    pub fn endpoint(&self) -> &str {
        self.said("endpoint")
    }

    /// Where a store called `database` is on this server.
    pub fn uri(&self, database: &str) -> String {
        format!("{}/{database}", self.said("uri"))
    }

    /// The options with which a client may do everything.
    pub fn options(&self) -> Vec<(String, String)> {
        self.options_of("options")
    }

    /// The options of a client that may not write.
    pub fn read_only(&self) -> Vec<(String, String)> {
        self.options_of("read_only")
    }

    /// What the control port of `tests/servers/faults.py` answers.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = exchange(self.port_of("control_port"), method, path, &body.to_string());
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        let (_, body) = reply.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    fn options_of(&self, client: &str) -> Vec<(String, String)> {
        let options =
            self.report[client].as_object().unwrap_or_else(|| panic!("this server has no {client}"));
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        options.iter().map(|(name, value)| (format!("storage_options.{name}"), text(value))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The first line that a server prints, or none if it ends or takes too long.
fn first_line(process: &mut Child) -> Option<String> {
    let output = process.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let _ = sender.send(read.ok().map(|_| line));
    });
    receiver.recv_timeout(START).ok().flatten()
}

fn said(heard: &mut File) -> String {
    let mut text = String::new();
    let _ = heard.rewind().and_then(|()| heard.read_to_string(&mut text));
    text
}

#[test]
fn minio_answers_and_is_gone_when_its_input_ends() {
    // Without a signature, everybody may read.
    let server = answers("minio", &[], "/lance-bucket?list-type=2", "200");
    assert_ne!(server.read_only(), server.options());
    ends_with_its_input(server);
}

#[test]
fn moto_answers_and_is_gone_when_its_input_ends() {
    ends_with_its_input(answers("moto", &[], "/lance-bucket?list-type=2", "200"));
}

#[test]
fn moto_without_conditions_answers_and_is_gone_when_its_input_ends() {
    ends_with_its_input(answers("moto", &["--ignore-conditions"], "/lance-bucket?list-type=2", "200"));
}

#[test]
fn gcs_answers_and_is_gone_when_its_input_ends() {
    let server = answers("gcs", &[], "/lance%2Dbucket?list-type=2", "401");
    assert_eq!(server.uri("db"), "gs://lance-bucket/db");
    assert_ne!(server.read_only(), server.options());
    ends_with_its_input(server);
}

#[test]
fn azurite_answers_and_is_gone_when_its_input_ends() {
    let server = answers("azurite", &[], "/devstoreaccount1/lance-bucket?restype=container", "403");
    assert_eq!(server.uri("db"), "az://lance-bucket/db");
    assert_ne!(server.read_only(), server.options());
    ends_with_its_input(server);
}

fn answers(kind: &str, arguments: &[&str], path: &str, status: &str) -> Server {
    let server = Server::start(kind, arguments);
    let reply = get(server.port(), path);
    assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    server
}

fn ends_with_its_input(server: Server) {
    let (port, report) = (server.port(), server.report().clone());
    drop(server);
    assert_gone(port);
    if let Some(directory) = report["directory"].as_str() {
        assert!(!Path::new(directory).exists(), "{directory} is left");
    }
}

#[test]
fn what_a_server_started_dies_with_it_even_when_it_is_killed() {
    for kind in ["minio", "azurite"] {
        let mut server = Server::start(kind, &[]);
        server.process.kill().expect("a kill");
        server.process.wait().expect("an end");
        assert_gone(server.port());
        // Nobody was left to do this.
        std::fs::remove_dir_all(server.report()["directory"].as_str().expect("a directory"))
            .expect("a removal");
    }
}

#[test]
fn a_tls_server_shows_a_certificate_of_its_own_authority() {
    let server = Server::start("moto", &["--tls"]);
    let authority =
        std::fs::read_to_string(server.report()["ca"].as_str().expect("a file")).expect("a certificate");
    assert!(authority.contains("BEGIN CERTIFICATE"), "{authority}");
    assert!(server.endpoint().starts_with("https://127.0.0.1:"));
}

#[test]
fn the_shared_server_is_one() {
    assert_eq!(Server::shared("moto").port(), Server::shared("moto").port());
}

#[test]
#[should_panic(expected = "unrecognized arguments: --no-such-option")]
fn a_server_that_does_not_start_says_why() {
    Server::start("moto", &["--no-such-option"]);
}

fn get(port: u16, path: &str) -> String {
    exchange(port, "GET", path, "")
}

/// One request on a connection of its own; the whole reply.
fn exchange(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("a reply");
    String::from_utf8_lossy(&reply).into_owned()
}

/// A killed child is gone a moment after its parent.
fn assert_gone(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
        assert!(Instant::now() < deadline, "something still listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
