//! What verified evidence says, in a form that policy can judge and reports can print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What roots a verdict. Policy must ask for one; nothing infers one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustClass {
    /// A TEE report whose measurement covers the booted image.
    Tee,
    /// A vTPM whose attestation key is bound into a TEE report.
    TeeVtpm,
    /// A vTPM the hypervisor runs: the hypervisor is trusted.
    Hypervisor,
}

impl TrustClass {
    /// Name as in policy files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tee => "tee",
            Self::TeeVtpm => "tee-vtpm",
            Self::Hypervisor => "hypervisor",
        }
    }
}

impl std::fmt::Display for TrustClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who made the TPM: an EK certificate that chains to a configured root and carries the evidence's own EK.
///
/// That the attestation key lives in the same TPM is **not** said by this; it is proven once, at enrolment, by
/// `verify::credential`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// Subject of the EK certificate, as text; may be empty.
    pub subject: String,
    /// Issuer of the EK certificate, as text.
    pub issuer: String,
    /// Hex SHA-256 of the EK's `SubjectPublicKeyInfo` in canonical form: the identity of the instance.
    pub ek_spki_sha256: String,
}

/// One event of the firmware's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredEvent {
    /// PCR the event was extended into.
    pub pcr: u8,
    /// Event type, as in the TCG's tables.
    pub event_type: String,
    /// Hex digest in the quoted bank; proven by the quote.
    pub digest: String,
    /// Printable text of the event.
    pub description: String,
    /// Whether the digest is the digest of the event's own bytes; if not, `description` is unproven.
    pub description_proven: bool,
}

/// What the quote says about the TPM's time and firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmState {
    /// Milliseconds powered, over the TPM's life.
    pub clock: u64,
    /// Resets over its life.
    pub reset_count: u32,
    /// Suspends since the last reset.
    pub restart_count: u32,
    /// False while the clock may have gone back.
    pub safe: bool,
    /// Vendor's firmware version.
    pub firmware_version: u64,
}

/// What verified evidence says. As a bare struct it proves nothing; [`Verified`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Kind of evidence, as on the wire.
    pub kind: String,
    /// What roots it.
    pub trust_class: TrustClass,
    /// Hex Name of the key that signed.
    pub attestation_key_name: String,
    /// Maker of the TPM, if its certificate is trusted.
    pub endorsement: Option<Endorsement>,
    /// Why `endorsement` is absent.
    pub endorsement_problem: Option<String>,
    /// Quoted PCR values of the SHA-256 bank.
    #[serde(with = "hex_map")]
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The replayed log's events that were extended, in order.
    pub events: Vec<MeasuredEvent>,
    /// Clock, counters and firmware version.
    pub tpm: TpmState,
}

/// Proof that something was verified: only this crate's verifier makes one.
#[derive(Debug)]
pub struct Verified<T> {
    claims: T,
}

impl<T> Verified<T> {
    #[cfg(feature = "verify")]
    pub(crate) fn new(claims: T) -> Self {
        Self { claims }
    }

    /// What was verified.
    pub fn claims(&self) -> &T {
        &self.claims
    }
}

/// Byte strings as hex in reports.
mod hex_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(map: &BTreeMap<u8, Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        let text: BTreeMap<u8, String> = map.iter().map(|(k, v)| (*k, hex::encode(v))).collect();
        text.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<u8, Vec<u8>>, D::Error> {
        BTreeMap::<u8, String>::deserialize(from)?
            .into_iter()
            .map(|(k, v)| Ok((k, hex::decode(v).map_err(D::Error::custom)?)))
            .collect()
    }
}
