//! How a server is reached: its address, the key, and how long to wait.

use std::path::Path;
use std::time::Duration;

use lancedb::Connection;
use lancedb::remote::{ClientConfig, RetryConfig, TimeoutConfig, TlsConfig};

use crate::backend::connect::{Connect, STORAGE_OPTIONS};
use crate::backend::location::Server;
use crate::error::{Error, Result, Status};

const API_KEY: &str = "LANCEDB_API_KEY";
const REGION: &str = "LANCEDB_REGION";

/// Where `lancedb` for Python looks for a database when it is not told.
const DEFAULT_REGION: &str = "us-east-1";

/// The only answer after which the client itself sends a request again: the server has not begun it.
/// After any other, a write may have been made.
const TOO_MANY_REQUESTS: u16 = 429;
const RETRIES: u8 = 3;

/// A server with what it takes to reach it. Nothing is sent before it is used.
pub struct Reach {
    /// As LanceDB spells the database.
    uri: String,
    host: Option<String>,
    key: String,
    region: String,
    ca_file: Option<String>,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
}

impl Server {
    /// The same server, with what `connect` and the environment say of its place.
    pub fn in_place(self, connect: &Connect) -> Result<Server> {
        if let Some(url) = &self.url {
            connect
                .check(&format!("the server at {url}, which the URI says"), |name| name != "host_override")?;
        }
        let host = connect.host_override.as_deref().map(|host| host.trim_end_matches('/').to_owned());
        let url = self.url.or(host);
        let database = connect.database.clone().unwrap_or(self.database);
        let region = url.is_none().then(|| region(connect));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if !database.bytes().all(is_name) {
            let message = format!(
                "{database:?} is no name of a database: it may have letters, digits, -, _, . and /; give the name as the \
                 option database"
            );
            return Err(Error::invalid(message).with("option", "database"));
        }
        Ok(Server { database, url, region })
    }

    /// Checks what `connect` and the environment say of this server.
    pub fn reach(&self, connect: &Connect) -> Result<Reach> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        connect.check("a LanceDB server, which keeps its own storage", |name| {
            !name.starts_with(STORAGE_OPTIONS)
        })?;
        let key = given(&connect.api_key).or_else(|| given(&std::env::var(API_KEY).ok()));
        if key.is_none() && self.url.is_none() {
            let message = format!(
                "LanceDB Cloud needs an API key for db://{}: give it as the option api_key, or as {API_KEY} in the \
                 environment",
                self.database
            );
            return Err(Error::invalid(message).with("option", "api_key"));
        }
        let key = key.unwrap_or_default();
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!(
                "the API key (the option api_key, or {API_KEY} in the environment) has a character that no key has, such as a \
                 space or the end of a line"
            );
            return Err(Error::invalid(message).with("option", "api_key"));
        }
        if let Some(host) = &self.url {
            check_host(host)?;
        }
        Ok(Reach {
            uri: format!("db://{}", self.database),
            host: self.url.clone(),
            key,
            region: region(connect),
            ca_file: connect.ca_file.as_deref().map(authorities).transpose()?,
            connect_timeout: connect.connect_timeout,
            read_timeout: connect.read_timeout,
        })
    }
}

fn region(connect: &Connect) -> String {
    let given = connect.region.clone().filter(|region| !region.is_empty());
    let named = || std::env::var(REGION).ok().filter(|region| !region.is_empty());
    given.or_else(named).unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

fn check_host(host: &str) -> Result<()> {
    let plain = url::Url::parse(host).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme()) && url.username().is_empty() && url.password().is_none()
    });
    match plain {
        Some(_) => Ok(()),
        None => {
            let message =
                "the option host_override must be a URL such as https://host, without a user and a password";
            Err(Error::invalid(message).with("option", "host_override"))
        }
    }
}

/// The file, which must have certificates in it.
fn authorities(path: &Path) -> Result<String> {
    let unusable = |problem: &str| {
        let message = format!("the file {} that the option tls.ca_file names {problem}", path.display());
        Error::invalid(message).with("option", "tls.ca_file").with("path", path.display())
    };
    let text = std::fs::read(path).map_err(|cause| unusable(&format!("cannot be read: {cause}")))?;
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !text.windows(begin.len()).any(|part| part == begin) {
        return Err(unusable("has no certificate in PEM"));
    }
    path.to_str().map(str::to_owned).ok_or_else(|| unusable("has a name that is not UTF-8"))
}

impl Reach {
    /// How long the first answer may take.
    pub(super) fn patience(&self) -> Option<Duration> {
        match (self.connect_timeout, self.read_timeout) {
            (Some(connect), Some(read)) => Some(connect.min(read)),
            (connect, read) => connect.or(read),
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where else the server sends requests, if it does so. Asked without the key, and not followed; the client
    /// itself follows, and takes the key along.
    pub async fn elsewhere(&self) -> lancedb::Result<Option<String>> {
        let (Some(host), false) = (&self.host, self.key.is_empty()) else { return Ok(None) };
        let failed = |cause: reqwest::Error| lancedb::Error::Http {
            status_code: cause.status(),
            source: Box::new(cause),
            request_id: String::new(),
        };
        let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        if let Some(time) = self.connect_timeout {
            client = client.connect_timeout(time);
        }
        if let Some(time) = self.patience() {
            client = client.read_timeout(time);
        }
        if let Some(file) = &self.ca_file {
            let read = |cause: &dyn std::fmt::Display| lancedb::Error::InvalidInput {
                message: format!("the file {file} that the option tls.ca_file names cannot be read: {cause}"),
            };
            let authorities = std::fs::read(file).map_err(|cause| read(&cause))?;
            let authorities = reqwest::Certificate::from_pem(&authorities).map_err(|cause| read(&cause))?;
            client = client.add_root_certificate(authorities);
        }
        let address = format!("{host}/v1/table/?limit=1");
        let asked = client.build().map_err(failed)?.get(&address);
        let answer = asked.header("x-lancedb-database", self.uri.trim_start_matches("db://")).send().await;
        let answer = answer.map_err(failed)?;
        let location = answer.headers().get("location").and_then(|location| location.to_str().ok());
        let (Some(location), true) = (location, answer.status().is_redirection()) else { return Ok(None) };
        let elsewhere = answer.url().join(location).ok();
        let elsewhere = elsewhere.filter(|elsewhere| elsewhere.origin() != answer.url().origin());
        Ok(elsewhere.map(|elsewhere| elsewhere.origin().ascii_serialization()))
    }

    /// A connection in which the server may also take `longer` to answer.
    pub async fn connect(&self, longer: Duration) -> lancedb::Result<Connection> {
        let tls =
            self.ca_file.clone().map(|file| TlsConfig { ssl_ca_cert: Some(file), ..TlsConfig::default() });
        let config = ClientConfig {
            timeout_config: TimeoutConfig {
                connect_timeout: self.connect_timeout,
                read_timeout: self.read_timeout.map(|time| time + longer),
                ..TimeoutConfig::default()
            },
            retry_config: RetryConfig {
                retries: Some(RETRIES),
                // The first failure of this kind is the last.
                connect_retries: Some(1),
                read_retries: Some(1),
                statuses: Some(vec![TOO_MANY_REQUESTS]),
                ..RetryConfig::default()
            },
            tls_config: tls,
            ..ClientConfig::default()
        };
        let mut builder =
            lancedb::connect(&self.uri).api_key(&self.key).region(&self.region).client_config(config);
        if let Some(host) = &self.host {
            builder = builder.host_override(host);
        }
        builder.execute().await
    }
}

/// What nobody can do with tables that a server keeps.
pub fn unsupported(what: &str, display: &str) -> Error {
    let message = format!(
        "the tables of {display} cannot be {what} from here: LanceDB Cloud does that by itself, and a server of one's own is \
         maintained by who runs it; leave this out for the store"
    );
    Error::new(Status::Unsupported, message).with("store", display)
}
