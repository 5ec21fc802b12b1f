//! Evidence in the form it travels in: collected on a node, judged at the key service.
//!
//! Each kind is encoded as a protobuf message of its own. Decoding is total and every part has a cap; nothing in
//! decoded evidence is verified, only its sizes are known to be sane.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// What evidence must be bound to: the digest of one exchange on one connection, computed by both ends.
///
/// A TPM quote carries [`Binder::qualifying_data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binder(pub [u8; 64]);

impl Binder {
    /// What a TPM is given as `qualifyingData`: SHA-256 of the binder (the field holds no 64 bytes on every TPM).
    pub fn qualifying_data(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// Evidence of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A TPM quote with event log and endorsement key.
    Vtpm(Box<VtpmEvidence>),
}

/// Kind of [`Evidence::Vtpm`] on the wire.
pub const KIND_VTPM: &str = "vtpm";

/// Caps of the parts, in bytes.
mod cap {
    pub const PAYLOAD: usize = MAX_EVENT_LOG + 96 * 1024;
    pub const STRUCTURE: usize = 2048;
    pub const CERTIFICATE: usize = 8192;
    pub const MAX_EVENT_LOG: usize = 1 << 20;
    pub const DIGEST: usize = 64;
}

/// Caps on the number of parts.
mod count {
    pub const BANKS: usize = 4;
    pub const PCRS: usize = 24;
    pub const CERTIFICATES: usize = 4;
}

/// Why a payload is not evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Evidence of a kind this version does not know.
    #[error("evidence of kind {kind:?} is not known here, known are: {KIND_VTPM}")]
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

/// Evidence of a TPM. All structures are as the TPM marshals them, without an outer size field.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VtpmEvidence {
    /// `TPMT_PUBLIC` of the attestation key.
    #[prost(bytes = "vec", tag = "1")]
    pub ak_public: Vec<u8>,
    /// `TPMS_ATTEST` of the quote.
    #[prost(bytes = "vec", tag = "2")]
    pub quote: Vec<u8>,
    /// `TPMT_SIGNATURE` over it.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// PCR values, by bank.
    #[prost(message, repeated, tag = "4")]
    pub pcrs: Vec<PcrBank>,
    /// The firmware's event log, as the kernel hands it out.
    #[prost(bytes = "vec", tag = "5")]
    pub event_log: Vec<u8>,
    /// `TPMT_PUBLIC` of the endorsement key.
    #[prost(bytes = "vec", tag = "6")]
    pub ek_public: Vec<u8>,
    /// DER of its certificate as read from NV (may be padded); empty if there is none.
    #[prost(bytes = "vec", tag = "7")]
    pub ek_certificate: Vec<u8>,
    /// DER of intermediate certificates, in any order.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub ek_chain: Vec<Vec<u8>>,
}

/// PCR values of one bank.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PcrBank {
    /// `TPM_ALG_ID` of the bank.
    #[prost(uint32, tag = "1")]
    pub alg: u32,
    /// Values, in any order.
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<PcrValue>,
}

/// Value of one PCR.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PcrValue {
    /// Index, 0 to 23.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Value.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

impl Evidence {
    /// Name of the kind on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vtpm(_) => KIND_VTPM,
        }
    }

    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Vtpm(vtpm) => vtpm.encode_to_vec(),
        }
    }

    /// Decodes a payload of the given kind, checking every cap.
    pub fn decode(kind: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            KIND_VTPM => {
                within("payload", payload.len(), cap::PAYLOAD)?;
                let message = VtpmEvidence::decode(payload).map_err(|e| DecodeError::Message {
                    kind: KIND_VTPM,
                    problem: e.to_string(),
                })?;
                message.check_caps()?;
                Ok(Self::Vtpm(Box::new(message)))
            }
            other => Err(DecodeError::Kind {
                kind: other.chars().take(32).collect(),
            }),
        }
    }
}

impl VtpmEvidence {
    fn check_caps(&self) -> Result<(), DecodeError> {
        within("ak_public", self.ak_public.len(), cap::STRUCTURE)?;
        within("quote", self.quote.len(), cap::STRUCTURE)?;
        within("signature", self.signature.len(), cap::STRUCTURE)?;
        within("ek_public", self.ek_public.len(), cap::STRUCTURE)?;
        within("event_log", self.event_log.len(), cap::MAX_EVENT_LOG)?;
        within(
            "ek_certificate",
            self.ek_certificate.len(),
            cap::CERTIFICATE,
        )?;
        at_most(
            "chain certificates",
            self.ek_chain.len(),
            count::CERTIFICATES,
        )?;
        for certificate in &self.ek_chain {
            within("ek_chain", certificate.len(), cap::CERTIFICATE)?;
        }
        at_most("PCR banks", self.pcrs.len(), count::BANKS)?;
        for bank in &self.pcrs {
            at_most("PCR values in a bank", bank.values.len(), count::PCRS)?;
            for value in &bank.values {
                within("pcr value", value.digest.len(), cap::DIGEST)?;
            }
        }
        Ok(())
    }
}

fn within(part: &'static str, found: usize, most: usize) -> Result<(), DecodeError> {
    if found > most {
        return Err(DecodeError::TooLarge { part, found, most });
    }
    Ok(())
}

fn at_most(part: &'static str, found: usize, most: usize) -> Result<(), DecodeError> {
    if found > most {
        return Err(DecodeError::TooMany { part, found, most });
    }
    Ok(())
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
            ek_chain: vec![vec![0]; count::CERTIFICATES + 1],
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
    fn refuses_an_event_log_above_one_mebibyte() {
        let error = decode(&VtpmEvidence {
            event_log: vec![0; cap::MAX_EVENT_LOG + 1],
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
            let _ = Evidence::decode(KIND_VTPM, &payload);
        }
    }
}
