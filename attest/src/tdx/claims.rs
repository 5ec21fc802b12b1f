//! What a verified quote proves, as plain data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    certificate::{Certificate, read_chain},
    error::{Chain, TdxError},
    pck::PckPlatform,
    quote::{QeReport, Quote, TdReport, TdReport15, TdReport15Ex},
    tcb::TcbClaims,
};
use crate::bytes::Bytes;

/// The platform, by its PCK certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformClaims {
    /// Platform model.
    pub fmspc: Bytes<6>,
    /// Id of the provisioning certification enclave.
    pub pce_id: Bytes<2>,
    /// Security version of that enclave.
    pub pce_svn: u16,
    /// CPUSVN, raw.
    pub cpu_svn: Bytes<16>,
    /// SVNs of the SGX TCB components.
    pub components: [u8; 16],
    /// Id of the platform's processor packages, stable over its life.
    pub ppid: Bytes<16>,
    /// CA that issued the PCK certificate.
    pub pck_issuer: String,
    /// Serial number of the PCK certificate, hex.
    pub pck_serial: String,
    /// Begin of the PCK certificate's validity.
    pub pck_not_before: Timestamp,
    /// End of the PCK certificate's validity.
    pub pck_not_after: Timestamp,
}

impl PlatformClaims {
    /// Reads what a quote's PCK certificate says about its platform, without verifying anything: to look up the
    /// collateral for it, and to show quotes that do not verify.
    pub fn read(quote: &Quote<'_>) -> Result<Self, TdxError> {
        let refuse = |why: &str| TdxError::Certificate {
            chain: Chain::Pck,
            why: why.into(),
        };
        let certs = read_chain(quote.signature.pck_chain, Chain::Pck)?;
        let leaf = certs.first().ok_or_else(|| refuse("no certificate"))?;
        Ok(Self::of(leaf, &PckPlatform::parse(leaf).map_err(refuse)?))
    }

    pub(super) fn of(leaf: &Certificate, platform: &PckPlatform) -> Self {
        Self {
            fmspc: platform.fmspc,
            pce_id: platform.pce_id,
            pce_svn: platform.pce_svn,
            cpu_svn: platform.cpu_svn,
            components: platform.components,
            ppid: platform.ppid,
            pck_issuer: leaf.issuer.clone(),
            pck_serial: hex::encode(&leaf.serial),
            pck_not_before: leaf.not_before,
            pck_not_after: leaf.not_after,
        }
    }
}

/// The quoting enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QeClaims {
    /// Measurement.
    pub mr_enclave: Bytes<32>,
    /// Signer.
    pub mr_signer: Bytes<32>,
    /// Product id.
    pub isv_prod_id: u16,
    /// Security version.
    pub isv_svn: u16,
}

impl QeClaims {
    pub(super) fn of(report: &QeReport) -> Self {
        Self {
            mr_enclave: report.mr_enclave,
            mr_signer: report.mr_signer,
            isv_prod_id: report.isv_prod_id,
            isv_svn: report.isv_svn,
        }
    }
}

/// The collateral that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollateralClaims {
    /// Latest issue date of its parts.
    pub valid_from: Timestamp,
    /// Earliest next update of its parts.
    pub valid_until: Timestamp,
}

/// Everything a verified quote says. `td*` and header fields are signed by the TD's platform, `platform` and `qe` by
/// its certificates, `tcb` and `collateral` by Intel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TdxClaims {
    /// 4 or 5.
    pub quote_version: u16,
    /// Body type of a version 5 quote.
    pub body_type: Option<u16>,
    /// 2: ECDSA P-256.
    pub attestation_key_type: u16,
    /// The TD.
    pub td: TdReport,
    /// What TD 1.5 adds.
    pub td15: Option<TdReport15>,
    /// What body type 4 adds.
    pub td15_ex: Option<TdReport15Ex>,
    /// The platform.
    pub platform: PlatformClaims,
    /// The quoting enclave.
    pub qe: QeClaims,
    /// TCB levels.
    pub tcb: TcbClaims,
    /// Dates of the collateral.
    pub collateral: CollateralClaims,
}

/// Proof that a quote was verified; only verification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxVerified(TdxClaims);

impl TdxVerified {
    pub(super) fn new(claims: TdxClaims) -> Self {
        Self(claims)
    }

    /// What is proven.
    pub fn claims(&self) -> &TdxClaims {
        &self.0
    }

    /// Gives the claims away, and the proof with them.
    pub fn into_claims(self) -> TdxClaims {
        self.0
    }
}
