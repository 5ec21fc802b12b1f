//! Evidence in the form it travels in: collected on a node, judged at the key service.
//!
//! Each kind is encoded as a protobuf message of its own. Decoding is total and every part has a cap; nothing in
//! decoded evidence is verified, only its sizes are known to be sane.

mod azure;
mod cap;
#[cfg(feature = "verify")]
pub mod file;
mod snp;
mod tdx;
mod vtpm;

pub use azure::AzureEvidence;
pub use snp::SnpEvidence;
pub use tdx::{TdxCollateral, TdxEvidence};
pub use vtpm::{PcrBank, PcrValue, VtpmEvidence};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::part::Part;

/// The digest of one exchange on one connection, computed by both ends: what fresh evidence is bound to.
///
/// SNP and TDX report it as it is; a TPM quote carries [`Exchange::qualifying_data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange(pub [u8; 64]);

impl Exchange {
    /// What a TPM is given as `qualifyingData`: SHA-256 of the digest (the field holds no 64 bytes on every TPM).
    pub fn qualifying_data(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// What evidence must be bound to. The claims say which of the three it was; a key service accepts the first only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binder {
    /// This exchange.
    Exchange(Exchange),
    /// Recorded evidence whose report data or nonce is known: compared as it stands.
    Value(Vec<u8>),
    /// Recorded evidence of which nothing is known: not compared.
    Unknown,
}

impl Binder {
    /// Whether evidence must prove its freshness, and so be complete.
    #[cfg(feature = "verify")]
    pub(crate) fn is_exchange(&self) -> bool {
        matches!(self, Self::Exchange(_))
    }

    /// Whether a TEE report's 64 bytes of report data are what they must be.
    #[cfg(feature = "verify")]
    pub(crate) fn admits_report_data(&self, found: &[u8; 64]) -> bool {
        match self {
            Self::Exchange(exchange) => exchange.0 == *found,
            Self::Value(value) => value == found,
            Self::Unknown => true,
        }
    }

    /// The qualifying data a TPM quote must carry; `None` where nothing is compared.
    #[cfg(feature = "verify")]
    pub(crate) fn qualifying_data(&self) -> Option<Vec<u8>> {
        match self {
            Self::Exchange(exchange) => Some(exchange.qualifying_data().to_vec()),
            Self::Value(value) => Some(value.clone()),
            Self::Unknown => None,
        }
    }
}

impl From<Exchange> for Binder {
    fn from(exchange: Exchange) -> Self {
        Self::Exchange(exchange)
    }
}

/// Evidence of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A TPM quote with event log and endorsement key.
    Vtpm(Box<VtpmEvidence>),
    /// An SEV-SNP report.
    Snp(Box<SnpEvidence>),
    /// A TD quote with event log.
    Tdx(Box<TdxEvidence>),
    /// A quote of Azure's vTPM, whose key an SNP report or TD quote vouches for.
    Azure(Box<AzureEvidence>),
    /// A piece that is judged alone; it has no wire form.
    Part(Box<Part>),
}

/// Kind of [`Evidence::Vtpm`] on the wire.
pub const KIND_VTPM: &str = "vtpm";
/// Kind of [`Evidence::Snp`] on the wire.
pub const KIND_SNP: &str = "snp";
/// Kind of [`Evidence::Tdx`] on the wire.
pub const KIND_TDX: &str = "tdx";
/// Kind of [`Evidence::Azure`] on the wire.
pub const KIND_AZURE: &str = "azure";
/// Kind of [`Evidence::Part`] in claims; it never travels.
pub const KIND_PART: &str = "part";
/// Every kind that travels.
pub const KINDS: [&str; 4] = [KIND_VTPM, KIND_SNP, KIND_TDX, KIND_AZURE];

/// Why a payload is not evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Evidence of a kind this version does not know.
    #[error("evidence of kind {kind:?} is not known here, known are: {}", KINDS.join(", "))]
    Kind {
        /// Kind found, cut to 32 characters.
        kind: String,
    },
    /// The payload is not the message it should be.
    #[error("evidence is not a well-formed {kind} message: {problem}")]
    Message {
        /// Kind decoded.
        kind: &'static str,
        /// What the decoder says.
        problem: String,
    },
    /// A part is larger than it may be.
    #[error("evidence part {part}: {found} bytes, at most {most} are accepted")]
    TooLarge {
        /// Name of the part.
        part: &'static str,
        /// Bytes found.
        found: usize,
        /// Cap.
        most: usize,
    },
    /// There are more parts of a sort than there may be.
    #[error("evidence has {found} {part}, at most {most} are accepted")]
    TooMany {
        /// Name of the parts.
        part: &'static str,
        /// Number found.
        found: usize,
        /// Cap.
        most: usize,
    },
}

impl Evidence {
    /// Name of the kind on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vtpm(_) => KIND_VTPM,
            Self::Snp(_) => KIND_SNP,
            Self::Tdx(_) => KIND_TDX,
            Self::Azure(_) => KIND_AZURE,
            Self::Part(_) => KIND_PART,
        }
    }

    /// Encodes the payload; of a piece, which does not travel, nothing.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Vtpm(vtpm) => vtpm.encode_to_vec(),
            Self::Snp(snp) => snp.encode_to_vec(),
            Self::Tdx(tdx) => tdx.encode_to_vec(),
            Self::Azure(azure) => azure.encode_to_vec(),
            Self::Part(_) => Vec::new(),
        }
    }

    /// Decodes a payload of the given kind, checking every cap.
    pub fn decode(kind: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            KIND_VTPM => message::<VtpmEvidence>(KIND_VTPM, payload).map(Self::Vtpm),
            KIND_SNP => message::<SnpEvidence>(KIND_SNP, payload).map(Self::Snp),
            KIND_TDX => message::<TdxEvidence>(KIND_TDX, payload).map(Self::Tdx),
            KIND_AZURE => message::<AzureEvidence>(KIND_AZURE, payload).map(Self::Azure),
            other => Err(DecodeError::Kind {
                kind: other.chars().take(32).collect(),
            }),
        }
    }
}

fn message<M: prost::Message + Default + cap::Capped>(
    kind: &'static str,
    payload: &[u8],
) -> Result<Box<M>, DecodeError> {
    cap::within("payload", payload.len(), cap::PAYLOAD)?;
    let message = M::decode(payload).map_err(|error| DecodeError::Message {
        kind,
        problem: error.to_string(),
    })?;
    message.check_caps()?;
    Ok(Box::new(message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn decode(message: &VtpmEvidence) -> Result<Evidence, DecodeError> {
        Evidence::decode(KIND_VTPM, &message.encode_to_vec())
    }

    #[test]
    fn decodes_what_it_encodes() {
        let evidence = Evidence::Vtpm(Box::new(VtpmEvidence {
            quote: vec![1, 2, 3],
            ek_chain: vec![vec![4], vec![5]],
            ..Default::default()
        }));
        assert_eq!(
            Evidence::decode(evidence.kind(), &evidence.encode()),
            Ok(evidence)
        );
    }

    #[test]
    fn decodes_every_kind_it_encodes() {
        let all = [
            Evidence::Snp(Box::new(SnpEvidence {
                report: vec![1; 1184],
                certificates: vec![2],
            })),
            Evidence::Tdx(Box::new(TdxEvidence {
                quote: vec![1; 5000],
                collateral: Some(TdxCollateral::default()),
                ..Default::default()
            })),
            Evidence::Azure(Box::new(AzureEvidence {
                hcl_report: vec![1; 2600],
                ..Default::default()
            })),
        ];
        for evidence in all {
            assert_eq!(
                Evidence::decode(evidence.kind(), &evidence.encode()),
                Ok(evidence)
            );
        }
    }

    #[test]
    fn refuses_a_quote_above_its_cap() {
        let evidence = TdxEvidence {
            quote: vec![1; 65_537],
            ..Default::default()
        };
        assert!(matches!(
            Evidence::decode(KIND_TDX, &evidence.encode_to_vec()),
            Err(DecodeError::TooLarge {
                part: "quote",
                found: 65_537,
                ..
            })
        ));
    }

    #[test]
    fn refuses_an_unknown_kind() {
        let error = Evidence::decode("sgx", &[]).unwrap_err();
        assert_eq!(error, DecodeError::Kind { kind: "sgx".into() });
    }

    #[test]
    fn refuses_bytes_that_are_no_message() {
        let error = Evidence::decode(KIND_VTPM, &[0xff; 9]).unwrap_err();
        assert!(matches!(
            error,
            DecodeError::Message {
                kind: KIND_VTPM,
                ..
            }
        ));
    }

    #[test]
    fn refuses_a_part_above_its_cap() {
        let error = decode(&VtpmEvidence {
            ak_public: vec![0; cap::STRUCTURE + 1],
            ..Default::default()
        });
        assert!(matches!(
            error,
            Err(DecodeError::TooLarge {
                part: "ak_public",
                ..
            })
        ));
    }

    #[test]
    fn refuses_more_certificates_than_a_path_may_have() {
        let error = decode(&VtpmEvidence {
            ek_chain: vec![vec![0]; cap::CERTIFICATES + 1],
            ..Default::default()
        });
        assert!(matches!(
            error,
            Err(DecodeError::TooMany {
                part: "chain certificates",
                ..
            })
        ));
    }

    #[test]
    fn refuses_an_event_log_above_its_cap() {
        let error = decode(&VtpmEvidence {
            event_log: vec![0; cap::EVENT_LOG + 1],
            ..Default::default()
        });
        assert!(matches!(
            error,
            Err(DecodeError::TooLarge {
                part: "event_log",
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_payload(payload in proptest::collection::vec(any::<u8>(), 0..512)) {
            for kind in KINDS {
                let _ = Evidence::decode(kind, &payload);
            }
        }
    }
}
