//! The keys of S3 as they are given.
//!
//! Lance adds the session token of the environment to keys that are given without one, which are somebody
//! else's then. A token that is empty stands for none, and is not to be sent.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lance_io::object_store::providers::aws::AwsStoreProvider;
use lance_io::object_store::{ObjectStore, ObjectStoreParams, ObjectStoreProvider, StorageOptions};
use object_store::StaticCredentialProvider;
use object_store::aws::{AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::path::Path as ObjectPath;
use url::Url;

pub const SCHEME: &str = "s3";

/// Makes the object store of [`SCHEME`].
#[derive(Debug)]
pub struct GivenKeys;

type Made<'a> = Pin<Box<dyn Future<Output = lance_core::Result<ObjectStore>> + Send + 'a>>;

impl ObjectStoreProvider for GivenKeys {
    fn new_store<'life0, 'life1, 'async_trait>(
        &'life0 self,
        base: Url,
        params: &'life1 ObjectStoreParams,
    ) -> Made<'async_trait>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let mut params = params.clone();
            if params.aws_credentials.is_none() {
                params.aws_credentials = keys(params.storage_options());
            }
            AwsStoreProvider.new_store(base, &params).await
        })
    }

    fn extract_path(&self, url: &Url) -> lance_core::Result<ObjectPath> {
        AwsStoreProvider.extract_path(url)
    }

    fn calculate_object_store_prefix(
        &self,
        url: &Url,
        options: Option<&HashMap<String, String>>,
    ) -> lance_core::Result<String> {
        AwsStoreProvider.calculate_object_store_prefix(url, options)
    }
}

fn keys(options: Option<&HashMap<String, String>>) -> Option<AwsCredentialProvider> {
    let options = StorageOptions(options?.clone());
    if options.get("aws_provider_scheme").is_some_and(|scheme| !scheme.is_empty()) {
        return None;
    }
    let found = options.as_s3_options();
    let value = |key| found.get(&key).filter(|value| !value.is_empty()).cloned();
    let credential = AwsCredential {
        key_id: value(AmazonS3ConfigKey::AccessKeyId)?,
        secret_key: value(AmazonS3ConfigKey::SecretAccessKey)?,
        token: value(AmazonS3ConfigKey::Token),
    };
    Some(Arc::new(StaticCredentialProvider::new(credential)))
}
