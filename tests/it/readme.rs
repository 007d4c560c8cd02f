//! What the README and the examples show is what happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::native::{ROOT, compile, finish, linked};

const COMPILER: &str = "make test-tools installs it";

/// The documents for people; every C block in them is a whole program.
const DOCUMENTS: &[&str] = &["README.md", "docs/benchmarks.md", "docs/chains.md", "docs/differences.md"];

#[test]
fn the_c_in_the_documents_compiles_and_runs() {
    let mut ran = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(format!("{ROOT}/{document}")).expect(document);
        for program in blocks(&text, "c") {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let source = directory.path().join("document.c");
            fs::write(&source, program).expect("the source is written");
            let binary = compile(&source, directory.path());
            let mut run = linked(&binary, directory.path());
            run.current_dir(directory.path());
            let output = finish(run, COMPILER);
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(["intro", "credits"].iter().all(|id| printed.contains(id)), "{document}: {printed}");
            ran += 1;
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
fn the_guard_of_projects_prints_what_it_says_it_does() {
    example("cross_project", 2);
}

#[test]
fn the_workers_print_what_they_say_they_do() {
    example("workers", 2);
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
fn every_file_that_the_readme_points_to_is_there() {
    for document in DOCUMENTS {
        let text = fs::read_to_string(Path::new(ROOT).join(document)).expect(document);
        let folder = Path::new(ROOT).join(document);
        let folder = folder.parent().expect("a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(target.starts_with("https://") || folder.join(target).exists(), "{document}: {target}");
        }
    }
}

#[test]
fn the_benchmark_compiles() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binary = compile(&PathBuf::from(format!("{ROOT}/benches/bench.c")), directory.path());
    let table = directory.path().join("table");
    let cases = [
        ("write", "1000", "1000"),
        ("append1k", "1000", "1000"),
        ("read", "1000", "1000"),
        ("read_point", "1000", "1"),
        ("small_writes", "40", "40"),
    ];
    for (op, given, rows) in cases {
        let mut run: Command = linked(&binary, directory.path());
        run.arg(op).arg(given).arg(&table);
        let printed = String::from_utf8_lossy(&finish(run, COMPILER).stdout).into_owned();
        assert!(printed.contains(&format!("\"result_rows\": {rows},")), "{op}: {printed}");
    }
}

/// The fenced blocks of one language in a Markdown text.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}
