//! OpenStack Barbican: the KEK is a symmetric secret there, and comes into the memory of this service.
//!
//! Barbican cannot wrap: every call fetches the KEK, uses it for one AES-256-GCM operation with [`Aad::bytes`] as
//! associated data, and wipes it. Whoever reads this service's memory at that moment has the KEK; whoever has its
//! application credential can fetch it at any time. Its custody says so.
//!
//! Secrets of Barbican never change: a rotation is a new secret, with the old one's id in `previous`. A blob names the
//! secret it was wrapped under.

mod answer;
mod blob;
mod config;
mod probe;
mod session;

pub use crate::rest::TlsConfig;
pub use config::Config;

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, KekError, Kind, Operation, Probe, Provider,
    Wrapped,
};
use answer::Secret;
use blob::Kek;
use dawnkey_secret::Dek;
use serde::de::DeserializeOwned;
use session::Services;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroize;

/// A KEK in Barbican.
pub struct Barbican {
    name: String,
    services: Arc<Services>,
    active: Key,
    previous: Vec<Key>,
}

/// A secret: by the id that blobs name, and by the one that Barbican is asked for.
struct Key {
    named: Uuid,
    asked: Uuid,
}

impl Key {
    fn of(id: Uuid) -> Self {
        Self {
            named: id,
            asked: id,
        }
    }
}

/// Opens a provider. Keystone is first asked when there is something to do, so that it may be down now.
///
/// # Errors
/// What cannot be right in the configuration, or a CA or certificate that cannot be read.
pub async fn open(name: &str, config: &Config) -> Result<Barbican, KekError> {
    let services = Services::new(name, config);
    Ok(Barbican {
        name: name.to_owned(),
        services: Arc::new(services.map_err(|error| error.into_kek(name, Operation::Login))?),
        active: Key::of(config.secret),
        previous: config.previous.iter().copied().map(Key::of).collect(),
    })
}

impl Barbican {
    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    /// JSON about a secret; `permission` is the rule of Barbican's policy that allows it.
    async fn json<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &str,
        permission: &str,
    ) -> Result<T, KekError> {
        let answer = self
            .services
            .get(operation, path, "application/json")
            .await?;
        if answer.status != 200 {
            let (cause, said) = answer::barbican(&answer, operation, permission);
            return Err(self.error(operation, cause, said));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            let what = format!("the answer of {path} is none");
            self.error(operation, Cause::Garbage, what)
        })
    }

    async fn secret(&self, operation: Operation, id: Uuid) -> Result<Secret, KekError> {
        let path = format!("/v1/secrets/{id}");
        self.json(operation, &path, "secret:get").await
    }

    /// Fetches a KEK, if it is one that may be used.
    async fn fetch(&self, operation: Operation, key: &Key) -> Result<Kek, KekError> {
        let secret = self.secret(operation, key.asked).await?;
        if let Some((cause, problem)) = secret.problem() {
            return Err(self.error(operation, cause, problem));
        }
        let path = format!("/v1/secrets/{}/payload", key.asked);
        let accept = "application/octet-stream";
        let mut answer = self.services.get(operation, &path, accept).await?;
        if answer.status != 200 {
            let (cause, said) = answer::barbican(&answer, operation, "secret:decrypt");
            return Err(self.error(operation, cause, said));
        }
        let mut kek = Kek::new([0; 32]);
        if answer.body.len() != kek.len() {
            let what = format!("the secret has {} bytes; expected 32", answer.body.len());
            return Err(self.error(operation, Cause::Unsupported, what));
        }
        kek.copy_from_slice(&answer.body);
        answer.body.zeroize();
        Ok(kek)
    }

    fn key_of(&self, blob: &[u8]) -> Result<&Key, KekError> {
        let failed = |cause, detail: String| self.error(Operation::Unwrap, cause, detail);
        let id = blob::made_by(blob).ok_or_else(|| failed(Cause::NotAuthentic, String::new()))?;
        let mut keys = std::iter::once(&self.active).chain(&self.previous);
        keys.find(|key| key.named == id).ok_or_else(|| {
            let detail = format!("made by secret {id}, which is neither secret nor in previous");
            failed(Cause::WrongKey, detail)
        })
    }
}

impl Provider for Barbican {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Barbican
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: true,
            custody: Custody::ServiceMemory,
            rotation: true,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move {
            let kek = self.fetch(Operation::Wrap, &self.active).await?;
            let blob = blob::seal(&kek, self.active.named, dek, aad).ok_or_else(|| {
                let what = "no random bytes, or AES-256-GCM refused";
                self.error(Operation::Wrap, Cause::Unsupported, what)
            })?;
            Ok(Wrapped {
                blob,
                version: Some(self.active.named.to_string()),
            })
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            let key = self.key_of(blob)?;
            let kek = self.fetch(Operation::Unwrap, key).await?;
            blob::open(&kek, blob, aad)
                .ok_or_else(|| self.error(Operation::Unwrap, Cause::NotAuthentic, ""))
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async { Ok(Some(self.active.named.to_string())) })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(probe::probe(self))
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        let elsewhere = |key: &Key| Key {
            named: key.named,
            asked: Uuid::new_v4(),
        };
        Some(Box::new(Self {
            name: self.name.clone(),
            services: Arc::clone(&self.services),
            active: elsewhere(&self.active),
            previous: self.previous.iter().map(elsewhere).collect(),
        }))
    }
}
