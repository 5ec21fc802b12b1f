//! One verification with a mock of AMD's hierarchy, every part of which a test can bend.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::sync::OnceLock;
use std::time::Duration;

use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::fake::{Authority, MockAmd, MockVek, NOT_BEFORE, ReportSpec, VekSpec};
use dawnkey_attest::snp::policy::PolicyError;
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::verify::{ChainCache, CrlRule, SnpVerified, verify};
use dawnkey_attest::snp::{SnpError, SnpPolicy};
use rustls_pki_types::UnixTime;

pub const NOW: u64 = NOT_BEFORE + 1000;

pub fn amd(product: &Product) -> &'static MockAmd {
    static MILAN: OnceLock<MockAmd> = OnceLock::new();
    static GENOA: OnceLock<MockAmd> = OnceLock::new();
    static TURIN: OnceLock<MockAmd> = OnceLock::new();
    let slot = match product {
        Product::Milan => &MILAN,
        Product::Genoa => &GENOA,
        _ => &TURIN,
    };
    slot.get_or_init(|| MockAmd::new(product.clone()))
}

/// What a test bends: everything that goes into one verification.
pub struct Setup {
    pub amd: &'static MockAmd,
    pub vek_der: Vec<u8>,
    pub vek: MockVek,
    pub report: ReportSpec,
    pub intermediates: Vec<Vec<u8>>,
    pub given_roots: Vec<Vec<u8>>,
    pub trusted: Vec<Vec<u8>>,
    pub crls: Vec<Vec<u8>>,
    pub crl_rule: CrlRule,
    pub now: u64,
}

impl Setup {
    pub fn new(product: Product, kind: VekKind) -> Self {
        Self::with_vek(product.clone(), &VekSpec::new(kind, &product))
    }

    pub fn with_vek(product: Product, spec: &VekSpec) -> Self {
        let amd = amd(&product);
        let vek = amd.issue(spec);
        let authority = if spec.kind == VekKind::Vcek {
            Authority::Ask
        } else {
            Authority::Asvk
        };
        Self {
            amd,
            vek_der: vek.der.clone(),
            vek,
            report: ReportSpec::new(&product, spec.kind),
            intermediates: vec![amd.der(authority).to_vec()],
            given_roots: vec![amd.der(Authority::Ark).to_vec()],
            trusted: vec![amd.der(Authority::Ark).to_vec()],
            crls: Vec::new(),
            crl_rule: CrlRule::IfPresent,
            now: NOW,
        }
    }

    pub fn milan() -> Self {
        Self::new(Product::Milan, VekKind::Vcek)
    }

    pub fn verify_bytes(
        &self,
        report: &[u8],
        cache: Option<&ChainCache>,
    ) -> Result<SnpVerified, SnpError> {
        let roots = Roots::new(self.trusted.iter().map(Vec::as_slice)).unwrap();
        let collateral = Collateral {
            vek: Some(&self.vek_der),
            intermediates: &self
                .intermediates
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>(),
            roots: &self
                .given_roots
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>(),
            crls: &self.crls.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        verify(report, &collateral, &roots, self.crl_rule, now, cache)
    }

    pub fn verify(&self) -> Result<SnpVerified, SnpError> {
        self.verify_bytes(&self.report.sign(&self.vek), None)
    }

    pub fn refusal(&self) -> SnpError {
        self.verify().expect_err("accepted")
    }

    pub fn judge(&self, policy: &SnpPolicy) -> Result<(), PolicyError> {
        self.verify().unwrap().judge(policy)
    }
}

/// When mock revocation lists are made and to be replaced.
pub const CRL_DATES: (u64, u64) = (NOW - 10, NOW + 10);
