//! Python Metaxy and this library over the same directories, both ways.
//!
//! The cases are in `tests/interop/interop.py`; they load the library through its C ABI.

use std::process::Command;

use crate::native::{ROOT, finish, library, python};

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

fn run(case: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(python());
    command.arg("-B").arg(format!("{ROOT}/tests/interop/interop.py")).arg(case);
    command.arg(library()).arg(directory.path());
    finish(command, "make test-tools installs Python Metaxy");
}
