//! Collateral: what Intel says about platforms, modules and quoting enclaves, with dates and signatures.
//!
//! TCB info and QE identity are JSON texts signed byte for byte (Intel PCS API v4: `tcbInfo` and `enclaveIdentity`
//! without the object around them). They are parsed only after their signature holds. [`CheckedCollateral`] is
//! collateral whose signatures and chains hold; its dates are judged at each use, so that one check serves every
//! quote of the platform model until the collateral ends.

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    certificate::{
        Certificate, TdxRoots, VerifiedChain, check_own_root, read_chain, verify_chain,
        verify_fixed,
    },
    crl::Crl,
    error::{Chain, Part, TdxError},
    tcb::TcbStatus,
};
use crate::{bytes::Bytes, evidence::TdxCollateral};

mod statement;
pub use statement::{PckCa, Statement, Subject};

/// Most bytes of TCB info or QE identity; Intel's have up to 30 KiB.
const MAX_JSON_LEN: usize = 1 << 20;

/// TCB info, version 3, of platforms with TDX.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbInfo {
    pub issue_date: Timestamp,
    pub next_update: Timestamp,
    pub fmspc: Bytes<6>,
    pub pce_id: Bytes<2>,
    pub tcb_evaluation_data_number: u32,
    pub tdx_module: TdxModule,
    #[serde(default)]
    pub tdx_module_identities: Vec<TdxModuleIdentity>,
    pub tcb_levels: Vec<TcbLevel>,
}

/// Signer and attributes of a TDX module.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TdxModule {
    pub mrsigner: Bytes<48>,
    pub attributes: Bytes<8>,
    pub attributes_mask: Bytes<8>,
}

/// A TDX module of one major version.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TdxModuleIdentity {
    pub id: String,
    #[serde(flatten)]
    pub module: TdxModule,
    pub tcb_levels: Vec<IsvLevel>,
}

/// A TCB level of an enclave or a module: its security version.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IsvLevel {
    pub tcb: Isv,
    pub tcb_date: Timestamp,
    pub tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    pub advisory_ids: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Isv {
    pub isvsvn: u16,
}

/// A TCB level of a platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbLevel {
    pub tcb: PlatformTcb,
    pub tcb_date: Timestamp,
    pub tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    pub advisory_ids: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PlatformTcb {
    #[serde(rename = "sgxtcbcomponents")]
    pub sgx: [Component; 16],
    #[serde(rename = "tdxtcbcomponents")]
    pub tdx: [Component; 16],
    pub pcesvn: u16,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Component {
    pub svn: u8,
}

/// QE identity of the quoting enclave of TDX.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QeIdentity {
    pub issue_date: Timestamp,
    pub next_update: Timestamp,
    pub tcb_evaluation_data_number: u32,
    pub miscselect: Bytes<4>,
    pub miscselect_mask: Bytes<4>,
    pub attributes: Bytes<16>,
    pub attributes_mask: Bytes<16>,
    pub mrsigner: Bytes<32>,
    pub isvprodid: u16,
    pub tcb_levels: Vec<IsvLevel>,
}

/// Collateral whose chains and signatures hold up to a trusted root. Says nothing about dates.
#[derive(Debug, Clone)]
pub struct CheckedCollateral {
    pub(super) tcb_info: TcbInfo,
    pub(super) qe_identity: QeIdentity,
    pub(super) root_crl: Crl,
    pub(super) pck_crl: Crl,
    tcb_chain: VerifiedChain,
    /// `None` where it is the TCB info's chain.
    qe_chain: Option<VerifiedChain>,
    pck_ca: Certificate,
}

impl CheckedCollateral {
    /// Verifies every signature of the collateral and reads it.
    pub fn check(collateral: &TdxCollateral, roots: &TdxRoots) -> Result<Self, TdxError> {
        Self::check_beside(collateral, roots, None)
    }

    /// [`CheckedCollateral::check`] where a PCK chain was verified already: its CA needs no second look.
    pub(super) fn check_beside(
        collateral: &TdxCollateral,
        roots: &TdxRoots,
        pck: Option<&VerifiedChain>,
    ) -> Result<Self, TdxError> {
        let tcb_chain = signer(&collateral.tcb_info_issuer_chain, Chain::TcbInfo, roots)?;
        let qe_chain = if collateral.qe_identity_issuer_chain == collateral.tcb_info_issuer_chain {
            None
        } else {
            Some(signer(
                &collateral.qe_identity_issuer_chain,
                Chain::QeIdentity,
                roots,
            )?)
        };
        let qe_signer = &qe_chain.as_ref().unwrap_or(&tcb_chain).leaf;
        signed(
            Part::TcbInfo,
            &collateral.tcb_info,
            &collateral.tcb_info_signature,
            &tcb_chain.leaf,
        )?;
        signed(
            Part::QeIdentity,
            &collateral.qe_identity,
            &collateral.qe_identity_signature,
            qe_signer,
        )?;
        let root_crl = Crl::check(Part::RootCrl, &collateral.root_ca_crl, &tcb_chain.root)?;
        let pck_ca = pck_ca(
            &collateral.pck_crl_issuer_chain,
            &tcb_chain.root,
            pck,
            roots,
        )?;
        let pck_crl = Crl::check(Part::PckCrl, &collateral.pck_crl, &pck_ca)?;

        kind(Part::TcbInfo, &collateral.tcb_info, "TDX", 3..=3)?;
        kind(Part::QeIdentity, &collateral.qe_identity, "TD_QE", 2..=3)?;
        Ok(Self {
            tcb_info: json(Part::TcbInfo, &collateral.tcb_info)?,
            qe_identity: json(Part::QeIdentity, &collateral.qe_identity)?,
            root_crl,
            pck_crl,
            tcb_chain,
            qe_chain,
            pck_ca,
        })
    }

    /// When all parts were issued: the latest of their dates. Certificates are not counted.
    pub fn valid_from(&self) -> Timestamp {
        let dates = [self.tcb_info.issue_date, self.qe_identity.issue_date];
        let crls = self.root_crl.this_update.max(self.pck_crl.this_update);
        dates.into_iter().fold(crls, Timestamp::max)
    }

    /// When the first part ends: the earliest next update. Certificates are not counted.
    pub fn valid_until(&self) -> Timestamp {
        let dates = [self.tcb_info.next_update, self.qe_identity.next_update];
        let crls = self.root_crl.next_update.min(self.pck_crl.next_update);
        dates.into_iter().fold(crls, Timestamp::min)
    }

    /// Platform model the TCB info is for.
    pub fn fmspc(&self) -> Bytes<6> {
        self.tcb_info.fmspc
    }

    /// Judges dates and revocation of the collateral itself.
    pub(super) fn check_current(&self, now: Timestamp) -> Result<(), TdxError> {
        let (info, identity) = (&self.tcb_info, &self.qe_identity);
        dates(Part::TcbInfo, info.issue_date, info.next_update, now)?;
        dates(
            Part::QeIdentity,
            identity.issue_date,
            identity.next_update,
            now,
        )?;
        self.root_crl.check_dates(now)?;
        self.pck_crl.check_dates(now)?;
        self.pck_ca.check_dates(Chain::PckCrl, now)?;
        self.root_crl.check_revoked(Chain::PckCrl, &self.pck_ca)?;
        self.check_signer(Chain::TcbInfo, &self.tcb_chain, now)?;
        match &self.qe_chain {
            Some(chain) => self.check_signer(Chain::QeIdentity, chain, now),
            None => Ok(()),
        }
    }

    fn check_signer(
        &self,
        kind: Chain,
        chain: &VerifiedChain,
        now: Timestamp,
    ) -> Result<(), TdxError> {
        chain.check_dates(kind, now)?;
        self.root_crl.check_issuer(&chain.root)?;
        self.root_crl.check_revoked(kind, &chain.leaf)
    }
}

/// Platform model that unverified collateral is for: to find it, nothing else.
pub(crate) fn fmspc(collateral: &TdxCollateral) -> Option<Bytes<6>> {
    #[derive(Deserialize)]
    struct Model {
        fmspc: Bytes<6>,
    }
    let model: Model = json(Part::TcbInfo, &collateral.tcb_info).ok()?;
    Some(model.fmspc)
}

/// The chain of a collateral signer, which the root must have issued directly: any other certificate of this PKI
/// (a PCK certificate, for one) must not be able to sign collateral.
fn signer(pem: &[u8], chain: Chain, roots: &TdxRoots) -> Result<VerifiedChain, TdxError> {
    let verified = verify_chain(read_chain(pem, chain)?, 0, chain, roots)?;
    if !verified.leaf.subject.contains("TCB Signing") {
        let why = format!(
            "\"{}\" is not a TCB signing certificate",
            verified.leaf.subject
        );
        return Err(TdxError::ChainInvalid { chain, why });
    }
    Ok(verified)
}

fn signed(part: Part, text: &[u8], signature: &[u8], signer: &Certificate) -> Result<(), TdxError> {
    if verify_fixed(&signer.public_key, text, signature) {
        return Ok(());
    }
    Err(TdxError::CollateralSignature { part })
}

/// The CA that issued the PCK CRL, itself issued by `root`; the very certificate in `verified` is known to be.
fn pck_ca(
    pem: &[u8],
    root: &Certificate,
    verified: Option<&VerifiedChain>,
    roots: &TdxRoots,
) -> Result<Certificate, TdxError> {
    let chain = Chain::PckCrl;
    let certs = read_chain(pem, chain)?;
    check_own_root(&certs, chain, roots)?;
    let invalid = |why: String| TdxError::ChainInvalid { chain, why };
    let ca = certs
        .into_iter()
        .next()
        .ok_or_else(|| invalid("no certificate".into()))?;
    let known = verified.is_some_and(|verified| {
        verified.root.der == root.der
            && verified
                .intermediate
                .as_ref()
                .is_some_and(|known| known.der == ca.der)
    });
    let issued = known || (ca.is_ca && ca.signed_by(root));
    if !issued {
        return Err(invalid(format!(
            "\"{}\" is not a CA that the trusted root issued",
            ca.subject
        )));
    }
    Ok(ca)
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    id: String,
    version: u32,
}

fn kind(
    part: Part,
    text: &[u8],
    id: &str,
    versions: std::ops::RangeInclusive<u32>,
) -> Result<(), TdxError> {
    let found: Kind = json(part, text)?;
    if found.id == id && versions.contains(&found.version) {
        return Ok(());
    }
    Err(TdxError::CollateralKind {
        part,
        found: format!("{} version {}", found.id, found.version),
        wanted: match part {
            Part::QeIdentity => "TD_QE version 2 or 3",
            _ => "TDX version 3",
        },
    })
}

fn json<T: DeserializeOwned>(part: Part, text: &[u8]) -> Result<T, TdxError> {
    let refuse = |why| TdxError::Collateral { part, why };
    if text.len() > MAX_JSON_LEN {
        return Err(refuse(format!(
            "{} bytes, at most {MAX_JSON_LEN} are accepted",
            text.len()
        )));
    }
    serde_json::from_slice(text).map_err(|error| refuse(error.to_string()))
}

fn dates(part: Part, from: Timestamp, until: Timestamp, now: Timestamp) -> Result<(), TdxError> {
    if now < from {
        return Err(TdxError::CollateralNotYetValid { part, from, now });
    }
    if now > until {
        return Err(TdxError::CollateralExpired { part, until, now });
    }
    Ok(())
}
