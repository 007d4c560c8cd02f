//! The library in other hosts: what their pages show is what happens, and misuse ends in a normal error of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::go::go;
use crate::native::{ROOT, cache, compile, finish, library, linked, printed, python};

const TOOLS: &str = "make test-tools installs what is missing";

/// Lets a command find the tools of the tests, and fetch nothing.
pub fn with_tools(command: &mut Command) {
    let tools = python().parent().expect("a folder of programs").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [tools].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).expect("a PATH"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PIP_NO_INDEX", "1");
}

/// The examples in a directory where they may write, beside the header as in the sources.
struct Examples(tempfile::TempDir);

impl Examples {
    fn copied() -> Self {
        let examples = Self(tempfile::tempdir().expect("a temporary directory"));
        let source = Path::new(ROOT).join("examples");
        let hosts = fs::read_dir(&source).expect("examples").map(|host| host.expect("an example").path());
        for folder in hosts.chain([Path::new(ROOT).join("include")]).filter(|path| path.is_dir()) {
            let target = examples.0.path().join(folder.strip_prefix(ROOT).expect("a folder of the sources"));
            fs::create_dir_all(&target).expect("a folder");
            for file in fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()) {
                if file.is_file() {
                    fs::copy(&file, target.join(file.file_name().expect("a name"))).expect("a copy");
                }
            }
        }
        let packages = cache().join("node-example/node_modules");
        std::os::unix::fs::symlink(packages, examples.folder("node").join("node_modules")).expect("a link");
        examples
    }

    fn folder(&self, host: &str) -> PathBuf {
        self.0.path().join("examples").join(host)
    }

    /// A program with the arguments `arguments`, in the folder of `host`, with the tools and the library of the tests.
    fn command(&self, host: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.arg(program).args(arguments).current_dir(self.folder(host));
        with_tools(&mut command);
        command.env("METAXY_LIBRARY", library());
        // Ray's own files go with the test, and it tells nobody that it ran.
        command.env("RAY_TMPDIR", self.0.path()).env("RAY_USAGE_STATS_ENABLED", "0");
        command
    }

    /// Runs what the page of `host` shows: its programs, each of which prints the text that follows it, if one does.
    fn page(&self, host: &str) {
        let page = fs::read_to_string(self.folder(host).join("README.md")).expect("a page");
        let (mut output, mut compared) = (String::new(), 0);
        for block in page.split("\n```").skip(1).step_by(2) {
            let (language, text) = block.split_once('\n').expect("a block of several lines");
            let mut command = match language {
                "sh" => self.command(host, "bash", &["-euo", "pipefail", "-c", text]),
                "python" => self.command(host, "python", &["-c", text]),
                "js" => self.command(host, "node", &["--input-type=module", "-e", text]),
                "text" => {
                    assert_eq!(output.trim_end(), text, "what the page of {host} says is printed");
                    compared += 1;
                    continue;
                }
                other => panic!("the page of {host} has a block in {other}, which no test runs"),
            };
            command.stdin(std::process::Stdio::null());
            output = printed(command, TOOLS);
        }
        assert!(compared > 0, "the page of {host} shows what is printed");
    }
}

#[test]
fn the_benchmark_reads_the_same_rows_in_each_host() {
    let examples = Examples::copied();
    let (folder, hosts) = (examples.0.path(), Path::new(ROOT).join("benches/hosts"));
    let mut write = linked(&compile(&Path::new(ROOT).join("benches/bench.c"), folder), folder);
    write.args(["write", "1000"]).arg(folder.join("metadata"));
    finish(write, TOOLS);

    let c = linked(&compile(&hosts.join("hosts.c"), folder), folder);
    let program = folder.join("hosts-cpp");
    let mut build = Command::new("g++");
    build.args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).arg(format!("-I{ROOT}/include"));
    build.arg("-o").args([&program, &hosts.join("hosts.cpp"), &library()]);
    finish(build, TOOLS);
    let mut in_go = go("benches/hosts/go", folder);
    in_go.args(["run", "."]);
    let mut in_python = examples.command("python", "python", &[]);
    in_python.arg(hosts.join("hosts.py")).env("PYTHONPATH", examples.folder("python"));
    fs::copy(hosts.join("hosts.mjs"), examples.folder("node").join("hosts.mjs")).expect("a copy");
    let in_node = examples.command("node", "node", &["hosts.mjs"]);

    let definition = r#"{"project": "bench", "feature_spec": {"key": "r/a", "id_columns": ["id"],
        "fields": [{"key": "audio", "code_version": "1"}, {"key": "frames", "code_version": "1"}]}}"#;
    let sum: i64 = (0..1000).map(|row| row * 7919 % 1_000_003).sum();
    for mut host in [c, linked(&program, folder), in_go, in_python, in_node] {
        host.arg(folder.join("metadata")).args([definition, "2"]);
        let name = format!("{host:?}");
        let printed: serde_json::Value = serde_json::from_slice(&finish(host, TOOLS).stdout).expect("JSON");
        assert_eq!(printed["reads_s"].as_array().map(Vec::len), Some(2), "{name}: {printed}");
        let read = (printed["rows"].as_i64(), printed["sum"].as_i64());
        assert_eq!(read, (Some(1000), Some(sum)), "{name}: {printed}");
    }
}

#[test]
fn the_page_on_python_is_true() {
    Examples::copied().page("python");
}

#[test]
fn misuse_in_python_is_an_exception() {
    let test = format!("{ROOT}/tests/hosts/python_host.py");
    let mut command = Examples::copied().command("python", "python", &["-W", "error", &test]);
    command.current_dir(ROOT).env("PYTHONPATH", format!("{ROOT}/examples/python"));
    finish(command, TOOLS);
}

#[test]
fn the_page_on_node_is_true() {
    Examples::copied().page("node");
}

#[test]
fn misuse_in_node_is_an_error() {
    let test = format!("{ROOT}/tests/hosts/node_host.mjs");
    let examples = Examples::copied();
    finish(examples.command("node", "node", &["--expose-gc", &test]), TOOLS);
}

#[test]
fn the_page_on_embedding_is_true() {
    Examples::copied().page("embedding");
}

#[test]
fn the_page_on_ray_is_true() {
    Examples::copied().page("ray");
}

#[test]
fn the_package_for_julia_agrees_with_the_header() {
    let mut command = Command::new(python());
    command.arg(format!("{ROOT}/tests/hosts/julia.py"));
    finish(command, TOOLS);
}
