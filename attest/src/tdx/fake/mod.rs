//! A mock of Intel's provisioning PKI and of a platform with TDX, for tests.
//!
//! [`MockIntel`] has its own root, PCK CA, TCB signing key, PCK and attestation key; production code verifies what it
//! makes once its root is given as the trusted one. [`Spec`] says what the platform and Intel's collateral look like:
//! any TCB status, attribute, date, revocation or identity. No release build enables the `fake` feature; everything
//! here panics on failure, for a test cannot go on without its fixture.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod collateral;
mod pki;
mod quote;

use jiff::{SignedDuration, Timestamp};

use super::{TcbStatus, TdxCollateral, TdxRoots};
use pki::{Ca, Signer, certificate, crl};

/// A certificate of the mock PKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MockCertificate {
    /// The CA of PCK certificates.
    PckCa,
    /// The platform's PCK certificate.
    Pck,
    /// The certificate that signs TCB info and QE identity.
    TcbSigner,
}

/// What makes a platform, its TD, and the collateral about it. The default is an up-to-date platform and a TD 1.0.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Time the dates are made around: collateral is issued a day before and ends 30 days after.
    pub now: Timestamp,
    /// Body type of a version 5 quote; `None` makes a version 4 quote.
    pub body_type: Option<u16>,
    /// TD attributes.
    pub td_attributes: u64,
    /// Measurement of the TD.
    pub mr_td: [u8; 48],
    /// Runtime measurement registers.
    pub rtmr: [[u8; 48]; 4],
    /// Report data.
    pub report_data: [u8; 64],
    /// Module TCB at launch: security version, major version, SEAM loader.
    pub tee_tcb_svn: [u8; 3],
    /// Module TCB now (version 5).
    pub tee_tcb_svn2: [u8; 3],
    /// Hash of the service TDs (version 5).
    pub mr_service_td: [u8; 48],
    /// Signer of the module.
    pub mr_signer_seam: [u8; 48],
    /// SVN of every SGX TCB component of the platform; levels demand 5, lower ones 3.
    pub component_svn: u8,
    /// Security version of the QE; levels demand 5, lower ones 3.
    pub qe_isv_svn: u16,
    /// Product id of the QE; the identity demands 2.
    pub qe_prod_id: u16,
    /// Platform model of the PCK certificate.
    pub fmspc: [u8; 6],
    /// Platform model of the TCB info.
    pub tcb_info_fmspc: [u8; 6],
    /// PCEID of the TCB info.
    pub tcb_info_pce_id: [u8; 2],
    /// Id of the TCB info.
    pub tcb_info_id: &'static str,
    /// Status of the level that a component SVN of 3 or 4 reaches.
    pub lower_status: TcbStatus,
    /// Status of the best level.
    pub best_status: TcbStatus,
    /// Status of the module's level below security version 5.
    pub module_lower_status: TcbStatus,
    /// Status of the QE's level below security version 5.
    pub qe_lower_status: TcbStatus,
    /// Advisories of the best level.
    pub advisories: Vec<&'static str>,
    /// Evaluation number of TCB info and QE identity.
    pub evaluation_number: u32,
    /// Certificates on their issuer's CRL.
    pub revoked: Vec<MockCertificate>,
    /// A certificate that ended an hour before `now`.
    pub expired: Option<MockCertificate>,
    /// How long CRLs live after `now`.
    pub crl_left: SignedDuration,
    /// How long TCB info and QE identity live after `now`.
    pub collateral_left: SignedDuration,
    /// Sign the collateral with the PCK, under the PCK's chain.
    pub collateral_signed_by_pck: bool,
}

impl Default for Spec {
    fn default() -> Self {
        let days30 = SignedDuration::from_hours(30 * 24);
        Self {
            now: Timestamp::constant(1_790_000_000, 0),
            body_type: None,
            td_attributes: 1 << 28,
            mr_td: [0x11; 48],
            rtmr: [[0x20; 48], [0x21; 48], [0x22; 48], [0x23; 48]],
            report_data: [0x42; 64],
            tee_tcb_svn: [6, 1, 5],
            tee_tcb_svn2: [6, 1, 5],
            mr_service_td: [0; 48],
            mr_signer_seam: [0; 48],
            component_svn: 5,
            qe_isv_svn: 5,
            qe_prod_id: 2,
            fmspc: [0x00, 0x80, 0x6f, 0x05, 0, 0],
            tcb_info_fmspc: [0x00, 0x80, 0x6f, 0x05, 0, 0],
            tcb_info_pce_id: [0, 0],
            tcb_info_id: "TDX",
            lower_status: TcbStatus::OutOfDate,
            best_status: TcbStatus::UpToDate,
            module_lower_status: TcbStatus::OutOfDate,
            qe_lower_status: TcbStatus::OutOfDate,
            advisories: Vec::new(),
            evaluation_number: 20,
            revoked: Vec::new(),
            expired: None,
            crl_left: days30,
            collateral_left: days30,
            collateral_signed_by_pck: false,
        }
    }
}

/// Keys of the mock PKI.
pub struct MockIntel {
    root: Ca,
    pck_ca: Signer,
    tcb_signer: Signer,
    pck: Signer,
    attestation: Signer,
}

impl Default for MockIntel {
    fn default() -> Self {
        Self::new()
    }
}

impl MockIntel {
    /// Makes keys and a root.
    pub fn new() -> Self {
        Self {
            root: Ca::root("Mock SGX Root CA"),
            pck_ca: Signer::new(),
            tcb_signer: Signer::new(),
            pck: Signer::new(),
            attestation: Signer::new(),
        }
    }

    /// The mock root as the only trusted one.
    pub fn roots(&self) -> TdxRoots {
        TdxRoots::new([self.root_der()]).expect("the mock root is usable")
    }

    /// The mock root.
    pub fn root_der(&self) -> &[u8] {
        self.root.der()
    }

    /// A quote of the platform and TD that `spec` describes.
    pub fn quote(&self, spec: &Spec) -> Vec<u8> {
        let chain = [
            self.pck_der(spec),
            self.pck_ca(spec).der().to_vec(),
            self.root_der().to_vec(),
        ];
        quote::make(spec, &pki::pem(&chain), &self.pck, &self.attestation)
    }

    /// Intel's statements about that platform.
    pub fn collateral(&self, spec: &Spec) -> TdxCollateral {
        let pck_ca = self.pck_ca(spec);
        let root = self.root_der().to_vec();
        let (signer, signer_chain) = if spec.collateral_signed_by_pck {
            (
                &self.pck,
                vec![self.pck_der(spec), pck_ca.der().to_vec(), root.clone()],
            )
        } else {
            let der = certificate(
                spec,
                MockCertificate::TcbSigner,
                &self.tcb_signer,
                &self.root,
            );
            (&self.tcb_signer, vec![der, root.clone()])
        };
        let issuer_chain = pki::pem(&signer_chain);
        let (tcb_info, qe_identity) = (collateral::tcb_info(spec), collateral::qe_identity(spec));
        let of_root = [MockCertificate::PckCa, MockCertificate::TcbSigner];
        TdxCollateral {
            pck_crl_issuer_chain: pki::pem(&[pck_ca.der().to_vec(), root]),
            root_ca_crl: crl(spec, &self.root, &of_root),
            pck_crl: crl(spec, &pck_ca, &[MockCertificate::Pck]),
            tcb_info_issuer_chain: issuer_chain.clone(),
            tcb_info_signature: signer.sign(&tcb_info),
            tcb_info,
            qe_identity_issuer_chain: issuer_chain,
            qe_identity_signature: signer.sign(&qe_identity),
            qe_identity,
        }
    }

    /// Signs a text as TCB info or QE identity; its issuer chain is that of [`MockIntel::collateral`].
    pub fn sign_collateral(&self, text: &[u8]) -> Vec<u8> {
        self.tcb_signer.sign(text)
    }

    /// Private attestation key, PKCS#8, for signers in other processes.
    pub fn attestation_key(&self) -> &[u8] {
        self.attestation.pkcs8()
    }

    fn pck_ca(&self, spec: &Spec) -> Ca {
        Ca::pck(spec, &self.pck_ca, &self.root)
    }

    fn pck_der(&self, spec: &Spec) -> Vec<u8> {
        certificate(spec, MockCertificate::Pck, &self.pck, &self.pck_ca(spec))
    }
}
