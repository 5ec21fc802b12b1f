//! What ships trusts none of the mock manufacturers: their evidence is refused under the roots that are compiled in.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::signer;
use dawnkey_attest::evidence::{Binder, Evidence, SnpEvidence, TdxEvidence};
use dawnkey_attest::snp::CrlRule;
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_attest::verify::{Collateral, Roots, UnixTime, verify};
use dawnkey_test_devices::pki::Platform;

const DATA: [u8; 64] = [0x5a; 64];

/// The vendors' own roots, asking for no revocation list, so that the root is what decides.
fn shipped() -> Roots {
    Roots {
        snp: dawnkey_attest::snp::roots::Roots::amd().unwrap(),
        snp_crl: CrlRule::IfPresent,
        tdx: TdxRoots::intel().unwrap(),
        ..Roots::default()
    }
}

fn refusal(evidence: &Evidence, collateral: &Collateral) -> String {
    let now = UnixTime::now();
    let binder = Binder::Value(DATA.to_vec());
    let error = verify(evidence, &binder, &shipped(), collateral, now).unwrap_err();
    error.reason_class().to_owned()
}

#[test]
fn mock_snp_report_is_refused_under_amds_roots() {
    let report = signer(Platform::Snp).report(&DATA, 0).unwrap();
    let evidence = Evidence::Snp(Box::new(SnpEvidence {
        report: report.report,
        certificates: report.certificates,
    }));
    assert_eq!(
        refusal(&evidence, &Collateral::default()),
        "root_not_trusted"
    );
}

#[test]
fn mock_td_quote_is_refused_under_intels_root() {
    let quote = signer(Platform::Tdx).report(&DATA, 0).unwrap().report;
    let evidence = Evidence::Tdx(Box::new(TdxEvidence {
        quote,
        collateral: Some(common::collateral()),
        ..TdxEvidence::default()
    }));
    assert_eq!(
        refusal(&evidence, &Collateral::default()),
        "root_not_trusted"
    );
}
