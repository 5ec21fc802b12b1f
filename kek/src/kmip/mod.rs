//! A key on a KMIP server.
//!
//! Spoken is KMIP 1.4, over TLS 1.2 or 1.3 with certificates on both sides: a small subset of our own (Discover
//! Versions, Locate, Get Attributes, Encrypt, Decrypt, and Get to see it refused). AES-GCM with [`Aad::bytes`] as
//! associated data and a tag in a field of its own came with version 1.4. A server of an earlier version is refused: it
//! would leave out associated data that it has no field for, and one volume's wrapped DEK would open for another.
//!
//! Every connection begins with Discover Versions. The key is named in each request by its unique identifier, the answer
//! must name the same, and a wrapped DEK names the key that made it. Rotation: the new key's identifier (or name), and
//! the old identifiers among `older_key_ids`.
//!
//! KMIP's own access rules differ between servers: some let whoever may Encrypt also Get the key. The probe tries that.

mod blob;
mod client;
mod config;
mod connection;
mod message;
mod probe;
pub mod ttlv;

pub use config::Config;

use self::client::Client;
use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, KekError, Kind, Operation, Probe, Provider,
    Wrapped,
};
use dawnkey_secret::Dek;
use std::sync::Arc;

/// A call that failed.
#[derive(Debug)]
struct Failure {
    cause: Cause,
    detail: String,
    /// The connection was lost before an answer came.
    lost: bool,
    /// The server may have meant [`Cause::NotAuthentic`], or that it does not work.
    ambiguous: bool,
}

impl Failure {
    fn new(cause: Cause, detail: impl std::fmt::Display) -> Self {
        Self {
            cause,
            detail: detail.to_string(),
            lost: false,
            ambiguous: false,
        }
    }
}

/// Wraps DEKs on a KMIP server.
pub struct Kmip {
    name: String,
    client: Arc<Client>,
}

impl Kmip {
    /// Takes a configuration. The server is first asked when it is first needed.
    ///
    /// # Errors
    /// [`Cause::Misconfigured`] with the field.
    pub async fn open(name: &str, config: &Config) -> Result<Self, KekError> {
        if let Some(problem) = config.problem() {
            let cause = Cause::Misconfigured;
            return Err(KekError::new(name, Operation::Login, cause, problem));
        }
        Ok(Self::with(name, config.clone()))
    }

    fn with(name: &str, config: Config) -> Self {
        Self {
            name: name.to_owned(),
            client: Arc::new(Client::new(config)),
        }
    }

    fn error(&self, operation: Operation, failure: Failure) -> KekError {
        KekError::new(&self.name, operation, failure.cause, failure.detail)
    }
}

impl Provider for Kmip {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Kmip
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
            let wrapped = self.client.wrap(dek, aad).await;
            let blob = wrapped.map_err(|failure| self.error(Operation::Wrap, failure))?;
            Ok(Wrapped {
                blob: blob.encode(),
                version: Some(blob.key_id),
            })
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            let opened = self.client.unwrap(blob, aad).await;
            opened.map_err(|failure| self.error(Operation::Unwrap, failure))
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async move {
            let current = self.client.current(Operation::Inspect).await;
            let id = current.map_err(|failure| self.error(Operation::Inspect, failure))?;
            Ok(Some(id))
        })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async move {
            let looked = probe::look(&self.client).await;
            let findings = looked.map_err(|failure| self.error(Operation::Inspect, failure))?;
            Ok(Probe { findings })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        let mut config = self.client.config.clone();
        config.key_name = None;
        config.key_id = Some(format!("no-such-key-{}", uuid::Uuid::new_v4()));
        config.older_key_ids.clear();
        Some(Box::new(Self::with(&self.name, config)))
    }
}
