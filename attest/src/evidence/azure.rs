//! Evidence of an Azure confidential VM: its vTPM's quote, and the hardware report that vouches for the vTPM's key.

use super::{
    DecodeError, PcrBank, TdxCollateral,
    cap::{self, Capped},
};

/// What an Azure confidential VM sends.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AzureEvidence {
    /// Content of NV index 0x01400001: hardware report and runtime data.
    #[prost(bytes = "vec", tag = "1")]
    pub hcl_report: Vec<u8>,
    /// `TPMS_ATTEST` of the quote.
    #[prost(bytes = "vec", tag = "2")]
    pub quote: Vec<u8>,
    /// `TPMT_SIGNATURE` over it.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// PCR values, by bank.
    #[prost(message, repeated, tag = "4")]
    pub pcrs: Vec<PcrBank>,
    /// The firmware's event log.
    #[prost(bytes = "vec", tag = "5")]
    pub event_log: Vec<u8>,
    /// SNP: certificate table, as [`super::SnpEvidence::certificates`]; may be empty.
    #[prost(bytes = "vec", tag = "6")]
    pub certificates: Vec<u8>,
    /// TDX: the quote over the hardware report.
    #[prost(bytes = "vec", tag = "7")]
    pub td_quote: Vec<u8>,
    /// TDX: collateral the node has at hand.
    #[prost(message, optional, tag = "8")]
    pub td_collateral: Option<TdxCollateral>,
    /// DER of the attestation key's certificate; may be padded or absent.
    #[prost(bytes = "vec", tag = "9")]
    pub ak_certificate: Vec<u8>,
    /// DER of the intermediate certificates above it.
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub ak_chain: Vec<Vec<u8>>,
}

impl Capped for AzureEvidence {
    fn check_caps(&self) -> Result<(), DecodeError> {
        cap::within("hcl_report", self.hcl_report.len(), cap::TABLE)?;
        cap::within("quote", self.quote.len(), cap::STRUCTURE)?;
        cap::within("signature", self.signature.len(), cap::STRUCTURE)?;
        cap::within("event_log", self.event_log.len(), cap::EVENT_LOG)?;
        cap::within("certificates", self.certificates.len(), cap::TABLE)?;
        cap::within("td_quote", self.td_quote.len(), cap::TABLE)?;
        self.td_collateral
            .as_ref()
            .map_or(Ok(()), Capped::check_caps)?;
        cap::certificates("ak_certificate", &self.ak_certificate, &self.ak_chain)?;
        cap::pcrs(&self.pcrs)
    }
}
