//! The store is the same on every storage: `tests/c/conformance.c`, and `tests/c/processes.c` with several processes.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::native::{ROOT, compile, finish, linked};
use crate::servers::Server;

const COMPILER: &str = "make test-tools installs it";

/// Where a store is, and the options that it takes to open it.
struct Place {
    uri: String,
    options: Vec<(String, String)>,
    /// Behind a server that maintains its tables itself.
    remote: bool,
}

impl Place {
    /// A database of the shared server of this kind.
    fn on(kind: &'static str, database: &str) -> Place {
        let server = Server::shared(kind);
        Place { uri: server.uri(database), options: server.options(), remote: false }
    }

    /// A database behind a server of LanceDB's remote protocol.
    fn remote(server: &Server, uri: &str, name: &str, value: &str) -> Place {
        let options = [("api_key", server.said("key")), (name, value)];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Place { uri: uri.to_owned(), options: options.into(), remote: true }
    }

    fn local(uri: &str) -> Place {
        Place { uri: uri.to_owned(), options: Vec::new(), remote: false }
    }

    /// The options as the C programs take them.
    fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.options.iter().map(|(name, value)| format!("{name}={value}"))
    }
}

/// One of the C programs, and where it is.
struct Program {
    directory: TempDir,
    path: PathBuf,
}

impl Program {
    fn of(source: &str) -> Program {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = compile(Path::new(&format!("{ROOT}/tests/c/{source}")), directory.path());
        Program { directory, path }
    }

    fn run(&self, before: &[&str], place: &Place, after: &[&str]) {
        let mut command = linked(&self.path, self.directory.path());
        command.args(before).arg(&place.uri).args(after);
        if place.remote {
            command.arg("--remote");
        }
        command.args(place.arguments());
        finish(command, COMPILER);
    }
}

fn conforms(place: &Place) {
    Program::of("conformance.c").run(&[], place, &[]);
}

#[test]
fn a_directory_conforms() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    conforms(&Place::local(directory.path().join("store").to_str().expect("UTF-8")));
}

#[test]
fn memory_conforms() {
    conforms(&Place::local("memory://"));
}

#[test]
fn minio_conforms() {
    conforms(&Place::on("minio", "conformance"));
}

#[test]
fn moto_conforms() {
    conforms(&Place::on("moto", "conformance"));
}

#[test]
fn gcs_conforms() {
    conforms(&Place::on("gcs", "conformance"));
}

#[test]
fn azure_conforms() {
    conforms(&Place::on("azurite", "conformance"));
}

/// Below a path, and with a certificate of one's own authority.
#[test]
fn a_server_conforms() {
    let server = Server::start("lancedb_remote", &["--prefix", "/databases/{database}", "--tls"]);
    let uri = format!("{}/databases/conformance", server.endpoint());
    conforms(&Place::remote(&server, &uri, "tls.ca_file", server.said("ca")));
}

#[test]
fn lancedb_cloud_conforms() {
    let server = Server::shared("lancedb_remote");
    conforms(&Place::remote(server, "db://cloud", "host_override", server.endpoint()));
}

/// Several processes write, compact, read, drop and are killed at once; every acknowledged row is there, once.
fn keeps_what_it_acknowledged(place: impl Fn(&str) -> Place) {
    let program = Program::of("processes.c");
    let run = |role, numbers: &[&str]| program.run(&[role], &place(role), numbers);
    run("together", &["4", "6"]);
    run("drop", &["3", "5"]);
    run("kill", &["4", "2", &std::process::id().to_string()]);
}

#[test]
fn processes_lose_nothing_on_minio() {
    keeps_what_it_acknowledged(|database| Place::on("minio", database));
}

#[test]
fn processes_lose_nothing_on_moto() {
    keeps_what_it_acknowledged(|database| Place::on("moto", database));
}

#[test]
fn processes_lose_nothing_on_gcs() {
    keeps_what_it_acknowledged(|database| Place::on("gcs", database));
}

/// By the other kind of its URIs.
#[test]
fn processes_lose_nothing_on_azure() {
    keeps_what_it_acknowledged(|database| {
        let container = Server::shared("azurite").said("bucket");
        let uri = format!("abfss://{container}@devstoreaccount1.dfs.core.windows.net/{database}");
        Place { uri, ..Place::on("azurite", database) }
    });
}
