//! `include/metaxy.hpp`: clean in both dialects and with both compilers, and true to what it promises, sanitizers watching.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::native::{ROOT, cache, finish, library, linked, printed, python};
use crate::readme::blocks;

const COMPILER: &str = "make test-tools installs it";
const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/metaxy.hpp");
const SYMBOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/metaxy.symbols");
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// A compiler with its arguments for a source of `tests/cpp`.
struct Compiler {
    name: &'static str,
    arguments: Vec<String>,
}

impl Compiler {
    fn new(name: &'static str, dialect: &str) -> Self {
        let arguments = [&format!("-std={dialect}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];
        let compiler = Self { name, arguments: arguments.map(str::to_owned).to_vec() };
        compiler.with([
            format!("-I{ROOT}/include"),
            format!("-I{ROOT}/examples/cpp"),
            format!("-I{ROOT}/tests/cpp"),
        ])
    }

    fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn command(&self, arguments: &[&Path]) -> Command {
        let mut command = Command::new(self.name);
        command.args(&self.arguments).args(arguments);
        command
    }

    fn compile(&self, source: &Path, directory: &Path) -> PathBuf {
        let program = directory.join("program");
        // The source comes first: a library serves those before it.
        let mut command = Command::new(self.name);
        command.args([source, Path::new("-o"), &program]).args(&self.arguments).arg(library());
        finish(command, COMPILER);
        program
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn source(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/cpp").join(name)
}

/// Compiles a source of `tests/cpp` and runs it.
fn run(compiler: &Compiler, name: &str) {
    let directory = directory();
    let program = compiler.compile(&source(name), directory.path());
    let mut run = linked(&program, directory.path());
    run.current_dir(directory.path());
    finish(run, COMPILER);
}

#[test]
fn the_cpp_header_is_clean_with_gcc() {
    compile_everywhere("g++");
}

#[test]
fn the_cpp_header_is_clean_with_clang() {
    compile_everywhere("clang++");
}

fn compile_everywhere(name: &'static str) {
    let directory = directory();
    let inclusions: [&[&str]; 4] = [
        &["metaxy.hpp"],
        &["metaxy.hpp", "metaxy.hpp", "metaxy.h"],
        &["adbc.h", "metaxy.h", "metaxy.hpp"],
        &["metaxy.hpp", "nanoarrow.h", "adbc.h"],
    ];
    for (number, headers) in inclusions.iter().enumerate() {
        let includes: String = headers.iter().map(|header| format!("#include \"{header}\"\n")).collect();
        let path = directory.path().join(format!("include{number}.cpp"));
        let body = "metaxy::Stream all(const metaxy::Store &store);\n\
                    metaxy::Stream all(const metaxy::Store &store) { return store.read(\"video\"); }\n";
        fs::write(&path, includes + body).expect("the source is written");
        for dialect in ["c++17", "c++20"] {
            let compiler = Compiler::new(name, dialect).with([
                "-fsyntax-only",
                "-Wshadow",
                "-Wconversion",
                "-Wsign-conversion",
                &format!("-I{ROOT}/tests/headers"),
            ]);
            finish(compiler.command(&[&path]), COMPILER);
        }
    }
}

#[test]
fn the_cpp_header_may_be_in_two_files_of_a_program() {
    let directory = directory();
    let compiler = Compiler::new("g++", "c++17");
    let object = directory.path().join("second.o");
    let name = source("two_files.cpp");
    finish(compiler.command(&[Path::new("-c"), &name, Path::new("-o"), &object]), COMPILER);
    let program =
        compiler.with(["-DFIRST_FILE", &object.display().to_string()]).compile(&name, directory.path());
    finish(linked(&program, directory.path()), COMPILER);
}

#[test]
fn the_cpp_header_has_every_function() {
    let header = fs::read_to_string(HEADER).expect("include/metaxy.hpp");
    let symbols = fs::read_to_string(SYMBOLS).expect("include/metaxy.symbols");
    // Others say the same: the number of the version, the status that a call returns, all details together.
    let spared = [
        "metaxy_version_major",
        "metaxy_version_minor",
        "metaxy_version_patch",
        "metaxy_error_status",
        "metaxy_error_detail",
    ];
    let used = |name: &str| header.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let missing: Vec<&str> = symbols.lines().filter(|name| !spared.contains(name) && !used(name)).collect();
    assert!(missing.is_empty(), "include/metaxy.hpp lacks {missing:?}");
}

#[test]
fn a_cpp_pipeline_of_everything() {
    run(&Compiler::new("g++", "c++20"), "pipeline.cpp");
}

#[test]
fn a_cpp_pipeline_under_the_sanitizers_of_gcc() {
    run(&Compiler::new("g++", "c++17").with(SANITIZERS), "pipeline.cpp");
}

#[test]
fn misuse_in_cpp_under_the_sanitizers_of_clang() {
    run(&Compiler::new("clang++", "c++17").with(SANITIZERS), "misuse.cpp");
}

#[test]
fn misuse_in_cpp_with_optimisation() {
    run(&Compiler::new("clang++", "c++20").with(["-O2"]), "misuse.cpp");
}

#[test]
fn the_sanitizers_of_gcc_are_awake() {
    find_bugs("g++");
}

#[test]
fn the_sanitizers_of_clang_are_awake() {
    find_bugs("clang++");
}

fn find_bugs(name: &'static str) {
    let directory = directory();
    let program =
        Compiler::new(name, "c++17").with(SANITIZERS).compile(&source("bugs.cpp"), directory.path());
    let bugs = [
        ("use after free", "heap-use-after-free"),
        ("leak", "detected memory leaks"),
        ("overflow", "signed integer overflow"),
    ];
    for (bug, told) in bugs {
        let output = linked(&program, directory.path()).arg(bug).output().expect("it runs");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains(told), "{name}, {bug}: {printed}");
    }
    finish(linked(&program, directory.path()), COMPILER);
}

#[test]
fn arrow_cpp_takes_and_gives_rows() {
    // The headers of this Arrow are C++20, and its library has the present ABI of strings.
    run(&with_arrow(Compiler::new("g++", "c++20")).with(SANITIZERS), "arrow.cpp");
}

/// With the Arrow C++ that is in pyarrow's wheel.
fn with_arrow(compiler: Compiler) -> Compiler {
    let mut command = Command::new(python());
    command.args([
        "-c",
        "import glob, pyarrow as a; d, = a.get_library_dirs(); \
         print(a.get_include(), d, *glob.glob(d + '/libarrow.so.*'), sep='\\n')",
    ]);
    let output = String::from_utf8(finish(command, COMPILER).stdout).expect("paths");
    let [include, folder, shared] = output.lines().collect::<Vec<_>>().try_into().expect("three paths");
    compiler.with(["-isystem", include, shared, &format!("-Wl,-rpath,{folder}")])
}

#[test]
fn nanoarrow_takes_and_gives_rows() {
    let sources = cache().join("nanoarrow/src");
    assert!(sources.exists(), "{} is missing: make test-tools gets it", sources.display());
    let directory = directory();
    // What nanoarrow's own build would write.
    let template = fs::read_to_string(sources.join("nanoarrow/nanoarrow_config.h.in")).expect("its template");
    let version = fs::read_to_string(source("nanoarrow.version")).expect("the version");
    let version = version.trim().rsplit("==").next().expect("a version");
    let mut config =
        template.replace("@NANOARROW_NAMESPACE_DEFINE@", "").replace("@NANOARROW_VERSION@", version);
    for (part, value) in ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.')) {
        config = config.replace(&format!("@NANOARROW_VERSION_{part}@"), value);
    }
    fs::create_dir(directory.path().join("nanoarrow")).expect("a folder");
    fs::write(directory.path().join("nanoarrow/nanoarrow_config.h"), config).expect("the configuration");

    let mut compiler = Compiler::new("g++", "c++17");
    for folder in [sources.as_path(), directory.path()] {
        compiler = compiler.with(["-isystem".to_owned(), folder.display().to_string()]);
    }
    for name in ["array", "array_stream", "schema", "utils"] {
        let object = directory.path().join(format!("{name}.o"));
        let mut command = Command::new("gcc");
        command.args(["-std=c11", "-c", "-I"]).arg(&sources).arg("-I").arg(directory.path());
        command.arg(sources.join(format!("nanoarrow/common/{name}.c"))).arg("-o").arg(&object);
        finish(command, COMPILER);
        compiler = compiler.with([object.display().to_string()]);
    }
    run(&compiler.with(SANITIZERS), "nanoarrow.cpp");
}

/// Runs an example and compares what it prints with the `.expected` file beside it.
fn example(name: &str) {
    let directory = directory();
    let example = Path::new(ROOT).join("examples/cpp").join(name);
    let program = Compiler::new("g++", "c++17").compile(&example, directory.path());
    let mut run = linked(&program, directory.path());
    run.arg(directory.path().join("metadata"));
    let expected = fs::read_to_string(example.with_extension("expected")).expect("what it prints");
    assert_eq!(printed(run, COMPILER), expected);
}

#[test]
fn the_cpp_quickstart_prints_what_it_says_it_does() {
    example("quickstart.cpp");
}

#[test]
fn the_cpp_worker_prints_what_it_says_it_does() {
    example("worker.cpp");
}

/// What stands around a fragment of C++ in a document.
const AROUND: [&str; 2] = [
    "#include \"rows.hpp\"\n#include <iostream>\n#include <thread>\n\
     #ifdef WITH_ARROW\n#include <arrow/api.h>\n#include <arrow/c/bridge.h>\n#endif\n\
     metaxy::Batch next_batch();\nvoid compute(metaxy::Batch &batch);\n\
     void fragment(const metaxy::Store &store, metaxy::Batch batch, metaxy::Schema schema);\n\
     void fragment(const metaxy::Store &store, metaxy::Batch batch, metaxy::Schema schema) {\n    (void)batch, (void)schema;\n",
    "}\n",
];

#[test]
fn the_cpp_in_the_documents_compiles_and_its_programs_run() {
    let text = fs::read_to_string(format!("{ROOT}/docs/cpp.md")).expect("docs/cpp.md");
    let directory = directory();
    let path = directory.path().join("document.cpp");
    let mut ran = 0;
    for block in blocks(&text, "cpp") {
        if block.contains("int main(") {
            fs::write(&path, block).expect("the source is written");
            let program = Compiler::new("g++", "c++17").compile(&path, directory.path());
            let mut run = linked(&program, directory.path());
            run.current_dir(directory.path());
            let printed = String::from_utf8(finish(run, COMPILER).stdout).expect("text");
            assert!(["intro", "credits"].iter().all(|id| printed.contains(id)), "{printed}");
            ran += 1;
            continue;
        }
        let compiler = match block.contains("arrow::") {
            true => with_arrow(Compiler::new("g++", "c++20")).with(["-DWITH_ARROW"]),
            false => Compiler::new("g++", "c++17"),
        };
        fs::write(&path, AROUND.join(&block)).expect("the source is written");
        finish(compiler.with(["-fsyntax-only"]).command(&[&path]), COMPILER);
    }
    assert_eq!(ran, 1);
}
