//! Pieces of evidence that are judged alone: a quote, an event log, a measurement list, a certificate, a list of
//! revoked ones.
//!
//! A piece roots no trust by itself and never travels in a request: its claims have no trust class. It is what an
//! operator has at hand when something does not fit, and what recorded evidence often consists of.

use std::collections::BTreeMap;

use crate::tpm::hash::Hash;

/// PCR values by bank and index.
pub type PcrValues = BTreeMap<Hash, BTreeMap<u8, Vec<u8>>>;

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Quotes of one TPM, with what belongs to them.
    Quote(QuotePart),
    /// A TCG event log.
    EventLog(EventLogPart),
    /// A TD's event log.
    RtmrLog(RtmrLogPart),
    /// A measurement list of Linux IMA.
    Ima(ImaPart),
    /// An EK or AK certificate of a TPM.
    Certificate(CertificatePart),
    /// A VCEK or VLEK.
    AmdCertificate(AmdCertificatePart),
    /// A revocation list of AMD.
    AmdCrl(AmdCrlPart),
}

/// A public key, in one of the forms tools keep it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// `TPMT_PUBLIC`.
    Tpmt(Vec<u8>),
    /// `TPM2B_PUBLIC`: the same behind its length.
    Tpm2b(Vec<u8>),
    /// X.509 `SubjectPublicKeyInfo`, DER.
    Spki(Vec<u8>),
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteSignature {
    /// `TPMT_SIGNATURE`.
    Tpmt(Vec<u8>),
    /// The bare value: PKCS#1 v1.5 of an RSA key, `r ‖ s` of an ECC key. Its digest is taken to be that of the PCR
    /// digest, as TPMs have it.
    Bare(Vec<u8>),
}

/// A quote and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedQuote {
    /// `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// Signature over it.
    pub signature: QuoteSignature,
}

/// Quotes of one attestation key; whatever else is there must agree with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotePart {
    /// The attestation key; several forms must be the same key. May be missing where there is a certificate.
    pub keys: Vec<PublicKey>,
    /// Quotes.
    pub quotes: Vec<SignedQuote>,
    /// PCR values; every quoted one must be there, unless there are none at all.
    pub pcrs: PcrValues,
    /// A TCG event log, may be empty.
    pub event_log: Vec<u8>,
    /// Certificate (DER) of the attestation key, may be empty.
    pub ak_certificate: Vec<u8>,
    /// What stands between it and its root, DER.
    pub ak_chain: Vec<Vec<u8>>,
}

/// A TCG event log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLogPart {
    /// The log.
    pub log: Vec<u8>,
    /// PCR values it should replay to, as far as there are any.
    pub recorded: PcrValues,
    /// A quote (`TPMS_ATTEST`) whose PCR digest it should replay to. Nothing vouches for the quote.
    pub quote: Option<Vec<u8>>,
}

/// A TD's event log: CCEL or JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RtmrLogPart {
    /// The log.
    pub log: Vec<u8>,
    /// A TD quote whose RTMRs it should replay to.
    pub quote: Option<Vec<u8>>,
}

/// A measurement list of Linux IMA, binary or ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaPart {
    /// The list.
    pub list: Vec<u8>,
    /// Algorithm of its template digests: SHA-1 unless its name says otherwise.
    pub hash: Hash,
}

/// An EK or AK certificate of a TPM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificatePart {
    /// The certificate, DER, may be padded.
    pub certificate: Vec<u8>,
    /// What stands between it and its root, DER; `None` to read the certificate only.
    pub chain: Option<Vec<Vec<u8>>>,
}

/// A VCEK or VLEK.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmdCertificatePart {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// ASK and ASVK, DER; where there are none, those at hand.
    pub intermediates: Vec<Vec<u8>>,
    /// ARK, DER; must be trusted. Where there is none, any trusted one.
    pub roots: Vec<Vec<u8>>,
    /// Revocation lists, DER.
    pub crls: Vec<Vec<u8>>,
}

/// A revocation list of AMD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmdCrlPart {
    /// The list, DER.
    pub crl: Vec<u8>,
    /// ARK, DER; must be trusted. Where there is none, any trusted one.
    pub roots: Vec<Vec<u8>>,
    /// ASK or ASVK that must not be on the list, DER, may be missing.
    pub intermediate: Option<Vec<u8>>,
}

impl Part {
    /// Name of the piece in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Quote(_) => "quote",
            Self::EventLog(_) => "event-log",
            Self::RtmrLog(_) => "rtmr-log",
            Self::Ima(_) => "ima",
            Self::Certificate(_) => "certificate",
            Self::AmdCertificate(_) => "amd-certificate",
            Self::AmdCrl(_) => "amd-crl",
        }
    }
}
