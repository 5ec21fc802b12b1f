//! A key on a PKCS#11 token (version 2.40 or later).
//!
//! The KEK is a secret AES key that the token does not give away: `CKA_EXTRACTABLE` false and `CKA_SENSITIVE` true, which
//! the probe looks at, beside trying to read it. Two mechanisms:
//!
//! - `aes-gcm`: the token itself encrypts the DEK with `CKM_AES_GCM`, a 128-bit tag and [`Aad::bytes`] as associated
//!   data. Vectors are random, so one key should make fewer than 2³² wrapped DEKs.
//! - `aes-kw`: for tokens without AES-GCM. AES key wrap (RFC 3394) takes no associated data, and a check value beside
//!   it, such as a MAC by a second key of the token, would be one that the token's other users could leave out. So the
//!   token wraps a key made for this one wrapped DEK, and the DEK is AES-256-GCM under that key with [`Aad::bytes`]
//!   (`envelope`): the wrapped DEK is bound to its purpose, but not by the token. Hence `aad: false` and the
//!   operator's `allow_without_aad`.
//!
//! Rotation: give `key_label` or `key_id` of the new key, and the old one's id among `older_key_ids`. A wrapped DEK names
//! the `CKA_ID` of its key, which is the version of the KEK; one that is not configured is refused.
//!
//! A PIN that the token refused is not tried again by the same opened provider: most tokens lock after three.

mod blob;
mod cipher;
mod config;
mod failure;
mod probe;
mod token;

pub use config::{Config, Iv, Mechanism};

use self::config::Checked;
use self::failure::Failure;
use self::token::Token;
use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, KekError, Kind, Operation, Probe, Provider,
    Wrapped,
};
use dawnkey_secret::Dek;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Wraps DEKs on a token.
pub struct Pkcs11 {
    name: String,
    token: Arc<Token>,
}

impl Pkcs11 {
    /// Takes a configuration. The token is first looked for when it is first needed.
    ///
    /// # Errors
    /// [`Cause::Misconfigured`] with the field.
    pub async fn open(name: &str, config: &Config) -> Result<Self, KekError> {
        let wrong = |problem| KekError::new(name, Operation::Login, Cause::Misconfigured, problem);
        let checked = Checked::new(config).map_err(wrong)?;
        Ok(Self::with(name, checked))
    }

    fn with(name: &str, checked: Checked) -> Self {
        Self {
            name: name.to_owned(),
            token: Arc::new(Token::new(checked)),
        }
    }

    fn error(&self, failure: Failure) -> KekError {
        KekError::new(&self.name, failure.operation, failure.cause, failure.detail)
    }
}

impl Provider for Pkcs11 {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Pkcs11
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: self.token.checked.config.mechanism == Mechanism::AesGcm,
            custody: Custody::Kms,
            rotation: true,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move {
            let aad = *aad;
            let mut copy = Zeroizing::new(*dek.expose());
            let dek = Dek::take(copy.as_mut_slice());
            let wrapped = self.token.call(Operation::Wrap, move |logged, token| {
                let short = |e| Failure::new(Operation::Wrap, Cause::Garbage, format!("{e}"));
                let dek = dek.as_ref().map_err(short)?;
                cipher::wrap(logged, token, dek, &aad)
            });
            let blob = wrapped.await.map_err(|failure| self.error(failure))?;
            let version = blob::Blob::decode(&blob).map(|parts| hex::encode(parts.key_id));
            Ok(Wrapped { blob, version })
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            let (blob, aad) = (blob.to_vec(), *aad);
            let opened = self.token.call(Operation::Unwrap, move |logged, token| {
                cipher::unwrap(logged, token, &blob, &aad)
            });
            opened.await.map_err(|failure| self.error(failure))
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async move {
            let found = self.token.call(Operation::Inspect, |logged, token| {
                token.current(logged, Operation::Inspect)
            });
            let key = found.await.map_err(|failure| self.error(failure))?;
            Ok(Some(hex::encode(key.id)))
        })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async move {
            let looked = self.token.call(Operation::Inspect, probe::look).await;
            let findings = looked.map_err(|failure| self.error(failure))?;
            Ok(Probe { findings })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        let mut id = vec![0; 16];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let mut checked = self.token.checked.clone();
        checked.config.key_label = None;
        checked.key_id = Some(id);
        checked.older.clear();
        Some(Box::new(Self::with(&self.name, checked)))
    }
}
