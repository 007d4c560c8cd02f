//! `include/metaxy.h`: generated from the sources, clean in every dialect, true about the library.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::native::{ROOT, finish, library};

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/metaxy.h");
const SYMBOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/metaxy.symbols");
const BINUTILS: &str = "binutils are needed: make test-tools installs them";

/// The parts of `src/ffi` in the order in which the header shows them.
const PARTS: &[&str] = &[
    "version",
    "status",
    "error",
    "options",
    "context",
    "store",
    "chain",
    "catalog",
    "push",
    "graph",
    "read_request",
    "increment_request",
    "increment",
    "joined",
    "rebase",
    "writer",
    "buffered_writer",
    "delete",
    "write_many",
    "copy",
    "maintain",
    "drop",
    "config",
    "log",
];

fn generate() -> String {
    let config = cbindgen::Config::from_file(format!("{ROOT}/cbindgen.toml")).expect("cbindgen.toml");
    let builder = PARTS.iter().fold(cbindgen::Builder::new().with_config(config), |builder, part| {
        builder.with_src(format!("{ROOT}/src/ffi/{part}.rs"))
    });
    let mut header = Vec::new();
    builder.generate().expect("cbindgen reads src/ffi").write(&mut header);
    String::from_utf8(header).expect("a header in UTF-8")
}

/// The functions that a header declares.
fn functions(header: &str) -> BTreeSet<String> {
    let declarations = header.lines().filter(|line| !line.starts_with([' ', '/', '#']) && line.contains('('));
    let name = |line: &str| line.split('(').next()?.rsplit([' ', '*']).next().map(str::to_owned);
    declarations.filter_map(name).filter(|name| name.starts_with("metaxy_")).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_committed_header_is_the_one_of_the_sources() {
    let header = generate();
    let symbols = functions(&header).into_iter().map(|name| name + "\n").collect::<String>();
    if std::env::var_os("METAXY_UPDATE_HEADER").is_some() {
        fs::write(HEADER, &header).expect("include/metaxy.h is written");
        fs::write(SYMBOLS, &symbols).expect("include/metaxy.symbols is written");
    }
    let committed = |path| fs::read_to_string(path).unwrap_or_default();
    assert!(committed(HEADER) == header, "include/metaxy.h is not what src/ffi says: run `make header`");
    assert!(
        committed(SYMBOLS) == symbols,
        "include/metaxy.symbols is not what src/ffi says: run `make header`"
    );
}

#[test]
fn the_library_exports_the_committed_symbols_and_no_others() {
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only", "--format=just-symbols"]).arg(library());
    let found = lines(&String::from_utf8_lossy(&finish(command, BINUTILS).stdout));
    let wanted = lines(&fs::read_to_string(SYMBOLS).expect("include/metaxy.symbols"));
    let missing: Vec<_> = wanted.difference(&found).collect();
    let leaked: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty() && leaked.is_empty(), "missing: {missing:?}\nleaked: {leaked:?}");
}

#[test]
fn the_library_names_its_binary_version_and_stays_loaded() {
    let mut command = Command::new("readelf");
    command.args(["--dynamic", "--wide"]).arg(library());
    let output = finish(command, BINUTILS);
    let dynamic = String::from_utf8_lossy(&output.stdout);
    let version: Vec<&str> = env!("CARGO_PKG_VERSION").split('.').collect();
    let soname = format!("[libmetaxy.so.{}.{}]", version[0], version[1]);
    assert!(dynamic.lines().any(|line| line.contains("(SONAME)") && line.contains(&soname)), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("NODELETE")), "{dynamic}");
}

#[test]
fn the_macros_say_the_version_of_the_package() {
    let header = generate();
    let [major, minor, patch]: [u64; 3] = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse().expect("a number"))
        .collect::<Vec<_>>()
        .try_into()
        .expect("three parts");
    for (name, value) in [
        ("MAJOR", major.to_string()),
        ("MINOR", minor.to_string()),
        ("PATCH", patch.to_string()),
        ("NUMBER", (major * 1_000_000 + minor * 1_000 + patch).to_string()),
        ("STRING", format!("{:?}", env!("CARGO_PKG_VERSION"))),
    ] {
        let wanted = format!("#define METAXY_VERSION_{name} {value}");
        assert!(header.lines().any(|line| line == wanted), "the header lacks `{wanted}`");
    }
}

#[test]
fn every_function_says_since_when_it_is_there() {
    let header = generate();
    let comments = header.matches(" * @since ").count();
    assert_eq!(comments, functions(&header).len());
}

/// What a program may include, in which order; `adbc.h` and `nanoarrow.h` stand for the real ones,
/// which declare the Arrow structs under the same guards.
const INCLUSIONS: [&[&str]; 6] = [
    &["metaxy.h"],
    &["metaxy.h", "metaxy.h"],
    &["adbc.h", "metaxy.h"],
    &["metaxy.h", "adbc.h"],
    &["nanoarrow.h", "metaxy.h", "adbc.h"],
    &["adbc.h", "metaxy.h", "nanoarrow.h"],
];

const C: [&str; 3] = ["c99", "c11", "c17"];
const CPP: [&str; 3] = ["c++11", "c++17", "c++20"];

#[test]
fn the_header_is_clean_in_every_dialect_with_gcc() {
    compile_everywhere("gcc", "g++");
}

#[test]
fn the_header_is_clean_in_every_dialect_with_clang() {
    compile_everywhere("clang", "clang++");
}

fn compile_everywhere(c: &str, cpp: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (number, headers) in INCLUSIONS.iter().enumerate() {
        let includes: String = headers.iter().map(|header| format!("#include \"{header}\"\n")).collect();
        let use_it = "int used(struct ArrowArrayStream *rows);\n\
                      int used(struct ArrowArrayStream *rows) { return metaxy_error_from_stream(rows, NULL); }\n";
        let source = directory.path().join(format!("include{number}.c"));
        fs::write(&source, includes + use_it).expect("the source is written");
        for dialect in C {
            check(c, &["-x", "c", "-Wstrict-prototypes", &format!("-std={dialect}")], &source);
        }
        for dialect in CPP {
            check(cpp, &["-x", "c++", &format!("-std={dialect}")], &source);
        }
    }
}

fn check(compiler: &str, arguments: &[&str], source: &Path) {
    let mut command = Command::new(compiler);
    command
        .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .args(["-I", &format!("{ROOT}/include"), "-I", &format!("{ROOT}/tests/headers")])
        .args(arguments)
        .arg(source);
    finish(command, &format!("{compiler} is needed: make test-tools installs it"));
}
