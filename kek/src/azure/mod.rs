//! Azure Key Vault and Azure Managed HSM: a key that never leaves them.
//!
//! **Managed HSM** (an `oct-HSM` key): DEKs are encrypted with `A256GCM` and [`Aad::bytes`] as associated data, so that the HSM
//! itself refuses a wrapped DEK of another volume or epoch.
//!
//! **Key Vault** (an RSA key): its `wrapKey` with `RSA-OAEP-256` takes no associated data. It wraps a fresh inner key, and the
//! DEK is sealed under that with [`Aad::bytes`] (`envelope`): a wrapped DEK cannot be moved to another volume or epoch. Two
//! things stay weaker, which is why the provider says that it has no associated data and needs `allow_without_aad = true`: the
//! vault's log and policy know nothing of volumes; and RSA wrapping needs only the public key, so that whoever can write to the
//! store can put there a wrapped DEK that he knows himself. He still reads no disk that was written under the genuine one.
//!
//! Key and version that wrapped are in the blob (its form: `blob.rs`), and unwrapping names them: rotation leaves old wrapped DEKs
//! usable as long as their version is enabled. Tokens go to the vault's own domain only: the resource of its challenge must be a
//! parent of its host. The SDK does not wipe its buffers.

mod assertion;
mod blob;
mod client;
mod config;
mod error;

pub use config::{Config, Identity, KeyUrl, KeyUrlError, Service};

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, Operation, Probe,
    Provider, Wrapped, envelope,
};
use azure_core::http::Response;
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, Key, KeyClientGetKeyOptions, KeyOperationParameters, KeyOperationResult,
};
use blob::Parts;
use dawnkey_secret::Dek;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A key that no vault of ours has.
const NO_SUCH_KEY: &str = "dawnkey-no-such-key";

/// A key of Key Vault or Managed HSM.
pub struct Azure {
    name: String,
    key: KeyUrl,
    client: Arc<KeyClient>,
}

/// Prepares a client; nothing is sent before the first call.
///
/// # Errors
/// [`Cause::Misconfigured`] or [`Cause::Credentials`] when the identity lacks something, or a file that the configuration
/// names is missing or wrong.
pub async fn open(name: &str, config: &Config) -> Result<Azure, KekError> {
    Ok(Azure {
        name: name.to_owned(),
        key: config.key.clone(),
        client: Arc::new(client::client(name, config)?),
    })
}

impl Azure {
    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    fn garbage(&self, operation: Operation, what: &str) -> KekError {
        self.error(operation, Cause::Garbage, what)
    }

    fn not_authentic(&self) -> KekError {
        self.error(Operation::Unwrap, Cause::NotAuthentic, "")
    }

    fn failed(&self, operation: Operation, error: &azure_core::Error) -> KekError {
        let permission = permission(self.key.service(), operation);
        let (cause, detail) = error::classify(error, operation, permission);
        self.error(operation, cause, detail)
    }

    /// What an operation gave, and the version of the key that it was done with.
    fn result(
        &self,
        operation: Operation,
        answer: azure_core::Result<Response<KeyOperationResult>>,
    ) -> Result<(KeyOperationResult, String), KekError> {
        let answer = answer.and_then(Response::into_model);
        let answer = answer.map_err(|e| self.failed(operation, &e))?;
        let kid = answer.kid.as_deref().unwrap_or_default();
        let version = self.key.version_in(kid);
        let version =
            version.ok_or_else(|| self.garbage(operation, "the answer is of another key"))?;
        Ok((answer, version))
    }

    async fn encrypt(&self, dek: &Dek, aad: &Aad) -> Result<Wrapped, KekError> {
        let (version, parts) = match self.key.service() {
            Service::Vault => self.wrap_in_vault(dek, aad).await?,
            Service::ManagedHsm => self.wrap_in_hsm(dek, aad).await?,
        };
        Ok(Wrapped {
            blob: blob::write(&self.key.digest(), &version, &parts),
            version: Some(version),
        })
    }

    async fn wrap_in_vault(&self, dek: &Dek, aad: &Aad) -> Result<(String, Parts), KekError> {
        let no_random = || self.error(Operation::Wrap, Cause::Unsupported, "no random bytes");
        let (inner, sealed) = envelope::seal(dek, aad).ok_or_else(no_random)?;
        let asked = KeyOperationParameters {
            algorithm: Some(EncryptionAlgorithm::RsaOaep256),
            value: Some(inner.expose().to_vec()),
            ..KeyOperationParameters::default()
        };
        let asked = asked
            .try_into()
            .map_err(|e| self.failed(Operation::Wrap, &e))?;
        let answer = self.client.wrap_key(self.key.name(), asked, None).await;
        let (answer, version) = self.result(Operation::Wrap, answer)?;
        let wrapped = answer.result.unwrap_or_default();
        let parts = Parts::Vault { wrapped, sealed };
        // What cannot be read back is found now, not at the next boot.
        match blob::read(&blob::write(&self.key.digest(), &version, &parts)) {
            Some(_) => Ok((version, parts)),
            None => Err(self.garbage(
                Operation::Wrap,
                "a wrapped key of a length that no RSA key gives",
            )),
        }
    }

    async fn wrap_in_hsm(&self, dek: &Dek, aad: &Aad) -> Result<(String, Parts), KekError> {
        let asked = KeyOperationParameters {
            algorithm: Some(EncryptionAlgorithm::A256Gcm),
            value: Some(dek.expose().to_vec()),
            additional_authenticated_data: Some(aad.bytes().to_vec()),
            ..KeyOperationParameters::default()
        };
        let asked = asked
            .try_into()
            .map_err(|e| self.failed(Operation::Wrap, &e))?;
        let answer = self.client.encrypt(self.key.name(), asked, None).await;
        let (answer, version) = self.result(Operation::Wrap, answer)?;
        let (nonce, tag) = (
            answer.iv.unwrap_or_default(),
            answer.authentication_tag.unwrap_or_default(),
        );
        let parts = (
            nonce.try_into(),
            tag.try_into(),
            answer.result.unwrap_or_default().try_into(),
        );
        match parts {
            (Ok(nonce), Ok(tag), Ok(ciphertext)) => Ok((
                version,
                Parts::Hsm {
                    nonce,
                    tag,
                    ciphertext,
                },
            )),
            _ => Err(self.garbage(
                Operation::Wrap,
                "not a nonce, a tag and a ciphertext of AES-GCM",
            )),
        }
    }

    async fn decrypt(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        match self.decrypt_named(blob, aad).await {
            // Versions cannot be deleted one by one: where the key is there, the version was never one of it.
            Err(e) if e.cause == Cause::NoSuchKey && self.look().await.is_ok() => {
                let detail = "it names a version that the key has not";
                Err(self.error(Operation::Unwrap, Cause::NotAuthentic, detail))
            }
            result => result,
        }
    }

    async fn decrypt_named(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        let (key, version, parts) = blob::read(blob).ok_or_else(|| self.not_authentic())?;
        if key != self.key.digest() {
            return Err(self.error(Operation::Unwrap, Cause::WrongKey, "it names another key"));
        }
        match (self.key.service(), parts) {
            (Service::Vault, Parts::Vault { wrapped, sealed }) => {
                let asked = KeyOperationParameters {
                    algorithm: Some(EncryptionAlgorithm::RsaOaep256),
                    value: Some(wrapped),
                    ..KeyOperationParameters::default()
                };
                let asked = asked
                    .try_into()
                    .map_err(|e| self.failed(Operation::Unwrap, &e))?;
                let answer = self
                    .client
                    .unwrap_key(self.key.name(), &version, asked, None)
                    .await;
                let mut inner = self.clear(answer, &version)?;
                let inner =
                    envelope::InnerKey::take(&mut inner).ok_or_else(|| self.not_authentic())?;
                envelope::open(&inner, &sealed, aad).ok_or_else(|| self.not_authentic())
            }
            (
                Service::ManagedHsm,
                Parts::Hsm {
                    nonce,
                    tag,
                    ciphertext,
                },
            ) => {
                let asked = KeyOperationParameters {
                    algorithm: Some(EncryptionAlgorithm::A256Gcm),
                    value: Some(ciphertext.to_vec()),
                    iv: Some(nonce.to_vec()),
                    authentication_tag: Some(tag.to_vec()),
                    additional_authenticated_data: Some(aad.bytes().to_vec()),
                };
                let asked = asked
                    .try_into()
                    .map_err(|e| self.failed(Operation::Unwrap, &e))?;
                let answer = self
                    .client
                    .decrypt(self.key.name(), &version, asked, None)
                    .await;
                let mut clear = self.clear(answer, &version)?;
                let length = |_| {
                    self.garbage(
                        Operation::Unwrap,
                        "what was decrypted has not the length of a DEK",
                    )
                };
                Dek::take(&mut clear).map_err(length)
            }
            _ => Err(self.error(
                Operation::Unwrap,
                Cause::WrongKey,
                "the other of vault and HSM wrapped it",
            )),
        }
    }

    fn clear(
        &self,
        answer: azure_core::Result<Response<KeyOperationResult>>,
        version: &str,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let (answer, answered) = self.result(Operation::Unwrap, answer)?;
        let clear = Zeroizing::new(answer.result.unwrap_or_default());
        if answered == version {
            Ok(clear)
        } else {
            Err(self.garbage(
                Operation::Unwrap,
                "the answer is of another version of the key",
            ))
        }
    }

    async fn look(&self) -> Result<(Key, String), KekError> {
        let options = KeyClientGetKeyOptions::default();
        let answer = self.client.get_key(self.key.name(), Some(options)).await;
        let key: Key = answer
            .and_then(Response::into_model)
            .map_err(|e| self.failed(Operation::Inspect, &e))?;
        let kid = key.key.as_ref().and_then(|key| key.kid.as_deref());
        let version = kid.and_then(|kid| self.key.version_in(kid));
        let version = version
            .ok_or_else(|| self.garbage(Operation::Inspect, "the answer is of another key"))?;
        Ok((key, version))
    }
}

/// The permission that an operation needs: of an access policy in a vault, of the local RBAC in an HSM.
const fn permission(service: Service, operation: Operation) -> &'static str {
    match (service, operation) {
        (Service::Vault, Operation::Wrap) => "keys/wrapKey",
        (Service::Vault, Operation::Unwrap) => "keys/unwrapKey",
        (Service::Vault, _) => "keys/get",
        (Service::ManagedHsm, Operation::Wrap) => {
            "Microsoft.KeyVault/managedHsm/keys/encrypt/action"
        }
        (Service::ManagedHsm, Operation::Unwrap) => {
            "Microsoft.KeyVault/managedHsm/keys/decrypt/action"
        }
        (Service::ManagedHsm, _) => "Microsoft.KeyVault/managedHsm/keys/read/action",
    }
}

/// What a key's attributes say about its use as a KEK.
fn findings(service: Service, key: &Key) -> Vec<Finding> {
    let attributes = key.attributes.clone().unwrap_or_default();
    let material = key.key.clone().unwrap_or_default();
    let kind = material.kty.as_ref().map_or("unknown", |kty| kty.as_ref());
    let operations = material.key_ops.unwrap_or_default();
    let (kinds, needed) = match service {
        Service::Vault => (["RSA", "RSA-HSM"], ["wrapKey", "unwrapKey"]),
        Service::ManagedHsm => (["oct-HSM", "oct"], ["encrypt", "decrypt"]),
    };
    let exportable = attributes.exportable == Some(true);
    let mut found = vec![
        Finding {
            subject: "key state".into(),
            good: attributes.enabled == Some(true),
            detail: if attributes.enabled == Some(true) {
                "enabled"
            } else {
                "disabled"
            }
            .into(),
        },
        Finding {
            subject: "kind of key".into(),
            good: kinds.contains(&kind),
            detail: format!("{kind}, expected {}", kinds.join(" or ")),
        },
        Finding {
            subject: "operations of the key".into(),
            good: needed
                .iter()
                .all(|need| operations.iter().any(|has| has == need)),
            detail: format!("{}; needed {}", operations.join(", "), needed.join(", ")),
        },
        Finding {
            subject: "key cannot be read".into(),
            good: !exportable && material.d.is_none() && material.k.is_none(),
            detail: if exportable {
                "exportable: make a key that is not"
            } else {
                "not exportable"
            }
            .into(),
        },
    ];
    if let Some(end) = attributes.expires {
        found.push(Finding {
            subject: "key expires".into(),
            good: false,
            detail: format!(
                "at {end}: after that it wraps no DEK and, in some vaults, unwraps none"
            ),
        });
    }
    found
}

impl Provider for Azure {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::AzureKeyVault
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: self.key.service() == Service::ManagedHsm,
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
        Box::pin(async { Ok(Some(self.look().await?.1)) })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async {
            let (key, _) = self.look().await?;
            Ok(Probe {
                findings: findings(self.key.service(), &key),
            })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        Some(Box::new(Self {
            name: self.name.clone(),
            key: self.key.with_name(NO_SUCH_KEY),
            client: Arc::clone(&self.client),
        }))
    }
}
