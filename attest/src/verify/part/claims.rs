//! What a piece says, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Bytes, Hex},
    claims::{AkCertificate, PcrSelection},
    eventlog::proof::Proof,
    snp::claims::VekClaims,
    tpm::{
        attest::{AttestError, Quote},
        hash::Hash,
    },
    verify::{Crypto, gce::GceInstance, vtpm::quote::bank_name},
};

/// What a piece says. Byte strings are hex.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub enum PartClaims {
    /// Quotes.
    Quote(QuotesClaims),
    /// A TCG event log.
    EventLog(EventLogClaims),
    /// A TD's event log.
    RtmrLog(RtmrLogClaims),
    /// A measurement list.
    Ima(ImaClaims),
    /// A TPM's certificate.
    Certificate(CertificateClaims),
    /// A VCEK or VLEK.
    AmdCertificate(AmdCertificateClaims),
    /// A revocation list of AMD.
    AmdCrl(AmdCrlClaims),
}

impl PartClaims {
    /// What acceptance of the piece says about signatures: logs and lists have none.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Quote(_) | Self::AmdCertificate(_) | Self::AmdCrl(_) => Crypto::Valid,
            Self::Certificate(claims) if claims.path_held => Crypto::Valid,
            Self::Certificate(_) | Self::EventLog(_) | Self::RtmrLog(_) | Self::Ima(_) => {
                Crypto::NotApplicable
            }
        }
    }
}

/// Values by bank and PCR.
pub type HexPcrs = BTreeMap<String, BTreeMap<u8, String>>;

/// Quotes of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotesClaims {
    /// The quotes.
    pub quotes: Vec<QuoteClaims>,
    /// The attestation key, where all of its public area is known.
    pub ak: Option<AkClaims>,
    /// SHA-256 of the key's `SubjectPublicKeyInfo` in canonical form.
    pub ak_spki_sha256: Option<String>,
    /// The key's certificate, where it is trusted.
    pub ak_certificate: Option<AkCertificate>,
    /// Why there is none.
    pub ak_certificate_problem: Option<String>,
    /// Whether an event log replays to the quoted values; `None` without a log.
    pub log_matches_pcrs: Option<bool>,
}

/// One quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteClaims {
    /// Qualified Name of the signing key.
    pub qualified_signer: String,
    /// The caller's data.
    pub extra_data: String,
    /// Milliseconds powered, over the TPM's life.
    pub clock: u64,
    /// Resets over its life.
    pub reset_count: u32,
    /// Suspends since the last reset.
    pub restart_count: u32,
    /// False while the clock may have gone back.
    pub safe: bool,
    /// Vendor's firmware version, 16 hex digits.
    pub firmware_version: String,
    /// PCRs covered.
    pub pcr_select: Vec<PcrSelection>,
    /// Digest over their values.
    pub pcr_digest: String,
    /// Digest algorithm of the signature, where it can be read.
    pub signature_hash: Option<String>,
}

impl QuoteClaims {
    pub(super) fn new(quote: &Quote, signature_hash: Option<String>) -> Self {
        let select = quote.selections.iter().map(|one| PcrSelection {
            bank: bank_name(one.bank),
            pcrs: one.pcrs.clone(),
        });
        Self {
            qualified_signer: hex::encode(&quote.qualified_signer),
            extra_data: hex::encode(&quote.extra_data),
            clock: quote.clock,
            reset_count: quote.reset_count,
            restart_count: quote.restart_count,
            safe: quote.safe,
            firmware_version: format!("{:016x}", quote.firmware_version),
            pcr_select: select.collect(),
            pcr_digest: hex::encode(&quote.pcr_digest),
            signature_hash,
        }
    }

    /// What a quote (`TPMS_ATTEST`) says, without verifying anything: to show evidence that does not verify.
    ///
    /// # Errors
    /// [`AttestError`] where the bytes are no quote.
    pub fn read(message: &[u8]) -> Result<Self, AttestError> {
        Ok(Self::new(&Quote::parse(message)?, None))
    }

    /// Whether bank, signature and PCR digest all use `weakest` or a wider digest.
    #[must_use]
    pub fn is_at_least(&self, weakest: Hash) -> bool {
        let fits = |name: &str| Hash::from_name(name).is_some_and(|hash| hash >= weakest);
        self.pcr_select.iter().all(|one| fits(&one.bank))
            && self.signature_hash.as_deref().is_some_and(fits)
            && self.pcr_digest.len() >= 2 * weakest.size()
    }
}

/// An attestation key's public area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AkClaims {
    /// Name.
    pub name: String,
    /// `TPMA_OBJECT`.
    pub attributes: Hex<u32>,
    /// Whether it signs only what the TPM made.
    pub restricted: bool,
}

/// A TCG event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLogClaims {
    /// Banks it has digests for.
    pub banks: Vec<String>,
    /// Whether it is in the crypto-agile format.
    pub crypto_agile: bool,
    /// Bytes up to the end of the last event.
    pub parsed_bytes: usize,
    /// Filler behind it.
    pub padding: Option<PaddingClaims>,
    /// Values it gives the PCRs it extends.
    pub replayed: HexPcrs,
    /// PCRs for which it gives another value than was recorded.
    pub mismatching_pcrs: Vec<u8>,
    /// The quote beside it.
    pub quote: Option<QuoteClaims>,
    /// Whether it replays to the quote's PCR digest.
    pub matches_quote: Option<bool>,
    /// Events in order.
    pub events: Vec<EventClaims>,
}

/// Filler behind a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaddingClaims {
    /// Offset of its first byte.
    pub at: usize,
    /// The byte it consists of.
    pub byte: u8,
}

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventClaims {
    /// Offset of its first byte.
    pub at: usize,
    /// PCR; `None` where the log writes all ones, which some informational events have.
    pub pcr: Option<u32>,
    /// Event type, as in the TCG's tables.
    pub event_type: String,
    /// Digests by bank.
    pub digests: BTreeMap<String, String>,
    /// Printable text of the event.
    pub description: String,
    /// How much of the event its widest digest proves, should the log be proven.
    pub proof: Proof,
}

/// A TD's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RtmrLogClaims {
    /// Events, those that extend nothing included.
    pub event_count: usize,
    /// Bytes of a binary log up to the end of its last event.
    pub parsed_bytes: Option<usize>,
    /// Filler behind it.
    pub padding: Option<PaddingClaims>,
    /// Values it gives RTMR 0 to 3.
    pub replayed_rtmrs: [Bytes<48>; 4],
    /// The quote beside it.
    pub quote: Option<RtmrQuoteClaims>,
    /// Events that extend an RTMR, in order.
    pub events: Vec<RtmrEventClaims>,
}

/// A TD quote beside a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtmrQuoteClaims {
    /// RTMR 0 to 3.
    pub rtmrs: [Bytes<48>; 4],
    /// Whether the log replays to each.
    pub matching: [bool; 4],
    /// Platform model.
    pub fmspc: Option<Bytes<6>>,
    /// Serial number of the PCK certificate.
    pub pck_serial: Option<String>,
}

/// One event of a TD's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtmrEventClaims {
    /// Register: 0 to 3.
    pub rtmr: usize,
    /// Event type.
    pub event_type: String,
    /// Digest.
    pub digest: Bytes<48>,
    /// Printable text of the event.
    pub description: String,
}

/// A measurement list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImaClaims {
    /// `ascii` or `binary`.
    pub format: String,
    /// Entries.
    pub entries: usize,
    /// Entries whose template digest is not that of their data.
    pub template_hash_mismatches: usize,
    /// Entries that record a violation.
    pub violations: usize,
    /// Entries without data to check their digest against.
    pub unchecked: usize,
    /// Value the list gives PCR 10 in each bank, as kernels since 5.8 extend it.
    pub pcr10: BTreeMap<String, String>,
    /// The same for kernels before 5.8, which pad SHA-1 digests.
    pub pcr10_padded: BTreeMap<String, String>,
}

/// A TPM's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateClaims {
    /// Subject, as text (RFC 4514); may be empty.
    pub subject: String,
    /// Issuer, as text.
    pub issuer: String,
    /// Begin of validity, RFC 3339.
    pub not_before: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
    /// Name of the signature algorithm, or its number.
    pub signature_algorithm: String,
    /// Bytes of filler behind it.
    pub trailing_bytes: usize,
    /// The instance Google's CA names.
    pub gce: Option<GceInstance>,
    /// SHA-256 of the key's `SubjectPublicKeyInfo` in canonical form.
    pub spki_sha256: String,
    /// Whether a path to a trusted root was asked for and held.
    pub path_held: bool,
}

/// A VCEK or VLEK.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AmdCertificateClaims {
    /// What it says.
    #[serde(flatten)]
    pub vek: VekClaims,
}

/// A revocation list of AMD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmdCrlClaims {
    /// Common name of its issuer.
    pub issuer: String,
    /// When it was made, RFC 3339.
    pub this_update: String,
    /// When it is to be replaced, RFC 3339.
    pub next_update: String,
    /// Revoked serial numbers, `0x…`.
    pub revoked_serials: Vec<String>,
    /// Serial number of the intermediate beside it, `0x…`.
    pub ask_serial: Option<String>,
    /// Whether the list revokes it.
    pub ask_revoked: Option<bool>,
}
