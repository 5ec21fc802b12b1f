//! The SDK's client: identity, transport, limits.

use super::assertion::Certificate;
use super::config::{Config, Identity};
use crate::{Cause, CredentialSource, KekError, Operation};
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{
    AsyncRawResponse, Body, ClientOptions, HttpClient, Method, Request, RetryOptions, Transport,
};
use azure_identity::{
    ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest body of an answer, a token's or the vault's.
const MAX_ANSWER: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";

/// A client for the key's vault. Nothing is sent.
pub(super) fn client(name: &str, config: &Config) -> Result<KeyClient, KekError> {
    let options = ClientOptions {
        transport: Some(transport(name, config)?),
        retry: RetryOptions::none(),
        cloud: config.authority.as_ref().map(|authority| {
            let mut cloud = CustomConfiguration::default();
            cloud.authority_host = authority.as_str().to_owned();
            Arc::new(CloudConfiguration::Custom(cloud))
        }),
        ..ClientOptions::default()
    };
    let identity = identity(name, config, options.clone())?;
    let options = KeyClientOptions {
        client_options: options,
        ..KeyClientOptions::default() // which has the resource of a challenge compared with the vault's domain
    };
    KeyClient::new(config.key.base(), identity, Some(options))
        .map_err(|e| misconfigured(name, format!("`key`: {e}")))
}

fn misconfigured(name: &str, detail: impl std::fmt::Display) -> KekError {
    KekError::new(name, Operation::Login, Cause::Misconfigured, detail)
}

fn identity(
    name: &str,
    config: &Config,
    client_options: ClientOptions,
) -> Result<Arc<dyn TokenCredential>, KekError> {
    let need = |field: &str, value: &Option<String>| {
        let missing = || misconfigured(name, format!("`identity` needs `{field}`"));
        value.clone().ok_or_else(missing)
    };
    let refused = |e: Error| misconfigured(name, format!("`identity`: {e}"));
    Ok(match config.identity {
        Identity::Managed => {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: config.client.clone().map(UserAssignedId::ClientId),
                client_options,
            };
            ManagedIdentityCredential::new(Some(options)).map_err(refused)?
        }
        Identity::Workload => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: config.client.clone(),
                tenant_id: config.tenant.clone(),
                ..WorkloadIdentityCredentialOptions::default()
            };
            WorkloadIdentityCredential::new(Some(options)).map_err(refused)?
        }
        Identity::Secret => {
            let file = credential(name, config.credentials.as_ref())?;
            let read = std::str::from_utf8(file.expose())
                .ok()
                .and_then(|text| toml::from_str(text).ok());
            // Without the parser's words, which show what it read.
            let file: SecretFile = read.ok_or_else(|| {
                let needed = "`credentials` must have tenant_id, client_id and client_secret";
                KekError::new(name, Operation::Login, Cause::Credentials, needed)
            })?;
            let secret = Secret::new(file.client_secret);
            let options = ClientSecretCredentialOptions { client_options };
            ClientSecretCredential::new(&file.tenant_id, file.client_id, secret, Some(options))
                .map_err(refused)?
        }
        Identity::Certificate => {
            let (tenant, client) = (
                need("tenant", &config.tenant)?,
                need("client", &config.client)?,
            );
            let authority = config
                .authority
                .as_ref()
                .map_or(PUBLIC_CLOUD, |a| a.as_str());
            let pem = credential(name, config.credentials.as_ref())?;
            let certificate = Certificate::new(pem.expose(), authority, &tenant, &client)
                .map_err(|what| misconfigured(name, format!("`credentials`: {what}")))?;
            let options = ClientAssertionCredentialOptions { client_options };
            ClientAssertionCredential::new(tenant, client, certificate, Some(options))
                .map_err(refused)?
        }
    })
}

fn credential(
    name: &str,
    source: Option<&CredentialSource>,
) -> Result<dawnkey_secret::Credential, KekError> {
    let source = source.ok_or_else(|| misconfigured(name, "`identity` needs `credentials`"))?;
    source.read().map_err(|e| KekError::credential(name, &e))
}

/// What a credential file of an application with a secret says, in TOML; a container of ours reads the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    tenant_id: String,
    client_id: String,
    client_secret: String,
}

fn transport(name: &str, config: &Config) -> Result<Transport, KekError> {
    let mut http = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(address) = config.address {
        let there = SocketAddr::new(address, config.key.port());
        http = http.resolve(config.key.host(), there);
    }
    if let Some(path) = &config.ca {
        let failed = |e: String| misconfigured(name, format!("read `ca` {}: {e}", path.display()));
        let pem = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        let roots =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))?;
        http = http.tls_certs_only(roots);
    }
    let http = http.build().map_err(|e| misconfigured(name, e))?;
    Ok(Transport::new(Arc::new(Bounded(http))))
}

/// The SDK's transport, but with answers that are bounded before they are read.
#[derive(Debug)]
struct Bounded(reqwest::Client);

impl Bounded {
    async fn send(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let method = match request.method() {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            _ => {
                return Err(Error::with_message(
                    ErrorKind::Other,
                    "a method that is not in use",
                ));
            }
        };
        let mut outgoing = self.0.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(bytes) = request.body() {
            outgoing = outgoing.body(bytes.clone());
        }
        let mut answer = outgoing.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                let kind = ErrorKind::DataConversion;
                return Err(Error::with_message(kind, "an answer of more than 64 KiB"));
            }
            body.extend_from_slice(&chunk);
        }
        let headers: HashMap<HeaderName, HeaderValue> = answer
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                let value = value.to_str().ok()?.to_owned();
                Some((
                    HeaderName::from(name.as_str().to_owned()),
                    HeaderValue::from(value),
                ))
            })
            .collect();
        let status = answer.status().as_u16().into();
        Ok(AsyncRawResponse::from_bytes(
            status,
            Headers::from(headers),
            body,
        ))
    }
}

fn failed(error: reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        ErrorKind::Connection
    } else {
        ErrorKind::Io
    };
    // Without the URL, which has nothing to say.
    Error::with_error(kind, error.without_url(), "speak to Azure")
}

impl HttpClient for Bounded {
    fn execute_request<'a, 'b, 'c>(
        &'a self,
        request: &'b Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.send(request))
    }
}
