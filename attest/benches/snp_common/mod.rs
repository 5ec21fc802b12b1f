//! Evidence and clock of the SNP benches: a mock of AMD's hierarchy with keys of AMD's size, so nothing else is
//! needed.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../timing/mod.rs"]
mod timing;

use std::time::Duration;

use dawnkey_attest::snp::SnpPolicy;
use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::fake::{Authority, MockAmd, NOT_BEFORE, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::verify::{ChainCache, CrlRule, verify};
use rustls_pki_types::UnixTime;
pub use timing::time;

/// A report and everything it takes to judge it.
pub struct Evidence {
    pub report: Vec<u8>,
    pub vek: Vec<u8>,
    pub ask: Vec<u8>,
    pub ark: Vec<u8>,
    crl: Vec<u8>,
    roots: Roots,
    now: UnixTime,
    policy: SnpPolicy,
}

impl Evidence {
    pub fn new() -> Self {
        let amd = MockAmd::full_size(Product::Milan);
        let vek = amd.issue(&VekSpec::new(VekKind::Vcek, &Product::Milan));
        let ark = amd.der(Authority::Ark).to_vec();
        Self {
            report: ReportSpec::new(&Product::Milan, VekKind::Vcek).sign(&vek),
            vek: vek.der,
            ask: amd.der(Authority::Ask).to_vec(),
            crl: amd.crl(Authority::Ark, &[], (NOT_BEFORE, NOT_BEFORE + 1000)),
            roots: Roots::new([ark.as_slice()]).unwrap(),
            ark,
            now: UnixTime::since_unix_epoch(Duration::from_secs(NOT_BEFORE + 500)),
            policy: SnpPolicy::default(),
        }
    }

    /// Ours, under a name that callgrind can toggle on.
    #[inline(never)]
    pub fn measured_ours(&self, crl: bool, cache: Option<&ChainCache>) {
        self.ours(crl, cache);
    }

    /// Ours: everything from bytes to a policy's verdict.
    pub fn ours(&self, crl: bool, cache: Option<&ChainCache>) {
        let crls = [self.crl.as_slice()];
        let collateral = Collateral {
            vek: Some(&self.vek),
            intermediates: &[&self.ask],
            roots: &[&self.ark],
            crls: if crl { &crls } else { &[] },
        };
        let rule = if crl {
            CrlRule::Required
        } else {
            CrlRule::IfPresent
        };
        let verified = verify(
            &self.report,
            &collateral,
            &self.roots,
            rule,
            self.now,
            cache,
        )
        .unwrap();
        verified.judge(&self.policy).unwrap();
    }
}
