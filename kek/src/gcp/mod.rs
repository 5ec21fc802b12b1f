//! Google Cloud KMS: a key of purpose `ENCRYPT_DECRYPT` that never leaves it.
//!
//! DEKs are encrypted with [`Aad::bytes`] as additional authenticated data. Every field that holds data goes with its CRC-32C,
//! and the answer must say that Google saw the same; the CRC-32C of what comes back is checked here. A mismatch is
//! [`Cause::Garbage`]: something between us and the HSM garbles data, and a DEK that was wrapped garbled would be lost.
//!
//! The blob is form byte 1 ‖ SHA-256 of the key's resource name ‖ Google's ciphertext: a wrapped DEK of another key is told from
//! a damaged one. Google finds the version by itself; the primary one that wrapped is noted beside the blob.
//!
//! The SDK does not wipe its buffers, and it reads the whole body of an answer, which only the caller's deadline bounds.

mod config;
mod crc;
mod error;

pub use config::{Config, KeyName, NotAKeyName};

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, Operation, Probe,
    Provider, Wrapped,
};
use crc::crc32c;
use dawnkey_secret::Dek;
use google_cloud_auth::credentials::{
    Credentials, anonymous, external_account, mds, service_account,
};
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::CryptoKey;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::CryptoKeyVersionState;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What the service account's role must have for the key; `roles/cloudkms.cryptoKeyEncrypterDecrypter` has the first two,
/// `roles/cloudkms.viewer` the third.
pub const PERMISSIONS: [&str; 3] = [ENCRYPT, DECRYPT, GET];
const ENCRYPT: &str = "cloudkms.cryptoKeyVersions.useToEncrypt";
const DECRYPT: &str = "cloudkms.cryptoKeyVersions.useToDecrypt";
const GET: &str = "cloudkms.cryptoKeys.get";

const FORM: u8 = 1;
/// Google adds less than 100 bytes to what it encrypts.
const MAX_CIPHERTEXT: usize = 1024;
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// A key of Google Cloud KMS.
pub struct Gcp {
    name: String,
    key: KeyName,
    client: KeyManagementService,
}

/// Prepares a client; nothing is sent before the first call.
///
/// # Errors
/// [`Cause::Misconfigured`] or [`Cause::Credentials`] when the credential file is missing or none of those that are known.
pub async fn open(name: &str, config: &Config) -> Result<Gcp, KekError> {
    let refused = |e: String| KekError::new(name, Operation::Login, Cause::Misconfigured, e);
    let mut client = KeyManagementService::builder()
        .with_credentials(credentials(name, config)?)
        .with_retry_policy(NeverRetry);
    if let Some(endpoint) = &config.endpoint {
        client = client.with_endpoint(endpoint.as_str());
    }
    Ok(Gcp {
        name: name.to_owned(),
        key: config.key.clone(),
        client: client.build().await.map_err(|e| refused(e.to_string()))?,
    })
}

fn credentials(name: &str, config: &Config) -> Result<Credentials, KekError> {
    let refused = |what: &str| KekError::new(name, Operation::Login, Cause::Credentials, what);
    let in_clear = config
        .endpoint
        .as_ref()
        .is_some_and(|e| e.as_str().starts_with("http:"));
    if in_clear {
        return Ok(anonymous::Builder::new().build());
    }
    let Some(source) = &config.credentials else {
        let built = mds::Builder::default().with_scopes([SCOPE]).build();
        return built.map_err(|e| refused(&e.to_string()));
    };
    let file = source.read().map_err(|e| KekError::credential(name, &e))?;
    let json: serde_json::Value =
        serde_json::from_slice(file.expose()).map_err(|_| refused("`credentials` is not JSON"))?;
    let kind = json
        .get("type")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned);
    // Their errors may show what they could not read.
    let wrong = || refused("`credentials` lacks something that its kind needs");
    match kind.as_deref() {
        Some("service_account") => service_account::Builder::new(json)
            .build()
            .map_err(|_| wrong()),
        Some("external_account") => {
            let built = external_account::Builder::new(json)
                .with_scopes([SCOPE])
                .build();
            built.map_err(|_| wrong())
        }
        _ => Err(refused(
            "`credentials` is of another type than service_account or external_account",
        )),
    }
}

impl Gcp {
    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    fn failed(
        &self,
        operation: Operation,
        permission: &str,
        error: &google_cloud_gax::error::Error,
    ) -> KekError {
        let (cause, detail) = error::classify(error, operation, permission);
        self.error(operation, cause, detail)
    }

    /// Form byte and digest of the key's name.
    fn head(&self) -> Vec<u8> {
        [&[FORM], Sha256::digest(self.key.as_str()).as_slice()].concat()
    }

    async fn encrypt(&self, dek: &Dek, aad: &Aad) -> Result<Wrapped, KekError> {
        let answer = self
            .client
            .encrypt()
            .set_name(self.key.as_str())
            .set_plaintext(dek.expose().to_vec())
            .set_plaintext_crc32c(crc32c(dek.expose()))
            .set_additional_authenticated_data(aad.bytes().to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(&aad.bytes()))
            .send()
            .await
            .map_err(|e| self.failed(Operation::Wrap, ENCRYPT, &e))?;
        let garbage = |what| self.error(Operation::Wrap, Cause::Garbage, what);
        if !answer.verified_plaintext_crc32c
            || !answer.verified_additional_authenticated_data_crc32c
        {
            return Err(garbage("Google did not see the checksums that were sent"));
        }
        if answer.ciphertext_crc32c != Some(crc32c(&answer.ciphertext)) {
            return Err(garbage("the ciphertext has another checksum"));
        }
        let version = self.key.version_in(&answer.name);
        let version = version.ok_or_else(|| garbage("the answer is of another key"))?;
        if answer.ciphertext.is_empty() || answer.ciphertext.len() > MAX_CIPHERTEXT {
            return Err(garbage("a ciphertext of this length is none of a DEK"));
        }
        Ok(Wrapped {
            blob: [self.head().as_slice(), &answer.ciphertext].concat(),
            version: Some(version.to_owned()),
        })
    }

    async fn decrypt(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        let ciphertext = self.ciphertext(blob)?;
        let answer = self
            .client
            .decrypt()
            .set_name(self.key.as_str())
            .set_ciphertext(ciphertext.to_vec())
            .set_ciphertext_crc32c(crc32c(ciphertext))
            .set_additional_authenticated_data(aad.bytes().to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(&aad.bytes()))
            .send()
            .await
            .map_err(|e| self.failed(Operation::Unwrap, DECRYPT, &e))?;
        let garbage = |what| self.error(Operation::Unwrap, Cause::Garbage, what);
        let mut plaintext = Zeroizing::new(answer.plaintext.to_vec());
        if answer.plaintext_crc32c != Some(crc32c(&plaintext)) {
            return Err(garbage("the plaintext has another checksum"));
        }
        Dek::take(&mut plaintext)
            .map_err(|_| garbage("what was decrypted has not the length of a DEK"))
    }

    fn ciphertext<'a>(&self, blob: &'a [u8]) -> Result<&'a [u8], KekError> {
        let head = self.head();
        let refused = |cause, detail| self.error(Operation::Unwrap, cause, detail);
        let (found, ciphertext) = blob
            .split_at_checked(head.len())
            .filter(|(found, ciphertext)| {
                found.first() == Some(&FORM) && (1..=MAX_CIPHERTEXT).contains(&ciphertext.len())
            })
            .ok_or_else(|| refused(Cause::NotAuthentic, ""))?;
        if found == head {
            Ok(ciphertext)
        } else {
            Err(refused(Cause::WrongKey, "it names another key"))
        }
    }

    async fn look(&self) -> Result<CryptoKey, KekError> {
        let call = self.client.get_crypto_key().set_name(self.key.as_str());
        let answer = call.send().await;
        let key = answer.map_err(|e| self.failed(Operation::Inspect, GET, &e))?;
        if key.name == self.key.as_str() {
            Ok(key)
        } else {
            Err(self.error(
                Operation::Inspect,
                Cause::Garbage,
                "the answer is of another key",
            ))
        }
    }

    async fn primary(&self) -> Result<Option<String>, KekError> {
        let key = self.look().await?;
        let version = key
            .primary
            .and_then(|primary| self.key.version_in(&primary.name).map(str::to_owned));
        match version {
            Some(version) => Ok(Some(version)),
            None => Err(self.error(
                Operation::Inspect,
                Cause::Unsupported,
                "the key has no primary version",
            )),
        }
    }
}

/// What a key's metadata say about its use as a KEK.
fn findings(key: &CryptoKey) -> Vec<Finding> {
    let state = key.primary.as_ref().map(|primary| &primary.state);
    let level = key
        .primary
        .as_ref()
        .and_then(|primary| primary.protection_level.name());
    vec![
        Finding {
            subject: "state of the primary version".into(),
            good: state == Some(&CryptoKeyVersionState::Enabled),
            detail: state
                .and_then(|state| state.name())
                .unwrap_or("none")
                .into(),
        },
        Finding {
            subject: "kind of key".into(),
            good: key.purpose == CryptoKeyPurpose::EncryptDecrypt,
            detail: format!(
                "{}, expected ENCRYPT_DECRYPT",
                key.purpose.name().unwrap_or("unknown")
            ),
        },
        Finding {
            subject: "key cannot be read".into(),
            good: true,
            detail: format!(
                "Google Cloud KMS has no call that exports a key; protection level {}",
                level.unwrap_or("unknown")
            ),
        },
    ]
}

impl Provider for Gcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::GcpKms
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
        Box::pin(self.primary())
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async {
            Ok(Probe {
                findings: findings(&self.look().await?),
            })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        Some(Box::new(Self {
            name: self.name.clone(),
            key: self.key.beside("dawnkey-no-such-key"),
            client: self.client.clone(),
        }))
    }
}
