//! URIs: where a store is, resolved by its scheme only, and how to show it without its secrets.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use url::Url;

use super::connect::Connect;
use crate::error::{Error, Result, Status};

/// Where a store keeps its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An absolute directory of this machine.
    Directory(PathBuf),
    /// Tables that live as long as the store and belong to it alone.
    Memory,
    /// A part of an object storage.
    Bucket(Bucket),
    /// A server that keeps the tables: LanceDB Cloud, or one of one's own.
    Server(Server),
}

/// A part of an object storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub provider: Provider,
    /// Without a slash at the end.
    pub url: String,
    /// The storage, as its endpoint and account tell it from others that have a bucket of this name; empty
    /// as long as only the URI was looked at.
    pub storage: String,
}

/// Whose object storage, or at least whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    S3,
    Gcs,
    Azure,
}

/// A server that keeps tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As it is told to the server; empty if it is not told.
    pub database: String,
    /// Where the server is, without a slash at the end; LanceDB Cloud if absent.
    pub url: Option<String>,
    /// The part of LanceDB Cloud; absent as long as only the URI was looked at, and for other servers.
    pub region: Option<String>,
}

/// How a location may begin, for messages.
const SCHEMES: &str =
    "a local directory, file://, memory://, s3://, gs://, az://, abfss://, db://, https:// or http://";

impl Location {
    /// Reads `uri`: a path (absolute, relative or below `~`), `file:` or `memory://`. Only a scheme,
    /// in letters of either case, decides what is remote, so that a path may begin with anything,
    /// `db` included.
    pub fn parse(uri: &str) -> Result<Location> {
        // Where a whole path is given, the process may well stand in a directory that is gone.
        let here = std::env::current_dir().unwrap_or_default();
        Location::parse_in(uri, &here, std::env::var_os("HOME").as_deref())
    }

    /// As [`Location::parse`], by another working directory and home than those of the process now.
    pub fn parse_in(uri: &str, directory: &Path, home: Option<&OsStr>) -> Result<Location> {
        let local = |path: &str| absolute(&directory.join(expand_home(path, home)?)).map(Location::Directory);
        if uri.is_empty() {
            return Err(Error::invalid("the URI of the store is empty; give a directory or a URI"));
        }
        if has_scheme(uri, "file") {
            return file_url(uri);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return local(uri);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "memory" => Ok(Location::Memory),
            "local" => local(rest),
            "s3" => bucket(Provider::S3, uri),
            "gs" => bucket(Provider::Gcs, uri),
            "az" | "abfss" => bucket(Provider::Azure, uri),
            "db" => cloud(uri, rest),
            "https" | "http" => server(uri),
            scheme => Err(Error::new(
                Status::Unsupported,
                format!("there is no storage for {scheme}:// ({}); give {SCHEMES}", mask(uri)),
            )
            .with("uri", mask(uri))),
        }
    }

    /// The location with what `connect` and the environment say of it.
    pub fn reached_by(self, connect: &Connect) -> Result<Location> {
        Ok(match self {
            Location::Bucket(bucket) => Location::Bucket(bucket.in_storage(connect)?),
            Location::Server(server) => Location::Server(server.in_place(connect)?),
            other => other,
        })
    }

    /// Whether both are the same place, as far as can be told. What is in memory belongs to one store.
    pub fn is(&self, other: &Location) -> bool {
        let same = |one: &Path, other: &Path| {
            one == other
                || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        };
        match (self, other) {
            (Location::Directory(one), Location::Directory(other)) => same(one, other),
            (Location::Memory, _) => false,
            (one, other) => one == other,
        }
    }

    /// A URI that is this place, wherever the process stands.
    pub fn uri(&self) -> String {
        match self {
            Location::Memory => "memory://".to_owned(),
            Location::Bucket(bucket) => bucket.url.clone(),
            Location::Server(Server { url: Some(url), .. }) => url.clone(),
            Location::Server(Server { database, url: None, .. }) => format!("db://{database}"),
            Location::Directory(path) => match (path.to_str(), Url::from_file_path(path)) {
                (Some(path), _) if !path.contains("://") => path.to_owned(),
                (_, Ok(url)) => url.to_string(),
                (_, Err(())) => path.display().to_string(),
            },
        }
    }

    pub fn directory(&self) -> Option<&Path> {
        match self {
            Location::Directory(path) => Some(path),
            Location::Memory | Location::Bucket(_) | Location::Server(_) => None,
        }
    }
}

fn has_scheme(uri: &str, scheme: &str) -> bool {
    uri.split_once(':').is_some_and(|(before, _)| before.eq_ignore_ascii_case(scheme))
}

fn file_url(uri: &str) -> Result<Location> {
    let elsewhere =
        "does not name a directory of this machine; write file:///path, or ./ before a path that begins so";
    let url = Url::parse(uri).map_err(|_| unusable(uri, elsewhere))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable(
            uri,
            "has a query or a fragment, which a directory has not; write ? as %3F and # as %23",
        ));
    }
    // The parser would take file:x for file:///x.
    if !uri.get("file:".len()..).is_some_and(|path| path.starts_with('/')) {
        return Err(unusable(uri, elsewhere));
    }
    url.to_file_path().map(Location::Directory).map_err(|()| unusable(uri, elsewhere))
}

fn bucket(provider: Provider, uri: &str) -> Result<Location> {
    let url = plain_url(uri, "give credentials as storage options, or by the environment")?;
    let of_account = url.scheme() == "abfss";
    if of_account && url.username().is_empty() {
        return Err(unusable(
            uri,
            "names no account; write abfss://container@account.dfs.core.windows.net/path",
        ));
    }
    if !of_account && !url.username().is_empty() {
        return Err(unusable(uri, "has a user; give credentials as storage options, or by the environment"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(unusable(uri, "names no bucket; write it after ://"));
    }
    Ok(Location::Bucket(Bucket { provider, url: without_slash(&url), storage: String::new() }))
}

fn cloud(uri: &str, database: &str) -> Result<Location> {
    let database = database.trim_end_matches('/');
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if database.is_empty() || !database.split('/').all(is_part) {
        let problem = "does not name a database of LanceDB Cloud; write db://name, where the name has only letters, \
                       digits, -, _ and .";
        return Err(unusable(uri, problem));
    }
    Ok(Location::Server(Server { database: database.to_owned(), url: None, region: None }))
}

fn server(uri: &str) -> Result<Location> {
    let url = plain_url(uri, "give the key as the option api_key, or by LANCEDB_API_KEY")?;
    if !url.username().is_empty() {
        return Err(unusable(uri, "has a user; give the key as the option api_key, or by LANCEDB_API_KEY"));
    }
    let segments = url.path_segments().into_iter().flatten();
    let database = segments.filter(|segment| !segment.is_empty()).next_back().unwrap_or_default().to_owned();
    Ok(Location::Server(Server { database, url: Some(without_slash(&url)), region: None }))
}

/// A URL without anything in it that is not a place.
fn plain_url(uri: &str, instead: &str) -> Result<Url> {
    let url = Url::parse(uri).map_err(|cause| unusable(uri, &format!("is not a URL: {cause}")))?;
    if url.query().is_some() || url.fragment().is_some() || url.password().is_some() {
        return Err(unusable(uri, &format!("has a password, a query or a fragment; {instead}")));
    }
    Ok(url)
}

fn unusable(uri: &str, problem: &str) -> Error {
    Error::invalid(format!("{} {problem}", mask(uri))).with("uri", mask(uri))
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn expand_home(path: &str, home: Option<&OsStr>) -> Result<PathBuf> {
    let below = match path {
        "~" => Some(""),
        _ => path.strip_prefix("~/"),
    };
    match below {
        None => Ok(PathBuf::from(path)),
        Some(below) => match home.filter(|home| !home.is_empty()) {
            Some(home) => Ok(PathBuf::from(home).join(below)),
            None => Err(Error::invalid(format!(
                "{path:?} begins with ~ but HOME is not set; give the whole path"
            ))),
        },
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| {
        Error::invalid(format!("{} is not a path: {cause}", path.display())).caused_by(&cause)
    })
}

const MASK: &str = "***";

/// `uri` as it may be shown: user, password and the values of the query are replaced.
///
/// Metaxy 0.1.11 masks user and password in the same way but leaves the query, which is where SAS
/// tokens and API keys are.
pub fn mask(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "file" || scheme == "local" {
        return uri.to_owned();
    }
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, _)) => (rest, format!("#{MASK}")),
        None => (rest, String::new()),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, format!("?{}", mask_query(query))),
        None => (rest, String::new()),
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let authority = match authority.rsplit_once('@') {
        // Where others have a user, these have a container.
        Some((container, _)) if scheme == "abfss" && !container.contains(':') => authority.to_owned(),
        Some((user, host)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            format!("{}:{}@{host}", masked(user), masked(password))
        }
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}{fragment}")
}

fn mask_query(query: &str) -> String {
    query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => format!("{key}={}", masked(value)),
            None => masked(pair).to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&")
}

fn masked(text: &str) -> &str {
    if text.is_empty() { "" } else { MASK }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(uri: &str) -> PathBuf {
        match Location::parse(uri).unwrap() {
            Location::Directory(path) => path,
            other => panic!("{uri} is {other:?}"),
        }
    }

    #[test]
    fn only_a_scheme_makes_a_uri_remote() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(directory("db_local"), here.join("db_local"));
        assert_eq!(directory("db"), here.join("db"));
        assert_eq!(directory("./db/../x"), here.join("db/../x"));
        assert_eq!(directory("/a b/c"), Path::new("/a b/c"));
        assert_eq!(Location::parse("memory://").unwrap(), Location::Memory);
    }

    #[test]
    fn a_place_is_the_same_wherever_the_process_stands() {
        let parse = |uri: &str| Location::parse_in(uri, Path::new("/w/d"), Some(OsStr::new("/h")));
        for (uri, path) in [
            ("x", "/w/d/x"),
            ("./x", "/w/d/x"),
            ("../x", "/w/d/../x"),
            ("local://x/y", "/w/d/x/y"),
            ("LOCAL://~/y", "/h/y"),
            ("~", "/h"),
            ("~/x", "/h/x"),
            ("~x", "/w/d/~x"),
            ("/x", "/x"),
            ("file:///x%20y", "/x y"),
            ("./a:/b", "/w/d/a:/b"),
            ("file:///a%3A//b", "/a:/b"),
            ("./file:x", "/w/d/file:x"),
        ] {
            let location = parse(uri).unwrap();
            assert_eq!(location.directory(), Some(Path::new(path)), "{uri}");
            assert_eq!(Location::parse(&location.uri()).unwrap(), location, "{uri}");
        }
        assert_eq!(parse("memory://").unwrap().uri(), "memory://");
        for home in [None, Some(OsStr::new(""))] {
            let error = Location::parse_in("~/x", Path::new("/w"), home).unwrap_err();
            assert!(error.message().contains("HOME is not set"), "{error}");
        }
        // What no text can say, a URL can.
        let odd: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"/w/\xff");
        let odd = Location::parse_in("x", Path::new(odd), None).unwrap();
        assert_eq!(Location::parse(&odd.uri()).unwrap(), odd);
    }

    #[test]
    fn home_and_file_urls_are_paths() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(directory("~/x"), home.join("x"));
        assert_eq!(directory("~"), home);
        assert!(directory("~x").ends_with("~x"));
        assert_eq!(directory("file:///tmp/a%20b"), Path::new("/tmp/a b"));
        for uri in ["file:/tmp/a", "FILE:///tmp/a", "File:/tmp/a", "LOCAL:///tmp/a", "file://localhost/tmp/a"]
        {
            assert_eq!(directory(uri), Path::new("/tmp/a"), "{uri}");
        }
        assert_eq!(Location::parse("Memory://").unwrap(), Location::Memory);
        assert_eq!(Location::parse("S3://bucket/x/").unwrap().uri(), "s3://bucket/x");
        for uri in
            ["file://host/x", "file:", "file:x", "file:///tmp/a?x=1", "file:///tmp/a#f", "file:/tmp/a?"]
        {
            let error = Location::parse(uri).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument, "{uri}");
            assert_eq!(error.detail("uri"), Some(uri));
        }
        assert_eq!(directory("file:///tmp/a%3Fb"), Path::new("/tmp/a?b"));
        assert!(directory("./file:x").ends_with("file:x"));
        assert!(Location::parse("").is_err());
    }

    #[test]
    fn schemes_tell_storages_apart() {
        let parse = |uri: &str| Location::parse(uri).unwrap();
        for (uri, provider) in [
            ("s3://bucket/a/b", Provider::S3),
            ("gs://bucket", Provider::Gcs),
            ("az://container/a", Provider::Azure),
            ("abfss://container@account.dfs.core.windows.net/a", Provider::Azure),
        ] {
            assert_eq!(
                parse(uri),
                Location::Bucket(Bucket { provider, url: uri.to_owned(), storage: String::new() })
            );
            assert!(parse(uri).is(&parse(&format!("{uri}/"))), "{uri}");
            assert_eq!(mask(uri), uri);
        }
        for (uri, database, url) in [
            ("db://prod", "prod", None),
            ("DB://prod/team/", "prod/team", None),
            ("https://host/databases/prod/", "prod", Some("https://host/databases/prod")),
            ("http://127.0.0.1:80/x", "x", Some("http://127.0.0.1/x")),
            ("https://host:8443", "", Some("https://host:8443")),
        ] {
            let (database, url) = (database.to_owned(), url.map(str::to_owned));
            assert_eq!(parse(uri), Location::Server(Server { database, url, region: None }), "{uri}");
            assert_eq!(parse(&parse(uri).uri()), parse(uri), "{uri}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (uri, advice) in [
            ("s3a://bucket/x", "s3://"),
            ("ftp://host", "https:// or http://"),
            ("s3://", "names no bucket"),
            ("s3://key:SECRET@bucket/x", "storage options"),
            ("s3://key@bucket/x", "storage options"),
            ("az://container/x?sig=SECRET", "storage options"),
            ("abfss://account.dfs.core.windows.net/x", "container@account"),
            ("db://", "db://name"),
            ("db://a b", "db://name"),
            ("https://host/x?api_key=SECRET", "api_key"),
            ("https://u:SECRET@host/x", "api_key"),
            ("https://SECRET@host/x", "api_key"),
            ("https://", "not a URL"),
        ] {
            let error = Location::parse(uri).unwrap_err();
            assert!(error.message().contains(advice), "{uri}: {error}");
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn secrets_are_masked_as_metaxy_does_and_in_queries_too() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/display.json"));
        let cases: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in cases.as_array().unwrap() {
            let uri = case["uri"].as_str().unwrap();
            let expected = match uri {
                "https://u:p@h:80/x?api_key=SECRET#f" => "https://***:***@h:80/x?api_key=***#***",
                "az://c/p?sig=SECRET" => "az://c/p?sig=***",
                _ => case["sanitized"].as_str().unwrap(),
            };
            assert_eq!(mask(uri), expected);
        }
    }
}
