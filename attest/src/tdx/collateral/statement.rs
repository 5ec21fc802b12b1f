//! Intel's statements one at a time, for those who keep them apart: a store that takes TCB info from one answer of
//! the provisioning service and a revocation list from another.
//!
//! The same checks as [`CheckedCollateral`](super::CheckedCollateral), without the dates, which are told.

use jiff::Timestamp;
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{QeIdentity, TcbInfo, VerifiedChain, json, kind, pck_ca, read_chain, signed, signer};
use crate::{
    bytes::Bytes,
    tdx::{
        Chain, Part, TdxError,
        certificate::{Certificate, TdxRoots, common_name},
        crl::Crl,
    },
};

/// A CA of PCK certificates; each has a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PckCa {
    /// Certifies packages of platforms with one or more of them.
    Platform,
    /// Certifies platforms of one package.
    Processor,
}

impl PckCa {
    /// `platform` or `processor`, as Intel's service names the CA.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// The CA by the common name in its certificate, `Intel SGX PCK Platform CA`.
    pub fn of_common_name(name: &str) -> Option<Self> {
        match (
            name.contains("PCK Platform CA"),
            name.contains("PCK Processor CA"),
        ) {
            (true, false) => Some(Self::Platform),
            (false, true) => Some(Self::Processor),
            _ => None,
        }
    }
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// TCB levels of a platform model.
    TcbInfo(Bytes<6>),
    /// The quoting enclave of TDX.
    QeIdentity,
    /// Certificates that the root revoked.
    RootCrl,
    /// PCK certificates that a CA revoked.
    PckCrl(PckCa),
}

/// A statement whose signatures hold up to a trusted root. Says nothing about dates or revocation of its signers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub subject: Subject,
    /// When it was made.
    pub issued: Timestamp,
    /// When it is to be replaced, or a certificate above it ends.
    pub until: Timestamp,
    /// `tcbEvaluationDataNumber`; 0 in revocation lists, which have none.
    pub number: u32,
}

impl Statement {
    /// Checks TCB info: the JSON object `tcbInfo`, its signature (r, s) and its issuer chain (PEM).
    ///
    /// # Errors
    /// [`TdxError`] of the chain, the signature or the content.
    pub fn tcb_info(
        text: &[u8],
        signature: &[u8],
        chain: &[u8],
        roots: &TdxRoots,
    ) -> Result<Self, TdxError> {
        let signer = signer(chain, Chain::TcbInfo, roots)?;
        signed(Part::TcbInfo, text, signature, &signer.leaf)?;
        kind(Part::TcbInfo, text, "TDX", 3..=3)?;
        let info: TcbInfo = json(Part::TcbInfo, text)?;
        Ok(Self {
            subject: Subject::TcbInfo(info.fmspc),
            issued: info.issue_date,
            until: end(&signer).min(info.next_update),
            number: info.tcb_evaluation_data_number,
        })
    }

    /// Checks the identity of the quoting enclave: the JSON object `enclaveIdentity`, its signature (r, s) and its
    /// issuer chain (PEM).
    ///
    /// # Errors
    /// [`TdxError`] of the chain, the signature or the content.
    pub fn qe_identity(
        text: &[u8],
        signature: &[u8],
        chain: &[u8],
        roots: &TdxRoots,
    ) -> Result<Self, TdxError> {
        let signer = signer(chain, Chain::QeIdentity, roots)?;
        signed(Part::QeIdentity, text, signature, &signer.leaf)?;
        kind(Part::QeIdentity, text, "TD_QE", 2..=3)?;
        let identity: QeIdentity = json(Part::QeIdentity, text)?;
        Ok(Self {
            subject: Subject::QeIdentity,
            issued: identity.issue_date,
            until: end(&signer).min(identity.next_update),
            number: identity.tcb_evaluation_data_number,
        })
    }

    /// Checks the root's revocation list, DER.
    ///
    /// # Errors
    /// [`TdxError::RootNotTrusted`] for a list of another issuer; [`TdxError`] of signature or content.
    pub fn root_crl(der: &[u8], roots: &TdxRoots) -> Result<Self, TdxError> {
        let part = Part::RootCrl;
        let (_, list) =
            CertificateRevocationList::from_der(der).map_err(|_| TdxError::Collateral {
                part,
                why: "it is not a CRL in DER".into(),
            })?;
        let mut outcome = Err(TdxError::RootNotTrusted {
            chain: Chain::PckCrl,
            root: common_name(list.issuer()),
        });
        for root in roots.of_name(list.issuer().as_raw()) {
            outcome = Crl::check(part, der, root).map(|crl| (crl, root.not_after));
            if outcome.is_ok() {
                break;
            }
        }
        let (crl, root_end) = outcome?;
        Ok(Self {
            subject: Subject::RootCrl,
            issued: crl.this_update,
            until: crl.next_update.min(root_end),
            number: 0,
        })
    }

    /// Checks a CA's list of PCK certificates, DER, with the CA's chain (PEM).
    ///
    /// # Errors
    /// [`TdxError`] of the chain, the signature or the content.
    pub fn pck_crl(der: &[u8], chain: &[u8], roots: &TdxRoots) -> Result<Self, TdxError> {
        let (ca, root) = issuing_ca(chain, roots)?;
        let crl = Crl::check(Part::PckCrl, der, &ca)?;
        let name = PckCa::of_common_name(&ca.subject).ok_or_else(|| TdxError::ChainInvalid {
            chain: Chain::PckCrl,
            why: format!(
                "\"{}\" is neither the platform CA nor the processor CA",
                ca.subject
            ),
        })?;
        Ok(Self {
            subject: Subject::PckCrl(name),
            issued: crl.this_update,
            until: crl.next_update.min(ca.not_after).min(root.not_after),
            number: 0,
        })
    }
}

/// A CA of PCK certificates and the trusted root that issued it.
fn issuing_ca(pem: &[u8], roots: &TdxRoots) -> Result<(Certificate, Certificate), TdxError> {
    let certs = read_chain(pem, Chain::PckCrl)?;
    let issuer = certs
        .first()
        .map(|ca| ca.issuer_der.clone())
        .unwrap_or_default();
    let mut outcome = Err(TdxError::RootNotTrusted {
        chain: Chain::PckCrl,
        root: certs
            .first()
            .map(|ca| ca.issuer.clone())
            .unwrap_or_default(),
    });
    for root in roots.of_name(&issuer) {
        outcome = pck_ca(pem, root, None, roots).map(|ca| (ca, root.clone()));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// When the first certificate of a chain ends.
fn end(chain: &VerifiedChain) -> Timestamp {
    chain.leaf.not_after.min(chain.root.not_after)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tdx::fake::{MockIntel, Spec};

    #[test]
    fn each_statement_is_checked_on_its_own() {
        let (intel, spec) = (MockIntel::new(), Spec::default());
        let (roots, c) = (intel.roots(), intel.collateral(&spec));
        let info = |text: &[u8]| {
            let (signature, chain) = (&c.tcb_info_signature, &c.tcb_info_issuer_chain);
            Statement::tcb_info(text, signature, chain, &roots)
        };
        let statement = info(&c.tcb_info).unwrap();
        assert_eq!(statement.subject, Subject::TcbInfo(Bytes(spec.fmspc)));
        assert_eq!(statement.number, spec.evaluation_number);
        assert!(statement.issued < spec.now && spec.now < statement.until);
        let mut changed = c.tcb_info.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(
            info(&changed),
            Err(TdxError::CollateralSignature {
                part: Part::TcbInfo
            })
        ));
        let (signature, chain) = (&c.qe_identity_signature, &c.qe_identity_issuer_chain);
        let identity = Statement::qe_identity(&c.qe_identity, signature, chain, &roots).unwrap();
        assert_eq!(identity.subject, Subject::QeIdentity);
        let swapped = Statement::qe_identity(&c.tcb_info, &c.tcb_info_signature, chain, &roots);
        assert!(matches!(swapped, Err(TdxError::CollateralKind { .. })));
    }

    #[test]
    fn lists_belong_to_their_issuers() {
        let (intel, spec) = (MockIntel::new(), Spec::default());
        let (roots, c) = (intel.roots(), intel.collateral(&spec));
        let root = Statement::root_crl(&c.root_ca_crl, &roots).unwrap();
        assert_eq!(root.subject, Subject::RootCrl);
        let chain = &c.pck_crl_issuer_chain;
        let pck = Statement::pck_crl(&c.pck_crl, chain, &roots).unwrap();
        assert_eq!(pck.subject, Subject::PckCrl(PckCa::Platform));
        assert!(matches!(
            Statement::root_crl(&c.pck_crl, &roots),
            Err(TdxError::RootNotTrusted { .. })
        ));
        assert!(matches!(
            Statement::pck_crl(&c.root_ca_crl, chain, &roots),
            Err(TdxError::CrlIssuer { .. })
        ));
        let other = MockIntel::new();
        assert!(Statement::root_crl(&c.root_ca_crl, &other.roots()).is_err());
        assert!(Statement::pck_crl(&c.pck_crl, chain, &other.roots()).is_err());
    }
}
