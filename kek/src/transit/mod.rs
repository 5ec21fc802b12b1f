//! The transit engine of HashiCorp Vault or OpenBao: `encrypt` and `decrypt` with `associated_data`.
//!
//! The KEK never leaves the server; the engine authenticates [`Aad::bytes`] with every wrapped DEK. The key must be
//! `aes256-gcm96` or `chacha20-poly1305`, not derived. Servers older than Vault 1.13 ignore `associated_data`
//! silently: before the first DEK is wrapped, a random one is, and must not come back for another epoch.
//!
//! A blob names the key that made it (`mount/key`), so that one of another key is told from a damaged one; the engine
//! refuses both. See docs/kms/transit.md for what the server must permit.

mod answer;
mod blob;
mod config;
mod probe;
mod session;

pub use crate::rest::TlsConfig;
pub use config::{Config, Login};

use crate::rest::{Base, Request, Rest};
use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, KekError, Kind, Operation, Probe, Provider,
    Wrapped,
};
use answer::{Decrypted, Encrypted, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blob::Blob;
use dawnkey_secret::Dek;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use session::Server;
use std::sync::Arc;
use tokio::sync::OnceCell;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A key of a transit engine.
pub struct Transit {
    name: String,
    mount: String,
    key: String,
    /// What blobs must say made them, `mount/key`.
    made_by: String,
    server: Arc<Server>,
    /// Set when key and server were found to be of the right kind.
    checked: OnceCell<()>,
}

/// Opens a provider. The server is first asked when there is something to do, so that it may be down now.
///
/// # Errors
/// What cannot be right in the configuration, or a CA or certificate that cannot be read.
pub async fn open(name: &str, config: &Config) -> Result<Transit, KekError> {
    let wrong = |problem| KekError::new(name, Operation::Login, Cause::Misconfigured, problem);
    if let Some(problem) = config.problem() {
        return Err(wrong(problem));
    }
    let failed = |error: crate::rest::RestError| error.into_kek(name, Operation::Login);
    let base = Base::parse(&config.address).map_err(failed)?;
    let rest = Rest::new(base, &config.tls).map_err(failed)?;
    Ok(Transit {
        name: name.to_owned(),
        mount: config.mount.clone(),
        key: config.key.clone(),
        made_by: format!("{}/{}", config.mount, config.key),
        server: Arc::new(Server::new(name, rest, config)?),
        checked: OnceCell::new(),
    })
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

impl Transit {
    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    /// Asks the engine; the answer's `data`. `body` is wiped.
    async fn ask<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<T, KekError> {
        let request = || match &body {
            Some(body) => Request::new(Method::POST, format!("/v1/{path}")).json(body.clone()),
            None => Request::new(Method::GET, format!("/v1/{path}")),
        };
        let answer = self.server.ask(operation, request).await?;
        if answer.status != 200 {
            let capability = if body.is_some() { "update" } else { "read" };
            let permission = format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}");
            let refusal = answer::refusal(&answer, operation, &permission);
            return Err(self.error(operation, refusal.cause, refusal.said));
        }
        answer::data(&answer.body).ok_or_else(|| {
            let what = format!("the answer of {path} is none");
            self.error(operation, Cause::Garbage, what)
        })
    }

    fn json(
        &self,
        operation: Operation,
        body: &impl Serialize,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        // Larger than any, so that it never moves.
        let mut json = Zeroizing::new(Vec::with_capacity(4096));
        serde_json::to_writer(&mut *json, body)
            .map_err(|error| self.error(operation, Cause::Unsupported, error))?;
        Ok(json)
    }

    async fn seal(&self, dek: &Dek, aad: &Aad) -> Result<Blob, KekError> {
        let plaintext = Zeroizing::new(STANDARD.encode(dek.expose()));
        let body = Encrypt {
            plaintext: &plaintext,
            associated_data: &STANDARD.encode(aad.bytes()),
        };
        let body = self.json(Operation::Wrap, &body)?;
        let path = format!("{}/encrypt/{}", self.mount, self.key);
        let sealed: Encrypted = self.ask(Operation::Wrap, &path, Some(body)).await?;
        Blob::from_ciphertext(&self.made_by, &sealed.ciphertext).ok_or_else(|| {
            let what = "the ciphertext is not one of the transit engine";
            self.error(Operation::Wrap, Cause::Garbage, what)
        })
    }

    async fn unseal(&self, blob: &Blob, aad: &Aad) -> Result<Dek, KekError> {
        let body = Decrypt {
            ciphertext: &blob.ciphertext(),
            associated_data: &STANDARD.encode(aad.bytes()),
        };
        let body = self.json(Operation::Unwrap, &body)?;
        let path = format!("{}/decrypt/{}", self.mount, self.key);
        let opened: Decrypted = self.ask(Operation::Unwrap, &path, Some(body)).await?;
        let garbage = |_| {
            let what = "the plaintext is not 32 bytes in base64";
            self.error(Operation::Unwrap, Cause::Garbage, what)
        };
        let mut bytes = Zeroizing::new([0; 48]);
        let length = STANDARD
            .decode_slice(opened.plaintext.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| garbage(()))?;
        let bytes = bytes.get_mut(..length).ok_or_else(|| garbage(()))?;
        Dek::take(bytes).map_err(|_| garbage(()))
    }

    async fn key(&self) -> Result<Key, KekError> {
        let path = format!("{}/keys/{}", self.mount, self.key);
        self.ask(Operation::Inspect, &path, None).await
    }

    /// Proves once that the key is of a right kind and that the server binds associated data.
    async fn check(&self) -> Result<(), KekError> {
        let check = || async {
            let key = self.key().await?;
            if let Some(problem) = probe::unusable(&key) {
                return Err(self.error(Operation::Inspect, Cause::Unsupported, problem));
            }
            self.prove_binding().await
        };
        self.checked.get_or_try_init(check).await.map(|_| ())
    }

    async fn prove_binding(&self) -> Result<(), KekError> {
        let dek = Dek::fill(|bytes| aws_lc_rs::rand::fill(bytes))
            .map_err(|_| self.error(Operation::Inspect, Cause::Unsupported, "no random bytes"))?;
        let volume = Uuid::new_v4();
        let blob = self.seal(&dek, &Aad::new(volume, 1)).await?;
        match self.unseal(&blob, &Aad::new(volume, 2)).await {
            Err(error) if error.cause == Cause::NotAuthentic => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                let what = "the server ignores associated_data: it needs Vault 1.13, or OpenBao";
                Err(self.error(Operation::Inspect, Cause::Unsupported, what))
            }
        }
    }
}

impl Provider for Transit {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Transit
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: true,
            custody: Custody::Kms,
            rotation: true,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move {
            self.check().await?;
            let blob = self.seal(dek, aad).await?;
            let bytes = blob.encode().ok_or_else(|| {
                let what = "mount and key have too long names";
                self.error(Operation::Wrap, Cause::Misconfigured, what)
            })?;
            Ok(Wrapped {
                blob: bytes,
                version: Some(blob.version.to_string()),
            })
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            let blob = Blob::decode(blob)
                .ok_or_else(|| self.error(Operation::Unwrap, Cause::NotAuthentic, ""))?;
            if blob.path != self.made_by {
                let detail = format!("made by {:?}, configured is {:?}", blob.path, self.made_by);
                return Err(self.error(Operation::Unwrap, Cause::WrongKey, detail));
            }
            self.unseal(&blob, aad).await
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async { Ok(Some(self.key().await?.latest_version.to_string())) })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(probe::probe(self))
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        Some(Box::new(Self {
            name: self.name.clone(),
            mount: self.mount.clone(),
            key: format!("none-{}", Uuid::new_v4().simple()),
            // It takes our blobs for its own, so that it is the server that refuses.
            made_by: self.made_by.clone(),
            server: Arc::clone(&self.server),
            checked: OnceCell::new(),
        }))
    }
}
