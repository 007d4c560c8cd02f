//! URIs: where a store is, resolved by its scheme only, and how to show it without its secrets.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result, Status};

/// Where a store keeps its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An absolute directory of this machine.
    Directory(PathBuf),
    /// Tables that live as long as the store and belong to it alone.
    Memory,
}

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
            scheme => Err(Error::new(
                Status::Unsupported,
                format!(
                    "stores at {scheme}:// are not supported ({}); give a local directory, file:// or memory://",
                    mask(uri)
                ),
            )
            .with("uri", mask(uri))),
        }
    }

    /// Whether both are the same place, as far as can be told. What is in memory belongs to one store.
    pub fn is(&self, other: &Location) -> bool {
        let same = |one: &Path, other: &Path| {
            one == other
                || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        };
        matches!((self, other), (Location::Directory(one), Location::Directory(other)) if same(one, other))
    }

    /// A URI that is this place, wherever the process stands.
    pub fn uri(&self) -> String {
        match self {
            Location::Memory => "memory://".to_owned(),
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
            Location::Memory => None,
        }
    }
}

fn has_scheme(uri: &str, scheme: &str) -> bool {
    uri.split_once(':').is_some_and(|(before, _)| before.eq_ignore_ascii_case(scheme))
}

fn file_url(uri: &str) -> Result<Location> {
    let unusable = |problem: &str| Error::invalid(format!("{} {problem}", mask(uri))).with("uri", mask(uri));
    let elsewhere =
        "does not name a directory of this machine; write file:///path, or ./ before a path that begins so";
    let url = Url::parse(uri).map_err(|_| unusable(elsewhere))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable(
            "has a query or a fragment, which a directory has not; write ? as %3F and # as %23",
        ));
    }
    // The parser would take file:x for file:///x.
    if !uri.get("file:".len()..).is_some_and(|path| path.starts_with('/')) {
        return Err(unusable(elsewhere));
    }
    url.to_file_path().map(Location::Directory).map_err(|()| unusable(elsewhere))
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
        assert_eq!(Location::parse("db://name").unwrap_err().status(), Status::Unsupported);
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
        assert_eq!(Location::parse("S3://bucket").unwrap_err().status(), Status::Unsupported);
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
