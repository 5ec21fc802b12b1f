//! Evidence of a TPM.

use super::{
    DecodeError,
    cap::{self, Capped},
};

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
    /// DER of a certificate for the attestation key (Google's form); empty if there is none.
    #[prost(bytes = "vec", tag = "9")]
    pub ak_certificate: Vec<u8>,
    /// DER of the intermediate certificates above it, in any order.
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub ak_chain: Vec<Vec<u8>>,
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

impl Capped for VtpmEvidence {
    fn check_caps(&self) -> Result<(), DecodeError> {
        cap::within("ak_public", self.ak_public.len(), cap::STRUCTURE)?;
        cap::within("quote", self.quote.len(), cap::STRUCTURE)?;
        cap::within("signature", self.signature.len(), cap::STRUCTURE)?;
        cap::within("ek_public", self.ek_public.len(), cap::STRUCTURE)?;
        cap::within("event_log", self.event_log.len(), cap::EVENT_LOG)?;
        cap::certificates("ek_certificate", &self.ek_certificate, &self.ek_chain)?;
        cap::certificates("ak_certificate", &self.ak_certificate, &self.ak_chain)?;
        cap::pcrs(&self.pcrs)
    }
}
