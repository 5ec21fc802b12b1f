//! The SDK's client: credentials, transport, limits.

use super::Config;
use crate::{Cause, KekError, Operation};
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use serde::Deserialize;
use std::time::Duration;

/// Longest body of an answer. A wrapped DEK has less than 300 bytes, metadata of a key a few thousand.
const MAX_ANSWER: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
/// One more try after the first: the caller has a deadline and the caller has other providers.
const ATTEMPTS: u32 = 2;

/// A client for the key's region.
pub(super) fn client(name: &str, config: &Config) -> Result<Client, KekError> {
    let http = transport(name, config)?;
    let region = Region::new(config.key.region().to_owned());
    let credentials = credentials(name, config, &http, &region)?;
    let mut sdk = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build());
    if let Some(endpoint) = &config.endpoint {
        sdk = sdk.endpoint_url(endpoint.as_str());
    }
    Ok(Client::from_conf(sdk.build()))
}

fn misconfigured(name: &str, detail: impl std::fmt::Display) -> KekError {
    KekError::new(name, Operation::Login, Cause::Misconfigured, detail)
}

fn transport(name: &str, config: &Config) -> Result<SharedHttpClient, KekError> {
    let mut tls = TlsContext::builder();
    if let Some(path) = &config.ca {
        let pem = std::fs::read(path)
            .map_err(|e| misconfigured(name, format!("read `ca` {}: {e}", path.display())))?;
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls
        .build()
        .map_err(|e| misconfigured(name, format!("`ca`: {e}")))?;
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    Ok(SharedHttpClient::new(Bounded(http)))
}

/// The configured static keys or profile; else what the platform gives: a web identity (IRSA), a container's (ECS, EKS Pod
/// Identity), the host's default profile, the instance's role. The environment is not looked at for keys.
fn credentials(
    name: &str,
    config: &Config,
    http: &SharedHttpClient,
    region: &Region,
) -> Result<SharedCredentialsProvider, KekError> {
    if let Some(source) = &config.credentials {
        let file = source.read().map_err(|e| KekError::credential(name, &e))?;
        return Ok(SharedCredentialsProvider::new(static_keys(
            name,
            file.expose(),
        )?));
    }
    let platform = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(http.clone())
        .with_behavior_version(Some(BehaviorVersion::latest()));
    let profile = ProfileFileCredentialsProvider::builder().configure(&platform);
    if let Some(named) = &config.profile {
        let profile = profile.profile_name(named).build();
        return Ok(SharedCredentialsProvider::new(profile));
    }
    let web = WebIdentityTokenCredentialsProvider::builder().configure(&platform);
    let container = EcsCredentialsProvider::builder().configure(&platform);
    let instance = ImdsCredentialsProvider::builder().configure(&platform);
    let chain = CredentialsProviderChain::first_try("web identity", web.build())
        .or_else("container", container.build())
        .or_else("profile", profile.build())
        .or_else("instance", instance.build());
    Ok(SharedCredentialsProvider::new(chain))
}

/// What a credential file says, in TOML; a bucket of ours reads the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

fn static_keys(name: &str, file: &[u8]) -> Result<Credentials, KekError> {
    let read = std::str::from_utf8(file)
        .ok()
        .and_then(|text| toml::from_str(text).ok());
    // Without the parser's words, which show what it read.
    let keys: KeyFile = read.ok_or_else(|| {
        let needed = "`credentials` must have access_key_id, secret_access_key and, where needed, session_token";
        KekError::new(name, Operation::Login, Cause::Credentials, needed)
    })?;
    let (id, secret) = (keys.access_key_id, keys.secret_access_key);
    Ok(Credentials::new(
        id,
        secret,
        keys.session_token,
        None,
        "credential file",
    ))
}

/// Answers are bounded before they are read.
#[derive(Debug)]
struct Bounded(SharedHttpClient);

impl HttpClient for Bounded {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(BoundedConnector(
            self.0.http_connector(settings, components),
        ))
    }
}

#[derive(Debug)]
struct BoundedConnector(SharedHttpConnector);

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
            Ok(answer.await?.map(bounded))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_a_credential_file() {
        let file = b"access_key_id = 'AKIA1'\nsecret_access_key = 's/e=c'\n";
        let keys = static_keys("prod", file).unwrap();
        assert_eq!(keys.access_key_id(), "AKIA1");
        assert_eq!(keys.secret_access_key(), "s/e=c");
        assert_eq!(keys.session_token(), None);
    }

    #[test]
    fn refuses_other_credential_files_without_showing_them() {
        for file in [
            "topsecret",
            "access_key_id = 'topsecret'",
            "secret = 'topsecret'",
            "",
        ] {
            let refused = static_keys("prod", file.as_bytes()).unwrap_err();
            assert_eq!(refused.cause, Cause::Credentials);
            assert!(!refused.to_string().contains("topsecret"));
        }
    }
}
