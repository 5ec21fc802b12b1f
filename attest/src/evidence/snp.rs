//! Evidence of an SEV-SNP guest.

use super::{
    DecodeError,
    cap::{self, Capped},
};

/// A report and the certificates the host handed out with it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnpEvidence {
    /// Attestation report, 1184 bytes; its report data is the exchange's digest.
    #[prost(bytes = "vec", tag = "1")]
    pub report: Vec<u8>,
    /// Certificate table as in an extended report (GHCB specification, 4.1.8.1) or `auxblob`; may be empty.
    #[prost(bytes = "vec", tag = "2")]
    pub certificates: Vec<u8>,
}

impl Capped for SnpEvidence {
    fn check_caps(&self) -> Result<(), DecodeError> {
        cap::within("report", self.report.len(), 2 * cap::STRUCTURE)?;
        cap::within("certificates", self.certificates.len(), cap::TABLE)
    }
}
