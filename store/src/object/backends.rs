//! Connecting to S3, GCS and Azure Blob as configured.
//!
//! Who we are comes from the platform: instance metadata, a workload's web identity token, a managed identity, a service
//! account. The environment is read for what names such an identity only, never for a key; static keys come from
//! a credential file.

use super::BucketStore;
use crate::OpenError;
use crate::config::Bucket;
use dawnkey_secret::credential::CredentialSource;
use object_store::{Certificate, ClientOptions, RetryConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(3);

/// What of the environment names the platform's identity.
#[cfg(feature = "s3")]
const AWS_IDENTITY: [&str; 8] = [
    "AWS_REGION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
#[cfg(feature = "azure")]
const AZURE_IDENTITY: [&str; 5] = [
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "IDENTITY_ENDPOINT",
];

/// What a credential file for S3 says, in TOML.
#[cfg(feature = "s3")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsKey {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// What a credential file for Azure says, in TOML: an account's key, or an application's secret.
#[cfg(feature = "azure")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum AzureKey {
    Account {
        account_key: String,
    },
    Application {
        tenant_id: String,
        client_id: String,
        client_secret: String,
    },
}

#[cfg(any(feature = "s3", feature = "azure"))]
fn keys<T: DeserializeOwned>(
    kind: &'static str,
    source: Option<&CredentialSource>,
    fields: &'static str,
) -> Result<Option<T>, OpenError> {
    let Some(source) = source else {
        return Ok(None);
    };
    let text = source.read().map_err(|e| config(kind, e.to_string()))?;
    let text = std::str::from_utf8(text.expose());
    // What is wrong with it stays unsaid: the message would quote the secret.
    let read = text.ok().and_then(|text| toml::from_str(text).ok());
    let problem = || {
        config(
            kind,
            format!("the credential file is not TOML with {fields}"),
        )
    };
    read.map(Some).ok_or_else(problem)
}

fn config(kind: &'static str, problem: impl Into<String>) -> OpenError {
    OpenError::Config {
        kind,
        problem: problem.into(),
    }
}

/// Sets what the environment says of the platform's identity.
fn identity<B, K: FromStr>(names: &[&str], mut builder: B, set: impl Fn(B, K, String) -> B) -> B {
    for name in names {
        let key = name.to_ascii_lowercase().parse();
        if let (Ok(value), Ok(key)) = (std::env::var(name), key) {
            builder = set(builder, key, value);
        }
    }
    builder
}

/// Plain HTTP is for a server on this host only.
fn plain(kind: &'static str, bucket: &Bucket) -> Result<bool, OpenError> {
    let Some(rest) = bucket
        .endpoint
        .as_deref()
        .and_then(|e| e.strip_prefix("http://"))
    else {
        return Ok(false);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    match host {
        "127.0.0.1" | "[::1]" | "localhost" => Ok(true),
        _ => Err(config(
            kind,
            "endpoint: plain HTTP is for a server on this host only; use https://",
        )),
    }
}

fn client(kind: &'static str, bucket: &Bucket) -> Result<ClientOptions, OpenError> {
    let options = ClientOptions::new()
        .with_allow_http(plain(kind, bucket)?)
        .with_connect_timeout(CONNECT)
        .with_timeout(bucket.deadline());
    let Some(file) = &bucket.ca else {
        return Ok(options);
    };
    let unusable = |problem: String| config(kind, format!("ca {}: {problem}", file.display()));
    let pem = std::fs::read(file).map_err(|e| unusable(e.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(e.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("no PEM certificate in it".into()));
    }
    Ok(certificates
        .into_iter()
        .fold(options, ClientOptions::with_root_certificate))
}

/// A repeated write is recognised by its id, so that a few tries within the deadline are safe.
fn retries(bucket: &Bucket) -> RetryConfig {
    RetryConfig {
        max_retries: 2,
        retry_timeout: bucket.deadline(),
        ..RetryConfig::default()
    }
}

async fn ready(
    kind: &'static str,
    bucket: &Bucket,
    made: object_store::Result<impl object_store::ObjectStore>,
) -> Result<BucketStore, OpenError> {
    let made = made.map_err(|e| config(kind, crate::said(&e)))?;
    let store = BucketStore::new(kind, Arc::new(made), &bucket.prefix, bucket.deadline());
    store.probe().await.map_err(|problem| OpenError::Broken {
        kind,
        place: bucket.place(),
        problem: problem.to_string(),
    })?;
    Ok(store)
}

/// Opens a bucket of S3, or of a server that speaks its protocol.
#[cfg(feature = "s3")]
pub(crate) async fn s3(config: &crate::S3Config) -> Result<BucketStore, OpenError> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    const KIND: &str = "s3";
    let bucket = &config.bucket();
    let mut builder = identity(
        &AWS_IDENTITY,
        AmazonS3Builder::new(),
        AmazonS3Builder::with_config,
    )
    .with_bucket_name(&config.bucket)
    .with_conditional_put(S3ConditionalPut::ETagMatch)
    .with_client_options(client(KIND, bucket)?)
    .with_retry(retries(bucket));
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(false);
    }
    let fields = "access_key_id, secret_access_key and, where needed, session_token";
    if let Some(key) = keys::<AwsKey>(KIND, config.credentials.as_ref(), fields)? {
        builder = builder
            .with_access_key_id(key.access_key_id)
            .with_secret_access_key(key.secret_access_key);
        if let Some(token) = key.session_token {
            builder = builder.with_token(token);
        }
    }
    ready(KIND, bucket, builder.build()).await
}

/// Opens a bucket of Google Cloud Storage.
#[cfg(feature = "gcs")]
pub(crate) async fn gcs(config: &crate::GcsConfig) -> Result<BucketStore, OpenError> {
    use object_store::StaticCredentialProvider;
    use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
    const KIND: &str = "gcs";
    let bucket = &config.bucket();
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&config.bucket)
        .with_client_options(client(KIND, bucket)?)
        .with_retry(retries(bucket));
    // Names a file with an identity: a service account, or a federation of workload identities.
    if let Ok(file) = std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(file);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Some(source) = &config.credentials {
        let key = source
            .read()
            .map_err(|e| self::config(KIND, e.to_string()))?;
        let text = std::str::from_utf8(key.expose()).map_err(|_| {
            self::config(KIND, "the credential file is not a service account's JSON")
        })?;
        builder = builder.with_service_account_key(text);
    }
    if config.anonymous {
        if !plain(KIND, bucket)? {
            return Err(self::config(
                KIND,
                "anonymous: for a server on this host only",
            ));
        }
        let nobody = GcpCredential {
            bearer: "nobody".into(),
        };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    ready(KIND, bucket, builder.build()).await
}

/// Opens a container of Azure Blob Storage.
#[cfg(feature = "azure")]
pub(crate) async fn azure(config: &crate::AzureConfig) -> Result<BucketStore, OpenError> {
    use object_store::azure::MicrosoftAzureBuilder;
    const KIND: &str = "azure-blob";
    let bucket = &config.bucket();
    let builder = MicrosoftAzureBuilder::new();
    let mut builder = identity(&AZURE_IDENTITY, builder, MicrosoftAzureBuilder::with_config)
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_client_options(client(KIND, bucket)?)
        .with_allow_http(plain(KIND, bucket)?)
        .with_retry(retries(bucket));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let fields = "account_key, or tenant_id, client_id and client_secret";
    builder = match keys::<AzureKey>(KIND, config.credentials.as_ref(), fields)? {
        None => builder,
        Some(AzureKey::Account { account_key }) => builder.with_access_key(account_key),
        Some(AzureKey::Application {
            tenant_id,
            client_id,
            client_secret,
        }) => builder.with_client_secret_authorization(client_id, client_secret, tenant_id),
    };
    ready(KIND, bucket, builder.build()).await
}
