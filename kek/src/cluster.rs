//! The `cluster` provider: one master secret in the service's memory.
//!
//! DEKs are derived from it: HKDF-SHA256 (RFC 5869) with the master secret as input keying material, a 32-byte salt, and
//! `key-` ‖ lowercase volume UUID as info, 32 bytes. Epochs after the first append `/epoch-N` to the info. Epoch 1 is
//! what Constellation derives for the same volume, so its volumes keep their keys.
//!
//! DEKs that were not born here are wrapped: version byte 1 ‖ 12-byte nonce ‖ AES-256-GCM ciphertext and tag, under
//! HKDF(…, info `dawnkey kek wrap v1`), associated data [`Aad::bytes`].

use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, MasterSlot, MasterSource,
    Operation, Probe, Provider, Wrapped,
};
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::{DataKey, Dek, MasterSecret};
use serde::{Deserialize, Deserializer};
use std::path::Path;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const WRAP_INFO: &[u8] = b"dawnkey kek wrap v1";

/// The provider's section of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Salt of the derivation, 64 hex digits; not secret.
    #[serde(deserialize_with = "salt")]
    pub salt: [u8; 32],
    /// Where the master secret comes from.
    pub master_secret: MasterSource,
    /// Name of the provider that opens it, with [`MasterSource::Wrapped`].
    pub unwrap_with: Option<String>,
}

impl Config {
    /// The file with the wrapped master secret, and the name of the provider that opens it.
    #[must_use]
    pub fn wrapped_master(&self) -> Option<(&Path, &str)> {
        match (&self.master_secret, &self.unwrap_with) {
            (MasterSource::Wrapped(file), Some(name)) => Some((file, name)),
            _ => None,
        }
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        match (&self.master_secret, &self.unwrap_with) {
            (MasterSource::Wrapped(_), None) => Some(
                "master_secret = \"wrapped:…\" needs unwrap_with, the name of the provider that opens it",
            ),
            (MasterSource::Wrapped(_), Some(_)) | (_, None) => None,
            (_, Some(_)) => Some("unwrap_with belongs to master_secret = \"wrapped:/path\""),
        }
    }
}

fn salt<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(from)?;
    let mut salt = [0; 32];
    hex::decode_to_slice(&text, &mut salt)
        .map_err(|_| serde::de::Error::custom("salt: must be 64 hex digits (32 bytes)"))?;
    Ok(salt)
}

/// Opens the provider with the secret of its master source, or without one where an operator gives it later.
///
/// # Errors
/// [`Cause::Credentials`] without a secret that another source should have given.
pub fn open(
    name: &str,
    config: &Config,
    master: Option<MasterSecret>,
) -> Result<Cluster, KekError> {
    if master.is_none() && config.master_secret != MasterSource::Operator {
        let detail = "its master secret was not given";
        return Err(KekError::new(
            name,
            Operation::Login,
            Cause::Credentials,
            detail,
        ));
    }
    Ok(Cluster {
        master: MasterSlot::new(name, config.salt, master),
        name: name.to_owned(),
    })
}

/// Derives DEKs from a master secret, and wraps those of others under it.
pub struct Cluster {
    name: String,
    master: MasterSlot,
}

impl Cluster {
    /// Derives from this secret and salt.
    #[must_use]
    pub fn new(name: &str, master: MasterSecret, salt: [u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            master: MasterSlot::new(name, salt, Some(master)),
        }
    }

    /// The DEK of a volume and epoch.
    ///
    /// # Errors
    /// [`Cause::Waiting`] while there is no master secret.
    pub fn dek(&self, volume: Uuid, epoch: u32) -> Result<Dek, KekError> {
        let info = info(volume, epoch);
        Dek::fill(|dek| self.master.expand(info.as_bytes(), dek))
    }

    /// The key of a name: info `key-` ‖ name.
    ///
    /// # Errors
    /// [`Cause::Waiting`] while there is no master secret; [`Cause::Unsupported`] for more than 8160 bytes, HKDF-SHA256's limit.
    pub fn named(&self, name: &str, length: usize) -> Result<DataKey, KekError> {
        let info = format!("key-{name}");
        DataKey::fill(length, |key| self.master.expand(info.as_bytes(), key))
    }

    fn wrapping_key(&self, operation: Operation) -> Result<LessSafeKey, KekError> {
        let mut key = Zeroizing::new([0; 32]);
        self.master.expand(WRAP_INFO, key.as_mut_slice())?;
        UnboundKey::new(&AES_256_GCM, key.as_slice())
            .map(LessSafeKey::new)
            .map_err(|_| self.error(operation, Cause::Unsupported, "AES-256-GCM refused"))
    }

    fn seal(&self, dek: &Dek, aad: &Aad) -> Result<Wrapped, KekError> {
        let failed = |what| self.error(Operation::Wrap, Cause::Unsupported, what);
        let key = self.wrapping_key(Operation::Wrap)?;
        let mut nonce = [0; aead::NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| failed("no random bytes"))?;
        let mut sealed = Zeroizing::new(*dek.expose());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad.bytes()),
                sealed.as_mut_slice(),
            )
            .map_err(|_| failed("AES-256-GCM refused"))?;
        Ok(Wrapped {
            blob: [&[VERSION], &nonce[..], sealed.as_slice(), tag.as_ref()].concat(),
            version: None,
        })
    }

    fn open(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        let refused = || self.error(Operation::Unwrap, Cause::NotAuthentic, "");
        let (version, rest) = blob.split_first().ok_or_else(refused)?;
        let (nonce, sealed) = rest
            .split_at_checked(aead::NONCE_LEN)
            .filter(|_| *version == VERSION)
            .ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let key = self.wrapping_key(Operation::Unwrap)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let opened = key
            .open_in_place(nonce, aead::Aad::from(aad.bytes()), &mut buffer)
            .map_err(|_| refused())?;
        Dek::take(opened).map_err(|_| refused())
    }

    fn error(&self, operation: Operation, cause: Cause, detail: &str) -> KekError {
        KekError {
            provider: self.name.clone(),
            operation,
            cause,
            detail: detail.to_owned(),
        }
    }
}

fn info(volume: Uuid, epoch: u32) -> String {
    let base = format!("key-{}", volume.hyphenated());
    if epoch > 1 {
        format!("{base}/epoch-{epoch}")
    } else {
        base
    }
}

impl Provider for Cluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Cluster
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: true,
            custody: Custody::ServiceMemory,
            rotation: false,
            attested_release: false,
        }
    }

    fn derive(&self, aad: &Aad) -> Option<Result<Dek, KekError>> {
        Some(self.dek(aad.volume, aad.epoch))
    }

    fn derive_named(&self, name: &str, length: usize) -> Option<Result<DataKey, KekError>> {
        Some(self.named(name, length))
    }

    fn master(&self) -> Option<&MasterSlot> {
        Some(&self.master)
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move { self.seal(dek, aad) })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            match blob {
                [] => self.dek(aad.volume, aad.epoch),
                sealed => self.open(sealed, aad),
            }
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async { Ok(None) })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async {
            let good = self.master.filled();
            let finding = Finding {
                subject: "custody".into(),
                good,
                detail: match good {
                    true => "the master secret is in this service's memory",
                    false => {
                        "the master secret has not been given yet: `dawnkey master-secret give`"
                    }
                }
                .into(),
            };
            Ok(Probe {
                findings: vec![finding],
            })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn cluster(byte: u8) -> Cluster {
        let master = MasterSecret::take(&mut [byte; 32]).unwrap();
        Cluster::new("cluster", master, [byte; 32])
    }

    fn derived(byte: u8, volume: &str, epoch: u32) -> String {
        let volume = volume.parse().unwrap();
        hex::encode(cluster(byte).dek(volume, epoch).unwrap().expose())
    }

    #[test]
    fn derives_the_published_vector_of_ones() {
        assert_eq!(
            derived(0xff, "ffffffff-ffff-ffff-ffff-ffffffffffff", 1),
            "1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be"
        );
    }

    #[test]
    fn derives_the_published_vector_of_zeros() {
        assert_eq!(
            derived(0x00, "00000000-0000-0000-0000-000000000000", 1),
            "2b5c829f691bfd4232f8aac464bccc07e605c7c8e82cbca09837e86d0b6d0665"
        );
    }

    #[test]
    fn named_keys_are_constellations_and_shorter_ones_their_beginnings() {
        let id = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        let long = cluster(0xff).named(id, 96).unwrap();
        let published = "1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be";
        assert_eq!(hex::encode(&long.expose()[..32]), published);
        assert_eq!(long.expose().len(), 96);
        let refused = cluster(1).named(id, 255 * 32 + 1).unwrap_err();
        assert_eq!(refused.cause, Cause::Unsupported);
    }

    #[test]
    fn volume_id_is_derived_from_in_lower_case() {
        let upper = "ABCDEFAB-CDEF-4BCD-8BCD-ABCDEFABCDEF";
        let volume: Uuid = upper.parse().unwrap();
        assert_eq!(info(volume, 1), format!("key-{}", upper.to_lowercase()));
        assert_eq!(
            info(volume, 7),
            format!("key-{}/epoch-7", upper.to_lowercase())
        );
    }

    #[test]
    fn every_epoch_has_its_own_dek() {
        let volume = "abcdefab-cdef-4bcd-8bcd-abcdefabcdef";
        assert_ne!(derived(1, volume, 1), derived(1, volume, 2));
        assert_ne!(derived(1, volume, 2), derived(1, volume, 3));
    }

    #[tokio::test]
    async fn without_its_secret_it_gives_no_key_and_wraps_nothing() {
        let text = format!(
            "salt = \"{}\"\nmaster_secret = \"operator\"",
            "01".repeat(32)
        );
        let config: Config = toml::from_str(&text).unwrap();
        let waiting = open("cluster", &config, None).unwrap();
        let aad = Aad::new(Uuid::from_u128(1), 1);
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let blob = cluster(1).wrap(&dek, &aad).await.unwrap().blob;
        for refused in [
            waiting.derive(&aad).unwrap().map(drop),
            waiting.derive_named("x", 32).unwrap().map(drop),
            waiting.wrap(&dek, &aad).await.map(drop),
            waiting.unwrap(&[], &aad).await.map(drop),
            waiting.unwrap(&blob, &aad).await.map(drop),
        ] {
            assert_eq!(refused.unwrap_err().cause, Cause::Waiting);
        }
        assert!(!waiting.probe().await.unwrap().findings[0].good);
        let secret = MasterSecret::take(&mut [1; 32]).unwrap();
        assert!(waiting.master().unwrap().fill(secret));
        assert_eq!(waiting.unwrap(&blob, &aad).await.unwrap(), dek);
        let other = text.replace("operator", "fd");
        let refused = open("cluster", &toml::from_str(&other).unwrap(), None).err();
        assert_eq!(refused.unwrap().cause, Cause::Credentials);
    }

    #[tokio::test]
    async fn refuses_wrapped_dek_of_another_purpose_secret_or_with_a_flipped_bit() {
        let (ours, other) = (cluster(1), cluster(2));
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let aad = Aad::new(Uuid::from_u128(1), 1);
        let blob = ours.wrap(&dek, &aad).await.unwrap().blob;
        assert_eq!(ours.unwrap(&blob, &aad).await.unwrap(), dek);
        let elsewhere = Aad::new(Uuid::from_u128(1), 2);
        let mut refused = vec![
            ours.unwrap(&blob, &elsewhere).await,
            other.unwrap(&blob, &aad).await,
            ours.unwrap(&blob[..20], &aad).await,
        ];
        for byte in 0..blob.len() {
            let mut changed = blob.clone();
            changed[byte] ^= 1;
            refused.push(ours.unwrap(&changed, &aad).await);
        }
        for refused in refused {
            assert_eq!(refused.unwrap_err().cause, Cause::NotAuthentic);
        }
    }
}
