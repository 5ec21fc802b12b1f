//! Why a piece is refused.

use crate::{
    eventlog::{LogError, ReplayError},
    ima::{ImaError, ImaReplayError},
    reader::ReadError,
    snp::SnpError,
    tdx::{TdxError, ccel::CcelError},
    tpm::attest::AttestError,
    verify::{Crypto, chain::ChainError, signature::SignatureError},
};

/// Why a piece is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PartError {
    /// A binder for a piece that carries nothing it could be compared with.
    #[error("a piece of kind {part} carries no nonce, so it is never fresh; judge it unbound")]
    NothingToBind {
        /// Kind of piece.
        part: &'static str,
    },
    /// There is no quote.
    #[error("there is no quote to judge")]
    NoQuote,
    /// There is no key to check the quote with.
    #[error("there is neither an attestation key nor a certificate of one beside the quote")]
    NoKey,
    /// The attestation key cannot be read.
    #[error("attestation key is malformed: {problem}")]
    MalformedKey {
        /// What is wrong.
        problem: String,
    },
    /// Two forms of the attestation key are not the same key.
    #[error("the forms of the attestation key that came along are not the same key")]
    KeysDiffer,
    /// The key could sign things that are no quotes, or could leave its TPM.
    #[error(
        "attestation key has attributes {found:#010x}; restricted, sign, fixedTPM, fixedParent, \
         sensitiveDataOrigin and not decrypt are needed"
    )]
    KeyAttributes {
        /// `TPMA_OBJECT` found.
        found: u32,
    },
    /// Not a quote.
    #[error("quote {number}: {source}")]
    Quote {
        /// Number of the quote, the first is 0.
        number: usize,
        /// What is wrong.
        source: AttestError,
    },
    /// The signature structure is malformed.
    #[error("signature of quote {number} is malformed: {source}")]
    MalformedSignature {
        /// Number of the quote.
        number: usize,
        /// What is wrong.
        source: ReadError,
    },
    /// The signature uses another scheme than the key is bound to.
    #[error(
        "quote {number} is signed with scheme {found:#06x} and digest {found_hash:#06x}, the key is bound to \
         {bound:#06x} and {bound_hash:#06x}"
    )]
    Scheme {
        /// Number of the quote.
        number: usize,
        /// Scheme of the signature.
        found: u16,
        /// Digest of the signature.
        found_hash: u16,
        /// Scheme of the key.
        bound: u16,
        /// Digest of the key's scheme.
        bound_hash: u16,
    },
    /// The signature is not the key's.
    #[error("signature of quote {number} refused: {source}")]
    Signature {
        /// Number of the quote.
        number: usize,
        /// What is wrong.
        source: SignatureError,
    },
    /// A quoted PCR value is not there.
    #[error("{bank} PCR {pcr} is quoted but its value is absent")]
    PcrMissing {
        /// Bank.
        bank: String,
        /// PCR.
        pcr: u8,
    },
    /// The PCR values are not the quoted ones.
    #[error("the PCR values have digest {found}, quote {number} vouches for {quoted}")]
    PcrDigest {
        /// Number of the quote.
        number: usize,
        /// Hex digest of the values.
        found: String,
        /// Hex digest of the quote.
        quoted: String,
    },
    /// The certificate of the attestation key does not hold.
    #[error("certificate of the attestation key refused: {0}")]
    AkCertificate(ChainError),
    /// The quote was made for something else.
    #[error("quote {number} carries the qualifying data {found:?}, wanted is {wanted:?}")]
    Nonce {
        /// Number of the quote.
        number: usize,
        /// Hex of what was quoted.
        found: String,
        /// Hex of what is wanted.
        wanted: String,
    },
    /// The event log beside a quote is malformed.
    #[error("event log beside the quote: {0}")]
    QuotedLog(LogError),
    /// The event log beside a quote gives other PCR values.
    #[error("event log does not replay to the quoted {bank} PCRs {pcrs:?}")]
    QuotedLogMismatch {
        /// Bank.
        bank: &'static str,
        /// PCRs that differ.
        pcrs: Vec<u8>,
    },
    /// The log has digests of none of the quoted banks.
    #[error("the event log has no digests of a bank that is quoted")]
    QuotedLogBank,
    /// An event log is malformed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event log cannot be replayed.
    #[error("event log cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    /// An event log gives other PCR values than were recorded.
    #[error("event log does not replay to the recorded values of PCRs {pcrs:?}")]
    LogMismatch {
        /// PCRs that differ.
        pcrs: Vec<u8>,
    },
    /// An event log gives another PCR digest than a quote's.
    #[error("event log replays to the PCR digest {found}, the quote has {quoted}")]
    LogDigest {
        /// Hex digest of the replayed values.
        found: String,
        /// Hex digest of the quote.
        quoted: String,
    },
    /// The quote beside an event log is malformed.
    #[error("quote beside the event log: {0}")]
    LogQuote(AttestError),
    /// A TD's event log does not hold.
    #[error(transparent)]
    Rtmr(#[from] CcelError),
    /// The TD quote beside an event log does not hold.
    #[error("quote beside the event log: {0}")]
    TdQuote(#[from] TdxError),
    /// A measurement list is malformed.
    #[error(transparent)]
    Ima(#[from] ImaError),
    /// A measurement list cannot be replayed.
    #[error(transparent)]
    ImaReplay(#[from] ImaReplayError),
    /// Entries of a measurement list were changed.
    #[error(
        "{mismatches} of {entries} entries have a template digest that is not that of their data"
    )]
    TemplateHash {
        /// Entries that do not fit.
        mismatches: usize,
        /// All entries.
        entries: usize,
    },
    /// A TPM's certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] ChainError),
    /// A certificate or list of AMD does not hold.
    #[error(transparent)]
    Amd(#[from] SnpError),
}

impl PartError {
    /// A short stable name of the cause.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::NothingToBind { .. } => "nothing_to_bind",
            Self::NoQuote => "no_quote",
            Self::NoKey => "no_attestation_key",
            Self::KeysDiffer => "attestation_key_mismatch",
            Self::KeyAttributes { .. } => "attestation_key_attributes",
            Self::Quote { source, .. } | Self::LogQuote(source) => match source {
                AttestError::Magic { .. } => "bad_magic",
                AttestError::NotAQuote { .. } => "not_a_quote",
                AttestError::Malformed(_) => "malformed",
            },
            Self::Signature {
                source: SignatureError::WeakHash { .. },
                ..
            } => "weak_hash",
            Self::Scheme { .. } | Self::Signature { .. } => "tpm_quote_signature_invalid",
            Self::PcrMissing { .. } | Self::PcrDigest { .. } => "pcr_digest_mismatch",
            Self::Nonce { .. } => "nonce_mismatch",
            Self::MalformedKey { .. }
            | Self::MalformedSignature { .. }
            | Self::QuotedLog(_)
            | Self::Log(_)
            | Self::Ima(_) => "malformed",
            Self::QuotedLogMismatch { .. }
            | Self::QuotedLogBank
            | Self::Replay(_)
            | Self::LogMismatch { .. }
            | Self::LogDigest { .. } => "event_log_mismatch",
            Self::Rtmr(error) => error.reason_class(),
            Self::TdQuote(error) => error.reason_class(),
            Self::ImaReplay(_) => "template_unknown",
            Self::TemplateHash { .. } => "template_hash_mismatch",
            Self::AkCertificate(error) | Self::Certificate(error) => error.reason_class(),
            Self::Amd(error) => error.reason_class(),
        }
    }

    /// Whether the piece's signatures hold all the same; logs and lists have none.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::NoQuote | Self::NoKey => Crypto::Unknown,
            Self::Quote {
                source: AttestError::NotAQuote { .. },
                ..
            }
            | Self::Nonce { .. }
            | Self::QuotedLog(_)
            | Self::QuotedLogMismatch { .. }
            | Self::QuotedLogBank => Crypto::Valid,
            Self::MalformedKey { .. }
            | Self::KeysDiffer
            | Self::KeyAttributes { .. }
            | Self::Quote { .. }
            | Self::MalformedSignature { .. }
            | Self::Scheme { .. }
            | Self::Signature { .. }
            | Self::PcrMissing { .. }
            | Self::PcrDigest { .. } => Crypto::Invalid,
            Self::NothingToBind { .. }
            | Self::Log(_)
            | Self::Replay(_)
            | Self::LogMismatch { .. }
            | Self::LogDigest { .. }
            | Self::LogQuote(_)
            | Self::Rtmr(_)
            | Self::Ima(_)
            | Self::ImaReplay(_)
            | Self::TemplateHash { .. } => Crypto::NotApplicable,
            Self::TdQuote(error) => error.crypto(),
            Self::AkCertificate(error) | Self::Certificate(error) => error.crypto(),
            Self::Amd(error) => error.crypto(),
        }
    }
}
