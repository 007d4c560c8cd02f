//! The library as C programs see it: where it is, and how a program is compiled against it. And where the tests' tools are.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The shared library that was built together with this test program.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let library = program.with_file_name("libmetaxy.so");
    assert!(library.exists(), "{} is missing; cargo builds it beside the tests", library.display());
    library
}

/// Compiles one C11 source, without a single warning, into `directory`.
pub fn compile(source: &Path, directory: &Path) -> PathBuf {
    let program = directory.join(source.file_stem().expect("a file name"));
    let mut command = Command::new("gcc");
    command
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"])
        .args(["-I", &format!("{ROOT}/include"), "-I", &format!("{ROOT}/examples/c"), "-o"])
        .args([&program, source, &library()]);
    finish(command, "gcc is needed: make test-tools installs it");
    program
}

/// A command that finds the library by the name that programs are linked with, its SONAME.
pub fn linked(program: &Path, directory: &Path) -> Command {
    let version: Vec<&str> = env!("CARGO_PKG_VERSION").split('.').collect();
    let soname = directory.join(format!("libmetaxy.so.{}.{}", version[0], version[1]));
    if !soname.exists() {
        std::os::unix::fs::symlink(library(), &soname).expect("a link to the library");
    }
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", directory);
    command
}

/// Runs a command that must succeed. `missing` says what to do when there is no such program.
pub fn finish(mut command: Command, missing: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {missing}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a program prints, which draws no bar on stderr: that is no terminal.
pub fn printed(command: Command, missing: &str) -> String {
    let output = finish(command, missing);
    let drawn = String::from_utf8_lossy(&output.stderr);
    assert!(!drawn.contains('\r'), "{drawn:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Where the Makefile installs what the tests need.
pub fn cache() -> PathBuf {
    std::env::var_os("METAXY_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/libmetaxy")
    })
}

/// The Python that has Metaxy and the servers.
pub fn python() -> PathBuf {
    let python = cache().join("python/bin/python");
    assert!(python.exists(), "{} is missing: make test-tools installs it", python.display());
    python
}
