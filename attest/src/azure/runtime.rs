//! The runtime claims of an HCL report: the vTPM's keys and what the paravisor says about the VM.
//!
//! Source: `runtime_claims::RuntimeClaims` of OpenHCL; keys are JSON Web Keys (RFC 7517, RFC 7518 clause 6.3). Fields
//! that newer paravisors add are kept where they are in `vm-configuration` and passed over elsewhere.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tpm::public::{Key, left_pad};

/// Name of the attestation key.
pub const ATTESTATION_KEY: &str = "HCLAkPub";
/// Name of the endorsement key.
pub const ENDORSEMENT_KEY: &str = "HCLEkPub";
/// Most keys that are looked at; there are two.
const MAX_KEYS: usize = 16;
/// Largest modulus, bytes.
const MAX_MODULUS: usize = 512;

/// Why runtime claims cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Not the JSON it should be.
    #[error("the runtime claims are not the JSON they should be: {problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// More keys than any paravisor names.
    #[error("the runtime claims have {found} keys, at most {MAX_KEYS} are accepted")]
    TooManyKeys {
        /// Keys found.
        found: usize,
    },
    /// A key is missing or there are several of its name.
    #[error("the runtime claims have {found} keys named {name}, exactly one is needed")]
    KeyCount {
        /// Name of the key.
        name: &'static str,
        /// Keys of that name.
        found: usize,
    },
    /// A key that cannot be used.
    #[error("the key {name} of the runtime claims {problem}")]
    Key {
        /// Name of the key.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A JSON Web Key, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

/// Runtime claims, parsed. Their hash in a verified hardware report vouches for them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RuntimeClaims {
    keys: Vec<Jwk>,
    /// What the paravisor says about the VM: secure boot, console, TPM, id.
    #[serde(rename = "vm-configuration", default)]
    pub vm_configuration: Map<String, Value>,
    /// What the guest wrote to NV index 0x01400002 before, hex of 64 bytes.
    #[serde(rename = "user-data", default)]
    pub user_data: String,
}

impl RuntimeClaims {
    /// Reads claims.
    ///
    /// # Errors
    /// [`RuntimeError::Json`] and [`RuntimeError::TooManyKeys`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeError> {
        let claims: Self = serde_json::from_slice(bytes).map_err(|error| RuntimeError::Json {
            problem: error.to_string(),
        })?;
        let found = claims.keys.len();
        if found > MAX_KEYS {
            return Err(RuntimeError::TooManyKeys { found });
        }
        Ok(claims)
    }

    /// Names of the keys, in order.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.kid.clone()).collect()
    }

    /// The vTPM's attestation key.
    ///
    /// # Errors
    /// [`RuntimeError::KeyCount`] unless there is exactly one, [`RuntimeError::Key`] unless it is an RSA key.
    pub fn attestation_key(&self) -> Result<Key, RuntimeError> {
        let name = ATTESTATION_KEY;
        let named: Vec<&Jwk> = self.keys.iter().filter(|key| key.kid == name).collect();
        let [key] = named.as_slice() else {
            let found = named.len();
            return Err(RuntimeError::KeyCount { name, found });
        };
        rsa(key).map_err(|problem| RuntimeError::Key { name, problem })
    }
}

fn rsa(key: &Jwk) -> Result<Key, &'static str> {
    if key.kty != "RSA" {
        return Err("is not an RSA key");
    }
    let modulus = number(&key.n).ok_or("has a modulus that is no base64url number")?;
    if modulus.len() > MAX_MODULUS {
        return Err("has a modulus above 4096 bits");
    }
    let exponent = number(&key.e).ok_or("has an exponent that is no base64url number")?;
    let exponent = left_pad(&exponent, 4).ok_or("has an exponent above 32 bits")?;
    let exponent = exponent
        .try_into()
        .map_err(|_| "has a malformed exponent")?;
    Ok(Key::Rsa {
        modulus,
        exponent: u32::from_be_bytes(exponent),
    })
}

/// A Base64urlUInt, without leading zeros; zero is none.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..)?.to_vec();
    (!digits.is_empty()).then_some(digits)
}
