//! The options of a bucket: checked before anything is asked of the storage, as the storage will
//! understand them, with those of the environment.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use lance_io::object_store::StorageOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

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
        let mut options: HashMap<String, String> =
            connect.storage_options.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        be_patient(self.provider, &mut options, connect);
        let reach = match self.provider {
            Provider::S3 => reach_s3(options),
            Provider::Gcs => reach_gcs(options),
            Provider::Azure => self.reach_azure(options),
        }?;
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
            return match number.contains(&name) && value.parse::<u64>().is_err() {
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
                    .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
                    .unwrap_or(&"");
                format!("there is no option {key}; the nearest is {STORAGE_OPTIONS}{nearest}")
            }
        };
        Err(Error::invalid(message).with("option", key))
    }

    fn reach_azure(&self, options: HashMap<String, String>) -> Result<Reach> {
        let mut all = StorageOptions::new(options.clone());
        all.with_env_azure();
        let found = all.as_azure_options();
        let value = |key| found.get(&key).cloned();
        let emulated = value(AzureConfigKey::UseEmulator).is_some_and(|value| is_true(&value));
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
        let endpoint = value(AzureConfigKey::Endpoint).filter(|_| !emulated);
        check_encrypted(endpoint.as_deref(), &all)?;
        use AzureConfigKey as Key;
        let credentials = emulated
            || [
                Key::AccessKey,
                Key::SasKey,
                Key::Token,
                Key::ClientSecret,
                Key::FederatedTokenFile,
                Key::SkipSignature,
            ]
            .iter()
            .chain([&Key::UseAzureCli])
            .any(|key| found.contains_key(key));
        Ok(Reach { endpoint, account, ..Reach::of(Provider::Azure, options, credentials) })
    }
}

fn reach_s3(options: HashMap<String, String>) -> Result<Reach> {
    let mut all = StorageOptions::new(options.clone());
    all.with_env_s3();
    let found = all.as_s3_options();
    let value = |key| found.get(&key).cloned();
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or(value(AmazonS3ConfigKey::Endpoint));
    check_encrypted(endpoint.as_deref(), &all)?;
    use AmazonS3ConfigKey as Key;
    let credentials = (found.contains_key(&Key::AccessKeyId) && found.contains_key(&Key::SecretAccessKey))
        || value(Key::SkipSignature).is_some_and(|value| is_true(&value));
    Ok(Reach { endpoint, ..Reach::of(Provider::S3, options, credentials) })
}

fn reach_gcs(options: HashMap<String, String>) -> Result<Reach> {
    let mut all = StorageOptions::new(options.clone());
    all.with_env_gcs();
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
    check_encrypted(endpoint.as_deref(), &all)?;
    use GoogleConfigKey as Key;
    let credentials = [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials]
        .iter()
        .any(|key| found.contains_key(key))
        || all.get("google_storage_token").is_some()
        || value(Key::SkipSignature).is_some_and(|value| is_true(&value));
    Ok(Reach { endpoint, ..Reach::of(Provider::Gcs, options, credentials) })
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
        _ => presentable(&text),
    };
    let error = Error::invalid(format!(
        "the storage options, or those of the environment, are not usable{named}: {said}"
    ));
    option.into_iter().fold(error, |error, option| error.with("option", option))
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
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(()),
        // What serde says may quote the file.
        Err(cause) => {
            unusable(format!("is not a JSON object (line {}, column {})", cause.line(), cause.column()))
        }
    }
}

/// Sets how long everything may take that neither the options nor the environment tell, so that every
/// operation ends, also when the storage goes away in the middle of it.
///
/// Loops lie on top of each other, each of which tries again what the one below has given up: Lance lists
/// 6 times and reads a range 4 times, its throttle tries 4 times what has failed after retries, the client
/// tries 4 times within 180 s. By themselves they take minutes at a host that does not answer, and the
/// better part of an hour at one that falls silent. As set here it is at most 6 connections, or 6 requests
/// without an answer.
fn be_patient(provider: Provider, options: &mut HashMap<String, String>, connect: &Connect) {
    let prefix = match provider {
        Provider::S3 => "aws_",
        Provider::Gcs => "google_",
        Provider::Azure => "azure_",
    };
    let mut unless_given = |key: &str, value: String| {
        let given = [key.to_owned(), format!("{prefix}{key}")].iter().any(|name| {
            options.keys().any(|option| option.eq_ignore_ascii_case(name))
                || std::env::var_os(name.to_ascii_uppercase()).is_some()
        });
        if !given {
            options.insert(key.to_owned(), value);
        }
    };
    if let Some(time) = connect.connect_timeout {
        // Twice within the bound, so that a lost packet does not mean that nobody is there.
        unless_given("connect_timeout", milliseconds(time / 2));
        // A connection that took so long is not tried again here, but by those above.
        unless_given("client_retry_timeout", (time / 2).as_secs().max(1).to_string());
    }
    if let Some(time) = connect.read_timeout {
        unless_given("read_timeout", milliseconds(time));
        // A body may come slowly, but not for ever.
        unless_given("timeout", milliseconds(time * 2));
    }
    // The least that leaves the throttle on, which slows down for storages that ask for it.
    unless_given("lance_aimd_max_retries", "1".to_owned());
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
        let mut all = StorageOptions::new(self.options.clone());
        let made = match self.provider {
            Provider::S3 => {
                all.with_env_s3();
                let builder = AmazonS3Builder::new().with_bucket_name("bucket");
                let with = |builder: AmazonS3Builder, (key, value)| builder.with_config(key, value);
                all.as_s3_options().into_iter().fold(builder, with).build().map(drop)
            }
            Provider::Gcs => {
                all.with_env_gcs();
                let builder = GoogleCloudStorageBuilder::new().with_bucket_name("bucket");
                let with = |builder: GoogleCloudStorageBuilder, (key, value)| builder.with_config(key, value);
                all.as_gcs_options().into_iter().fold(builder, with).build().map(drop)
            }
            Provider::Azure => {
                all.with_env_azure();
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

fn check_encrypted(endpoint: Option<&str>, options: &StorageOptions) -> Result<()> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    if !endpoint.to_ascii_lowercase().starts_with("http://") || options.allow_http() {
        return Ok(());
    }
    let shown = mask(endpoint);
    let message = format!(
        "the endpoint {shown} is not encrypted; give an https:// endpoint, or allow it by the option \
         {STORAGE_OPTIONS}allow_http=true"
    );
    Err(Error::invalid(message)
        .with("option", format!("{STORAGE_OPTIONS}allow_http"))
        .with("endpoint", shown))
}

fn is_true(value: &str) -> bool {
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
            assert_eq!(reached.options.get("connect_timeout"), None);
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
            assert!(with_text("{\"private_key\": \"S3CRET\"}").message().contains("missing field"));
            let wrong =
                "{\"private_key\": [\"S3CRET\"], \"private_key_id\": \"S3CRET\", \"client_email\": \"x\"}";
            assert!(with_text(wrong).message().contains("damaged"));
            let error = refused("gs://b", &[("google_service_account_key", path)]);
            assert!(error.message().contains("not the path"), "{error}");
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
