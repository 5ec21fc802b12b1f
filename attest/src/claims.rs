//! What verified evidence says, in a form that policy can judge and reports can print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    azure::HclClaims,
    evidence::Binder,
    snp::claims::SnpClaims,
    tdx::TdxClaims,
    verify::{gce::GceInstance, part::PartClaims},
};

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

/// What evidence was bound to when it was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// The exchange at hand: it is fresh.
    Exchange,
    /// A value the caller gave: recorded evidence.
    Value,
    /// Nothing: recorded evidence, fresh or not.
    Unknown,
}

impl From<&Binder> for Binding {
    fn from(binder: &Binder) -> Self {
        match binder {
            Binder::Exchange(_) => Self::Exchange,
            Binder::Value(_) => Self::Value,
            Binder::Unknown => Self::Unknown,
        }
    }
}

/// One event of a log that replays to proven registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredEvent {
    /// PCR or, in a TD, RTMR the event was extended into.
    pub register: u8,
    /// Event type, as in the TCG's tables.
    pub event_type: String,
    /// Hex digest in the register's bank; proven by the quote.
    pub digest: String,
    /// Printable text of the event.
    pub description: String,
    /// Whether the digest is the digest of the event's own bytes; if not, `description` is unproven.
    pub description_proven: bool,
}

/// The certificate of an attestation key: a cloud says that the key is in one of its vTPMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AkCertificate {
    /// Subject, as text (RFC 4514); may be empty.
    pub subject: String,
    /// Issuer, as text.
    pub issuer: String,
    /// Begin of validity, RFC 3339.
    pub not_before: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
    /// Bytes of filler behind it.
    pub trailing_bytes: usize,
    /// The instance Google's CA names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gce: Option<GceInstance>,
}

/// PCRs of one bank that a quote covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrSelection {
    /// Name of the bank.
    pub bank: String,
    /// PCRs, ascending.
    pub pcrs: Vec<u8>,
}

/// What a TPM's quote and certificates say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmClaims {
    /// Hex Name of the key that signed; empty where evidence has the bare key only (Azure).
    pub attestation_key_name: String,
    /// Hex SHA-256 of its `SubjectPublicKeyInfo` in canonical form.
    pub attestation_key_spki_sha256: String,
    /// Maker of the TPM, if its certificate is trusted.
    pub endorsement: Option<Endorsement>,
    /// Why `endorsement` is absent.
    pub endorsement_problem: Option<String>,
    /// The attestation key's certificate, if it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_key_certificate: Option<AkCertificate>,
    /// Why `attestation_key_certificate` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_key_problem: Option<String>,
    /// Hex Qualified Name of the key that signed, as the quote has it.
    pub qualified_signer: String,
    /// Hex of what the quote was bound to.
    pub extra_data: String,
    /// PCRs the quote covers.
    pub pcr_select: Vec<PcrSelection>,
    /// Hex digest over their values.
    pub pcr_digest: String,
    /// Digest algorithm of the quote's signature, which is that of `pcr_digest`.
    pub signature_hash: String,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Kind of evidence, as on the wire.
    pub kind: String,
    /// What roots it; `None` where nothing does.
    pub trust_class: Option<TrustClass>,
    /// What it was bound to.
    pub binding: Binding,
    /// An SNP report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpClaims>,
    /// A TD quote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<TdxClaims>,
    /// A TPM's quote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmClaims>,
    /// Azure's HCL report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<HclClaims>,
    /// A piece that was judged alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartClaims>,
    /// Quoted PCR values of the SHA-256 bank.
    #[serde(with = "hex_map", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The replayed log's events that were extended, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<MeasuredEvent>,
    /// Where the values of each section come from and what proves them.
    pub sources: BTreeMap<String, String>,
}

impl Claims {
    /// Claims of a kind, bound as said, that say nothing yet.
    #[cfg(feature = "verify")]
    pub(crate) fn new(kind: &str, trust_class: Option<TrustClass>, binder: &Binder) -> Self {
        Self {
            kind: kind.to_owned(),
            trust_class,
            binding: binder.into(),
            snp: None,
            tdx: None,
            tpm: None,
            azure: None,
            part: None,
            pcrs: BTreeMap::new(),
            events: Vec::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Says where the values of a section come from.
    #[cfg(feature = "verify")]
    pub(crate) fn source(&mut self, section: &str, text: &str) {
        self.sources.insert(section.to_owned(), text.to_owned());
    }
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
