//! Python Metaxy and this library over the same directories and buckets, both ways.
//!
//! The cases are in `tests/interop/interop.py`; they load the library through its C ABI.

use std::ffi::OsStr;
use std::process::Command;

use serde_json::json;

use crate::native::{ROOT, finish, library, python};
use crate::servers::Server;

#[test]
fn we_read_what_python_writes() {
    run("python_writes");
}

#[test]
fn python_reads_what_we_write() {
    run("we_write");
}

#[test]
fn both_append_to_one_table_in_turn() {
    run("turns");
}

#[test]
fn both_delete_what_either_wrote() {
    run("deletes");
}

#[test]
fn how_python_hashed_is_found_out() {
    run("inferred");
}

#[test]
fn nothing_is_lost_when_the_first_writers_start_at_once() {
    run("first_writers");
}

#[test]
fn what_a_killed_writer_acknowledged_is_there() {
    run("killed");
}

#[test]
fn one_configuration_serves_both() {
    run("configured");
}

#[test]
fn a_copy_of_what_python_writes_is_the_same_to_both() {
    run("copied");
}

#[test]
fn both_use_one_bucket() {
    let server = Server::shared("moto");
    let options = server.report()["options"].clone();
    let place = json!({"uri": server.uri("interop"), "storage_options": options});
    run_on("bucket", OsStr::new(&place.to_string()));
}

#[test]
fn each_loads_what_the_other_pushes() {
    run("pushed");
}

#[test]
fn both_rebase_rows_to_the_same_versions() {
    run("rebased");
}

fn run(case: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    run_on(case, directory.path().as_os_str());
}

fn run_on(case: &str, place: &OsStr) {
    let mut command = Command::new(python());
    command.arg("-B").arg(format!("{ROOT}/tests/interop/interop.py")).arg(case);
    command.arg(library()).arg(place);
    finish(command, "make test-tools installs Python Metaxy");
}
