//! TDX evidence as it travels: bytes with a cap on every part, nothing verified.

use prost::Message as _;

/// Collateral as it is stored and sent. Signatures are r then s, 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TdxCollateral {
    /// PEM: PCK CA, root.
    #[prost(bytes = "vec", tag = "1")]
    pub pck_crl_issuer_chain: Vec<u8>,
    /// DER.
    #[prost(bytes = "vec", tag = "2")]
    pub root_ca_crl: Vec<u8>,
    /// DER.
    #[prost(bytes = "vec", tag = "3")]
    pub pck_crl: Vec<u8>,
    /// PEM: TCB signing certificate, root.
    #[prost(bytes = "vec", tag = "4")]
    pub tcb_info_issuer_chain: Vec<u8>,
    /// JSON object `tcbInfo`, byte exact.
    #[prost(bytes = "vec", tag = "5")]
    pub tcb_info: Vec<u8>,
    /// Signature over `tcb_info`.
    #[prost(bytes = "vec", tag = "6")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM: TCB signing certificate, root.
    #[prost(bytes = "vec", tag = "7")]
    pub qe_identity_issuer_chain: Vec<u8>,
    /// JSON object `enclaveIdentity`, byte exact.
    #[prost(bytes = "vec", tag = "8")]
    pub qe_identity: Vec<u8>,
    /// Signature over `qe_identity`.
    #[prost(bytes = "vec", tag = "9")]
    pub qe_identity_signature: Vec<u8>,
}

/// What a TD sends: its quote, and what helps to judge it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TdxEvidence {
    /// The quote; its report data is the binder.
    #[prost(bytes = "vec", tag = "1")]
    pub quote: Vec<u8>,
    /// The CCEL area or a JSON event list; empty where there is none.
    #[prost(bytes = "vec", tag = "2")]
    pub event_log: Vec<u8>,
    /// Collateral the node has at hand; the verifier may have its own.
    #[prost(message, optional, tag = "3")]
    pub collateral: Option<TdxCollateral>,
}

/// Most bytes of a part, by name.
const CAPS: [(&str, usize); 4] = [
    ("quote", super::quote::MAX_QUOTE_LEN),
    ("event log", 2 << 20),
    ("issuer chain or CRL", 256 << 10),
    ("TCB info or QE identity", 256 << 10),
];

/// Why a payload is not TDX evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdxDecodeError {
    /// Not the message it should be.
    #[error("the payload is not a TDX evidence message: {problem}")]
    Message {
        /// What the decoder says.
        problem: String,
    },
    /// A part is larger than it may be.
    #[error("TDX evidence, {part}: {found} bytes, at most {most} are accepted")]
    TooLarge {
        /// Name of the part.
        part: &'static str,
        /// Bytes found.
        found: usize,
        /// Cap.
        most: usize,
    },
}

impl TdxEvidence {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a message and caps its parts. The transport bounds the payload as a whole.
    pub fn decode(payload: &[u8]) -> Result<Self, TdxDecodeError> {
        let evidence = <Self as prost::Message>::decode(payload).map_err(|error| {
            let problem = error.to_string();
            TdxDecodeError::Message { problem }
        })?;
        let [quote, log, part, text] = CAPS;
        within(quote, &evidence.quote)?;
        within(log, &evidence.event_log)?;
        if let Some(collateral) = &evidence.collateral {
            within(part, &collateral.pck_crl_issuer_chain)?;
            within(part, &collateral.root_ca_crl)?;
            within(part, &collateral.pck_crl)?;
            within(part, &collateral.tcb_info_issuer_chain)?;
            within(part, &collateral.qe_identity_issuer_chain)?;
            within(part, &collateral.tcb_info_signature)?;
            within(part, &collateral.qe_identity_signature)?;
            within(text, &collateral.tcb_info)?;
            within(text, &collateral.qe_identity)?;
        }
        Ok(evidence)
    }
}

fn within((part, most): (&'static str, usize), bytes: &[u8]) -> Result<(), TdxDecodeError> {
    let found = bytes.len();
    if found <= most {
        return Ok(());
    }
    Err(TdxDecodeError::TooLarge { part, found, most })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_refuses_a_part_above_its_cap() {
        let mut evidence = TdxEvidence {
            quote: vec![1; 5000],
            event_log: vec![2; 100],
            collateral: Some(TdxCollateral::default()),
        };
        assert_eq!(
            TdxEvidence::decode(&evidence.encode()),
            Ok(evidence.clone())
        );
        evidence.quote = vec![1; 65_537];
        let error = TdxEvidence::decode(&evidence.encode()).unwrap_err();
        assert!(matches!(
            error,
            TdxDecodeError::TooLarge {
                part: "quote",
                found: 65_537,
                ..
            }
        ));
        assert!(matches!(
            TdxEvidence::decode(&[0xff; 9]),
            Err(TdxDecodeError::Message { .. })
        ));
    }
}
