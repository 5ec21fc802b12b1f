//! TDX evidence as it travels: bytes with a cap on every part, nothing verified.

use super::{
    DecodeError,
    cap::{self, Capped},
};

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

impl Capped for TdxCollateral {
    fn check_caps(&self) -> Result<(), DecodeError> {
        for part in [
            &self.pck_crl_issuer_chain,
            &self.root_ca_crl,
            &self.pck_crl,
            &self.tcb_info_issuer_chain,
            &self.tcb_info,
            &self.tcb_info_signature,
            &self.qe_identity_issuer_chain,
            &self.qe_identity,
            &self.qe_identity_signature,
        ] {
            cap::within("collateral", part.len(), 4 * cap::TABLE)?;
        }
        Ok(())
    }
}

impl Capped for TdxEvidence {
    fn check_caps(&self) -> Result<(), DecodeError> {
        cap::within("quote", self.quote.len(), crate::tdx::quote::MAX_QUOTE_LEN)?;
        cap::within("event_log", self.event_log.len(), cap::EVENT_LOG)?;
        self.collateral.as_ref().map_or(Ok(()), Capped::check_caps)
    }
}
