//! `make install`: what it puts down is enough for programs that are compiled elsewhere, wherever it is moved to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::native::{ROOT, finish, library};
use crate::readme::blocks;

const TOOLS: &str = "make test-tools installs it";

/// An installation below a prefix, moved to another folder than it was made for.
pub fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // Beside the library, so that it is renamed there and not copied once more; removed when tests begin.
        let folder = library().with_file_name("installed");
        let _ = fs::remove_dir_all(&folder);
        let destination = folder.join("made");
        release();
        let mut install = make("install", &destination);
        install.arg(format!("ARCHIVE={}", archive().display()));
        finish(install, TOOLS);
        let moved = folder.join("elsewhere/a folder");
        fs::create_dir_all(folder.join("elsewhere")).expect("a folder");
        fs::rename(destination.join("opt/metaxy"), &moved).expect("the tree moves");
        // The copies are two gigabytes.
        let shared = format!("lib/libmetaxy.so.{}", env!("CARGO_PKG_VERSION"));
        for (copy, original) in [(shared.as_str(), library()), ("lib/libmetaxy.a", archive())] {
            let copy = moved.join(copy);
            fs::remove_file(&copy).and_then(|()| fs::hard_link(original, &copy)).expect("a link");
        }
        moved
    })
}

/// The static library, which `make test` builds before the tests: a build inside them is another one, of everything.
fn archive() -> PathBuf {
    let folder = library().parent().and_then(Path::parent).expect("the folder of the build").to_owned();
    let archive = folder.join("libmetaxy.a");
    assert!(archive.exists(), "{} is missing: make static-library builds it", archive.display());
    archive
}

/// `make` with the library that these tests were built with.
fn make(target: &str, destination: &Path) -> Command {
    let mut command = Command::new("make");
    command
        .current_dir(ROOT)
        .args(["--no-print-directory", target, "PROFILE=debug", "STATIC=no", "PREFIX=/opt/metaxy"])
        .arg(format!("LIBRARY={}", library().display()))
        .arg(format!("DESTDIR={}", destination.display()))
        // Those of the `make` that runs the tests are not for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL");
    command
}

/// The step before: as the library is there, it makes only the licences.
fn release() {
    static RELEASED: OnceLock<()> = OnceLock::new();
    RELEASED.get_or_init(|| {
        finish(make("release", Path::new("/nowhere")), TOOLS);
    });
}

/// What a command that must fail says.
fn failure(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {TOOLS}"));
    assert!(!output.status.success(), "{command:?} succeeds");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with the two quickstarts, far from the sources.
fn project() -> TempDir {
    let project = tempfile::tempdir().expect("a temporary directory");
    let examples = installed().join("share/doc/metaxy/examples");
    for (from, to) in [
        ("c/quickstart.c", "first.c"),
        ("c/arrow_rows.h", "arrow_rows.h"),
        ("cpp/quickstart.cpp", "second.cpp"),
        ("cpp/rows.hpp", "rows.hpp"),
    ] {
        fs::copy(examples.join(from), project.path().join(to)).expect("an installed example");
    }
    project
}

/// Runs a program, which prints what the quickstarts do.
fn runs(program: &Path, environment: Option<(&str, &Path)>) {
    let mut command = Command::new(program);
    let directory = tempfile::tempdir().expect("a temporary directory");
    command.current_dir(directory.path()).env_remove("LD_LIBRARY_PATH").envs(environment);
    let printed = String::from_utf8(finish(command, TOOLS).stdout).expect("text");
    assert!(["credits", "intro", "interview"].iter().all(|id| printed.contains(id)), "{printed}");
}

/// What pkg-config says of the library that is installed in a folder.
fn pkg_config(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("metaxy").env("PKG_CONFIG_PATH", folder.join("lib/pkgconfig"));
    let output = String::from_utf8(finish(command, TOOLS).stdout).expect("text");
    // A blank in a path comes escaped.
    let words = output.trim().replace("\\ ", "\0");
    words.split(' ').map(|word| word.replace('\0', " ")).collect()
}

#[test]
fn a_plain_compiler_finds_what_was_installed() {
    let project = project();
    let folder = installed();
    for (compiler, source) in [("cc", "first.c"), ("c++", "second.cpp")] {
        let program = project.path().join(source).with_extension("");
        let mut command = Command::new(compiler);
        command.current_dir(project.path()).args([source, "-o"]).arg(&program);
        command.arg("-I").arg(folder.join("include")).arg("-L").arg(folder.join("lib")).arg("-lmetaxy");
        finish(command, TOOLS);
        runs(&program, Some(("LD_LIBRARY_PATH", &folder.join("lib"))));
    }
}

#[test]
fn pkg_config_finds_what_was_installed() {
    let project = project();
    assert_eq!(pkg_config(installed(), &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    for (compiler, source) in [("cc", "first.c"), ("c++", "second.cpp")] {
        let program = project.path().join(source).with_extension("");
        let mut command = Command::new(compiler);
        command.current_dir(project.path()).args([source, "-o"]).arg(&program);
        command.args(pkg_config(installed(), &["--cflags", "--libs"]));
        command.arg(format!("-Wl,-rpath,{}", installed().join("lib").display()));
        finish(command, TOOLS);
        runs(&program, None);
    }
    let private = pkg_config(installed(), &["--static", "--libs-only-l"]);
    assert!(
        private.contains(&"-lpthread".to_owned()) && private.contains(&"-lgcc_s".to_owned()),
        "{private:?}"
    );
}

/// Configures and builds a CMake project.
fn cmake(lists: &str, project: &Path, prefix: &Path) -> bool {
    fs::write(project.join("CMakeLists.txt"), lists).expect("CMakeLists.txt");
    let build = project.join("build");
    let _ = fs::remove_dir_all(&build);
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(project).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    let configured = configure.output().unwrap_or_else(|error| panic!("cmake: {error}; {TOOLS}"));
    if !configured.status.success() {
        return false;
    }
    let mut command = Command::new("cmake");
    command.arg("--build").arg(&build);
    finish(command, TOOLS);
    true
}

fn lists(version: &str, target: &str) -> String {
    format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(consumer C CXX)\nset(CMAKE_CXX_STANDARD 17)\n\
         find_package(metaxy {version} REQUIRED)\n\
         add_executable(first first.c)\ntarget_link_libraries(first PRIVATE {target})\n\
         add_executable(second second.cpp)\ntarget_link_libraries(second PRIVATE {target})\n"
    )
}

#[test]
fn cmake_finds_what_was_installed() {
    let project = project();
    assert!(cmake(&lists(env!("CARGO_PKG_VERSION"), "metaxy::metaxy"), project.path(), installed()));
    for program in ["first", "second"] {
        runs(&project.path().join("build").join(program), None);
    }
}

/// One after the other: a linker holds four gigabytes for each.
#[test]
fn a_program_may_have_the_library_inside() {
    let project = project();
    let folder = installed();
    // What is not reached, and what debuggers would read, is hundreds of megabytes.
    const SMALL: &str = "-Wl,--gc-sections,--strip-all";
    let private: Vec<String> = pkg_config(folder, &["--static", "--libs-only-l"])
        .into_iter()
        .filter(|library| library != "-lmetaxy")
        .collect();
    for (compiler, source, headers) in [
        ("cc", "first.c", vec![format!("-I{}", folder.join("include").display())]),
        ("c++", "second.cpp", pkg_config(folder, &["--cflags"])),
    ] {
        let program = project.path().join("alone");
        let mut command = Command::new(compiler);
        command.current_dir(project.path()).args(headers).args([source, SMALL, "-o"]).arg(&program);
        command.arg(folder.join("lib/libmetaxy.a")).args(&private);
        finish(command, TOOLS);
        runs_alone(&program);
    }
    let lists = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(consumer CXX)\nset(CMAKE_CXX_STANDARD 17)\n\
         find_package(metaxy REQUIRED)\nadd_executable(alone second.cpp)\n\
         target_link_libraries(alone PRIVATE metaxy::metaxy_static {SMALL})\n"
    );
    assert!(cmake(&lists, project.path(), folder));
    runs_alone(&project.path().join("build/alone"));
}

/// Runs a program that needs no shared library of ours, and removes it for the next one.
fn runs_alone(program: &Path) {
    let mut command = Command::new("readelf");
    command.args(["--dynamic", "--wide"]).arg(program);
    let needed = String::from_utf8(finish(command, TOOLS).stdout).expect("text");
    assert!(needed.contains("[libc.so.6]") && !needed.contains("libmetaxy"), "{needed}");
    runs(program, None);
    fs::remove_file(program).expect("a program");
}

#[test]
fn cmake_takes_no_other_version() {
    let project = tempfile::tempdir().expect("a temporary directory");
    let finds = |version: &str| {
        let lists = format!(
            "cmake_minimum_required(VERSION 3.16)\nproject(consumer C)\nfind_package(metaxy {version} REQUIRED)\n"
        );
        cmake(&lists, project.path(), installed())
    };
    assert!(finds("") && finds("0.1") && finds("0.1.0 EXACT"));
    assert!(!finds("0.2") && !finds("0.1.1") && !finds("0.0.9") && !finds("1") && !finds("0.1.1 EXACT"));
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut command = Command::new("find");
    command.arg(folder).args(["!", "-type", "d", "-printf", "%P\n"]);
    let output = String::from_utf8(finish(command, TOOLS).stdout).expect("paths");
    output.lines().map(PathBuf::from).collect()
}

#[test]
fn the_library_has_its_version_and_what_is_linked_its_licences() {
    let folder = installed();
    let version = env!("CARGO_PKG_VERSION");
    let series = version.rsplit_once('.').expect("three parts").0;
    let target = |name: &str| fs::read_link(folder.join("lib").join(name)).expect("a link");
    assert_eq!(target("libmetaxy.so"), Path::new(&format!("libmetaxy.so.{series}")));
    assert_eq!(target(&format!("libmetaxy.so.{series}")), Path::new(&format!("libmetaxy.so.{version}")));
    let licences =
        fs::read_to_string(folder.join("share/doc/metaxy/THIRD_PARTY.txt")).expect("THIRD_PARTY.txt");
    let lock = fs::read_to_string(format!("{ROOT}/Cargo.lock")).expect("Cargo.lock");
    for name in ["lancedb", "lance", "datafusion", "arrow", "tokio", "rustls", "object_store"] {
        assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name} is linked no more");
        assert!(licences.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not named");
    }
    assert!(licences.contains("Apache License") && licences.contains("Permission is hereby granted"));
}

#[test]
fn uninstall_leaves_nothing() {
    let destination = tempfile::tempdir().expect("a temporary directory");
    let path = destination.path();
    // What is there already stays.
    fs::create_dir_all(path.join("opt/metaxy/lib/cmake/other")).expect("folders");
    let other = PathBuf::from("opt/metaxy/lib/cmake/other/otherConfig.cmake");
    fs::write(path.join(&other), "").expect("another package");
    // A small file will do for the library.
    let small = path.join("small");
    fs::write(&small, "").expect("a file");
    let with_small = |target: &str| {
        let mut command = make(target, path);
        command.arg(format!("LIBRARY={}", small.display()));
        finish(command, TOOLS);
    };
    release();
    with_small("install");
    assert!(files(path).len() > 15);
    let newer = PathBuf::from("opt/metaxy/lib/libmetaxy.so.9.9.0");
    fs::write(path.join(&newer), "").expect("a library of another version");
    // Where nothing is left to remove, that is no failure.
    for _ in 0..2 {
        with_small("uninstall");
        assert_eq!(files(path), BTreeSet::from([other.clone(), newer.clone(), PathBuf::from("small")]));
    }
    assert!(
        !path.join("opt/metaxy/share/doc/metaxy").exists() && !path.join("opt/metaxy/lib/pkgconfig").exists()
    );
}

#[test]
fn install_builds_nothing_and_says_what_comes_first() {
    let destination = tempfile::tempdir().expect("a temporary directory");
    let mut command = make("install", destination.path());
    command.args(["LIBRARY=", "STATIC=yes"]).arg(format!("TARGET={}/none", destination.path().display()));
    let said = failure(command);
    let first = "none/debug/libmetaxy.so is not there: run make release PROFILE=debug STATIC=yes (or say STATIC=no to both) first";
    assert!(said.contains(first), "{said}");
    assert!(files(destination.path()).is_empty());
}

#[test]
fn a_path_that_would_be_taken_for_two_is_refused() {
    let destination = tempfile::tempdir().expect("a temporary directory");
    let folder = destination.path().join("a folder");
    let kept = folder.join("opt/metaxy/lib/libmetaxy.so");
    fs::create_dir_all(kept.parent().expect("a folder")).expect("folders");
    fs::write(&kept, "").expect("a file");
    for target in ["install", "uninstall", "dist"] {
        let said = failure(make(target, &folder));
        assert!(said.contains("DESTDIR is ") && said.contains("blank"), "{said}");
        let mut quoted = make(target, destination.path());
        quoted.arg("PREFIX=/it's");
        assert!(failure(quoted).contains("PREFIX is "));
    }
    assert_eq!(files(destination.path()).len(), 1);
}

#[test]
fn a_tarball_has_checksums_and_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path();
    // A small library will do for the large one.
    let version = env!("CARGO_PKG_VERSION");
    let series = version.rsplit_once('.').expect("three parts").0;
    let small = "#include \"metaxy.h\"\n#include <stdio.h>\nint small(void) { return puts(\"small\"); }\n\
                 int32_t metaxy_abi_version(void) { return METAXY_ABI_VERSION; }\n";
    fs::write(path.join("small.c"), small).expect("a source");
    let mut compile = Command::new("gcc");
    compile.current_dir(path).args(["-g", "-shared", "-fPIC", "small.c", "-o", "small.so"]);
    compile.arg(format!("-I{ROOT}/include"));
    compile.arg(format!("-Wl,-soname,libmetaxy.so.{series}"));
    finish(compile, TOOLS);
    // So that it finds the licences made, which other tests may be installing now.
    release();
    let mut dist = Command::new("make");
    dist.current_dir(ROOT).args(["--no-print-directory", "dist", "PROFILE=debug"]);
    dist.arg(format!("LIBRARY={}", path.join("small.so").display()));
    dist.arg(format!("DISTDIR={}", path.display()));
    dist.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    finish(dist, TOOLS);

    let name = format!("metaxy-{version}-{}-linux-gnu", std::env::consts::ARCH);
    let script = format!(
        "sha256sum --check --quiet {name}.sha256; mkdir unpacked; cd unpacked; tar -xzf ../{name}.tar.gz; \
         tar -xzf ../{name}-debug.tar.gz; cd {name}; sha256sum --check --quiet SHA256SUMS; \
         grep -c lib/libmetaxy.so SHA256SUMS; cmp share/doc/metaxy/RELEASE ../../{name}.txt; \
         cat share/doc/metaxy/RELEASE; \
         nm lib/libmetaxy.so.{version} 2>&1; readelf --string-dump=.gnu_debuglink lib/libmetaxy.so.{version}; \
         readelf --sections lib/libmetaxy.so.{version}.debug"
    );
    let mut shell = Command::new("bash");
    shell.current_dir(path).args(["-euc", &script]);
    // readelf prints the bytes of a checksum as they are, which are not always text.
    let printed = finish(shell, TOOLS).stdout;
    let printed = String::from_utf8_lossy(&printed);
    for told in [
        format!("soname: libmetaxy.so.{series}"),
        "glibc: 2.".to_owned(),
        "no symbols".to_owned(),
        format!("libmetaxy.so.{version}.debug"),
        ".debug_info".to_owned(),
    ] {
        assert!(printed.contains(&told), "{told}: {printed}");
    }
    consumes(&path.join("unpacked").join(name), path);
}

/// Builds a program against what a tarball gave, by pkg-config and by CMake.
fn consumes(unpacked: &Path, path: &Path) {
    let project = path.join("consumer");
    fs::create_dir(&project).expect("a folder");
    let source =
        "#include <metaxy.h>\nint main(void) { return metaxy_abi_version() != METAXY_ABI_VERSION; }\n";
    fs::write(project.join("first.c"), source).expect("a source");
    let mut compile = Command::new("gcc");
    compile.current_dir(&project).args(["first.c", "-o", "first"]);
    compile.args(pkg_config(unpacked, &["--cflags", "--libs"]));
    compile.arg(format!("-Wl,-rpath,{}", unpacked.join("lib").display()));
    finish(compile, TOOLS);
    finish(Command::new(project.join("first")), TOOLS);
    let lists = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(consumer C)\n\
         find_package(metaxy {} REQUIRED)\n\
         add_executable(first first.c)\ntarget_link_libraries(first PRIVATE metaxy::metaxy)\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(cmake(&lists, &project, unpacked));
    finish(Command::new(project.join("build/first")), TOOLS);
}

#[test]
fn a_new_user_gets_along_by_the_document() {
    let text = fs::read_to_string(format!("{ROOT}/docs/install.md")).expect("docs/install.md");
    let project = tempfile::tempdir().expect("a temporary directory");
    fs::write(project.path().join("CMakeLists.txt"), blocks(&text, "cmake").concat())
        .expect("CMakeLists.txt");
    std::os::unix::fs::symlink(installed(), project.path().join("metaxy")).expect("a link");
    let commands: Vec<String> =
        blocks(&text, "sh").into_iter().filter(|block| !block.contains("make install")).collect();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands.concat()]).current_dir(project.path());
    shell.env("PREFIX", project.path().join("metaxy")).env_remove("LD_LIBRARY_PATH");
    let printed = String::from_utf8(finish(shell, TOOLS).stdout).expect("text");
    assert_eq!(printed.matches("1250000").count(), 3, "{printed}");
}
