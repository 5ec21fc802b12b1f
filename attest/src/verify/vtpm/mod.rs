//! Judges a TPM's evidence: attestation key, quote, PCR values, event log, endorsement.
//!
//! The checks run from what costs the forger most to what needs most parsing; every refusal is a variant of
//! [`VtpmError`]. Trust class is always `hypervisor`: nothing here tells a vTPM the hypervisor runs from hardware.

mod endorsement;
pub(crate) mod log;
pub(crate) mod pcrs;
pub mod quote;

use rustls_pki_types::UnixTime;

use super::{
    Collateral, Crypto, Roots,
    ak::{self, AkVerdict},
    chain::ChainError,
    signature::SignatureError,
};
use crate::{
    claims::{Claims, PcrSelection, TpmClaims, TrustClass},
    eventlog::{LogError, ReplayError},
    evidence::{Binder, KIND_VTPM, VtpmEvidence},
    reader::ReadError,
    tpm::{
        PCR_COUNT,
        hash::Hash,
        name,
        public::{Key, Public},
        signature::Signature,
    },
};

/// Why a TPM's evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VtpmError {
    /// The attestation key is malformed.
    #[error("attestation key is malformed: {0}")]
    MalformedAttestationKey(ReadError),
    /// The key could sign things that are no quotes, or could leave its TPM.
    #[error(
        "attestation key has attributes {found:#010x}; restricted, sign, fixedTPM, fixedParent, \
         sensitiveDataOrigin and not decrypt are needed"
    )]
    AttestationKeyAttributes {
        /// `TPMA_OBJECT` found.
        found: u32,
    },
    /// The endorsement key is malformed.
    #[error("endorsement key is malformed: {0}")]
    MalformedEndorsementKey(ReadError),
    /// The quote is malformed.
    #[error("quote is malformed: {0}")]
    MalformedQuote(ReadError),
    /// The quote was not made by a TPM.
    #[error("quote has magic {found:#010x}, only TPM_GENERATED 0xff544347 comes from a TPM")]
    Magic {
        /// Magic found.
        found: u32,
    },
    /// The attestation is of another type.
    #[error("attestation has type {found:#06x}, a quote is 0x8018")]
    NotAQuote {
        /// Type found.
        found: u16,
    },
    /// The signature structure is malformed.
    #[error("quote signature is malformed: {0}")]
    MalformedSignature(ReadError),
    /// The signature uses another scheme than the key is bound to.
    #[error(
        "quote is signed with scheme {found:#06x} and digest {found_hash:#06x}, the key is bound to \
         {bound:#06x} and {bound_hash:#06x}"
    )]
    SchemeMismatch {
        /// Scheme of the signature.
        found: u16,
        /// Digest of the signature.
        found_hash: u16,
        /// Scheme of the key.
        bound: u16,
        /// Digest of the key's scheme.
        bound_hash: u16,
    },
    /// The signature is not the key's, or too weak.
    #[error("quote signature refused: {0}")]
    Signature(SignatureError),
    /// The quote was made for another exchange.
    #[error("quote carries the qualifying data {found}, this exchange needs {wanted}")]
    BinderMismatch {
        /// Hex of what was quoted.
        found: String,
        /// Hex of SHA-256 of the binder.
        wanted: String,
    },
    /// The quote names another place of the key than under the evidence's endorsement key.
    #[error(
        "quote was signed by {found}, an attestation key under this endorsement key is {wanted}"
    )]
    QualifiedSigner {
        /// Hex of the quote's Qualified Name.
        found: String,
        /// Hex of the Qualified Name computed from both keys.
        wanted: String,
    },
    /// The attestation key's certificate.
    #[error("the attestation key's certificate: {0}")]
    AkCertificate(ChainError),
    /// Nothing says where the attestation key is: no endorsement key above it, no trusted certificate.
    #[error(
        "the evidence has neither an endorsement key nor a trusted certificate of the attestation key: {problem}"
    )]
    NotVouchedFor {
        /// Why there is no trusted certificate.
        problem: String,
    },
    /// Another bank or other PCRs are quoted.
    #[error("quote covers {found}, needed is {wanted}")]
    Selection {
        /// Banks and PCRs of the quote.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// The PCR values of the quoted bank are absent.
    #[error("evidence has no {bank} PCR values")]
    BankMissing {
        /// Bank needed.
        bank: &'static str,
    },
    /// PCR values are twice there, out of range, of a wrong length, or some are missing.
    #[error("{bank} PCR {index}: {problem}")]
    MalformedPcr {
        /// Bank.
        bank: &'static str,
        /// PCR.
        index: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// The PCR values are not the quoted ones.
    #[error("the {bank} PCR values have digest {found}, the quote vouches for {quoted}")]
    PcrDigestMismatch {
        /// Bank.
        bank: &'static str,
        /// Hex digest of the values.
        found: String,
        /// Hex digest of the quote.
        quoted: String,
    },
    /// The event log is malformed.
    #[error(transparent)]
    MalformedEventLog(LogError),
    /// The event log cannot be replayed.
    #[error("event log cannot be replayed: {0}")]
    Replay(ReplayError),
    /// The event log does not explain a PCR.
    #[error("event log gives PCR {pcr} the value {replayed}, the quote vouches for {quoted}")]
    LogMismatch {
        /// PCR.
        pcr: u8,
        /// Hex value of the replay.
        replayed: String,
        /// Hex value that was quoted.
        quoted: String,
    },
}

impl VtpmError {
    /// A short stable name of the cause.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::MalformedAttestationKey(_)
            | Self::MalformedEndorsementKey(_)
            | Self::MalformedQuote(_)
            | Self::MalformedSignature(_)
            | Self::MalformedPcr { .. }
            | Self::MalformedEventLog(_) => "malformed",
            Self::AttestationKeyAttributes { .. } => "attestation_key_attributes",
            Self::Magic { .. } => "bad_magic",
            Self::NotAQuote { .. } => "not_a_quote",
            Self::SchemeMismatch { .. } | Self::Signature(_) => "tpm_quote_signature_invalid",
            Self::BinderMismatch { .. } => "nonce_mismatch",
            Self::QualifiedSigner { .. } => "attestation_key_parent",
            Self::AkCertificate(error) => error.reason_class(),
            Self::NotVouchedFor { .. } => "attestation_key_unknown",
            Self::Selection { .. } => "pcr_selection",
            Self::BankMissing { .. } => "pcr_bank_missing",
            Self::PcrDigestMismatch { .. } => "pcr_digest_mismatch",
            Self::Replay(_) | Self::LogMismatch { .. } => "event_log_mismatch",
        }
    }

    /// Whether the quote's signature and bindings hold all the same.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::AkCertificate(error) => error.crypto(),
            Self::NotVouchedFor { .. } => Crypto::Unknown,
            Self::NotAQuote { .. }
            | Self::BinderMismatch { .. }
            | Self::Selection { .. }
            | Self::BankMissing { .. }
            | Self::MalformedEventLog(_)
            | Self::Replay(_)
            | Self::LogMismatch { .. } => Crypto::Valid,
            _ => Crypto::Invalid,
        }
    }
}

/// The bank that is quoted and judged.
pub const BANK: Hash = Hash::Sha256;

/// Verifies `evidence`; the order of the checks is part of the contract (tests assert which refusal comes first).
pub(super) fn verify(
    evidence: &VtpmEvidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, VtpmError> {
    let key = attestation_key(&evidence.ak_public)?;
    let ek = endorsement_key(evidence)?;
    let signature = Signature::parse(&evidence.signature).map_err(VtpmError::MalformedSignature)?;
    check_scheme(&key, &signature)?;
    let quote = quote::check(&key.key, &evidence.quote, &signature)?;
    if let Some(wanted) = binder.qualifying_data() {
        quote::check_binding(&quote, &wanted)?;
    }
    let certificate = ak::judge(
        &evidence.ak_certificate,
        &evidence.ak_chain,
        &key.key,
        roots,
        collateral,
        now,
    )
    .map_err(VtpmError::AkCertificate)?;
    let under_ek = check_signer(
        &quote.quote.qualified_signer,
        &key,
        ek.as_ref(),
        &certificate,
    )?;
    let all: Vec<u8> = (0..PCR_COUNT).collect();
    quote::check_selection(&quote, BANK, &all)?;
    let pcrs = pcrs::of_bank(&evidence.pcrs, BANK)?;
    quote::check_pcrs(&quote, BANK, &pcrs)?;
    let events = log::check(&evidence.event_log, BANK, &pcrs)?;

    let mut claims = Claims::new(KIND_VTPM, Some(TrustClass::Hypervisor), binder);
    let mut tpm = tpm_claims(&quote, &key.key, certificate);
    tpm.attestation_key_name = hex::encode(key.name());
    match ek.filter(|_| under_ek) {
        Some(ek) => match endorsement::judge(evidence, &ek, roots, collateral, now) {
            Ok(endorsement) => tpm.endorsement = Some(endorsement),
            Err(problem) => tpm.endorsement_problem = Some(problem.to_string()),
        },
        None => {
            let problem = "the attestation key is not under an endorsement key";
            tpm.endorsement_problem = Some(problem.to_owned());
        }
    }
    claims.tpm = Some(tpm);
    claims.pcrs = pcrs;
    claims.events = events;
    sources(&mut claims);
    Ok(claims)
}

fn sources(claims: &mut Claims) {
    claims.source("tpm", "the quote, signed by the attestation key");
    claims.source(
        "tpm.endorsement",
        "the endorsement key's certificate, signed by its maker",
    );
    claims.source(
        "tpm.attestation_key_certificate",
        "the cloud's CA, for a vTPM its hypervisor runs; no TEE report names this key",
    );
    claims.source("pcrs", "PCR values whose digest the quote carries");
    claims.source("events", "the event log; digests replay to the quoted PCRs");
}

/// What a quote signed by `key` says, and what is known of the key by certificate.
pub(crate) fn tpm_claims(signed: &quote::Signed, key: &Key, certificate: AkVerdict) -> TpmClaims {
    let quote = &signed.quote;
    let select = quote.selections.iter().map(|one| PcrSelection {
        bank: quote::bank_name(one.bank),
        pcrs: one.pcrs.clone(),
    });
    TpmClaims {
        attestation_key_name: String::new(),
        attestation_key_spki_sha256: hex::encode(key.spki_sha256()),
        endorsement: None,
        endorsement_problem: None,
        attestation_key_certificate: certificate.certificate,
        attestation_key_problem: certificate.problem,
        qualified_signer: hex::encode(&quote.qualified_signer),
        extra_data: hex::encode(&quote.extra_data),
        pcr_select: select.collect(),
        pcr_digest: hex::encode(&quote.pcr_digest),
        signature_hash: signed.hash.name().to_owned(),
        clock: quote.clock,
        reset_count: quote.reset_count,
        restart_count: quote.restart_count,
        safe: quote.safe,
        firmware_version: quote.firmware_version,
    }
}

/// The endorsement key; it may be missing where a certificate speaks for the attestation key itself.
fn endorsement_key(evidence: &VtpmEvidence) -> Result<Option<Public>, VtpmError> {
    if evidence.ek_public.is_empty() && !evidence.ak_certificate.is_empty() {
        return Ok(None);
    }
    let ek = Public::parse(&evidence.ek_public).map_err(VtpmError::MalformedEndorsementKey)?;
    Ok(Some(ek))
}

/// Parses an attestation key (`TPMT_PUBLIC`) and checks its attributes.
pub fn attestation_key(public: &[u8]) -> Result<Public, VtpmError> {
    let key = Public::parse(public).map_err(VtpmError::MalformedAttestationKey)?;
    if !key.attributes.is_attestation_key() {
        return Err(VtpmError::AttestationKeyAttributes {
            found: key.attributes.0,
        });
    }
    Ok(key)
}

fn check_scheme(key: &Public, signature: &Signature) -> Result<(), VtpmError> {
    match key.scheme {
        Some(bound) if (bound.scheme, bound.hash) != (signature.value.scheme(), signature.hash) => {
            Err(VtpmError::SchemeMismatch {
                found: signature.value.scheme(),
                found_hash: signature.hash,
                bound: bound.scheme,
                bound_hash: bound.hash,
            })
        }
        _ => Ok(()),
    }
}

/// The signer must be the attestation key as a child of the endorsement key, itself a primary key; or, with a
/// trusted certificate, a primary key of the endorsement hierarchy itself, as the keys that Google provisions are.
/// Tells whether it is the former.
fn check_signer(
    signer: &[u8],
    key: &Public,
    ek: Option<&Public>,
    certificate: &AkVerdict,
) -> Result<bool, VtpmError> {
    let primary = name::qualified_under_endorsement(key.name_alg, &key.name());
    if certificate.certificate.is_some() && signer == primary {
        return Ok(false);
    }
    let Some(ek) = ek else {
        if let Some(problem) = certificate.problem.clone() {
            return Err(VtpmError::NotVouchedFor { problem });
        }
        return Err(VtpmError::QualifiedSigner {
            found: hex::encode(signer),
            wanted: hex::encode(primary),
        });
    };
    let parent = name::qualified_under_endorsement(ek.name_alg, &ek.name());
    let wanted = name::qualified(key.name_alg, &parent, &key.name());
    if signer == wanted {
        return Ok(true);
    }
    Err(VtpmError::QualifiedSigner {
        found: hex::encode(signer),
        wanted: hex::encode(wanted),
    })
}
