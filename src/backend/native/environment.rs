//! What the environment says of a bucket, taken once, when its store is opened.
//!
//! Lance reads the environment by itself whenever it makes a client, keeps clients by their options alone,
//! and takes names for its own that others use for something else, such as `TOKEN`. So all that is meant is
//! given to it as options, which go before the environment; and what it would take besides gets a value
//! that changes nothing, or is refused where there is none.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use futures::FutureExt;
use lance_io::object_store::StorageOptions;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;

use crate::backend::connect::STORAGE_OPTIONS;
use crate::backend::location::Provider;
use crate::error::{Error, Result};

type Options = HashMap<String, String>;

/// The token of Google's that Lance takes itself.
const GOOGLE_TOKEN: &str = "google_storage_token";

/// What Lance reads under names of its own, before the options that are given.
const OF_LANCE: [&str; 3] = ["allow_http", "client_max_retries", "client_retry_timeout"];

/// An option that means nothing to Lance, but makes stores with different credentials different to it.
pub(super) const SOURCES: &str = "metaxy_sources";

/// What is off unless something says otherwise.
const SWITCHES: [&str; 18] = [
    "aws_imdsv1_fallback",
    "aws_virtual_hosted_style_request",
    "aws_s3_express",
    "aws_unsigned_payload",
    "aws_skip_signature",
    "aws_disable_tagging",
    "aws_disable_bulk_delete",
    "aws_request_payer",
    "aws_sse_bucket_key_enabled",
    "google_skip_signature",
    "azure_storage_use_emulator",
    "azure_use_fabric_endpoint",
    "azure_use_azure_cli",
    "azure_skip_signature",
    "azure_disable_tagging",
    "allow_http",
    "allow_invalid_certificates",
    "disable_system_certificates",
];

/// What Lance reads, and does not use: it has other ways to the same, and the name of the bucket.
const UNUSED: [&str; 13] = [
    "aws_bucket",
    "aws_default_region",
    "aws_metadata_endpoint",
    "aws_container_credentials_relative_uri",
    "aws_container_credentials_full_uri",
    "aws_container_authorization_token_file",
    "aws_web_identity_token_file",
    "aws_role_arn",
    "aws_role_session_name",
    "aws_endpoint_url_sts",
    "google_bucket",
    "azure_container_name",
    SOURCES,
];

/// What the environment calls them, of names that do not tell whose they are but are known to be Azure's.
const OF_AZURE: [&str; 2] = ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"];

impl Provider {
    /// How the names of its variables begin.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Provider::S3 => "AWS_",
            Provider::Gcs => "GOOGLE_",
            Provider::Azure => "AZURE_",
        }
    }

    /// The one name of an option that has several; none if the storage does not know it.
    pub(super) fn canonical(self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        match self {
            Provider::S3 => AmazonS3ConfigKey::from_str(&name).ok().map(|key| key.as_ref().to_owned()),
            Provider::Gcs if name == GOOGLE_TOKEN => Some(name),
            Provider::Gcs => GoogleConfigKey::from_str(&name).ok().map(|key| key.as_ref().to_owned()),
            Provider::Azure => AzureConfigKey::from_str(&name).ok().map(|key| key.as_ref().to_owned()),
        }
    }

    /// What tells who asks. Of these either the options say all, or the environment does.
    fn credentials(self) -> &'static [&'static str] {
        match self {
            Provider::S3 => &["aws_access_key_id", "aws_secret_access_key", "aws_session_token"],
            Provider::Gcs => &[
                "google_service_account",
                "google_service_account_key",
                "google_application_credentials",
                "google_bearer_token",
                GOOGLE_TOKEN,
            ],
            Provider::Azure => &[
                "azure_storage_token",
                "azure_storage_account_key",
                "azure_federated_token_file",
                "azure_storage_client_secret",
                "azure_storage_sas_key",
                "azure_use_azure_cli",
            ],
        }
    }

    /// Where else credentials are found, which is not asked here: variables, by their names.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Provider::S3 => &["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"],
            Provider::Gcs => &["HOME"],
            Provider::Azure => &["AZURITE_BLOB_STORAGE_URL", "HOME"],
        }
    }
}

/// The options of a storage of `provider`, with what the environment says where they say nothing.
pub struct Settings {
    provider: Provider,
    options: Options,
    /// What is decided, by its one name.
    decided: HashSet<String>,
    /// Whether the options that are given say who asks.
    identified: bool,
}

impl Settings {
    pub fn new(provider: Provider, given: Options) -> Settings {
        let names = given
            .keys()
            .filter_map(|name| provider.canonical(name).or_else(|| Some(name.to_ascii_lowercase())));
        let decided: HashSet<String> = names.collect();
        let identified = provider.credentials().iter().any(|name| decided.contains(*name));
        let mut settings = Settings { provider, options: given, decided, identified };
        settings.take_environment();
        settings
    }

    fn take_environment(&mut self) {
        let mut variables: Vec<(String, String)> = variables().collect();
        // Of two names for the same, always the same one.
        variables.sort();
        for (variable, value) in variables {
            let upper = variable.to_ascii_uppercase();
            let ours = upper.starts_with(self.provider.prefix())
                || (self.provider == Provider::Azure && OF_AZURE.contains(&upper.as_str()));
            let Some(name) = self.provider.canonical(&variable).filter(|_| ours) else { continue };
            if !(self.identified && self.provider.credentials().contains(&name.as_str())) {
                self.set_default(&name, value);
            }
        }
        // Lance would let these go before what is given.
        for name in OF_LANCE {
            if let Some(value) = StorageOptions::new(Options::new()).0.remove(name) {
                self.options.retain(|given, _| !given.eq_ignore_ascii_case(name));
                self.options.insert(name.to_owned(), value);
                self.decided.insert(name.to_owned());
            }
        }
    }

    /// Says `value` of `name` unless something has been said of it.
    pub fn set_default(&mut self, name: &str, value: String) {
        let canonical = self.provider.canonical(name).unwrap_or_else(|| name.to_owned());
        if self.decided.insert(canonical) {
            self.options.insert(name.to_owned(), value);
        }
    }

    /// As Lance reads them.
    pub fn read(&self) -> StorageOptions {
        StorageOptions(self.options.clone())
    }

    pub fn says(&self, name: &str) -> bool {
        self.decided.contains(name)
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let named =
            |given: &String| self.provider.canonical(given).is_some_and(|canonical| canonical == name);
        self.options.iter().find(|(given, _)| named(given)).map(|(_, value)| value.as_str())
    }

    /// The options that leave Lance nothing to find in the environment.
    pub fn settled(mut self, account: Option<&str>) -> Result<Options> {
        if self.provider == Provider::Azure {
            self.choose_credentials();
        }
        if !self.provider.credentials().iter().any(|name| self.says(name)) {
            let sources = self.provider.sources().iter().map(|name| std::env::var(name).unwrap_or_default());
            let sources: Vec<String> = sources.collect();
            self.options.insert(SOURCES.to_owned(), sources.join("\n"));
        }
        let mut all = self.read();
        match self.provider {
            Provider::S3 => all.with_env_s3(),
            Provider::Gcs => all.with_env_gcs(),
            Provider::Azure => all.with_env_azure(),
        }
        let mut left: Vec<String> =
            all.0.into_keys().filter(|name| !self.options.contains_key(name)).collect();
        left.sort();
        for name in left {
            if self.is_without_effect(&name) {
                continue;
            }
            match self.neutral(&name, account) {
                Some(value) => {
                    self.options.insert(name, value);
                }
                None => return Err(self.unwanted(&name)),
            }
        }
        Ok(self.options)
    }

    /// Whether Lance makes nothing of `name`, as the options are.
    fn is_without_effect(&self, name: &str) -> bool {
        // The emulator's credentials come from wherever there are some.
        let chosen = self.says("azure_credential_type") && !self.is_emulated();
        UNUSED.contains(&name) || chosen && self.provider.credentials().contains(&name)
    }

    /// Whether it is Azure's emulator that is meant.
    pub fn is_emulated(&self) -> bool {
        self.value("azure_storage_use_emulator").is_some_and(super::bucket::is_true)
    }

    /// The value of `name` that is as good as none.
    fn neutral(&self, name: &str, account: Option<&str>) -> Option<String> {
        Some(match name {
            name if SWITCHES.contains(&name) => "false".to_owned(),
            // None is sent then: see `keys`.
            "aws_session_token" => String::new(),
            "aws_copy_if_not_exists" => "multipart".to_owned(),
            "aws_conditional_put" => "etag".to_owned(),
            "user_agent" => concat!("metaxy/", env!("CARGO_PKG_VERSION")).to_owned(),
            "google_base_url" => "https://storage.googleapis.com".to_owned(),
            "azure_storage_endpoint" if !self.says("azure_use_fabric_endpoint") => {
                format!("https://{}.blob.core.windows.net", account?)
            }
            "aws_endpoint" if !self.says("aws_virtual_hosted_style_request") => {
                format!("https://s3.{}.amazonaws.com", self.value("aws_region")?)
            }
            _ => return None,
        })
    }

    /// Says which credentials are meant, by the rules by which they would be chosen.
    fn choose_credentials(&mut self) {
        if self.says("azure_credential_type") || self.says("azure_fabric_token_service_url") {
            return;
        }
        let application = self.says("azure_storage_client_id") && self.says("azure_storage_tenant_id");
        let cli = self.value("azure_use_azure_cli").is_some_and(super::bucket::is_true);
        let chosen = match () {
            () if self.says("azure_storage_token") => "bearer_token",
            () if self.says("azure_storage_account_key") => "access_key",
            () if application && self.says("azure_federated_token_file") => "workload_identity",
            () if application && self.says("azure_storage_client_secret") => "client_secret",
            () if self.says("azure_storage_sas_key") => "sas_token",
            () if cli => "azure_cli",
            () => "managed_identity",
        };
        self.set_default("azure_credential_type", chosen.to_owned());
    }

    fn unwanted(&self, name: &str) -> Error {
        let named = |variable: &String| self.provider.canonical(variable).is_some_and(|other| other == name);
        let variable = variables().map(|(variable, _)| variable).find(named);
        let of_others = self.identified && self.provider.credentials().contains(&name);
        let option = format!("{STORAGE_OPTIONS}{name}");
        let message = match variable {
            Some(variable) if of_others => format!(
                "{variable} in the environment would be mixed with the credentials that are given as options; unset it, or \
                 give all credentials in the same way"
            ),
            Some(variable) => format!(
                "{variable} in the environment would be taken for the option {option}, though its name does not begin with {}; \
                 give that option, or unset the variable",
                self.provider.prefix()
            ),
            None => format!(
                "{option} was in the environment when this process first opened such a store, and would be taken from there; \
                 give that option, or start another process"
            ),
        };
        Error::invalid(message).with("option", option)
    }
}

/// What the profile that `AWS_PROFILE` names says of where the storage is.
pub struct Profile {
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

impl Profile {
    /// None if no profile is named: then Lance does not look for one either.
    pub fn of_environment() -> Result<Option<Profile>> {
        if std::env::var_os("AWS_PROFILE").is_none() {
            return Ok(None);
        }
        // A region that is not given would be asked of the machine.
        let nowhere = Region::from_static("us-east-1");
        let loading = aws_config::defaults(BehaviorVersion::latest()).region(nowhere).no_credentials().load();
        let of_files = ProfileFileRegionProvider::builder().build();
        // Only files are read, for which nobody waits.
        match (Box::pin(loading).now_or_never(), of_files.region().now_or_never()) {
            (Some(loaded), Some(region)) => Ok(Some(Profile {
                endpoint: loaded.endpoint_url().map(str::to_owned),
                region: region.map(|region| region.as_ref().to_owned()),
            })),
            _ => Err(Error::invalid(format!(
                "where the storage is of the profile that AWS_PROFILE names cannot be told; give the option \
                 {STORAGE_OPTIONS}aws_endpoint"
            ))),
        }
    }
}

fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
