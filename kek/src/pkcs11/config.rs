//! The configuration of a PKCS#11 provider.

use crate::CredentialSource;
use serde::Deserialize;
use std::path::PathBuf;

/// How the token wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// `CKM_AES_GCM`: the token authenticates volume and epoch.
    #[default]
    AesGcm,
    /// `CKM_AES_KEY_WRAP`: the token wraps a key of one wrapped DEK, which binds volume and epoch outside of the token.
    AesKw,
}

/// Who chooses the initialisation vectors of AES-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Iv {
    /// This service: 12 random bytes.
    #[default]
    Service,
    /// The token, which writes its own over the zeros that it is given (AWS CloudHSM and others in FIPS mode).
    Token,
}

/// Where the KEK is and how it is used.
///
/// Token and key are named as the token's own tools show them. Each name that is given must match; together they must
/// match exactly one token and exactly one key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The vendor's module, an absolute path.
    pub module: PathBuf,
    /// `CKA_LABEL` of the token.
    pub token_label: Option<String>,
    /// Serial number of the token.
    pub token_serial: Option<String>,
    /// `CKA_LABEL` of the key.
    pub key_label: Option<String>,
    /// `CKA_ID` of the key, hex.
    pub key_id: Option<String>,
    /// `CKA_ID`s, hex, of keys that still unwrap what they wrapped.
    #[serde(default)]
    pub older_key_ids: Vec<String>,
    /// The user PIN; none for a token with a PIN pad of its own or without login.
    pub pin: Option<CredentialSource>,
    /// How it wraps.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// Who chooses initialisation vectors.
    #[serde(default)]
    pub iv: Iv,
    /// Most sessions at a time, from 1 to 64.
    #[serde(default = "sessions")]
    pub sessions: u8,
}

const fn sessions() -> u8 {
    8
}

/// Longest `CKA_ID` that a wrapped DEK can name.
pub(super) const MAX_ID: usize = 64;

/// [`Config`] with its key ids read.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub config: Config,
    pub key_id: Option<Vec<u8>>,
    pub older: Vec<Vec<u8>>,
}

impl Checked {
    /// Checks a configuration; the error says which field is wrong.
    pub(super) fn new(config: &Config) -> Result<Self, &'static str> {
        if !config.module.is_absolute() {
            return Err("`module` must be an absolute path");
        }
        if config.token_label.is_none() && config.token_serial.is_none() {
            return Err("one of `token_label` and `token_serial` is needed");
        }
        if config.key_label.is_none() && config.key_id.is_none() {
            return Err("one of `key_label` and `key_id` is needed");
        }
        if !(1..=64).contains(&config.sessions) {
            return Err("`sessions` must be from 1 to 64");
        }
        let older = config.older_key_ids.iter().map(|text| id(text));
        Ok(Self {
            key_id: config.key_id.as_deref().map(id).transpose()?,
            older: older.collect::<Result<_, _>>()?,
            config: config.clone(),
        })
    }
}

fn id(text: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = hex::decode(text).map_err(|_| "a key id must be hex digits, `0a1b`")?;
    let fits = (1..=MAX_ID).contains(&bytes.len());
    fits.then_some(bytes)
        .ok_or("a key id must be 1 to 64 bytes of hex")
}
