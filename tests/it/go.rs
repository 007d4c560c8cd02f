//! The Go module in `bindings/go`, and its example. The Makefile has fetched the modules that they need.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::native::{ROOT, cache, finish, library, linked, printed};

const GO: &str = "Go 1.25 or newer and the modules are needed: make test-tools installs them";

/// A Go command in a folder of the repository, which finds the header and the library: `links` has its SONAME.
pub fn go(folder: &str, links: &Path) -> Command {
    // Where the system's is too old, the Makefile has put one beside Python.
    let newer = cache().join("python/bin/go");
    let mut command = linked(if newer.exists() { &newer } else { Path::new("go") }, links);
    // The paths of these two must be the same in each run: Go keeps what it has compiled by them.
    command
        .env("CGO_CFLAGS", format!("-O2 -g -I{ROOT}/include"))
        .env("CGO_LDFLAGS", format!("-L{}", library().parent().expect("a folder").display()))
        .env("CGO_ENABLED", "1")
        // Nothing is fetched, or chosen anew, while testing.
        .env("GOFLAGS", "-mod=readonly")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .current_dir(Path::new(ROOT).join(folder));
    command
}

fn run(folder: &str, arguments: &[&str]) -> String {
    let links = tempfile::tempdir().expect("a temporary directory");
    let mut command = go(folder, links.path());
    command.args(arguments);
    printed(command, GO)
}

#[test]
fn the_module_is_well_formed() {
    let gofmt = Path::new(run("bindings/go", &["env", "GOROOT"]).trim()).join("bin/gofmt");
    for folder in ["bindings/go", "examples/go", "benches/hosts/go"] {
        run(folder, &["vet", "./..."]);
        let mut format = Command::new(&gofmt);
        format.args(["-l", folder]).current_dir(ROOT);
        assert_eq!(String::from_utf8_lossy(&finish(format, GO).stdout), "", "gofmt -w {folder}");
    }
}

#[test]
fn the_module_passes_its_tests_under_the_race_detector_and_keeps_the_rules_of_pointers() {
    let links = tempfile::tempdir().expect("a temporary directory");
    let mut tests = go("bindings/go", links.path());
    tests.args(["test", "-race", "-count=1", "./..."]);
    // The first checks what is passed to C, the second also each pointer of Go that is written into memory of C.
    tests.env("GODEBUG", "cgocheck=1").env("GOEXPERIMENT", "cgocheck2");
    finish(tests, GO);
}

#[test]
fn the_worker_prints_what_it_says_it_does() {
    let expected = fs::read_to_string(format!("{ROOT}/examples/go/main.expected")).expect("main.expected");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let metadata = directory.path().join("metadata");
    assert_eq!(run("examples/go", &["run", ".", metadata.to_str().expect("a path")]), expected);
}

#[test]
fn the_module_is_linked_by_pkg_config() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let flags = format!(
        "Name: metaxy\nDescription: libmetaxy\nVersion: {}\nCflags: -I{ROOT}/include\nLibs: -L{} -lmetaxy\n",
        env!("CARGO_PKG_VERSION"),
        library().parent().expect("a folder").display()
    );
    fs::write(directory.path().join("metaxy.pc"), flags).expect("metaxy.pc");
    let program = directory.path().join("quickstart");
    let mut build = go("bindings/go", directory.path());
    build
        .args(["build", "-tags", "pkgconfig", "-o", program.to_str().expect("a path"), "./quickstart"])
        .env("PKG_CONFIG_PATH", directory.path())
        .env_remove("CGO_CFLAGS")
        .env_remove("CGO_LDFLAGS");
    finish(build, GO);
    let mut quickstart = linked(&program, directory.path());
    quickstart.current_dir(directory.path());
    assert!(String::from_utf8_lossy(&finish(quickstart, GO).stdout).contains("credits a-7f"));
}
