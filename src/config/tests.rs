//! The rules of the configuration, each without a process environment.

use std::fs;
use std::path::Path;

use super::*;
use crate::store::Fallback;
use crate::store::context::Call;
use crate::store::options::Options;

const LANCEDB: &str = "metaxy.ext.lancedb.LanceDBMetadataStore";

/// Files in a directory of their own, and what `load` makes of them there.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(directory)
    }

    fn load_in(&self, below: &str, variables: &[(&str, &str)]) -> Result<Config> {
        Config::load(None, Environment::new(variables.iter().copied(), self.0.path().join(below)))
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config> {
        self.load_in("", variables)
    }
}

fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config> {
    Files::new(&[("metaxy.toml", toml)]).load(variables)
}

fn config(toml: &str) -> Config {
    load(toml, &[]).unwrap()
}

/// `[stores.<name>]` of our type with these settings.
fn store(name: &str, settings: &str) -> String {
    format!("[stores.{name}]\ntype = \"{LANCEDB}\"\n[stores.{name}.config]\n{settings}\n")
}

fn failure<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error,
    }
}

fn open_error(config: &Config, name: Option<&str>) -> Error {
    failure(config.open_store(name, &Options::new(), &Call::default()))
}

#[track_caller]
fn says(error: &Error, status: Status, parts: &[&str]) {
    assert_eq!(error.status(), status, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is not in: {error}");
    }
}

// ---- files ----

#[test]
fn the_nearest_file_is_found_and_metaxy_toml_goes_first() {
    let files = Files::new(&[
        ("metaxy.toml", "store = 'top'"),
        ("a/metaxy.toml", "store = 'metaxy'"),
        ("a/pyproject.toml", "[tool.metaxy]\nstore = 'pyproject'"),
        ("b/pyproject.toml", "[tool.metaxy]\nstore = 'pyproject'"),
        ("c/pyproject.toml", "[tool.other]\nstore = 'other'"),
        ("d/pyproject.toml", "[tool.metaxy]\n"),
        ("e/metaxy.toml", ""),
        ("a/deep/er/file", ""),
    ]);
    for (below, store) in [
        ("", "top"),
        ("a", "metaxy"),
        ("a/deep/er", "metaxy"),
        ("b", "pyproject"),
        ("c", "top"),
        ("d", "top"),
    ] {
        let config = files.load_in(below, &[]).unwrap();
        assert_eq!(config.root().member("store").unwrap().text().unwrap(), store, "{below}");
    }
    assert!(files.load_in("e", &[]).unwrap().root().member("store").is_none());
}

#[test]
fn a_file_is_named_by_the_caller_or_by_metaxy_config() {
    let files =
        Files::new(&[("metaxy.toml", "store = 'a'"), ("o.toml", "store = 'o'"), ("p.toml", "store = 'p'")]);
    let environment = |value: &str| Environment::new([("METAXY_CONFIG", value)], files.0.path());
    let store = |path: Option<&str>, value: &str| {
        let config = Config::load(path.map(Path::new), environment(value)).unwrap();
        config.root().member("store").unwrap().text().unwrap()
    };
    assert_eq!(store(None, "o.toml"), "o");
    assert_eq!(store(None, ""), "a");
    assert_eq!(store(Some("p.toml"), "o.toml"), "p");
    let error = failure(Config::load(None, environment("q.toml")));
    says(&error, Status::NotFound, &["q.toml"]);
}

#[test]
fn without_a_file_the_environment_may_say_it_all() {
    let files = Files::new(&[]);
    let variables = [("METAXY_STORES__DEV__TYPE", LANCEDB), ("METAXY_STORES__DEV__CONFIG__URI", "${HOME}/x")];
    let config = files.load(&variables).unwrap();
    // Variables are expanded in files only.
    assert_eq!(config.store_settings("dev").unwrap().uri, "${HOME}/x");
    says(&open_error(&files.load(&[]).unwrap(), None), Status::NotFound, &["metaxy.toml", "found in"]);
}

#[test]
fn an_extended_file_lies_below() {
    let base = store("dev", "uri = 'base'\nhash_algorithm = 'md5'") + &store("prod", "uri = 'p'");
    let files = Files::new(&[
        ("base/deep.toml", "project = 'deep'\nentrypoints = ['a']\n[ext.x]\nenable = true"),
        (
            "base/pyproject.toml",
            &format!(
                "[tool.metaxy]\nextend = 'deep.toml'\nstore = 'b'\nentrypoints = ['b']\n{}",
                base.replace("[stores", "[tool.metaxy.stores")
            ),
        ),
        (
            "metaxy.toml",
            &("extend = '${BASE}/pyproject.toml'\nstore = 'dev'\nentrypoints = ['c']\n".to_owned()
                + &store("dev", "uri = 'top'")),
        ),
    ]);
    let config = files.load(&[("BASE", "base")]).unwrap();
    let text = |name: &str| config.root().member(name).unwrap().text().unwrap();
    assert_eq!((text("project"), text("store")), ("deep".into(), "dev".into()));
    assert_eq!(config.root().member("entrypoints").unwrap().texts().unwrap(), ["a", "b", "c"]);
    // One level: the store's table is replaced as a whole.
    let dev = config.store_settings("dev").unwrap();
    assert_eq!((dev.uri.as_str(), dev.hash_algorithm.as_str()), ("top", "xxhash32"));
    assert_eq!(config.store_settings("prod").unwrap().uri, "p");
    // Which file a setting is in is told of each.
    let error = load_with_bad_prod(&files);
    says(
        &error,
        Status::InvalidArgument,
        &["base/pyproject.toml, line ", "stores.prod.config.uri", "number"],
    );
}

fn load_with_bad_prod(files: &Files) -> Error {
    let path = files.0.path().join("base/pyproject.toml");
    let text = fs::read_to_string(&path).unwrap().replace("uri = 'p'", "uri = 5");
    fs::write(path, text).unwrap();
    open_error(&files.load(&[("BASE", "base")]).unwrap(), Some("prod"))
}

#[test]
fn a_circle_or_a_gap_in_extend_is_told() {
    let files = Files::new(&[("metaxy.toml", "extend = 'b.toml'"), ("b.toml", "extend = './metaxy.toml'")]);
    let error = failure(files.load(&[]));
    says(&error, Status::InvalidArgument, &["metaxy.toml -> ", "b.toml -> ", "b.toml, line 1: extend"]);
    says(&failure(load("extend = 'no.toml'", &[])), Status::NotFound, &["no.toml", "metaxy.toml, line 1"]);
    says(
        &failure(load("extend = ['a']", &[])),
        Status::InvalidArgument,
        &["extend must be text, not a list"],
    );
    let error = failure(load("extend = '${NOWHERE}/a.toml'", &[]));
    says(&error, Status::InvalidArgument, &["extend needs the environment variable NOWHERE"]);
}

// ---- the environment ----

#[test]
fn variables_go_over_the_file() {
    let toml = "store = 'a'\n".to_owned() + &store("dev", "uri = 'u'\nhash_algorithm = 'md5'");
    let settings = |variables: &[(&str, &str)]| {
        load(&toml, variables).and_then(|config| config.store_settings("dev")).unwrap()
    };
    assert_eq!(settings(&[("METAXY_STORES__DEV__CONFIG__URI", "/x")]).uri, "/x");
    assert_eq!(settings(&[("metaxy_stores__dev__config__uri", "/x")]).uri, "/x");
    // As text, whatever it looks like.
    for text in ["123", "true", "null", "\"x\"", "[1", ""] {
        assert_eq!(settings(&[("METAXY_STORES__DEV__CONFIG__URI", text)]).uri, text);
    }
    let both = settings(&[
        ("METAXY_STORES__DEV__CONFIG", r#"{"uri": "/j", "hash_algorithm": null}"#),
        ("METAXY_STORES__DEV__CONFIG__HASH_ALGORITHM", "sha256"),
    ]);
    assert_eq!((both.uri.as_str(), both.hash_algorithm.as_str()), ("/j", "sha256"));
    let stores = r#"{"dev": {"config": {"uri": "/s"}}, "Prod": {"type": "a.B"}}"#;
    assert_eq!(settings(&[("METAXY_STORES", stores)]).uri, "/s");
    let config = load(&toml, &[("METAXY_STORES", stores)]).unwrap();
    says(&open_error(&config, Some("Prod")), Status::Unsupported, &["a.B", "METAXY_STORES"]);

    // What is unprefixed, or nobody's, is nobody's business.
    let others =
        [("HASH_ALGORITHM", "sha256"), ("URI", "/leak"), ("METAXY_CACHE", "/c"), ("METAXY_STORE", "dev")];
    assert_eq!(settings(&others).hash_algorithm, "md5");
    assert_eq!(load(&toml, &others).unwrap().default_store().unwrap(), "dev");
}

#[test]
fn a_list_in_a_variable_is_a_json_list() {
    let toml = store("dev", "uri = 'u'\nfallback_stores = ['a', 'b']") + &store("prod", "uri = 'p'");
    let list = "METAXY_STORES__DEV__CONFIG__FALLBACK_STORES";
    let config = load(&toml, &[(list, r#"["prod"]"#)]).unwrap();
    assert_eq!(config.fallbacks_of("dev").unwrap(), ["prod"]);
    let config = load(&toml, &[(list, "prod")]).unwrap();
    says(&open_error(&config, None), Status::InvalidArgument, &[list, "must be a list of texts, not text"]);
}

#[test]
fn a_table_in_a_variable_must_be_an_object() {
    for variable in ["METAXY_STORES", "METAXY_STORES__DEV", "METAXY_STORES__DEV__CONFIG"] {
        let error = failure(load("", &[(variable, "sesame")]));
        says(&error, Status::InvalidArgument, &[variable, "JSON object"]);
        assert!(!error.message().contains("sesame"), "{error}");
    }
}

// ---- names ----

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let error = failure(load("\nhash_trunction_length = 8", &[]));
    says(&error, Status::InvalidArgument, &["metaxy.toml, line 2", "did you mean `hash_truncation_length`?"]);
    assert_eq!(error.detail("path"), Some("hash_trunction_length"));
    assert!(error.detail("file").unwrap().ends_with("metaxy.toml"));

    let error = failure(load(&format!("[stores.dev]\ntype = '{LANCEDB}'\nuri = '/x'"), &[]));
    says(&error, Status::InvalidArgument, &["line 3: stores.dev.uri", "under [stores.dev.config]"]);
    let error = failure(load(&store("dev", "uri = '/x'"), &[("METAXY_STORES__DEV__URI", "/x")]));
    says(&error, Status::InvalidArgument, &["METAXY_STORES__DEV__URI", "stores.dev.uri"]);

    let config = config(&store("dev", "uri = '/x'\nfallback_store = ['a']"));
    says(&open_error(&config, None), Status::InvalidArgument, &["line 5", "did you mean `fallback_stores`?"]);
    for (toml, what) in [
        ("stores = 5", "a table"),
        ("[stores]\ndev = 5", "a table"),
        ("[stores.dev]\ntype = 'x'\nconfig = 1", "a table"),
    ] {
        says(&failure(load(toml, &[])), Status::InvalidArgument, &["must be", what]);
    }
}

#[test]
fn a_store_without_a_type_keeps_nobody_from_the_others() {
    let dev = store("dev", "uri = 'memory://'");
    for (more, variables, parts) in [
        ("", &[("METAXY_STORES__CI__URI", "/x")][..], &["METAXY_STORES__CI__URI", "stores.ci.uri"][..]),
        ("", &[("METAXY_STORES__CI__CONFIG__URI", "/x")], &["METAXY_STORES__CI", "stores.ci has no type"]),
        ("[stores.ci]\ntipe = 'x'", &[], &["stores.ci.tipe", "did you mean `type`?"]),
        ("[stores.ci]\nconfig = 1", &[], &["stores.ci.config must be a table"]),
        ("[stores.ci]", &[], &["stores.ci has no type"]),
    ] {
        let config = load(&(dev.clone() + more), variables).unwrap();
        config.open_store(None, &Options::new(), &Call::default()).unwrap();
        says(&open_error(&config, Some("ci")), Status::InvalidArgument, parts);
        assert!(config.problem("ci").is_some_and(|problem| problem.contains(parts[0])));
    }
}

#[test]
fn settings_of_metaxy_that_mean_nothing_here_are_accepted() {
    config(
        "sync = false\nlocked = true\ntheme = 'x'\nentrypoints = []\nextra_features = []\nauto_create_tables = true\n\
         enable_map_datatype = true\nmetaxy_lock_path = 'l'\n[ext.sqlmodel]\nenable = true\nanything = 1",
    );
}

#[test]
fn unknown_stores_list_the_known_ones_nearest_first() {
    let config =
        config(&(store("dev", "uri = 'a'") + &store("staging", "uri = 'b'") + &store("prod", "uri = 'c'")));
    says(&open_error(&config, Some("prd")), Status::NotFound, &["\"prd\"", "it has: prod, "]);
    says(&open_error(&config, Some("")), Status::NotFound, &["dev", "prod", "staging"]);
}

#[test]
fn the_default_store_is_named_or_dev() {
    let prod = store("prod", "uri = 'c'");
    assert_eq!(config(&("store = 'prod'\n".to_owned() + &prod)).default_store().unwrap(), "prod");
    assert_eq!(config(&store("dev", "uri = 'c'")).default_store().unwrap(), "dev");
    says(&open_error(&config(&prod), None), Status::NotFound, &["no default store", "it has: prod"]);
    let error = open_error(&config(&("store = 'prd'\n".to_owned() + &prod)), None);
    says(&error, Status::NotFound, &["line 1: store names no store", "it has: prod"]);
}

// ---- values, when they are needed ----

#[test]
fn an_unset_variable_matters_to_the_store_that_needs_it() {
    let toml = store("dev", "uri = 'memory://'\nfallback_stores = ['prod']")
        + &store("prod", "uri = '${BUCKET}/x'\n[stores.prod.config.connect_kwargs]\napi_key = '${KEY}'");
    let config = config(&toml);
    config.open_store(None, &Options::new(), &Call::default()).unwrap();
    let error = open_error(&config, Some("prod"));
    says(
        &error,
        Status::InvalidArgument,
        &["stores.prod.config.uri", "BUCKET", "not set", "metaxy.toml, line 9"],
    );
    assert_eq!((error.detail("variable"), error.detail("store")), (Some("BUCKET"), Some("prod")));
    let config = load(&toml, &[("BUCKET", "memory://")]).unwrap();
    says(&open_error(&config, Some("prod")), Status::InvalidArgument, &["connect_kwargs.api_key", "KEY"]);

    let config = load(&("project = '${TEAM}'\n".to_owned() + &toml), &[]).unwrap();
    says(&open_error(&config, None), Status::InvalidArgument, &["project needs", "TEAM"]);
}

#[test]
fn another_type_matters_to_the_store_that_needs_it() {
    let toml = store("dev", "uri = 'memory://'\nfallback_stores = ['duck', 'cloud']")
        + "[stores.duck]\ntype = 'metaxy.ext.duckdb.DuckDBMetadataStore'\n[stores.duck.config]\ndatabase = 'x'\n"
        + &store("cloud", "uri = 'db://u:sesame@x?api_key=sesame'")
        + "[stores.none.config]\nuri = 'x'";
    let config = config(&toml);
    config.open_store(None, &Options::new(), &Call::default()).unwrap();
    let error = open_error(&config, Some("duck"));
    says(
        &error,
        Status::Unsupported,
        &["metaxy.ext.duckdb.DuckDBMetadataStore", "stores.duck.type", "LanceDB"],
    );
    let error = open_error(&config, Some("cloud"));
    says(&error, Status::InvalidArgument, &["the store cloud", "db://"]);
    assert!(!error.message().contains("sesame"), "{error}");
    says(&open_error(&config, Some("none")), Status::InvalidArgument, &["stores.none has no type"]);
    for path in [
        "metaxy.ext.lancedb:LanceDBMetadataStore",
        "metaxy.ext.lancedb.metadata_store.LanceDBMetadataStore",
        "metaxy.ext.metadata_stores.lancedb.LanceDBMetadataStore",
        "metaxy.metadata_store.lancedb.LanceDBMetadataStore",
    ] {
        assert!(super::tests::config(&toml.replace(LANCEDB, path)).store_settings("dev").is_ok(), "{path}");
    }
}

#[test]
fn values_of_a_store_are_checked() {
    for (settings, parts) in [
        ("", &["stores.dev has no uri", "[stores.dev.config]"][..]),
        ("uri = 5", &["uri must be text, not a number"]),
        ("uri = ''", &["the store dev", "empty"]),
        ("uri = 'x'\nfallback_stores = 'prod'", &["fallback_stores must be a list of texts, not text"]),
        ("uri = 'x'\nfallback_stores = [1]", &["fallback_stores[0] must be text"]),
        ("uri = 'x'\nhash_algorithm = 'farmhash'", &["farmhash", "xxhash32"]),
        ("uri = 'x'\nversioning_engine = 'duck'", &["auto, native, polars"]),
        ("uri = 'x'\nmaterialization_id = 'r'", &["is not known", "options of opening"]),
        ("uri = 'x'\nauto_create_tables = true", &["is not known; there are: uri"]),
        ("uri = 'x'\nconnect_kwargs = 1", &["connect_kwargs must be a table"]),
        ("uri = 'x'\nconnect_kwargs = {api_kye = 'sesame'}", &["did you mean `api_key`?"]),
        ("uri = 'x'\nconnect_kwargs = {api_key = ['sesame']}", &["api_key must be text, not a list"]),
        ("uri = 'x'\nconnect_kwargs = {storage_options = 'sesame'}", &["storage_options must be a table"]),
    ] {
        let error = open_error(&config(&store("dev", settings)), None);
        says(&error, Status::InvalidArgument, parts);
        assert!(!error.message().contains("sesame"), "{error}");
        assert!(error.message().contains("metaxy.toml, line ") || settings.contains("''"), "{error}");
    }
}

#[test]
fn global_values_are_checked() {
    let dev = store("dev", "uri = 'memory://'");
    for (toml, parts) in [
        ("hash_truncation_length = 4", &["hash_truncation_length must be", "at least 8"][..]),
        ("hash_truncation_length = 'none'", &["at least 8"]),
        ("hash_truncation_length = true", &["at least 8"]),
        ("project = ''", &["project", "empty"]),
        ("project = 'a__b'", &["a__b"]),
        ("project = 1", &["project must be text"]),
        ("store = 1", &["store must be text"]),
    ] {
        says(&open_error(&config(&format!("{toml}\n{dev}")), None), Status::InvalidArgument, parts);
    }
    for (length, kept) in [("16", "16"), ("' 16 '", "16"), ("16.0", "16"), ("1_6", "16"), ("0x10", "16")] {
        let config = config(&format!("hash_truncation_length = {length}\n{dev}"));
        assert_eq!(config.truncation().unwrap(), kept, "{length}");
    }
    assert_eq!(config(&dev).truncation().unwrap(), "8");
}

#[test]
fn stores_are_where_they_were_when_the_configuration_was_loaded() {
    let files = Files::new(&[(
        "metaxy.toml",
        &(store("dev", "uri = './dev'\nfallback_stores = ['home', 'same']")
            + &store("home", "uri = '~/store'")
            + &store("same", "uri = 'local://x/../dev/.'")),
    )]);
    let home = files.0.path().join("h");
    let config = files.load(&[("HOME", home.to_str().unwrap())]).unwrap();
    let at = |name: &str| files.0.path().join(name).display().to_string();
    let stores = config.fallbacks("dev", &Options::new(), &mut std::collections::BTreeMap::new()).unwrap();
    assert_eq!(stores[0].display(), format!("[home] {}", at("h/store")));
    assert_eq!(stores[0].store().unwrap().display(), stores[0].display());
    let dev = config.open_store(None, &Options::new(), &Call::default()).unwrap();
    assert_eq!(dev.display(), format!("[dev] {}", at("./dev").replace("/./", "/")));
    assert!(files.0.path().join("dev").is_dir());

    let config = files.load(&[]).unwrap();
    says(&open_error(&config, Some("home")), Status::InvalidArgument, &["the store home", "HOME is not set"]);
    assert!(config.problem("home").is_some_and(|problem| problem.contains("HOME")));
}

// ---- secrets ----

#[test]
fn connect_arguments_are_kept_and_not_shown() {
    let toml = store(
        "dev",
        "uri = 'db://x'\nconnect_kwargs = {api_key = '${KEY}', region = 'eu', storage_options = {timeout = 30, secure = true}}",
    );
    let variables = [
        ("KEY", "sesame"),
        ("METAXY_STORES__DEV__CONFIG__CONNECT_KWARGS__STORAGE_OPTIONS__TOKEN", "12e3"),
        ("METAXY_STORES__DEV__CONFIG__CONNECT_KWARGS__HOST_OVERRIDE", "\"quoted\""),
    ];
    let connect = load(&toml, &variables).unwrap().store_settings("dev").unwrap().connect;
    assert_eq!(connect.api_key.as_deref(), Some("sesame"));
    assert_eq!(connect.host_override.as_deref(), Some("quoted"));
    let options: Vec<_> = connect.storage_options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(options, [("secure", "true"), ("timeout", "30"), ("token", "12e3")]);
    let shown = format!("{connect:?}");
    assert!(shown.contains("api_key") && shown.contains("storage_options.token"), "{shown}");
    assert!(["sesame", "12e3", "eu"].iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[test]
fn a_text_that_is_no_toml_is_not_shown() {
    for text in [
        "api_key = \"sesame",
        "api_key = sesame",
        "api_key = 'x' sesame",
        "api_key = 'sesame\nb = 1",
        "a = \"\\qsesame\"",
        "[stores.dev\nsesame = 1",
        "a = 1sesame",
        "a = {b = 'sesame'",
        "a = 1\na = 'sesame'",
    ] {
        let error = failure(load(&format!("\n{text}"), &[]));
        says(&error, Status::InvalidArgument, &["metaxy.toml, line ", "not valid TOML"]);
        let all = format!("{error} {:?} {:?}", error.causes(), error.details());
        assert!(!all.contains("sesame"), "{all}");
    }
}

// ---- chains ----

#[test]
fn a_chain_must_end() {
    let chain = |names: &[(&str, &str)]| {
        names
            .iter()
            .map(|(name, below)| store(name, &format!("uri = 'memory://'\nfallback_stores = [{below}]")))
            .collect::<String>()
    };
    let circle = config(&chain(&[
        ("dev", "'staging'"),
        ("staging", "'prod', 'x'"),
        ("prod", ""),
        ("x", "'y'"),
        ("y", "'staging'"),
    ]));
    let error = open_error(&circle, Some("dev"));
    says(&error, Status::InvalidArgument, &["dev -> staging -> x -> y -> staging", "falls back to itself"]);
    circle.open_store(Some("prod"), &Options::new(), &Call::default()).unwrap();
    let itself = config(&chain(&[("dev", "'dev'")]));
    says(&open_error(&itself, None), Status::InvalidArgument, &["dev -> dev"]);
    let gap = config(&chain(&[("dev", "'staging'"), ("staging", "'prd'"), ("prod", "")]));
    says(
        &open_error(&gap, None),
        Status::NotFound,
        &["stores.staging.config.fallback_stores", "\"prd\"", "it has: prod"],
    );
    let diamond = config(&chain(&[("dev", "'a', 'b', 'a'"), ("a", "'prod'"), ("b", "'prod'"), ("prod", "")]));
    diamond.open_store(None, &Options::new(), &Call::default()).unwrap();
}

#[test]
fn one_place_under_two_names_is_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, uri: &str, below: &str| {
        let uri = uri.replace('~', directory.path().to_str().unwrap());
        store(name, &format!("uri = '{uri}'\nfallback_stores = [{below}]"))
    };
    let toml =
        at("dev", "~/x", "'staging'") + &at("staging", "~/y", "'prod'") + &at("prod", "file://~/x", "");
    let error = open_error(&config(&toml), None);
    says(&error, Status::InvalidArgument, &["dev -> staging -> prod", "dev and prod are both at", "/x"]);
    // Beside each other they are two ways to one place, which is no circle.
    let toml =
        at("dev", "~/z", "'staging', 'prod'") + &at("staging", "~/x", "") + &at("prod", "file://~/x", "");
    config(&toml).open_store(None, &Options::new(), &Call::default()).unwrap();
    // Where a store is that cannot be told yet is not asked.
    let toml = at("dev", "~/z", "'prod'") + &at("prod", "${BUCKET}", "");
    config(&toml).open_store(None, &Options::new(), &Call::default()).unwrap();
}

#[test]
fn a_storage_is_told_from_others_without_its_secrets() {
    let at = |name: &str, below: &str, options: &str| {
        let options = format!("[stores.{name}.config.connect_kwargs.storage_options]\n{options}\n");
        store(name, &format!("uri = 's3://bucket/x'\nfallback_stores = [{below}]")) + &options
    };
    let keys = "aws_access_key_id = 'AKIAS3CRET'\naws_secret_access_key = 'S3CRET'";
    let others = "aws_access_key_id = 'another'\naws_secret_access_key = 'S3CRET-too'";
    // Another key opens the same place.
    let toml = at("dev", "'prod'", keys) + &at("prod", "", others);
    let error = open_error(&config(&toml), None);
    says(&error, Status::InvalidArgument, &["dev -> prod", "dev and prod are both at s3://bucket/x, in"]);
    assert!(!format!("{error:?}").contains("S3CRET"), "{error:?}");
    let elsewhere = format!("{keys}\naws_endpoint = 'https://elsewhere'");
    let toml = at("dev", "'prod'", keys) + &at("prod", "", &elsewhere);
    config(&toml).check_chain("dev").unwrap();
}

#[test]
fn stores_of_a_chain_are_shared_by_name() {
    let shared =
        |name: &str, below: &str| store(name, &format!("uri = 'memory://'\nfallback_stores = [{below}]"));
    let config = config(
        &(shared("dev", "'a', 'b'") + &shared("a", "'prod'") + &shared("b", "'prod'") + &shared("prod", "")),
    );
    let mut stores = std::collections::BTreeMap::new();
    let below = config.fallbacks("dev", &Options::new(), &mut stores).unwrap();
    assert_eq!(stores.len(), 3);
    assert!(below.iter().all(|fallback| fallback.opened().is_none()), "nothing is open yet");
    let order: Vec<String> = below.iter().map(Fallback::display).collect();
    assert_eq!(order, ["[a] memory://", "[b] memory://"]);
    // The same handle, by whichever way it is reached.
    for store in &below {
        assert!(stores["prod"].opened().is_none() || store.name() == Some("b"));
        let below = store.store().unwrap().fallbacks();
        assert_eq!(below.first().unwrap().store().unwrap().display(), "[prod] memory://");
        assert!(below.first().unwrap().store().unwrap().is(stores["prod"].opened().unwrap()));
    }
}
