//! The C programs of `tests/c`: what the ABI does when it is used as it should not be.
//!
//! Each runs as it is and under valgrind, where a definite leak or an invalid access fails it.

use std::path::Path;

use crate::native::{ROOT, compile, finish, linked};

const COMPILER: &str = "make test-tools installs it";
const VALGRIND: &str = "valgrind is needed: make test-tools installs it";

/// Compiles `tests/c/<name>.c` and runs it both ways.
fn run(name: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Path::new(&format!("{ROOT}/tests/c/{name}.c")), directory.path());
    let mut plain = linked(&program, directory.path());
    plain.current_dir(directory.path());
    finish(plain, COMPILER);

    let mut valgrind = linked(Path::new("valgrind"), directory.path());
    valgrind
        .current_dir(directory.path())
        .args([
            "--quiet",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
        ])
        .args(["--error-exitcode=1", "--child-silent-after-fork=yes"])
        .arg(&program);
    finish(valgrind, VALGRIND);
}

#[test]
fn wrong_arguments() {
    run("arguments");
}

#[test]
fn every_order_of_release() {
    run("lifetimes");
}

#[test]
fn maintenance() {
    run("maintain");
}

#[test]
fn cancel_timeout_and_callbacks() {
    run("control");
}

#[test]
fn dropping_features() {
    run("drop");
}

#[test]
fn a_forked_child() {
    run("fork");
}

#[test]
fn malformed_arrow_structs() {
    run("malformed");
}

#[test]
fn arrow_arrays_of_every_shape() {
    run("shapes");
}

#[test]
fn stores_by_name() {
    run("config");
}

#[test]
fn rows_from_many_threads() {
    run("buffered_writer");
}

#[test]
fn a_panic_inside() {
    run("panic");
}

#[test]
fn deletes() {
    run("delete");
}

#[test]
fn the_catalog_of_a_store() {
    run("catalog");
}

#[test]
fn chains_of_stores() {
    run("chain");
}

#[test]
fn copies_between_stores() {
    run("copy");
}

#[test]
fn graphs_and_pushes() {
    run("graph");
}

#[test]
fn increments() {
    run("increment");
}

#[test]
fn versions_of_rows_that_the_caller_has() {
    run("joined");
}

#[test]
fn rows_of_another_version() {
    run("rebase");
}

#[test]
fn several_features_in_one_call() {
    run("write_many");
}
