//! Stores opened by name, from the file that Python Metaxy reads.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use metaxy::config::{Config, Environment};
use metaxy::log::Level;
use metaxy::store::context::Call;
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, Store};
use metaxy::{Error, Result, Status};

use crate::support::{column, failure, listen, options, read, read_with_schema, root, rows, samples, write};

/// Three environments in one file, each falling back to the next; where they are, variables say.
const CHAIN: &str = r#"
project = "pipelines"
store = "${ENV:-dev}"

[stores.dev]
type = "metaxy.ext.lancedb.LanceDBMetadataStore"
[stores.dev.config]
uri = "${ROOT}/dev"
fallback_stores = ["staging"]

[stores.staging]
type = "metaxy.ext.metadata_stores.lancedb.LanceDBMetadataStore"
[stores.staging.config]
uri = "${ROOT}/staging"
fallback_stores = ["prod"]

[stores.prod]
type = "metaxy.metadata_store.lancedb.LanceDBMetadataStore"
[stores.prod.config]
uri = "${ROOT}/prod"
[stores.prod.config.connect_kwargs]
api_key = "${PROD_KEY:-}"
"#;

const FEATURE: &str = "c/video";

/// A directory with a `metaxy.toml`, which is `ROOT` in the environment.
struct Project(tempfile::TempDir);

impl Project {
    fn new(toml: &str) -> Project {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("metaxy.toml"), toml).unwrap();
        Project(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config> {
        let root = self.path().to_str().unwrap();
        let variables = variables.iter().copied().chain([("ROOT", root)]);
        Config::load(None, Environment::new(variables, self.path().join("below/it")))
    }

    fn open(&self, name: Option<&str>, variables: &[(&str, &str)], given: &[(&str, &str)]) -> Result<Store> {
        let store = self.load(variables)?.open_store(name, &options(given), &Call::default())?;
        store.define(&root(FEATURE, &["x"]))?;
        Ok(store)
    }
}

fn ids(store: &Store) -> Vec<String> {
    column(&read(store, FEATURE, &ReadRequest::default()).unwrap(), "id")
}

#[test]
fn each_environment_has_its_store() {
    let project = Project::new(CHAIN);
    for (environment, id) in [("prod", "p"), ("staging", "s"), ("dev", "d")] {
        let store = project.open(None, &[("ENV", environment)], &[]).unwrap();
        assert!(store.display().starts_with(&format!("[{environment}] /")), "{}", store.display());
        write(&store, FEATURE, &[samples(&[id])], &[]).unwrap();
        assert_eq!(ids(&store), [id]);
    }
    // By name, by default, and after the configuration is gone.
    assert_eq!(ids(&project.open(Some("staging"), &[], &[]).unwrap()), ["s"]);
    assert_eq!(ids(&project.open(None, &[], &[]).unwrap()), ["d"]);
}

#[test]
fn reads_go_down_the_configured_chain() {
    let project = Project::new(CHAIN);
    let prod = project.open(Some("prod"), &[], &[]).unwrap();
    write(&prod, FEATURE, &[samples(&["p", "q"])], &[]).unwrap();
    let dev = project.open(None, &[], &[]).unwrap();
    assert_eq!(ids(&dev), ["p", "q"]);
    assert!(!project.path().join("staging").exists(), "a fallback store is opened for reading");
    let (served, _) = read_with_schema(&dev, FEATURE, &ReadRequest::default()).unwrap();
    let visited: Vec<_> =
        served.visits().iter().map(|visit| (visit.name.as_deref(), visit.outcome.name())).collect();
    // Staging is not there yet, which ends nothing.
    assert_eq!(visited, [(Some("dev"), "absent"), (Some("staging"), "absent"), (Some("prod"), "served")]);
    // What is written in between later is seen through stores that are open already.
    write(&project.open(Some("staging"), &[], &[]).unwrap(), FEATURE, &[samples(&["s"])], &[]).unwrap();
    assert_eq!(ids(&dev), ["s"]);

    // An option of the whole chain reaches staging, where prod's rows come to its own.
    let merged = project.open(None, &[], &[("fallback.missing", "merge"), ("name", "mine")]).unwrap();
    assert_eq!(ids(&merged), ["p", "q", "s"]);
    write(&merged, FEATURE, &[samples(&["d"])], &[]).unwrap();
    assert_eq!(ids(&merged), ["d", "p", "q", "s"]);
    assert_eq!((ids(&dev), ids(&prod)), (vec!["d".to_owned()], vec!["p".into(), "q".into()]));
}

#[test]
fn what_is_wrong_with_a_fallback_is_told_by_the_read_that_needs_it() {
    let more = "[stores.later]\ntype = 'metaxy.ext.lancedb.LanceDBMetadataStore'\n[stores.later.config]\nuri = '${LATER}'\n\
                [stores.duck]\ntype = 'metaxy.ext.duckdb.DuckDBMetadataStore'\n[stores.duck.config]\ndatabase = 'x'\n\
                [stores.cloud]\ntype = 'metaxy.ext.lancedb.LanceDBMetadataStore'\n[stores.cloud.config]\nuri = 's3://a:sesame@b'\n";
    for (name, said) in [("later", "LATER"), ("duck", "DuckDBMetadataStore"), ("cloud", "s3://")] {
        let below = format!("fallback_stores = [\"{name}\"]");
        let project = Project::new(&(CHAIN.replace("fallback_stores = [\"staging\"]", &below) + more));
        let dev = project.open(None, &[], &[]).unwrap();
        let error = failure(read(&dev, FEATURE, &ReadRequest::default()));
        assert!(error.message().contains(said) && error.message().contains(name), "{error}");
        assert!(!all(&error).contains("sesame"), "{error}");
        write(&dev, FEATURE, &[samples(&["d"])], &[]).unwrap();
        assert_eq!(ids(&dev), ["d"]);
    }
}

#[test]
fn a_store_that_two_ways_lead_to_is_one_store() {
    let project = Project::new(&CHAIN.replace("[\"staging\"]", "[\"staging\", \"prod\"]"));
    write(&project.open(Some("prod"), &[], &[]).unwrap(), FEATURE, &[samples(&["p"])], &[]).unwrap();
    let dev = project.open(None, &[], &[("fallback.missing", "merge")]).unwrap();
    assert_eq!(ids(&dev), ["p"]);
}

#[test]
fn rows_are_as_python_would_write_them() {
    let project = Project::new(CHAIN);
    let store = project.open(Some("prod"), &[], &[("materialization_id", "run-1")]).unwrap();
    write(&store, FEATURE, &[samples(&["a"])], &[]).unwrap();
    let row = &rows(&read(&store, FEATURE, &ReadRequest::default()).unwrap())[0];
    assert_eq!(row["metaxy_materialization_id"], "run-1");
    assert_eq!(row["metaxy_feature_version"].as_str().unwrap().len(), 8);
    let hash = row["metaxy_provenance"].as_str().unwrap();
    assert!(hash.len() <= 8 && hash.parse::<u64>().is_ok(), "xxhash32, cut: {hash}");

    let store = project.open(Some("dev"), &[("METAXY_HASH_TRUNCATION_LENGTH", "64")], &[]).unwrap();
    write(&store, FEATURE, &[samples(&["a"])], &[]).unwrap();
    let row = &rows(&read(&store, FEATURE, &ReadRequest::default()).unwrap())[0];
    assert_eq!(row["metaxy_feature_version"].as_str().unwrap().len(), 64);
}

#[test]
fn the_environment_goes_over_the_file_and_options_over_both() {
    let project = Project::new(CHAIN);
    let elsewhere = project.path().join("elsewhere");
    let uri = ("METAXY_STORES__DEV__CONFIG__URI", elsewhere.to_str().unwrap());
    let algorithm = ("METAXY_STORES__DEV__CONFIG__HASH_ALGORITHM", "sha256");
    let store =
        project.open(None, &[uri, algorithm], &[("hash.algorithm", "md5"), ("name", "mine")]).unwrap();
    assert_eq!(store.display(), format!("[mine] {}", elsewhere.display()));
    write(&store, FEATURE, &[samples(&["a"])], &[("write.duplicates", "last")]).unwrap();
    // The table has recorded what was meant.
    let error = failure(project.open(None, &[uri], &[]).and_then(|store| {
        write(&store, FEATURE, &[samples(&["b"])], &[])?;
        Ok(())
    }));
    assert_eq!(error.status(), Status::SchemaMismatch);
    assert!(error.message().contains("md5") && error.message().contains("xxhash32"), "{error}");

    let store = project.open(None, &[uri], &[("mode", "read"), ("hash.algorithm", "md5")]).unwrap();
    assert_eq!(failure(write(&store, FEATURE, &[samples(&["b"])], &[])).status(), Status::InvalidState);
    let error = failure(project.open(None, &[], &[("write.duplicates", "last")]));
    assert_eq!(error.detail("option"), Some("write.duplicates"));
}

#[test]
fn opening_makes_the_directory_of_that_store_only() {
    let project = Project::new(CHAIN);
    project.open(None, &[], &[]).unwrap();
    assert!(project.path().join("dev").is_dir());
    assert!(!project.path().join("staging").exists() && !project.path().join("prod").exists());
}

#[test]
fn the_stores_are_listed_without_secrets() {
    let project = Project::new(
        &(CHAIN.to_owned()
            + "[stores.cloud]\ntype = 'metaxy.ext.lancedb.LanceDBMetadataStore'\n[stores.cloud.config]\n\
               uri = 'https://user:sesame@host/x?api_key=sesame'\nhash_algorithm = 'md5'\n\
               [stores.cloud.config.connect_kwargs]\napi_key = 'sesame'\n\
               [stores.duck]\ntype = 'metaxy.ext.duckdb.DuckDBMetadataStore'\n[stores.duck.config]\npassword = 'sesame'\n\
               [stores.later]\ntype = 'metaxy.ext.lancedb.LanceDBMetadataStore'\n[stores.later.config]\nuri = '${LATER}'\n"),
    );
    let table = project.load(&[]).unwrap().stores().unwrap();
    let text = |name: &str| (name.to_owned(), DataType::LargeUtf8);
    let item = Arc::new(Field::new("item", DataType::LargeUtf8, true));
    let columns: Vec<_> = table
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    assert_eq!(
        columns,
        [
            text("name"),
            text("type"),
            text("uri"),
            ("fallback_stores".to_owned(), DataType::LargeList(item)),
            text("hash_algorithm"),
            text("project"),
            ("is_default".to_owned(), DataType::Boolean),
            text("file"),
            text("problem"),
        ]
    );
    assert!(table.schema().fields().iter().all(|field| field.is_nullable()));
    let listed = rows(&[table]);
    let of = |name: &str| listed.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(listed.len(), 6);
    assert_eq!(of("dev")["fallback_stores"], serde_json::json!(["staging"]));
    assert_eq!(of("dev")["is_default"], true);
    assert_eq!(of("prod")["is_default"], false);
    assert_eq!(of("prod")["project"], "pipelines");
    assert!(of("prod")["problem"].is_null() && of("prod")["hash_algorithm"].is_null());
    assert_eq!(of("cloud")["uri"], "https://***:***@host/x?api_key=***");
    assert!(of("cloud")["problem"].as_str().unwrap().contains("https://"));
    assert!(of("duck")["problem"].as_str().unwrap().contains("DuckDBMetadataStore"));
    assert!(of("later")["uri"].is_null());
    assert!(of("later")["problem"].as_str().unwrap().contains("LATER"));
    assert_eq!(of("later")["file"], project.path().join("metaxy.toml").to_str().unwrap());
    assert!(!format!("{listed:?}").contains("sesame"), "{listed:?}");
}

/// Everything that an error says, to look for secrets in it.
fn all(error: &Error) -> String {
    format!("{error} {:?} {:?}", error.details(), error.causes())
}

#[test]
fn bad_input_names_what_is_wrong_and_no_secret() {
    let with = |more: &str| Project::new(&format!("{CHAIN}{more}"));
    let edited = |from: &str, to: &str| Project::new(&CHAIN.replace(from, to));
    let uri = "uri = \"${ROOT}/dev\"";
    for (project, name, status, said) in [
        (with(""), Some("prodd"), Status::NotFound, "it has: prod, "),
        (edited("[\"staging\"]", "[\"stagin\"]"), None, Status::NotFound, "it has: staging, "),
        (
            with("fallback_stores = []\n"),
            Some("prod"),
            Status::InvalidArgument,
            "connect_kwargs.fallback_stores",
        ),
        (edited("/dev\"", "/prod\""), None, Status::InvalidArgument, "dev -> staging -> prod"),
        (
            edited("${ROOT}/prod\"", "x\"\nfallback_stores = ['dev']"),
            None,
            Status::InvalidArgument,
            "dev -> staging -> prod -> dev",
        ),
        (edited("store = \"${ENV:-dev}\"", "store = \"test\""), None, Status::NotFound, "\"test\""),
        (
            edited("store = \"${ENV:-dev}\"", "stores_default = \"x\""),
            None,
            Status::InvalidArgument,
            "stores_default",
        ),
        (edited(uri, "uri = \"${NOWHERE}\""), None, Status::InvalidArgument, "NOWHERE"),
        (edited(uri, "url = \"/x\""), None, Status::InvalidArgument, "did you mean `uri`?"),
        (edited(uri, "uri = \"db://u:sesame@x/y?key=sesame\""), None, Status::InvalidArgument, "db://"),
        (edited(uri, "uri = sesame"), None, Status::InvalidArgument, "line 8"),
        (
            edited("metaxy.ext.lancedb.Lance", "metaxy.ext.delta.Delta"),
            None,
            Status::Unsupported,
            "metaxy.ext.delta",
        ),
        (with("api_kye = \"sesame\"\n"), Some("prod"), Status::InvalidArgument, "did you mean `api_key`?"),
        (with("region = [\"sesame\"]\n"), Some("prod"), Status::InvalidArgument, "region must be text"),
        (with("[stores.dev.config]\na = \"sesame\""), None, Status::InvalidArgument, "duplicate key"),
    ] {
        let error = failure(project.open(name, &[], &[]));
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(said), "{said:?} is not in: {error}");
        assert!(
            error.message().contains("metaxy.toml") || error.message().contains("the store dev"),
            "{error}"
        );
        assert!(!all(&error).contains("sesame"), "{error}");
    }
    let project = Project::new(CHAIN);
    let variables = [("METAXY_STORES__PROD__CONFIG__CONNECT_KWARGS", "sesame")];
    let error = failure(project.open(Some("prod"), &variables, &[]));
    assert!(error.message().contains(variables[0].0), "{error}");
    assert!(!all(&error).contains("sesame"), "{error}");
    project.open(Some("dev"), &variables, &[]).unwrap();
    let missing = Config::load(Some(Path::new("/nowhere/metaxy.toml")), Environment::default());
    assert_eq!(failure(missing).status(), Status::NotFound);
}

#[test]
fn relative_places_are_those_of_the_time_of_loading() {
    let project = Project::new(&CHAIN.replace("${ROOT}/", "").replace("uri = \"prod", "uri = \"~/prod"));
    let (here, home) = (project.path().join("here"), project.path().join("home"));
    let load = |directory: &Path, home: &Path| {
        let environment = Environment::new([("HOME", home.to_str().unwrap())], directory);
        Config::load(Some(&project.path().join("metaxy.toml")), environment).unwrap()
    };
    let open = |config: &Config, name: Option<&str>| {
        let store = config.open_store(name, &Options::new(), &Call::default()).unwrap();
        store.define(&root(FEATURE, &["x"])).unwrap();
        store
    };
    let config = load(&here, &home);
    write(&open(&config, Some("staging")), FEATURE, &[samples(&["s"])], &[]).unwrap();
    write(&open(&config, Some("prod")), FEATURE, &[samples(&["p"])], &[]).unwrap();
    assert!(here.join("staging").is_dir() && home.join("prod").is_dir());
    // The tests are somewhere else, as a process is after chdir; so is their home.
    assert_ne!(std::env::current_dir().unwrap(), here);
    let chain = [("fallback.missing", "merge")];
    let dev = config.open_store(None, &options(&chain), &Call::default()).unwrap();
    dev.define(&root(FEATURE, &["x"])).unwrap();
    assert_eq!(dev.display(), format!("[dev] {}", here.join("dev").display()));
    assert_eq!(ids(&dev), ["p", "s"]);
    // Loaded elsewhere, the same file is about other places.
    assert!(ids(&open(&load(&project.path().join("there"), &home), Some("staging"))) == ["p"]);
}

#[test]
fn what_has_no_meaning_is_told_once_when_the_store_is_opened() {
    let secret = "connect_kwargs = {sql_host_override = 'sesame', region = 'eu'}";
    let project = Project::new(&CHAIN.replace("[stores.staging]", &format!("{secret}\n[stores.staging]")));
    let listener = listen(Level::Warn, project.path().to_str().unwrap());
    let config = project.load(&[("METAXY_STORES__CI__URI", "/x")]).unwrap();
    for _ in 0..2 {
        config.stores().unwrap();
        config.store_settings("dev").unwrap();
    }
    config.open_store(Some("staging"), &Options::new(), &Call::default()).unwrap();
    assert_eq!(listener.heard(), [""; 0]);
    config.open_store(None, &Options::new(), &Call::default()).unwrap();
    let said = listener.heard();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("sql_host_override has no meaning here") && !said[0].contains("sesame"),
        "{said:?}"
    );
}

#[test]
fn an_open_that_is_cancelled_opens_nothing() {
    let project = Project::new(CHAIN);
    let context = metaxy::store::context::Context::new();
    context.cancel();
    let opened = project.load(&[]).unwrap().open_store(None, &Options::new(), &context.begin());
    assert_eq!(failure(opened).status(), Status::Cancelled);
    assert!(!project.path().join("dev").exists());
}

#[test]
fn the_file_in_the_documentation_is_right() {
    let text = fs::read_to_string(format!("{}/docs/configuration.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let toml = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let project = Project::new(toml);
    let listed = rows(&[project.load(&[("PROD_URI", "/prod")]).unwrap().stores().unwrap()]);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|store| store["problem"].is_null()), "{listed:?}");
}

#[test]
fn the_variables_in_the_documentation_go_over_the_file() {
    let text = fs::read_to_string(format!("{}/docs/configuration.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let shown = &crate::readme::blocks(&text, "sh")[0];
    let line = |line: &str| {
        let (name, rest) = line.split_once('=').unwrap();
        let value = rest.split(" #").next().unwrap().trim().trim_matches('\'').to_owned();
        (name.to_owned(), value)
    };
    let variables: Vec<(String, String)> = shown.lines().map(line).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    let config = Project::new(CHAIN).load(&variables).unwrap();
    let listed = rows(&[config.stores().unwrap()]);
    let store = |name: &str| listed.iter().find(|store| store["name"] == name).unwrap();
    assert_eq!(store("staging")["is_default"], true, "{listed:?}");
    assert_eq!(store("dev")["uri"], "/scratch/dev");
    assert_eq!(store("dev")["fallback_stores"], serde_json::json!(["prod"]));
    assert!(listed.iter().all(|store| store["problem"].is_null()), "{listed:?}");
}
