//! AWS KMS: a symmetric key that never leaves it.
//!
//! DEKs are wrapped by `Encrypt` and unwrapped by `Decrypt` with the encryption context `dawnkey:volume` = the volume's id and
//! `dawnkey:epoch` = the epoch in decimals, which the KMS authenticates. `Decrypt` names the key by its ARN, so that a wrapped
//! DEK of another key is refused, and the key of every answer must be the one that was asked. The blob is AWS's own.
//!
//! Rotation at AWS keeps the ARN, and old wrapped DEKs open for ever. The version of a wrapped DEK is the id of the key
//! material (`CurrentKeyMaterialId` of `DescribeKey`, taken before wrapping), where AWS names it.
//!
//! This provider never asks for an answer that is sealed to an attested recipient, and accepts none. The SDK does not wipe its
//! buffers.

mod client;
mod config;
mod error;

pub use config::{Config, KeyArn, NotAnArn};

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, Operation, Probe,
    Provider, Wrapped,
};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType};
use dawnkey_secret::Dek;
use std::collections::HashMap;
use zeroize::Zeroizing;

/// What the policy of the key or of the role must allow.
pub const PERMISSIONS: [&str; 3] = [ENCRYPT, DECRYPT, DESCRIBE];
const ENCRYPT: &str = "kms:Encrypt";
const DECRYPT: &str = "kms:Decrypt";
const DESCRIBE: &str = "kms:DescribeKey";

/// Longest `CiphertextBlob` that `Decrypt` takes.
const MAX_BLOB: usize = 6144;

/// A key of AWS KMS.
pub struct Aws {
    name: String,
    key: KeyArn,
    client: Client,
}

/// Prepares a client; nothing is sent before the first call.
///
/// # Errors
/// [`Cause::Misconfigured`] or [`Cause::Credentials`] when a file that the configuration names is missing or wrong.
pub async fn open(name: &str, config: &Config) -> Result<Aws, KekError> {
    Ok(Aws {
        name: name.to_owned(),
        key: config.key.clone(),
        client: client::client(name, config)?,
    })
}

impl Aws {
    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    fn failed<E>(
        &self,
        operation: Operation,
        permission: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> KekError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (cause, detail) = error::classify(error, operation, permission);
        self.error(operation, cause, detail)
    }

    /// The answer must be of the key that was asked.
    fn same_key(&self, operation: Operation, answered: Option<&str>) -> Result<(), KekError> {
        match answered {
            Some(key) if key == self.key.as_str() => Ok(()),
            other => {
                let detail = format!("the answer is of the key {}", other.unwrap_or("(none)"));
                Err(self.error(operation, Cause::Garbage, detail))
            }
        }
    }

    async fn encrypt(&self, dek: &Dek, aad: &Aad) -> Result<Wrapped, KekError> {
        // A key that may not be looked at still wraps; its wrapped DEKs then have no version.
        let version = self.material().await.ok().flatten();
        let answer = self
            .client
            .encrypt()
            .key_id(self.key.as_str())
            .plaintext(Blob::new(dek.expose().as_slice()))
            .set_encryption_context(Some(context(aad)))
            .send()
            .await
            .map_err(|e| self.failed(Operation::Wrap, ENCRYPT, &e))?;
        self.same_key(Operation::Wrap, answer.key_id())?;
        match answer.ciphertext_blob.map(Blob::into_inner) {
            Some(blob) if !blob.is_empty() && blob.len() <= MAX_BLOB => {
                Ok(Wrapped { blob, version })
            }
            _ => Err(self.error(
                Operation::Wrap,
                Cause::Garbage,
                "an answer without CiphertextBlob",
            )),
        }
    }

    async fn decrypt(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        if blob.is_empty() || blob.len() > MAX_BLOB {
            return Err(self.error(Operation::Unwrap, Cause::NotAuthentic, ""));
        }
        let answer = self
            .client
            .decrypt()
            .key_id(self.key.as_str())
            .ciphertext_blob(Blob::new(blob))
            .set_encryption_context(Some(context(aad)))
            .send()
            .await
            .map_err(|e| self.failed(Operation::Unwrap, DECRYPT, &e))?;
        let garbage = |what| self.error(Operation::Unwrap, Cause::Garbage, what);
        let plaintext = answer.plaintext.map(Blob::into_inner).map(Zeroizing::new);
        self.same_key(Operation::Unwrap, answer.key_id.as_deref())?;
        let mut plaintext = plaintext.ok_or_else(|| garbage("an answer without Plaintext"))?;
        Dek::take(&mut plaintext)
            .map_err(|_| garbage("what was unwrapped has not the length of a DEK"))
    }

    async fn metadata(&self) -> Result<KeyMetadata, KekError> {
        let answer = self
            .client
            .describe_key()
            .key_id(self.key.as_str())
            .send()
            .await
            .map_err(|e| self.failed(Operation::Inspect, DESCRIBE, &e))?;
        let key = answer.key_metadata;
        let key = key.ok_or_else(|| {
            self.error(
                Operation::Inspect,
                Cause::Garbage,
                "an answer without KeyMetadata",
            )
        })?;
        self.same_key(Operation::Inspect, key.arn())?;
        Ok(key)
    }

    async fn material(&self) -> Result<Option<String>, KekError> {
        Ok(self.metadata().await?.current_key_material_id)
    }
}

fn context(aad: &Aad) -> HashMap<String, String> {
    HashMap::from([
        (
            "dawnkey:volume".to_owned(),
            aad.volume.hyphenated().to_string(),
        ),
        ("dawnkey:epoch".to_owned(), aad.epoch.to_string()),
    ])
}

/// What a key's metadata say about its use as a KEK.
fn findings(key: &KeyMetadata) -> Vec<Finding> {
    let text = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    let state = key.key_state();
    let usage = key.key_usage() == Some(&KeyUsageType::EncryptDecrypt);
    let symmetric = key.key_spec() == Some(&KeySpec::SymmetricDefault);
    let mut found = vec![
        Finding {
            subject: "key state".into(),
            good: state == Some(&KeyState::Enabled),
            detail: text(state.map(KeyState::as_str)),
        },
        Finding {
            subject: "kind of key".into(),
            good: usage && symmetric,
            detail: format!(
                "{} for {}, expected SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT",
                text(key.key_spec().map(KeySpec::as_str)),
                text(key.key_usage().map(KeyUsageType::as_str))
            ),
        },
        Finding {
            subject: "key cannot be read".into(),
            good: true,
            detail: format!(
                "AWS KMS has no call that exports a key; origin {}",
                text(key.origin().map(|origin| origin.as_str()))
            ),
        },
    ];
    if let Some(end) = key.valid_to() {
        found.push(Finding {
            subject: "imported key material expires".into(),
            good: false,
            detail: format!("at {end}: import it again before, or every wrapped DEK is lost"),
        });
    }
    found
}

impl Provider for Aws {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::AwsKms
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
        Box::pin(self.encrypt(dek, aad))
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(self.decrypt(blob, aad))
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(self.material())
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async {
            let key = self.metadata().await?;
            Ok(Probe {
                findings: findings(&key),
            })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        Some(Box::new(Self {
            name: self.name.clone(),
            key: self.key.nonexistent(),
            client: self.client.clone(),
        }))
    }
}
