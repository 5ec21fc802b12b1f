//! What a node says to a Key Broker Service (KBS) of Trustee, protocol 0.4.0: three requests, and keys sealed to the node.
//!
//! `POST auth` gives a [`Nonce`]; evidence is made to carry [`runtime_digest`] of it and of the node's [`TeeKey`];
//! `POST attest` shows that evidence; `GET resource` gives a JWE that [`TeeKey::open`] opens. Everything that a KBS
//! answers is a stranger's bytes until then: each parser here is total, and its caller has capped what it is given.

mod answer;
mod jwe;

pub use answer::{AnswerError, Nonce, Problem, accepted};
pub use jwe::{JweError, TeeKey};

use serde_json::{Value, json};
use sha2::{Digest, Sha384};

/// The only version of the protocol that is spoken.
pub const VERSION: &str = "0.4.0";

/// A kind of evidence that a KBS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// An SEV-SNP report.
    Snp,
    /// A TD quote.
    Tdx,
    /// Azure's vTPM under SEV-SNP.
    AzureSnp,
    /// Azure's vTPM under TDX.
    AzureTdx,
    /// A TPM; its hypervisor is trusted.
    Tpm,
}

impl Tee {
    /// Its name in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzureSnp => "az-snp-vtpm",
            Self::AzureTdx => "az-tdx-vtpm",
            Self::Tpm => "tpm",
        }
    }
}

/// Where a resource is: `REPOSITORY/TYPE/TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection(String);

impl Collection {
    /// From `REPOSITORY/TYPE`, each 1 to 64 letters, digits, `-`, `_` or `.`, and not beginning with a dot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            (1..=64).contains(&part.len()) && part.bytes().all(allowed) && !part.starts_with('.')
        };
        let (repository, kind) = text.split_once('/')?;
        (good(repository) && good(kind)).then(|| Self(text.to_owned()))
    }

    /// The path of the key of a volume: its id in lower case is the tag.
    #[must_use]
    pub fn path(&self, volume: uuid::Uuid) -> String {
        format!("/kbs/v0/resource/{}/{volume}", self.0)
    }

    /// `REPOSITORY/TYPE`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Path of the first request.
pub const AUTH: &str = "/kbs/v0/auth";
/// Path of the second.
pub const ATTEST: &str = "/kbs/v0/attest";

/// Body of the first request.
#[must_use]
pub fn auth_body(tee: Tee) -> Vec<u8> {
    json!({"version": VERSION, "tee": tee.name(), "extra-params": {}})
        .to_string()
        .into_bytes()
}

/// SHA-384 of the JSON that both sides make in one form only (RFC 8785) of nonce and key: what the evidence must carry.
///
/// No text in it needs an escape: a [`Nonce`] and a key are base64.
#[must_use]
pub fn runtime_digest(nonce: &Nonce, key: &TeeKey) -> [u8; 48] {
    Sha384::digest(canonical(nonce, key)).into()
}

/// The members in the order of their names, nothing between them.
fn canonical(nonce: &Nonce, key: &TeeKey) -> String {
    let (x, y) = key.coordinates();
    let nonce = nonce.as_str();
    format!(
        "{{\"additional-evidence\":\"\",\"nonce\":\"{nonce}\",\"tee-pubkey\":\
         {{\"alg\":\"ECDH-ES+A256KW\",\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}}}"
    )
}

/// Body of the second request, with the evidence as the KBS has it of this kind.
#[must_use]
pub fn attest_body(nonce: &Nonce, key: &TeeKey, evidence: &Value) -> Vec<u8> {
    let (x, y) = key.coordinates();
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": x, "y": y});
    json!({
        "init-data": null,
        "runtime-data": {"nonce": nonce.as_str(), "tee-pubkey": public},
        "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""},
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests;
