//! A provider for tests, with switches for everything that a KMS can do to its users.
//!
//! It wraps with AES-256-GCM under a key made of its name and version; version N opens what versions up to N made.

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, Operation, Probe,
    Provider, Wrapped,
};
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::Dek;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An in-memory KMS with one key. Clones share it.
#[derive(Debug, Clone)]
pub struct Fake {
    name: String,
    key: String,
    aad: bool,
    kms: Arc<Kms>,
}

#[derive(Debug)]
struct Kms {
    version: AtomicU64,
    failing: Mutex<Option<Cause>>,
    slow: Mutex<Duration>,
    ignores_aad: AtomicBool,
    calls: AtomicU64,
}

impl Fake {
    /// A KMS whose key has version 1.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let kms = Kms {
            version: AtomicU64::new(1),
            failing: Mutex::new(None),
            slow: Mutex::new(Duration::ZERO),
            ignores_aad: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        };
        Self {
            name: name.to_owned(),
            key: name.to_owned(),
            aad: true,
            kms: Arc::new(kms),
        }
    }

    /// States that it authenticates no associated data.
    #[must_use]
    pub fn without_aad(mut self) -> Self {
        self.aad = false;
        self
    }

    /// The key gets its next version.
    pub fn rotate(&self) {
        self.kms.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Every call fails so, until told otherwise.
    pub fn fail(&self, with: Option<Cause>) {
        *self
            .kms
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = with;
    }

    /// Every call takes so long.
    pub fn slow(&self, by: Duration) {
        *self.kms.slow.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// It claims to authenticate associated data and does not.
    pub fn ignore_aad(&self) {
        self.kms.ignores_aad.store(true, Ordering::SeqCst);
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.kms.calls.load(Ordering::SeqCst)
    }

    fn error(&self, operation: Operation, cause: Cause) -> KekError {
        KekError {
            provider: self.name.clone(),
            operation,
            cause,
            detail: String::new(),
        }
    }

    async fn begin(&self, operation: Operation) -> Result<(), KekError> {
        self.kms.calls.fetch_add(1, Ordering::SeqCst);
        let slow = *self.kms.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let failing = self
            .kms
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failing
            .clone()
            .map_or(Ok(()), |cause| Err(self.error(operation, cause)))
    }

    fn version(&self) -> u64 {
        self.kms.version.load(Ordering::SeqCst)
    }

    fn key(&self, version: u64) -> Option<LessSafeKey> {
        let digest = Sha256::digest(format!("{} {version}", self.key));
        UnboundKey::new(&AES_256_GCM, &digest)
            .ok()
            .map(LessSafeKey::new)
    }

    fn bound(&self, aad: &Aad) -> Vec<u8> {
        match self.kms.ignores_aad.load(Ordering::SeqCst) {
            true => Vec::new(),
            false => aad.bytes().to_vec(),
        }
    }

    fn seal(&self, dek: &Dek, aad: &Aad) -> Option<Wrapped> {
        let version = self.version();
        let mut nonce = [0; aead::NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = dek.expose().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key(version)?
            .seal_in_place_append_tag(unique, aead::Aad::from(self.bound(aad)), &mut sealed)
            .ok()?;
        Some(Wrapped {
            blob: [version.to_be_bytes().as_slice(), &nonce, &sealed].concat(),
            version: Some(version.to_string()),
        })
    }

    fn open(&self, blob: &[u8], aad: &Aad) -> Option<Dek> {
        let (version, rest) = blob.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let version = u64::from_be_bytes(*version);
        if version > self.version() {
            return None;
        }
        let mut buffer = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let bound = aead::Aad::from(self.bound(aad));
        Dek::take(
            self.key(version)?
                .open_in_place(nonce, bound, &mut buffer)
                .ok()?,
        )
        .ok()
    }
}

impl Provider for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Transit
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: self.aad,
            custody: Custody::Kms,
            rotation: true,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move {
            self.begin(Operation::Wrap).await?;
            let failed = || self.error(Operation::Wrap, Cause::Unsupported);
            self.seal(dek, aad).ok_or_else(failed)
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            self.begin(Operation::Unwrap).await?;
            let refused = || self.error(Operation::Unwrap, Cause::NotAuthentic);
            self.open(blob, aad).ok_or_else(refused)
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async {
            self.begin(Operation::Inspect).await?;
            Ok(Some(self.version().to_string()))
        })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async {
            self.begin(Operation::Inspect).await?;
            let finding = Finding {
                subject: "key cannot be read".into(),
                good: true,
                detail: "there is no call that gives it".into(),
            };
            Ok(Probe {
                findings: vec![finding],
            })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        let mut other = self.clone();
        other.key.push_str("-wrong");
        Some(Box::new(other))
    }
}
