//! The library in other hosts: what their pages show is what happens, and misuse ends in a normal error of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::native::{ROOT, cache, finish, library, python};

const TOOLS: &str = "make test-tools installs what is missing";

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
        let tools = python().parent().expect("a folder of programs").to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [tools].into_iter().chain(std::env::split_paths(&path));
        let mut command = Command::new("env");
        command.arg(program).args(arguments).current_dir(self.folder(host));
        command.env("PATH", std::env::join_paths(folders).expect("a PATH"));
        command.env("METAXY_LIBRARY", library()).env("PYTHONDONTWRITEBYTECODE", "1");
        // Nothing is fetched while testing.
        command.env("PIP_NO_INDEX", "1");
        // Ray's own files go with the test, and it tells nobody that it ran.
        command.env("RAY_TMPDIR", self.0.path()).env("RAY_USAGE_STATS_ENABLED", "0");
        command
    }

    /// Runs what the page of `host` shows: its programs, each of which prints the text that follows it, if one does.
    fn page(&self, host: &str) {
        let page = fs::read_to_string(self.folder(host).join("README.md")).expect("a page");
        let (mut printed, mut compared) = (String::new(), 0);
        for block in page.split("\n```").skip(1).step_by(2) {
            let (language, text) = block.split_once('\n').expect("a block of several lines");
            let mut command = match language {
                "sh" => self.command(host, "bash", &["-euo", "pipefail", "-c", text]),
                "python" => self.command(host, "python", &["-c", text]),
                "js" => self.command(host, "node", &["--input-type=module", "-e", text]),
                "text" => {
                    assert_eq!(printed.trim_end(), text, "what the page of {host} says is printed");
                    compared += 1;
                    continue;
                }
                other => panic!("the page of {host} has a block in {other}, which no test runs"),
            };
            command.stdin(std::process::Stdio::null());
            printed = String::from_utf8(finish(command, TOOLS).stdout).expect("UTF-8");
        }
        assert!(compared > 0, "the page of {host} shows what is printed");
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
