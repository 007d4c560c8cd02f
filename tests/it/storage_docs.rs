//! The examples of `docs/storage.md`, with servers of this machine in the place of the real ones.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::native::{ROOT, compile, finish, linked};
use crate::readme::blocks;
use crate::servers::Server;

const SHELL: &str = "a shell is part of the system";

fn document() -> String {
    std::fs::read_to_string(format!("{ROOT}/docs/storage.md")).expect("docs/storage.md")
}

/// What stands in an example for the reader's own, and what a test puts there.
struct Place {
    replaced: Vec<(String, String)>,
    /// What redirects a client that would go to the real service.
    environment: Vec<(&'static str, String)>,
    /// The same, where only an option does.
    appended: String,
}

impl Place {
    fn new(replaced: &[(&str, &str)], environment: &[(&'static str, &str)]) -> Place {
        let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        Place {
            replaced: replaced.iter().map(owned).collect(),
            environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            appended: String::new(),
        }
    }

    fn in_place(&self, example: &str) -> String {
        let mut text = example.trim_end().to_owned() + &self.appended;
        for (from, to) in &self.replaced {
            assert!(example.contains(from), "{from} is not in:\n{example}");
            text = text.replace(from, to);
        }
        text
    }
}

fn option(server: &Server, name: &str) -> String {
    let named = format!("storage_options.{name}");
    let found = server.options().into_iter().find(|(name, _)| *name == named);
    found.unwrap_or_else(|| panic!("the server says no {name}")).1
}

fn s3(replaced: &[(&str, &str)], environment: &[(&'static str, &str)]) -> Place {
    let server = Server::shared("minio");
    let (key, secret) = (option(server, "aws_access_key_id"), option(server, "aws_secret_access_key"));
    let own = [("my-bucket", "lance-bucket"), ("my-key-id", &key), ("my-secret-key", &secret)];
    Place::new(&[&own, replaced].concat(), environment)
}

fn cloud(server: &Server) -> Place {
    let report = server.report();
    let place = Place::new(&[("my-api-key", report["key"].as_str().expect("a key"))], &[]);
    Place { appended: format!(" host_override={}", report["url"].as_str().expect("a URL")), ..place }
}

/// Which place an example is about.
fn place(example: &str, directory: &Path) -> Place {
    let minio = || Server::shared("minio").endpoint();
    if example.contains("minio") {
        s3(&[("http://minio.mycompany.com:9000", minio())], &[])
    } else if example.contains("digitalocean") {
        s3(&[("https://fra1.digitaloceanspaces.com", minio())], &[("AWS_ALLOW_HTTP", "true")])
    } else if example.contains("s3://") {
        s3(&[], &[("AWS_ENDPOINT_URL", minio()), ("AWS_ALLOW_HTTP", "true")])
    } else if example.contains("gs://") {
        let server = Server::shared("gcs");
        let file = directory.join("key.json");
        std::fs::write(&file, server.report()["service_account"].to_string()).expect("a key file");
        Place::new(
            &[("my-bucket", "lance-bucket"), ("/path/of/key.json", file.to_str().expect("UTF-8"))],
            &[("GOOGLE_BASE_URL", server.endpoint()), ("GOOGLE_ALLOW_HTTP", "true")],
        )
    } else if example.contains("az://") {
        let server = Server::shared("azurite");
        let key = option(server, "account_key");
        Place::new(
            &[("my-account-key", &key), ("my-account", "devstoreaccount1"), ("my-container", "lance-bucket")],
            &[
                ("AZURE_STORAGE_ENDPOINT", &option(server, "azure_endpoint")),
                ("AZURE_STORAGE_ALLOW_HTTP", "true"),
            ],
        )
    } else if example.contains("db://") {
        cloud(Server::shared("lancedb_remote"))
    } else {
        panic!("no server stands for:\n{example}");
    }
}

/// The name of the database is made another one, so that every example begins with an empty one.
fn run(example: &str, place: &Place, number: usize, program: &Path, directory: &TempDir) {
    let line = place.in_place(example).replace("/metaxy", &format!("/example-{number}"));
    let line = line.replace("db://my-database", &format!("db://example-{number}"));
    assert!(line.contains("storage "), "{line}");
    let mut shell = linked(Path::new("sh"), directory.path());
    shell.args(["-euc", &line]).current_dir(directory.path());
    let path = std::env::var("PATH").expect("PATH is set");
    shell.env("PATH", format!("{}:{path}", program.parent().expect("a directory").display()));
    shell.envs(place.environment.iter().map(|(name, value)| (name, value)));
    let printed = String::from_utf8_lossy(&finish(shell, SHELL).stdout).into_owned();
    assert!(["credits", "intro"].iter().all(|id| printed.contains(id)), "{example}\n{printed}");
}

fn storage(directory: &TempDir) -> PathBuf {
    compile(Path::new(&format!("{ROOT}/examples/c/storage.c")), directory.path())
}

#[test]
fn every_line_of_the_document_opens_a_store() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = storage(&directory);
    let examples = blocks(&document(), "sh");
    assert!(examples.len() >= 7, "AWS, MinIO, Spaces, Google, Azure, LanceDB Cloud, a server of one's own");
    for (number, example) in examples.iter().enumerate() {
        if !example.contains("https://lancedb.mycompany.com") {
            run(example, &place(example, directory.path()), number, &program, &directory);
            continue;
        }
        let server = Server::start("lancedb_remote", &["--prefix", "/databases/prod", "--tls"]);
        let text = |name: &str| server.report()[name].as_str().expect(name).to_owned();
        let replaced = [
            ("https://lancedb.mycompany.com/databases/prod", text("url")),
            ("/path/of/ca.pem", text("ca")),
            ("my-api-key", text("key")),
        ];
        let place = Place::new(&replaced.each_ref().map(|(from, to)| (*from, to.as_str())), &[]);
        run(example, &place, number, &program, &directory);
    }
}

#[test]
fn development_falls_back_to_a_bucket_and_that_to_the_cloud() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Path::new(&format!("{ROOT}/examples/c/environments.c")), directory.path());
    let minio = Server::shared("minio");
    let server = Server::start("lancedb_remote", &[]);
    let text = |name: &str| server.report()[name].as_str().expect(name).to_owned();
    let toml = &blocks(&document(), "toml")[0];
    let region = "region = \"us-east-1\"\n";
    assert!(toml.ends_with(region), "{toml}");
    let toml = toml.replace("my-bucket/metaxy", "lance-bucket/example-chain");
    let file = directory.path().join("metaxy.toml");
    std::fs::write(&file, format!("{toml}host_override = \"{}\"\n", text("url"))).expect("the configuration");
    let run = |store: &str, video: Option<&str>| {
        let mut run = linked(&program, directory.path());
        run.args(video).current_dir(directory.path()).env("METAXY_CONFIG", &file).env("METAXY_STORE", store);
        run.env("LANCEDB_API_KEY", text("key"));
        run.env("AWS_ENDPOINT_URL", minio.endpoint()).env("AWS_ALLOW_HTTP", "true");
        run.env("AWS_ACCESS_KEY_ID", option(minio, "aws_access_key_id"));
        run.env("AWS_SECRET_ACCESS_KEY", option(minio, "aws_secret_access_key"));
        String::from_utf8_lossy(&finish(run, SHELL).stdout).into_owned()
    };
    assert!(run("prod", Some("credits")).contains("credits"));
    // Nobody else has any rows yet.
    for store in ["staging", "dev"] {
        assert!(run(store, None).contains("credits"), "{store} falls back to prod");
    }
    run("staging", Some("intro"));
    let seen = run("dev", None);
    assert!(seen.contains("intro") && !seen.contains("credits"), "staging serves now: {seen}");
}
