//! The options of a bucket: checked before anything is asked of the storage, as the storage will
//! understand them, with what the environment says besides.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use lance_io::object_store::StorageOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use url::Url;

use super::environment::{Profile, SOURCES, Settings};
use crate::backend::connect::{Connect, STORAGE_OPTIONS};
use crate::backend::location::{Bucket, Provider, mask};
use crate::error::{Error, Result};
use crate::redact::presentable;

/// What Lance itself reads.
const OF_LANCE: [&str; 5] =
    ["client_max_retries", "client_retry_timeout", "download_retry_count", "block_size", "allow_http"];

/// Names that are suggested where one is unknown.
const COMMON: [&str; 22] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint",
    "aws_skip_signature",
    "aws_virtual_hosted_style_request",
    "google_service_account",
    "google_service_account_key",
    "google_application_credentials",
    "google_base_url",
    "google_storage_token",
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_storage_sas_token",
    "azure_storage_endpoint",
    "azure_storage_use_emulator",
    "azure_use_azure_cli",
    "allow_http",
    "timeout",
    "proxy_url",
    "client_max_retries",
];

/// A bucket with what it takes to reach it.
#[derive(Clone)]
pub struct Reach {
    pub provider: Provider,
    /// As Lance takes them.
    pub options: HashMap<String, String>,
    /// Whether credentials are given, or none are wanted; if not, they are looked for on this machine.
    pub credentials: bool,
    /// How long it may take to reach the storage; no bound if absent.
    pub patience: Option<Duration>,
    /// Whether it is accepted that the storage does not keep writers apart.
    pub single_writer: bool,
    /// Where the storage is, if that is not where its provider has it.
    pub endpoint: Option<String>,
    /// Whose it is, as far as the URL does not tell.
    pub account: Option<String>,
}

impl Bucket {
    /// The same bucket, with the storage that `connect` and the environment say.
    pub fn in_storage(self, connect: &Connect) -> Result<Bucket> {
        let storage = self.reach(connect)?.place();
        Ok(Bucket { storage, ..self })
    }

    /// Checks what `connect` and the environment say of this bucket, but for what [`Reach::check_values`] does.
    pub fn reach(&self, connect: &Connect) -> Result<Reach> {
        connect.check(&format!("{}://", self.scheme()), |name| name.starts_with(STORAGE_OPTIONS))?;
        for (name, value) in &connect.storage_options {
            self.check_option(name, value)?;
        }
        let given = connect.storage_options.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut settings = Settings::new(self.provider, given.collect());
        be_patient(&mut settings, connect);
        let reach = match self.provider {
            Provider::S3 => reach_s3(settings),
            Provider::Gcs => reach_gcs(settings),
            Provider::Azure => self.reach_azure(settings),
        }?;
        check_plain(&reach.options)?;
        Ok(Reach { patience: connect.connect_timeout, single_writer: connect.single_writer, ..reach })
    }

    fn scheme(&self) -> &str {
        self.url.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    fn check_option(&self, name: &str, value: &str) -> Result<()> {
        let known = |provider| {
            let name = name.to_ascii_lowercase();
            OF_LANCE.contains(&name.as_str())
                || name.starts_with("headers.")
                || match provider {
                    Provider::S3 => {
                        AmazonS3ConfigKey::from_str(&name).is_ok() || name == "aws_provider_scheme"
                    }
                    Provider::Gcs => {
                        GoogleConfigKey::from_str(&name).is_ok() || name == "google_storage_token"
                    }
                    Provider::Azure => AzureConfigKey::from_str(&name).is_ok(),
                }
        };
        let key = format!("{STORAGE_OPTIONS}{name}");
        if known(self.provider) {
            // Lance would take a wrong number for none.
            let number = ["client_max_retries", "client_retry_timeout", "download_retry_count", "block_size"];
            return match number.contains(&name.to_ascii_lowercase().as_str()) && value.parse::<u64>().is_err()
            {
                false => Ok(()),
                true => {
                    let message = format!("the option {key} must be a whole number, not {value:?}");
                    Err(Error::invalid(message).with("option", key))
                }
            };
        }
        let elsewhere = [(Provider::S3, "s3://"), (Provider::Gcs, "gs://"), (Provider::Azure, "az://")];
        let message = match elsewhere.iter().find(|(provider, _)| known(*provider)) {
            Some((_, other)) => {
                format!(
                    "the option {key} is one of {other} and means nothing for {}://; leave it out",
                    self.scheme()
                )
            }
            None => {
                let likeness = |common: &&str| strsim::jaro_winkler(common, &name.to_ascii_lowercase());
                let nearest = COMMON
                    .iter()
                    .filter(|common| OF_LANCE.contains(common) || self.provider.canonical(common).is_some())
                    .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
                    .unwrap_or(&"");
                format!("there is no option {key}; the nearest is {STORAGE_OPTIONS}{nearest}")
            }
        };
        Err(Error::invalid(message).with("option", key))
    }

    fn reach_azure(&self, mut settings: Settings) -> Result<Reach> {
        let emulated = settings.is_emulated();
        if emulated {
            settings.set_default("azure_storage_account_name", EMULATOR.to_owned());
        }
        let all = settings.read();
        let found = all.as_azure_options();
        let value = |key| found.get(&key).cloned();
        let of_url = self.url.split_once('@').and_then(|(_, host)| host.split('.').next()).map(str::to_owned);
        let account = of_url.or(value(AzureConfigKey::AccountName));
        if account.is_none() {
            let message = format!(
                "{} names no account; give the option {STORAGE_OPTIONS}azure_storage_account_name, or \
                 AZURE_STORAGE_ACCOUNT_NAME in the environment, or write abfss://container@account.dfs.core.windows.net/path",
                self.url
            );
            let option = format!("{STORAGE_OPTIONS}azure_storage_account_name");
            return Err(Error::invalid(message).with("uri", &self.url).with("option", option));
        }
        let endpoint = if emulated {
            let url = std::env::var("AZURITE_BLOB_STORAGE_URL");
            let url = url.unwrap_or_else(|_| "http://127.0.0.1:10000".to_owned());
            Some(usable_endpoint(&url, "AZURITE_BLOB_STORAGE_URL in the environment")?)
        } else {
            let endpoint = value(AzureConfigKey::Endpoint);
            let elsewhere = "AZURE_STORAGE_ENDPOINT in the environment";
            checked_endpoint(endpoint, "azure_storage_endpoint", elsewhere, &all)?
        };
        use AzureConfigKey as Key;
        let credentials = emulated
            || [Key::AccessKey, Key::SasKey, Key::Token, Key::ClientSecret, Key::FederatedTokenFile]
                .iter()
                .any(|key| found.contains_key(key))
            || [Key::SkipSignature, Key::UseAzureCli]
                .into_iter()
                .any(|key| value(key).is_some_and(|value| is_true(&value)));
        let options = settings.settled(account.as_deref())?;
        Ok(Reach { endpoint, account, ..Reach::of(Provider::Azure, options, credentials) })
    }
}

/// Refuses values that no request can carry, such as a key with the line end of the file that it is from:
/// the client would panic.
fn check_plain(options: &HashMap<String, String>) -> Result<()> {
    for (name, value) in options {
        if name == SOURCES || name.contains("service_account_key") || name.contains("certificate") {
            continue;
        }
        let in_header = ["access_key", "secret", "token", "region"].iter().any(|part| name.contains(part));
        let in_header = in_header && !name.contains("file");
        let fits = |byte: u8| if in_header { byte.is_ascii_graphic() } else { !byte.is_ascii_control() };
        if !value.bytes().all(fits) {
            let option = format!("{STORAGE_OPTIONS}{name}");
            let message = format!(
                "the option {option}, or its variable in the environment, has a line end, a space or another character that \
                 does not belong there; remove it"
            );
            return Err(Error::invalid(message).with("option", option));
        }
    }
    Ok(())
}

/// The account that Azure's emulator has by itself.
const EMULATOR: &str = "devstoreaccount1";

fn reach_s3(mut settings: Settings) -> Result<Reach> {
    use AmazonS3ConfigKey as Key;
    let has_endpoint = settings.says(Key::Endpoint.as_ref()) || settings.says(Key::S3Endpoint.as_ref());
    if !has_endpoint && let Some(Profile { endpoint: Some(endpoint), region }) = Profile::of_environment()? {
        settings.set_default(Key::Endpoint.as_ref(), endpoint);
        if let Some(region) = region {
            settings.set_default(Key::Region.as_ref(), region);
        }
    }
    // Lance knows this name of a region, but takes no notice of it.
    if let Some(region) = settings.value(Key::DefaultRegion.as_ref()).map(str::to_owned) {
        settings.set_default(Key::Region.as_ref(), region);
    }
    let all = settings.read();
    let found = all.as_s3_options();
    let value = |key| found.get(&key).cloned();
    let endpoint = value(Key::S3Endpoint).or(value(Key::Endpoint));
    let elsewhere = "AWS_ENDPOINT_URL in the environment, or the profile that AWS_PROFILE names";
    let endpoint = checked_endpoint(endpoint, "aws_endpoint", elsewhere, &all)?;
    let credentials = (found.contains_key(&Key::AccessKeyId) && found.contains_key(&Key::SecretAccessKey))
        || value(Key::SkipSignature).is_some_and(|value| is_true(&value));
    Ok(Reach { endpoint, ..Reach::of(Provider::S3, settings.settled(None)?, credentials) })
}

fn reach_gcs(settings: Settings) -> Result<Reach> {
    let all = settings.read();
    let found = all.as_gcs_options();
    let value = |key| found.get(&key).cloned();
    for (key, option, variable) in [
        (GoogleConfigKey::ServiceAccount, "google_service_account", "GOOGLE_SERVICE_ACCOUNT"),
        (
            GoogleConfigKey::ApplicationCredentials,
            "google_application_credentials",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
    ] {
        if let Some(path) = value(key) {
            check_credentials_file(&path, option, variable)?;
        }
    }
    if let Some(text) = value(GoogleConfigKey::ServiceAccountKey) {
        let option = format!("{STORAGE_OPTIONS}google_service_account_key");
        if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_err() {
            let message = format!(
                "the option {option}, or GOOGLE_SERVICE_ACCOUNT_KEY in the environment, is not a service account: it must \
                 be the JSON object that Google gives, and not the path of its file"
            );
            return Err(Error::invalid(message).with("option", option));
        }
    }
    let endpoint = value(GoogleConfigKey::BaseUrl);
    let endpoint = checked_endpoint(endpoint, "google_base_url", "GOOGLE_BASE_URL in the environment", &all)?;
    use GoogleConfigKey as Key;
    let credentials =
        [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials, Key::BearerToken]
            .iter()
            .any(|key| found.contains_key(key))
            || all.get("google_storage_token").is_some()
            || value(Key::SkipSignature).is_some_and(|value| is_true(&value));
    Ok(Reach { endpoint, ..Reach::of(Provider::Gcs, settings.settled(None)?, credentials) })
}

/// The error for values of `options` that no client can be made with.
fn unusable_values(cause: &object_store::Error, options: &StorageOptions) -> Error {
    let text = cause.to_string();
    let blamed = options.0.iter().find(|(_, value)| text.contains(&format!("\"{value}\"")));
    let option = blamed.map(|(name, _)| format!("{STORAGE_OPTIONS}{name}"));
    let named = option.as_ref().map(|option| format!(" (see {option})")).unwrap_or_default();
    // What is said of a file of credentials may quote them.
    let said = match text.split_once(": ") {
        Some(_) if text.contains("service account file") && !text.contains("missing field") => {
            "the service account is none, or is damaged".to_owned()
        }
        _ => presentable(&without_values(&text, options)),
    };
    let error = Error::invalid(format!(
        "the storage options, or those of the environment, are not usable{named}: {said}"
    ));
    option.into_iter().fold(error, |error, option| error.with("option", option))
}

/// `text` without the values of `options`, but for those that may be known.
fn without_values(text: &str, options: &StorageOptions) -> String {
    let secrets = options.0.iter().filter(|(name, value)| value.len() >= 4 && !is_harmless(name));
    let mut forms: Vec<String> = secrets
        .flat_map(|(_, value)| {
            [value.clone(), value.trim().to_owned(), format!("{value:?}").trim_matches('"').to_owned()]
        })
        .filter(|form| form.len() >= 4)
        .collect();
    // What contains another one goes first.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), "***"))
}

/// Whether the value of the option `name` is a number, a time, a switch or a place.
fn is_harmless(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["timeout", "retries", "retry", "region", "block_size", "skip_signature", "virtual_hosted", "express"]
        .iter()
        .chain(&[
            "unsigned_payload",
            "http1",
            "http2",
            "allow_",
            "disable_",
            "use_",
            "conditional",
            "if_not_exists",
        ])
        .chain(&["checksum", "request_payer", "scheme", "credential_type", "imdsv1", "pool_", "randomize"])
        .any(|part| name.contains(part))
}

fn check_credentials_file(path: &str, option: &str, variable: &str) -> Result<()> {
    let option = format!("{STORAGE_OPTIONS}{option}");
    let unusable = |problem: String| {
        let message = format!(
            "the service account file {path}, which the option {option}, or {variable} in the environment, names, {problem}"
        );
        Err(Error::invalid(message).with("option", &option).with("path", path))
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) => return unusable(format!("cannot be read: {cause}")),
    };
    let account = match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(account) => account,
        // What serde says may quote the file.
        Err(cause) => {
            return unusable(format!(
                "is not a JSON object (line {}, column {})",
                cause.line(),
                cause.column()
            ));
        }
    };
    // Where a file may be of other kinds of accounts, it says of which.
    let of_service = !option.ends_with("application_credentials")
        || account.get("type").is_some_and(|kind| kind == "service_account");
    let needed: &[&str] = if of_service { &["client_email", "private_key"] } else { &["type"] };
    if let Some(missing) = needed.iter().find(|name| !account.contains_key(**name)) {
        return unusable(format!("has no {missing}; download the key of the account again"));
    }
    let is_key = |key: &serde_json::Value| key.as_str().is_some_and(|key| key.contains("-----BEGIN"));
    let unused = account.get("disable_oauth").is_some_and(|unused| unused == true);
    if of_service && !unused && !account.get("private_key").is_some_and(is_key) {
        return unusable(
            "has a private_key that is not in PEM; download the key of the account again".to_owned(),
        );
    }
    Ok(())
}

/// Sets how long everything may take that neither the options nor the environment tell, so that every
/// operation ends, also when the storage goes away in the middle of it.
///
/// Loops lie on top of each other, each of which tries again what the one below has given up: Lance lists
/// 6 times and reads a range 4 times, its throttle tries 4 times what has failed after retries, the client
/// tries 4 times within 180 s. By themselves they take minutes at a host that does not answer, and the
/// better part of an hour at one that falls silent. As set here it is at most 6 connections, or 6 requests
/// without an answer.
fn be_patient(settings: &mut Settings, connect: &Connect) {
    if let Some(time) = connect.connect_timeout {
        // Twice within the bound, so that a lost packet does not mean that nobody is there.
        settings.set_default("connect_timeout", milliseconds(time / 2));
        // A connection that took so long is not tried again here, but by those above.
        settings.set_default("client_retry_timeout", (time / 2).as_secs().max(1).to_string());
    }
    if let Some(time) = connect.read_timeout {
        settings.set_default("read_timeout", milliseconds(time));
        // A body may come slowly, but not for ever.
        settings.set_default("timeout", milliseconds(time * 2));
    }
    // The least that leaves the throttle on, which slows down for storages that ask for it.
    if std::env::var_os("LANCE_AIMD_MAX_RETRIES").is_none() {
        settings.set_default("lance_aimd_max_retries", "1".to_owned());
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

impl Reach {
    fn of(provider: Provider, options: HashMap<String, String>, credentials: bool) -> Reach {
        Reach {
            provider,
            options,
            credentials,
            patience: None,
            single_writer: false,
            endpoint: None,
            account: None,
        }
    }

    /// Refuses values of options that no client can be made with.
    pub fn check_values(&self) -> Result<()> {
        let all = StorageOptions(self.options.clone());
        let made = match self.provider {
            Provider::S3 => {
                let builder = AmazonS3Builder::new().with_bucket_name("bucket");
                let with = |builder: AmazonS3Builder, (key, value)| builder.with_config(key, value);
                all.as_s3_options().into_iter().fold(builder, with).build().map(drop)
            }
            Provider::Gcs => {
                let builder = GoogleCloudStorageBuilder::new().with_bucket_name("bucket");
                let with = |builder: GoogleCloudStorageBuilder, (key, value)| builder.with_config(key, value);
                all.as_gcs_options().into_iter().fold(builder, with).build().map(drop)
            }
            Provider::Azure => {
                let account = self.account.as_deref().unwrap_or_default();
                let builder =
                    MicrosoftAzureBuilder::new().with_container_name("container").with_account(account);
                let with = |builder: MicrosoftAzureBuilder, (key, value)| builder.with_config(key, value);
                all.as_azure_options().into_iter().fold(builder, with).build().map(drop)
            }
        };
        made.map_err(|cause| unusable_values(&cause, &all))
    }

    /// How the storage is reached without trying anything again, so that it is known why it could not be.
    pub fn once(&self) -> HashMap<String, String> {
        let mut options = self.options.clone();
        options.retain(|name, _| !name.eq_ignore_ascii_case("client_max_retries"));
        options.insert("client_max_retries".to_owned(), "0".to_owned());
        options.insert("lance_aimd_max_retries".to_owned(), "0".to_owned());
        options
    }

    /// What tells this storage from others in which the same bucket has the same name.
    pub fn place(&self) -> String {
        format!(
            "{}\n{}",
            self.endpoint.as_deref().unwrap_or_default(),
            self.account.as_deref().unwrap_or_default()
        )
    }
}

/// `endpoint`, if there is one, without a slash at its end, once it is known to be one, and encrypted
/// unless that is not asked for. It is the value of `option`, or of what `elsewhere` says.
fn checked_endpoint(
    endpoint: Option<String>,
    option: &str,
    elsewhere: &str,
    options: &StorageOptions,
) -> Result<Option<String>> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let endpoint =
        usable_endpoint(&endpoint, &format!("the option {STORAGE_OPTIONS}{option}, or {elsewhere}"))?;
    if !endpoint.to_ascii_lowercase().starts_with("http://") || options.allow_http() {
        return Ok(Some(endpoint));
    }
    let shown = mask(&endpoint);
    let message = format!(
        "the endpoint {shown} is not encrypted; give an https:// endpoint, or allow it by the option \
         {STORAGE_OPTIONS}allow_http=true"
    );
    Err(Error::invalid(message)
        .with("option", format!("{STORAGE_OPTIONS}allow_http"))
        .with("endpoint", shown))
}

fn usable_endpoint(endpoint: &str, given_by: &str) -> Result<String> {
    let is_one = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
            && url.fragment().is_none()
    };
    if Url::parse(endpoint).is_ok_and(|url| is_one(&url)) {
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    let masked = mask(endpoint);
    // What has no scheme may have a password all the same.
    let shown =
        masked.rsplit_once('@').filter(|_| !masked.contains("://")).map_or(masked.as_str(), |(_, host)| host);
    let message = format!(
        "the endpoint {shown:?} is no address of a server; write https://host, or http://host:port, as {given_by}"
    );
    Err(Error::invalid(message).with("endpoint", shown))
}

pub(super) fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::location::Location;
    use crate::error::Status;

    /// Set where nothing of the machine's environment is.
    const ALONE: &str = "METAXY_TEST_ALONE";

    /// Runs `check` in a process whose environment says nothing of storages but `variables`.
    fn with_environment(test: &str, variables: &[(&str, &str)], check: impl Fn()) {
        if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
            return check();
        }
        let name = format!("backend::native::bucket::tests::{test}");
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name.as_str(), "--exact", "--nocapture"])
            .env_clear()
            .env("HOME", "/nowhere")
            .env(ALONE, test)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
    }

    fn connect(options: &[(&str, &str)]) -> Connect {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let time = Some(Duration::from_secs(10));
        Connect {
            storage_options: options.collect(),
            connect_timeout: time,
            read_timeout: time,
            ..Connect::default()
        }
    }

    fn reach(uri: &str, options: &[(&str, &str)]) -> Result<Reach> {
        match Location::parse(uri)? {
            Location::Bucket(bucket) => bucket.reach(&connect(options)),
            other => panic!("{uri} is {other:?}"),
        }
    }

    fn refused(uri: &str, options: &[(&str, &str)]) -> Error {
        let reached = reach(uri, options).and_then(|reach| reach.check_values());
        let error = reached.err().unwrap_or_else(|| panic!("{uri} with {options:?} is accepted"));
        assert_eq!(error.status(), Status::InvalidArgument, "{error:?}");
        assert!(!format!("{error:?}").contains("S3CRET"), "{error:?}");
        error
    }

    #[test]
    fn a_service_account_has_what_it_takes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.json");
        let path = file.to_str().unwrap();
        let (account, any) = ("google_service_account", "google_application_credentials");
        let whole = r#"{"type": "service_account", "client_email": "e", "private_key": "-----BEGIN S3CRET"}"#;
        for (option, text, problem) in [
            (account, "{}", Some("has no client_email")),
            (account, r#"{"client_email": "e"}"#, Some("has no private_key")),
            (account, r#"{"client_email": "e", "private_key": "S3CRET"}"#, Some("not in PEM")),
            (account, r#"{"client_email": "", "private_key": "", "disable_oauth": true}"#, None),
            (account, whole, None),
            (any, "{}", Some("has no type")),
            (any, r#"{"type": "service_account"}"#, Some("has no client_email")),
            (any, r#"{"type": "authorized_user"}"#, None),
            (any, whole, None),
        ] {
            std::fs::write(&file, text).unwrap();
            let checked = check_credentials_file(path, option, "THE_VARIABLE");
            let Some(problem) = problem else {
                checked.unwrap();
                continue;
            };
            let error = checked.unwrap_err();
            for part in [problem, path, option, "THE_VARIABLE"] {
                assert!(error.message().contains(part), "{part}: {error}");
            }
            assert!(!error.message().contains("S3CRET"), "{error}");
        }
    }

    #[test]
    fn values_that_no_request_can_carry_are_refused() {
        let check = |name: &str, value: &str| check_plain(&HashMap::from([(name.into(), value.into())]));
        for (name, value) in [
            ("aws_access_key_id", "id\n"),
            ("aws_region", "eu west"),
            ("google_storage_token", "é"),
            ("timeout", "1s\r"),
        ] {
            let error = check(name, value).unwrap_err();
            assert!(error.message().contains(name) && !error.message().contains(value), "{error}");
        }
        for (name, value) in
            [("google_service_account_key", "{\n}"), ("user_agent", "my pipeline"), ("aws_region", "x")]
        {
            check(name, value).unwrap();
        }
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        with_environment("options_that_mean_nothing_are_refused", &[], || {
            for (uri, name, advice) in [
                ("s3://b", "aws_acess_key_id", "nearest is storage_options.aws_access_key_id"),
                ("s3://b", "azure_storage_account_key", "one of az://"),
                ("gs://b", "aws_secret_access_key", "one of s3://"),
                ("az://c", "google_service_account", "one of gs://"),
            ] {
                let error = refused(uri, &[(name, "S3CRET")]);
                assert!(error.message().contains(advice), "{error}");
                assert_eq!(error.detail("option"), Some(format!("storage_options.{name}").as_str()));
            }
            let api_key = Connect { api_key: Some("S3CRET".into()), ..Connect::default() };
            let Location::Bucket(bucket) = Location::parse("s3://b").unwrap() else { panic!("no bucket") };
            let error = bucket.reach(&api_key).err().unwrap();
            assert!(error.message().contains("api_key means nothing for s3://"), "{error}");
        });
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        with_environment("values_that_cannot_be_meant_are_refused", &[], || {
            for (uri, name, value) in [
                ("s3://b", "client_max_retries", "many"),
                ("s3://b", "connect_timeout", "soon"),
                ("gs://b", "timeout", "10 parsecs"),
                ("s3://b", "aws_skip_signature", "perhaps"),
            ] {
                let error = refused(uri, &[(name, value)]);
                assert!(error.message().contains(&format!("storage_options.{name}")), "{error}");
                assert!(error.message().contains(value), "{error}");
            }
            let error = refused("az://c", &[("account_name", "a"), ("account_key", "S3CRET!")]);
            assert!(error.message().contains("Invalid Access Key"), "{error}");
        });
    }

    #[test]
    fn azure_has_an_account() {
        with_environment("azure_has_an_account", &[], || {
            let error = refused("az://container/x", &[("account_key", "UzNDUkVU")]);
            assert!(error.message().contains("storage_options.azure_storage_account_name"), "{error}");
            assert!(error.message().contains("AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
            let reached = reach("az://container/x", &[("account_name", "one")]).unwrap();
            assert_eq!(reached.account.as_deref(), Some("one"));
            assert!(!reached.credentials);
            let uri = "abfss://container@two.dfs.core.windows.net/x";
            assert_eq!(reach(uri, &[("account_key", "UzNDUkVU")]).unwrap().account.as_deref(), Some("two"));
        });
    }

    #[test]
    fn the_environment_serves_where_no_option_does() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "S3CRET"),
            ("AWS_ENDPOINT", "http://from.environment"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "environment"),
            ("GOOGLE_SERVICE_ACCOUNT", "/nowhere/S.json"),
            ("AWS_CONNECT_TIMEOUT", "3s"),
        ];
        with_environment("the_environment_serves_where_no_option_does", &variables, || {
            let error = refused("s3://b", &[]);
            assert!(error.message().contains("http://from.environment"), "{error}");
            assert!(error.message().contains("storage_options.allow_http=true"), "{error}");
            let reached = reach("s3://b", &[("allow_http", "true")]).unwrap();
            assert!(reached.credentials);
            assert_eq!(reached.endpoint.as_deref(), Some("http://from.environment"));
            assert_eq!(reached.options.get("connect_timeout").map(String::as_str), Some("3s"));
            let reached = reach("s3://b", &[("aws_endpoint", "https://given")]).unwrap();
            assert_eq!(reached.endpoint.as_deref(), Some("https://given"));
            assert_eq!(reach("az://c", &[]).unwrap().account.as_deref(), Some("environment"));
            let error = refused("gs://b", &[]);
            assert!(error.message().contains("/nowhere/S.json"), "{error}");
            assert!(error.message().contains("GOOGLE_SERVICE_ACCOUNT"), "{error}");
        });
    }

    #[test]
    fn endpoints_are_encrypted_unless_that_is_allowed() {
        with_environment("endpoints_are_encrypted_unless_that_is_allowed", &[], || {
            for (uri, option) in
                [("s3://b", "aws_endpoint"), ("gs://b", "google_base_url"), ("az://c", "azure_endpoint")]
            {
                let account = ("account_name", "a");
                let mut options = vec![(option, "http://u:S3CRET@h:1")];
                options.extend(uri.starts_with("az").then_some(account));
                let error = refused(uri, &options);
                assert!(error.message().contains("storage_options.allow_http=true"), "{error}");
                options.push(("allow_http", "true"));
                assert!(reach(uri, &options).and_then(|reach| reach.check_values()).is_ok());
            }
        });
    }

    #[test]
    fn service_accounts_are_read_before_they_are_needed() {
        with_environment("service_accounts_are_read_before_they_are_needed", &[], || {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("account.json");
            let path = file.to_str().unwrap();
            let with_text = |text: &str| {
                std::fs::write(&file, text).unwrap();
                refused("gs://b", &[("google_service_account", path)])
            };
            let error = refused("gs://b", &[("google_service_account", path)]);
            assert!(error.message().contains("cannot be read"), "{error}");
            assert!(error.message().contains(path), "{error}");
            assert!(with_text("S3CRET").message().contains("not a JSON object"));
            assert!(with_text("[\"S3CRET\"]").message().contains("not a JSON object"));
            assert!(with_text("{\"private_key\": \"S3CRET\"}").message().contains("has no client_email"));
            let wrong =
                "{\"private_key\": [\"S3CRET\"], \"private_key_id\": \"S3CRET\", \"client_email\": \"x\"}";
            assert!(with_text(wrong).message().contains("not in PEM"));
            let damaged =
                "{\"private_key\": \"-----BEGIN S3CRET\", \"private_key_id\": [], \"client_email\": \"x\"}";
            assert!(with_text(damaged).message().contains("damaged"));
            let error = refused("gs://b", &[("google_service_account_key", path)]);
            assert!(error.message().contains("not the path"), "{error}");
        });
    }

    fn value(reach: &Reach, name: &str) -> Option<String> {
        reach.options.get(name).cloned()
    }

    #[test]
    fn values_are_not_quoted() {
        with_environment("values_are_not_quoted", &[], || {
            let keys = [("aws_access_key_id", "id"), ("aws_secret_access_key", "S3CRET")];
            for (name, secret) in [
                ("proxy_url", "http://user:S3CRET@proxy:bad"),
                ("aws_server_side_encryption", "S3CRET"),
                ("aws_sse_customer_key_base64", "S3CRET!!"),
                ("headers.authorization", "S3CRET\n"),
            ] {
                let mut options = keys.to_vec();
                options.push((name, secret));
                if let Err(error) = reach("s3://b", &options).and_then(|reach| reach.check_values()) {
                    assert!(!format!("{error:?}").contains("S3CRET"), "{error:?}");
                }
            }
            let said = refused("s3://b", &[("aws_server_side_encryption", "S3CRET")]);
            assert!(said.message().contains("***"), "{said}");
            refused("az://c", &[("account_name", "a"), ("azure_storage_sas_token", "S3CRETnokey")]);
            // Whatever the case of a name.
            let error = refused("s3://b", &[("Client_Max_Retries", "many")]);
            assert!(error.message().contains("whole number"), "{error}");
        });
    }

    #[test]
    fn endpoints_are_addresses() {
        with_environment("endpoints_are_addresses", &[], || {
            for endpoint in
                ["127.0.0.1:9", "localhost:9", "u:S3CRET@h", "ftp://h", "http://", "", "https://h?S3CRET"]
            {
                for (uri, option) in
                    [("s3://b", "aws_endpoint"), ("gs://b", "google_base_url"), ("az://c", "azure_endpoint")]
                {
                    let mut options = vec![(option, endpoint), ("allow_http", "true")];
                    options.extend(uri.starts_with("az").then_some(("account_name", "a")));
                    let error = refused(uri, &options);
                    assert!(error.message().contains("write https://host"), "{error}");
                }
            }
            let reached = reach("s3://b", &[("aws_endpoint", "https://h/")]).unwrap();
            assert_eq!(reached.endpoint.as_deref(), Some("https://h"));
        });
    }

    #[test]
    fn the_emulator_is_a_place() {
        let variables = [("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURITE_BLOB_STORAGE_URL", "127.0.0.1:9")];
        with_environment("the_emulator_is_a_place", &variables, || {
            let error = refused("az://c", &[]);
            assert!(error.message().contains("AZURITE_BLOB_STORAGE_URL"), "{error}");
            let real = reach("az://c", &[("account_name", "a"), ("use_emulator", "false")]).unwrap();
            assert_eq!(real.endpoint, None);
        });
    }

    #[test]
    fn the_emulator_has_an_account() {
        let variables = [("AZURE_STORAGE_USE_EMULATOR", "true")];
        with_environment("the_emulator_has_an_account", &variables, || {
            let reached = reach("az://c", &[]).unwrap();
            assert_eq!(reached.account.as_deref(), Some("devstoreaccount1"));
            assert_eq!(reached.endpoint.as_deref(), Some("http://127.0.0.1:10000"));
            assert!(reached.check_values().is_ok());
        });
    }

    #[test]
    fn a_profile_says_where_the_storage_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        let text = "[profile m]\nendpoint_url = http://from.profile\nregion = eu-north-1\n[profile n]\nregion = x-1\n";
        std::fs::write(&file, text).unwrap();
        let variables = [("AWS_PROFILE", "m"), ("AWS_CONFIG_FILE", file.to_str().unwrap())];
        with_environment("a_profile_says_where_the_storage_is", &variables, || {
            let error = refused("s3://b", &[]);
            assert!(error.message().contains("http://from.profile"), "{error}");
            let reached = reach("s3://b", &[("allow_http", "true")]).unwrap();
            assert_eq!(reached.endpoint.as_deref(), Some("http://from.profile"));
            assert!(reached.place().contains("http://from.profile"));
            assert_eq!(value(&reached, "aws_endpoint").as_deref(), Some("http://from.profile"));
            assert_eq!(value(&reached, "aws_region").as_deref(), Some("eu-north-1"));
            // What is given goes before it.
            let reached = reach("s3://b", &[("aws_endpoint", "https://given")]).unwrap();
            assert_eq!(reached.endpoint.as_deref(), Some("https://given"));
            assert_eq!(value(&reached, "aws_region"), None);
        });
    }

    #[test]
    fn the_environment_is_read_when_a_store_is_opened() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "someone"),
            ("AWS_DEFAULT_REGION", "eu-west-2"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "one"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x"),
            ("GOOGLE_STORAGE_TOKEN", "x"),
        ];
        with_environment("the_environment_is_read_when_a_store_is_opened", &variables, || {
            let reached = reach("s3://b", &[]).unwrap();
            assert_eq!(value(&reached, "aws_secret_access_key").as_deref(), Some("secret"));
            assert_eq!(value(&reached, "aws_session_token").as_deref(), Some("someone"));
            assert_eq!(value(&reached, "aws_region").as_deref(), Some("eu-west-2"));
            // Somebody else's token is not added to keys that are given.
            let keys = [("aws_access_key_id", "mine"), ("aws_secret_access_key", "mine")];
            assert_eq!(value(&reach("s3://b", &keys).unwrap(), "aws_session_token").as_deref(), Some(""));
            let error = refused("s3://b", &[("aws_access_key_id", "mine")]);
            assert!(
                error.message().contains("AWS_SECRET_ACCESS_KEY in the environment would be mixed"),
                "{error}"
            );

            let reached = reach("az://c", &[]).unwrap();
            assert_eq!(value(&reached, "azure_credential_type").as_deref(), Some("sas_token"));
            let reached = reach("az://c", &[("account_key", "a2V5")]).unwrap();
            assert_eq!(value(&reached, "azure_credential_type").as_deref(), Some("access_key"));
            assert_eq!(value(&reached, "azure_storage_sas_key"), None);
            assert!(reached.check_values().is_ok());

            assert_eq!(value(&reach("gs://b", &[]).unwrap(), "google_storage_token").as_deref(), Some("x"));
            let key = ("google_service_account_key", "{}");
            let error = refused("gs://b", &[key]);
            assert!(error.message().contains("GOOGLE_STORAGE_TOKEN in the environment"), "{error}");
        });
    }

    #[test]
    fn names_that_may_be_anybodys_are_not_taken() {
        let variables = [
            ("TIMEOUT", "30"),
            ("TOKEN", "S3CRET"),
            ("ENDPOINT", "http://127.0.0.1:1"),
            ("ALLOW_INVALID_CERTIFICATES", "true"),
            ("BUCKET", "other"),
            ("ACCOUNT_KEY", "S3CRET"),
            ("USE_EMULATOR", "true"),
        ];
        with_environment("names_that_may_be_anybodys_are_not_taken", &variables, || {
            let keys = [("aws_access_key_id", "id"), ("aws_secret_access_key", "key")];
            let error = refused("s3://b", &keys);
            assert!(error.message().contains("ENDPOINT in the environment would be taken"), "{error}");
            assert!(error.message().contains("storage_options.aws_endpoint"), "{error}");
            let reached = reach("s3://b", &[keys.to_vec(), vec![("region", "eu-west-3")]].concat()).unwrap();
            assert_eq!(reached.endpoint, None);
            assert_eq!(
                value(&reached, "aws_endpoint").as_deref(),
                Some("https://s3.eu-west-3.amazonaws.com")
            );
            assert_eq!(value(&reached, "timeout").as_deref(), Some("20000 ms"));
            assert_eq!(value(&reached, "aws_session_token").as_deref(), Some(""));
            assert_eq!(value(&reached, "allow_invalid_certificates").as_deref(), Some("false"));
            assert!(reached.check_values().is_ok());

            let reached = reach("az://c", &[("account_name", "a")]).unwrap();
            assert!(!reached.credentials);
            assert_eq!(reached.endpoint, None);
            assert_eq!(
                value(&reached, "azure_storage_endpoint").as_deref(),
                Some("https://a.blob.core.windows.net")
            );
            assert_eq!(value(&reached, "azure_credential_type").as_deref(), Some("managed_identity"));
            assert!(reached.check_values().is_ok());
        });
    }

    #[test]
    fn everything_ends_unless_somebody_wants_it_otherwise() {
        with_environment("everything_ends_unless_somebody_wants_it_otherwise", &[], || {
            let set = |options: &[(&str, &str)], name: &str| {
                reach("s3://b", options).unwrap().options.get(name).cloned().unwrap_or_default()
            };
            for (name, value) in [
                ("connect_timeout", "5000 ms"),
                ("client_retry_timeout", "5"),
                ("read_timeout", "10000 ms"),
                ("timeout", "20000 ms"),
                ("lance_aimd_max_retries", "1"),
            ] {
                assert_eq!(set(&[], name), value);
            }
            assert_eq!(set(&[("timeout", "1s")], "timeout"), "1s");
            assert_eq!(set(&[("timeout", "1s")], "read_timeout"), "10000 ms");
            assert_eq!(set(&[("aws_connect_timeout", "1s")], "connect_timeout"), "");
            let once = reach("s3://b", &[("Client_Max_Retries", "7")]).unwrap().once();
            assert_eq!(once.get("client_max_retries").map(String::as_str), Some("0"));
            assert_eq!(once.get("Client_Max_Retries"), None);
        });
    }
}
