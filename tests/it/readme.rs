//! What the README and the examples show is what happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::native::{ROOT, compile, finish, linked};

const COMPILER: &str = "make test-tools installs it";

/// The documents that show C.
pub const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/abi.md",
    "docs/chains.md",
    "docs/configuration.md",
    "docs/errors.md",
    "docs/graphs.md",
    "docs/increments.md",
    "docs/quickstart.md",
];

/// What stands around a fragment of C in a document.
const AROUND: [&str; 2] = [
    "#include \"metaxy.h\"\n#include <stdio.h>\nint main(void) {\n    MetaxyError *error = NULL;\n    \
     MetaxyStore *store = NULL, *dev = NULL, *staging = NULL;\n    \
     MetaxyGraph *graph = NULL, *before = NULL;\n    char *text = NULL;\n    \
     struct ArrowArrayStream stores = {0}, report = {0};\n    \
     (void)store, (void)dev, (void)staging, (void)stores, (void)report, (void)graph, (void)before, (void)text;\n    goto fragment;\nfragment: {\n",
    "    }\n    goto done;\ndone:\n    metaxy_error_free(error);\n    return 0;\n}\n",
];

#[test]
fn the_c_in_the_documents_compiles_and_its_programs_run() {
    let mut ran = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(format!("{ROOT}/{document}")).expect(document);
        for block in blocks(&text, "c") {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let source = directory.path().join("document.c");
            let is_program = block.contains("int main(");
            let program = if is_program { block } else { AROUND.join(&block) };
            fs::write(&source, program).expect("the source is written");
            let binary = compile(&source, directory.path());
            if is_program {
                let mut run = linked(&binary, directory.path());
                run.current_dir(directory.path());
                let output = finish(run, COMPILER);
                let printed = String::from_utf8_lossy(&output.stdout);
                assert!(["intro", "credits"].iter().all(|id| printed.contains(id)), "{document}: {printed}");
                ran += 1;
            }
        }
    }
    assert!(ran >= 2, "the README and the page on chains show whole programs");
}

/// Runs an example and compares what it prints with the `.expected` file beside it.
fn example(name: &str, times: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/examples/c/{name}.c")), directory.path());
    let expected = fs::read_to_string(format!("{ROOT}/examples/c/{name}.expected")).expect("what it prints");
    for time in 0..times {
        let mut run = linked(&binary, directory.path());
        run.arg(directory.path().join("metadata"));
        let output = finish(run, COMPILER);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "run {time}");
    }
}

#[test]
fn the_quickstart_prints_what_it_says_it_does() {
    example("quickstart", 2);
}

#[test]
fn the_chain_of_three_stores_prints_what_it_says_it_does() {
    example("chain", 1);
}

#[test]
fn the_promotion_to_production_prints_what_it_says_it_does() {
    example("copy", 1);
}

/// `script` runs a program on a terminal of its own.
#[test]
fn a_bar_is_seen_on_a_terminal_and_wiped_away() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut printed = String::new();
    for name in ["copy", "pipeline"] {
        let binary = compile(&PathBuf::from(format!("{ROOT}/examples/c/{name}.c")), directory.path());
        let mut run = linked(Path::new("script"), directory.path());
        let command =
            format!("{} {}", binary.display(), directory.path().join("stores").join(name).display());
        run.args(["--quiet", "--return", "--command", &command, "/dev/null"]).stdin(Stdio::null());
        printed += &String::from_utf8_lossy(&finish(run, "script is of Debian's package bsdutils").stdout);
    }
    for told in ["\r3 rows", "####] 3 of 3 rows", "\r\u{1b}[K"] {
        assert!(printed.contains(told), "{told:?}: {printed:?}");
    }
}

#[test]
fn the_guard_of_projects_prints_what_it_says_it_does() {
    example("cross_project", 1);
}

#[test]
fn each_environment_of_the_example_has_its_store() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/examples/c/environments.c")), directory.path());
    let expected = fs::read_to_string(format!("{ROOT}/examples/c/environments.expected"))
        .expect("environments.expected");
    let mut printed = String::new();
    // Staging shows what production has, until it has rows of its own; development is alone.
    let steps = [
        ("prod", Some("credits")),
        ("staging", None),
        ("staging", Some("intro")),
        ("staging", None),
        ("dev", Some("test")),
    ];
    for (environment, video) in steps {
        let mut run = linked(&binary, directory.path());
        run.args(video).env("ENV", environment).current_dir(directory.path());
        run.env("METAXY_CONFIG", format!("{ROOT}/examples/c/metaxy.toml"));
        printed += &String::from_utf8_lossy(&finish(run, COMPILER).stdout);
    }
    let here = directory.path().display().to_string();
    assert_eq!(printed.replace(&here, "/home/me"), expected);
    assert!(
        directory.path().join("dev-metadata").is_dir(),
        "paths in the file are those of the working directory"
    );

    let mut run = linked(&binary, directory.path());
    run.arg("intro").env("DEV_URI", "memory://").env_remove("ENV").current_dir(directory.path());
    run.env("METAXY_CONFIG", format!("{ROOT}/examples/c/metaxy.toml"));
    assert!(String::from_utf8_lossy(&finish(run, COMPILER).stdout).starts_with("[dev] memory://\n"));

    let mut run = linked(&binary, directory.path());
    run.env("DEV_URI", "memory://").env("ENV", "dev").current_dir(directory.path());
    run.env("METAXY_CONFIG", format!("{ROOT}/examples/c/metaxy.toml"));
    assert_eq!(run.output().expect("it runs").status.code(), Some(1), "nothing is to be read alone");
}

#[test]
fn the_workers_print_what_they_say_they_do() {
    example("workers", 2);
}

#[test]
fn the_life_of_rows_prints_what_it_says_it_does() {
    example("lifecycle", 1);
}

#[test]
fn the_change_of_a_graph_prints_what_it_says_it_does() {
    example("graph", 1);
}

#[test]
fn the_pipeline_prints_what_it_says_it_does() {
    example("pipeline", 1);
}

#[test]
fn the_picture_of_increments_is_the_graph_of_the_pipeline() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/tests/c/picture.c")), directory.path());
    let output = finish(linked(&binary, directory.path()), COMPILER);
    let text = fs::read_to_string(format!("{ROOT}/docs/increments.md")).expect("docs/increments.md");
    assert_eq!(blocks(&text, "mermaid"), [String::from_utf8_lossy(&output.stdout)]);
}

#[test]
fn the_quickstart_explains_a_directory_that_cannot_be_made() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/examples/c/quickstart.c")), directory.path());
    let file = directory.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let output = linked(&binary, directory.path()).arg(file.join("metadata")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("metadata"), "{output:?}");
}

#[test]
fn the_readme_lists_every_option() {
    let readme = fs::read_to_string(format!("{ROOT}/README.md")).expect("README.md");
    for known in metaxy::store::options::KNOWN {
        assert!(readme.contains(&format!("| `{}`", known.key)), "{} is not in the README", known.key);
    }
}

#[test]
fn the_benchmark_compiles() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/benches/bench.c")), directory.path());
    let table = directory.path().join("root");
    let cases = [
        ("write", "1000", "1000"),
        ("fallback3", "1000", "1000"),
        ("append1k", "1000", "1000"),
        ("read", "1000", "1000"),
        ("read_point", "1000", "1"),
        ("small_writes", "40", "40"),
        ("write_captions", "1000", "1000"),
        ("write_frames", "1000", "1000"),
        ("resolve_joined", "1000", "1000"),
        ("resolve_grouped", "1000", "1000"),
        ("resolve_write", "1000", "0"),
        ("resolve_noop", "1000", "0"),
        ("write_change", "1000", "10"),
        ("resolve_stale", "1000", "10"),
    ];
    for (op, given, rows) in cases {
        let mut run: Command = linked(&binary, directory.path());
        run.arg(op).arg(given).arg(if op == "fallback3" { directory.path() } else { &table });
        let printed = String::from_utf8_lossy(&finish(run, COMPILER).stdout).into_owned();
        assert!(printed.contains(&format!("\"result_rows\": {rows},")), "{op}: {printed}");
    }
}

/// The fenced blocks of one language in a Markdown text.
pub fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}
