//! The documentation: the site that `make docs` builds, and that what its pages show is what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::hosts::with_tools;
use crate::install::installed;
use crate::native::{ROOT, cache, finish, library, python};
use crate::readme::blocks;
use crate::support::open;

const TOOLS: &str = "make test-tools installs what is missing";

/// Builds the site of a checkout.
fn build(checkout: &Path, site: &Path) -> Command {
    let mut sphinx = Command::new(python());
    sphinx.args(["-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", "-c"]);
    sphinx
        .arg(checkout.join("docs"))
        .arg("-d")
        .arg(site.join("doctrees"))
        .arg(checkout)
        .arg(site.join("html"));
    sphinx.env("PYTHONDONTWRITEBYTECODE", "1");
    sphinx
}

/// The pages of the site by their paths in it.
fn site() -> &'static BTreeMap<PathBuf, String> {
    static SITE: OnceLock<BTreeMap<PathBuf, String>> = OnceLock::new();
    SITE.get_or_init(|| {
        let folder = library().with_file_name("site");
        let _ = fs::remove_dir_all(&folder);
        finish(build(Path::new(ROOT), &folder), TOOLS);
        let pages =
            files(&folder.join("html")).into_iter().filter(|path| path.extension() == Some("html".as_ref()));
        pages.map(|path| (path.clone(), fs::read_to_string(path).expect("a page"))).collect()
    })
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What stands between `before` and `after`, each time.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

#[test]
fn every_exported_function_is_in_the_reference_once() {
    let symbols = fs::read_to_string(format!("{ROOT}/include/metaxy.symbols")).expect("the symbols");
    let symbols: Vec<&str> = symbols.lines().collect();
    assert!(symbols.len() > 100);
    let reference: String = site()
        .iter()
        .filter(|(path, _)| path.parent().is_some_and(|it| it.ends_with("reference")))
        .map(|(_, page)| page.as_str())
        .collect();
    for symbol in symbols {
        let found = reference.matches(&format!("<dt class=\"sig sig-object c\" id=\"c.{symbol}\">")).count();
        assert_eq!(found, 1, "{symbol}");
        let described = reference
            .split(&format!("id=\"c.{symbol}\">"))
            .nth(1)
            .and_then(|rest| rest.split("<dt class=\"sig").next());
        let described = described.expect("what it does");
        assert!(
            ["Threads", "Since"].iter().all(|fact| described.contains(&format!("<strong>{fact}</strong>"))),
            "{symbol}"
        );
    }
}

#[test]
fn every_link_of_the_site_leads_somewhere_without_a_network() {
    let made = fs::read_to_string(format!("{ROOT}/Makefile")).expect("Makefile");
    assert!(
        made.contains("-m sphinx -q -E -W --keep-going -b html -c docs"),
        "`make docs` builds it as this test does"
    );
    let mut links = 0;
    for (path, page) in site() {
        let folder = path.parent().expect("a folder");
        for target in between(page, "href=\"", "\"").chain(between(page, "src=\"", "\"")) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = file.split('?').next().expect("a path");
            let place = if file.is_empty() { path.clone() } else { folder.join(file) };
            let place =
                place.canonicalize().unwrap_or_else(|error| panic!("{}: {target}: {error}", path.display()));
            if !anchor.is_empty() {
                let page = &site()[&place];
                assert!(page.contains(&format!("id=\"{anchor}\"")), "{}: {target}", path.display());
            }
            links += 1;
        }
        for fetched in
            ["<script src=\"http", "<img src=\"http", "rel=\"stylesheet\" href=\"http", "@import", "<iframe"]
        {
            assert!(!page.contains(fetched), "{}: {fetched}", path.display());
        }
    }
    assert!(links > 1000, "{links}");
}

#[test]
fn what_is_wrong_with_a_page_or_a_comment_fails_the_build() {
    let checkout = tempfile::tempdir().expect("a temporary directory");
    // Files that are no pages may be links; Sphinx looks where a link to a page leads.
    for folder in ["src", "benches", "tests"] {
        symlink(Path::new(ROOT).join(folder), checkout.path().join(folder)).expect("a link");
    }
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Cargo.toml",
        "docs",
        "include",
        "bindings",
        "examples",
    ] {
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(Path::new(ROOT).join(name)).arg(checkout.path());
        finish(copy, "cp is part of the system");
    }
    let change = |file: &str, from: &str, to: &str| {
        let path = checkout.path().join(file);
        let text = fs::read_to_string(&path).expect(file);
        assert!(text.contains(from), "{from} is not in {file}");
        fs::write(path, text.replace(from, to)).expect(file);
    };
    change(
        "docs/faq.md",
        "# Questions",
        "# Questions\n\n[a page](nowhere.md), [a place](storage.md#nowhere), [a file](../nowhere.c)",
    );
    change("docs/graphs.md", "flowchart LR", "flowchart TD");
    change("docs/performance.md", "ours_requests", "theirs");
    change("docs/reference/catalog.md", "{functions} catalog", "{functions} version");
    change(
        "include/metaxy.h",
        "`uri`, `options` and `context` are borrowed for the call; `options`",
        "`options`",
    );
    change("include/metaxy.h", " and must live until another one is set", "");
    fs::write(checkout.path().join("docs/lonely.md"), "# Lonely").expect("a page");
    let output = build(checkout.path(), &checkout.path().join("site")).output().expect(TOOLS);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for wrong in [
        "'nowhere.md'",
        "'nowhere'",
        "nowhere.c",
        "not a flowchart that can be drawn: flowchart TD",
        "there is no theirs in what was measured",
        "metaxy_store_list is on no page",
        "does not say who owns `uri` of metaxy_store_open",
        "does not say who owns `user_data` of metaxy_log_set_callback",
        "lonely.md: WARNING: document isn't included in any toctree",
    ] {
        assert!(said.contains(wrong), "nothing is said of {wrong}:\n{said}");
    }
}

#[test]
fn each_message_on_the_page_of_errors_is_real() {
    let mut command = Command::new(python());
    command
        .args(["-W", "error"])
        .arg(format!("{ROOT}/tests/docs/errors.py"))
        .env("METAXY_LIBRARY", library());
    command.env("PYTHONPATH", format!("{ROOT}/examples/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    finish(command, TOOLS);
    // This one takes two threads that meet; tests/c/control.c makes them.
    let page = fs::read_to_string(format!("{ROOT}/docs/errors.md")).expect("docs/errors.md");
    let busy = between(&page, "## METAXY_BUSY", "## ").next().expect("a section");
    let message = &blocks(busy, "text")[0];
    assert!(
        fs::read_to_string(format!("{ROOT}/src/ffi/writer.rs")).expect("a source").contains(message.trim())
    );
}

// ---- the quickstart ----

/// Where the quickstart is followed. The folder is the same each time: Go keeps what it has compiled by its path.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = library().with_file_name("quickstart");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        symlink(ROOT, folder.join("libmetaxy")).expect("a link");
        symlink(installed(), folder.join("metaxy")).expect("a link");
        // Nothing is fetched while testing: what these would install, the Makefile has installed.
        let packages = cache().join("node-example/node_modules");
        let environment = cache().join("python");
        let npm = format!("[ \"$*\" = ci ] && [ -e package-lock.json ] && ln -s '{}' .", packages.display());
        let venv = format!("[ \"$*\" = '-m venv .venv' ] && ln -s '{}' .venv", environment.display());
        for (name, installs) in [("npm", npm), ("python3", venv)] {
            let program = folder.join("bin").join(name);
            fs::write(&program, format!("#!/bin/sh\n{installs}\n")).expect("a program");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                .expect("a program that may be run");
        }
        folder
    })
}

/// Follows the section of a host in an empty folder: each block is run, and what the last one printed is what the page says.
fn follow(host: &str) {
    let page = fs::read_to_string(format!("{ROOT}/docs/quickstart.md")).expect("docs/quickstart.md");
    let section =
        |name: &str| between(&page, &format!("\n## {name}\n"), "\n## ").next().expect("a section").to_owned();
    let environment =
        blocks(&section("The library"), "sh")[1].replace("$HOME", &folder().display().to_string());
    assert!(environment.contains("LD_LIBRARY_PATH"), "{environment}");
    let bin = folder().join("bin").display().to_string();
    let empty = folder().join(format!("hello-{host}"));
    fs::create_dir(&empty).expect("an empty folder");
    let (mut printed, mut compared) = (String::new(), 0);
    for block in section(host).split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a block of several lines");
        let script = match language {
            "sh" => text.to_owned(),
            // As the page says that they are saved and run.
            "python" => saved(&empty, "python hello.py", text),
            "js" => saved(&empty, "node hello.mjs", text),
            "text" => {
                assert_eq!(trimmed(&printed), trimmed(text), "what the quickstart in {host} prints");
                compared += 1;
                continue;
            }
            // Compiled with those of other pages.
            "c" => continue,
            other => panic!("the quickstart in {host} has a block in {other}, which no test runs"),
        };
        let mut shell = Command::new("bash");
        shell
            .args([
                "-euo",
                "pipefail",
                "-c",
                &format!("{environment}\nexport PATH='{bin}':\"$PATH\"\n{script}"),
            ])
            .current_dir(&empty);
        with_tools(&mut shell);
        shell.env_remove("METAXY_LIBRARY").env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
        for (name, value) in
            [("GOPROXY", "off"), ("GOSUMDB", "off"), ("GOWORK", "off"), ("GOTOOLCHAIN", "local")]
        {
            shell.env(name, value);
        }
        printed = String::from_utf8(finish(shell, TOOLS).stdout).expect("UTF-8");
    }
    assert_eq!(compared, 1, "the quickstart in {host} shows what is printed");
}

/// Saves a program, and gives the command that runs it.
fn saved(folder: &Path, command: &str, program: &str) -> String {
    let file = command.split(' ').next_back().expect("a file");
    fs::write(folder.join(file), program).expect("a program");
    command.to_owned()
}

/// Without blanks at the ends of lines.
fn trimmed(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

#[test]
fn the_quickstart_in_c_is_true() {
    follow("C");
}

#[test]
fn the_quickstart_in_cpp_is_true() {
    follow("C++");
}

#[test]
fn the_quickstart_in_go_is_true() {
    follow("Go");
}

#[test]
fn the_quickstart_in_python_is_true() {
    follow("Python");
}

#[test]
fn the_quickstart_in_node_is_true() {
    follow("Node.js");
}

// ---- every block of every page ----

/// Which test knows the blocks of a page in a language. What is in none of these fails: nothing is shown that nobody runs.
const TESTED: &[(&str, &[&str], &str)] = &[
    ("docs/storage.md", &["sh", "toml"], "storage_docs"),
    ("docs/configuration.md", &["sh", "toml"], "config"),
    ("docs/install.md", &["sh", "cmake"], "install"),
    ("docs/cpp.md", &["cpp"], "cpp"),
    ("docs/quickstart.md", &["sh", "python", "js", "text"], "follow"),
    ("docs/quickstart.md", &["julia"], "tests/hosts/julia.py, by the grammar alone"),
    ("docs/errors.md", &["text"], "tests/docs/errors.py"),
    ("bindings/go/README.md", &["go", "sh"], "bindings/go/readme_test.go"),
    ("bindings/julia/README.md", &["julia"], "tests/hosts/julia.py, by the grammar alone"),
    ("examples/python/README.md", &["sh", "python", "text"], "hosts"),
    ("examples/node/README.md", &["sh", "js", "text"], "hosts"),
    ("examples/embedding/README.md", &["sh", "text"], "hosts"),
    ("examples/ray/README.md", &["sh", "text"], "hosts"),
    ("README.md", &["sh", "python"], "the_commands_of_the_readme_work, the_python_of_the_readme_works"),
    ("CONTRIBUTING.md", &["sh"], "what_is_to_be_made_can_be_made"),
    ("README.md", &["json"], "the_definitions_on_the_pages_can_be_defined"),
    ("docs/graphs.md", &["json"], "the_definitions_on_the_pages_can_be_defined"),
    // Blocks without a language are for the eye.
    ("README.md", &[""], "none: folders, and what is in each"),
    ("docs/chains.md", &[""], "none: a picture"),
    ("docs/increments.md", &[""], "none: a formula"),
    ("bindings/julia/README.md", &[""], "none: commands that need Julia"),
];

/// The pages, by their paths in the checkout.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for folder in ["docs", "bindings", "examples"] {
        let markdown = files(&Path::new(ROOT).join(folder))
            .into_iter()
            .filter(|path| path.extension() == Some("md".as_ref()));
        let own = markdown.filter(|path| !path.iter().any(|part| part == "node_modules"));
        pages.extend(
            own.map(|path| path.strip_prefix(ROOT).expect("a path of the checkout").display().to_string()),
        );
    }
    pages
}

/// The languages of the blocks of a page, `{…}` for those that are instructions to the builder of the site.
fn languages(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).expect(page);
    let mut fences = text.lines().filter_map(|line| line.trim_start().strip_prefix("```"));
    let mut languages = BTreeSet::new();
    while let Some(fence) = fences.next() {
        languages.insert(fence.split_whitespace().next().unwrap_or_default().to_owned());
        assert_eq!(fences.next(), Some(""), "{page} has a block that does not end");
    }
    assert!(!text.contains("~~~"), "{page} has a block with another fence");
    languages
}

#[test]
fn a_test_knows_every_block_of_every_page() {
    let known_c: Vec<&str> = crate::readme::DOCUMENTS.to_vec();
    let pages = pages();
    assert!(pages.len() > 30, "{pages:?}");
    let mut used = BTreeSet::new();
    for page in &pages {
        for language in languages(page) {
            let tested = match language.as_str() {
                // The build of the site refuses what it does not know.
                "mermaid" => page.starts_with("docs/"),
                directive if directive.starts_with('{') => page.starts_with("docs/"),
                "c" => known_c.contains(&page.as_str()),
                _ => TESTED
                    .iter()
                    .any(|(known, languages, _)| known == page && languages.contains(&language.as_str())),
            };
            assert!(tested, "{page} has blocks in {language:?}, which no test knows");
            used.insert((page.clone(), language));
        }
    }
    for (page, languages, _) in TESTED {
        for language in *languages {
            assert!(
                used.contains(&((*page).to_owned(), (*language).to_owned())),
                "{page} has no {language} any more"
            );
        }
    }
}

#[test]
fn only_the_benchmarks_tell_times() {
    for page in pages().iter().filter(|page| page.starts_with("bindings/") || page.starts_with("examples/")) {
        let text = fs::read_to_string(Path::new(ROOT).join(page)).expect(page);
        let words: Vec<&str> = text.split_whitespace().collect();
        let measured = words.windows(2).find(|pair| {
            let unit = pair[1].trim_end_matches([',', '.', ';', ':']);
            pair[0].starts_with(|c: char| c.is_ascii_digit()) && ["ns", "µs", "ms", "%"].contains(&unit)
        });
        assert_eq!(measured, None, "{page}: docs/performance.md draws what was measured");
    }
}

#[test]
fn the_definitions_on_the_pages_can_be_defined() {
    for page in ["README.md", "docs/graphs.md"] {
        let text = fs::read_to_string(Path::new(ROOT).join(page)).expect(page);
        for json in blocks(&text, "json") {
            let directory = tempfile::tempdir().expect("a temporary directory");
            open(directory.path(), &[]).define(&json).unwrap_or_else(|error| panic!("{page}: {error}"));
        }
    }
}

#[test]
fn what_is_to_be_made_can_be_made() {
    let makefiles = ["Makefile", "packaging/install.mk"]
        .map(|file| fs::read_to_string(format!("{ROOT}/{file}")).expect(file))
        .concat();
    let mut made = 0;
    for page in pages() {
        let text = fs::read_to_string(Path::new(ROOT).join(&page)).expect(&page);
        for line in blocks(&text, "sh").concat().lines().filter(|line| line.starts_with("make ")) {
            let target = line.split_whitespace().nth(1).expect("a target");
            assert!(makefiles.lines().any(|rule| rule.starts_with(&format!("{target}:"))), "{page}: {line}");
            made += 1;
        }
    }
    assert!(made >= 8, "{made}");
}

#[test]
fn the_commands_of_the_readme_work() {
    let text = fs::read_to_string(format!("{ROOT}/README.md")).expect("README.md");
    let commands =
        blocks(&text, "sh").into_iter().find(|block| block.contains("cc program.c")).expect("how to compile");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inside = |path: &str| directory.path().join(path);
    for folder in ["include", "examples"] {
        symlink(Path::new(ROOT).join(folder), inside(folder)).expect("a link");
    }
    fs::create_dir_all(inside("target/dist")).expect("a folder");
    symlink(library(), inside("target/dist/libmetaxy.so")).expect("a link");
    let program =
        blocks(&text, "c").into_iter().find(|block| block.contains("int main(")).expect("a program");
    fs::write(inside("program.c"), program).expect("a program");
    let mut shell = Command::new("bash");
    // The library is there already.
    shell
        .args(["-euo", "pipefail", "-c", &format!("make() {{ :; }}\n{commands}\n./a.out")])
        .current_dir(directory.path());
    let printed = String::from_utf8(finish(shell, TOOLS).stdout).expect("UTF-8");
    assert!(printed.contains("credits"), "{printed}");
}

#[test]
fn the_python_of_the_readme_works() {
    let text = fs::read_to_string(format!("{ROOT}/README.md")).expect("README.md");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shown = blocks(&text, "python").concat();
    let imports = "import metaxy as mx\nfrom metaxy import HashAlgorithm\nfrom metaxy.ext.lancedb import LanceDBMetadataStore\n";
    let mut command = Command::new(python());
    command.args(["-c", &format!("{imports}{shown}\nwith store:\n    pass\n")]).current_dir(directory.path());
    finish(command, TOOLS);
}
