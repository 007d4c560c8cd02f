//! Many processes on one feature, some of them killed: `tests/c/processes.c`.

use std::path::{Path, PathBuf};

use crate::native::{ROOT, compile, finish, linked};

const COMPILER: &str = "make test-tools installs it";

fn program(directory: &Path) -> PathBuf {
    compile(Path::new(&format!("{ROOT}/tests/c/processes.c")), directory)
}

fn number(variable: &str, otherwise: u32) -> String {
    std::env::var(variable).unwrap_or_else(|_| otherwise.to_string())
}

/// `make kill-test` does it more often; the seed of a run that failed is in the message.
#[test]
fn what_killed_writers_acknowledged_is_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = program(directory.path());
    let seed = number("METAXY_KILL_SEED", std::process::id());
    for (kills, writers) in [(number("METAXY_KILLS", 15), "1"), (number("METAXY_KILLS", 15), "3")] {
        let mut run = linked(&program, directory.path());
        run.arg("kill").arg(directory.path().join(writers)).args([&kills, writers, &seed]);
        finish(run, COMPILER);
    }
}

#[test]
fn eight_append_while_others_compact_and_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = program(directory.path());
    let mut run = linked(&program, directory.path());
    run.arg("together").arg(directory.path().join("store")).args(["8", &number("METAXY_WRITES", 12)]);
    finish(run, COMPILER);
}

#[test]
fn writers_survive_drops() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = program(directory.path());
    let mut run = linked(&program, directory.path());
    run.arg("drop").arg(directory.path().join("store")).args(["4", &number("METAXY_DROPS", 30)]);
    finish(run, COMPILER);
}
