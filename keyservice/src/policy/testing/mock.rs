//! Evidence signed by mocks of AMD's and Intel's PKIs, judged by the real verifier.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dawnkey_attest::azure::HclClaims;
use dawnkey_attest::azure::fake::{HclSpec, hcl_snp};
use dawnkey_attest::claims::Claims;
use dawnkey_attest::evidence::{Binder, Evidence, Exchange, SnpEvidence, TdxEvidence};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{Authority, MockAmd, MockVek, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::{self, CrlRule};
use dawnkey_attest::tdx::fake::{MockIntel, Spec};
use dawnkey_attest::verify::{Collateral, Roots, UnixTime, verify};
use jiff::Timestamp;
use std::sync::LazyLock;
use std::time::Duration;

/// When mock evidence is judged.
pub(crate) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

static AMD: LazyLock<MockAmd> = LazyLock::new(|| MockAmd::new(Product::Milan));
static INTEL: LazyLock<MockIntel> = LazyLock::new(MockIntel::new);

/// The mock of AMD, for Milan.
pub(crate) fn amd() -> &'static MockAmd {
    &AMD
}

/// The mock of Intel.
pub(crate) fn intel() -> &'static MockIntel {
    &INTEL
}

/// A certificate as policy files name it.
pub(crate) fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// Key of the chip with that number.
fn vek(chip: u8) -> MockVek {
    let mut spec = VekSpec::new(VekKind::Vcek, amd().product());
    spec.hwid[63] = chip;
    amd().issue(&spec)
}

/// An SNP guest's evidence for an exchange, on the chip with that number; `bend` changes the report before it is signed.
pub(crate) fn snp_evidence(
    chip: u8,
    exchange: &[u8; 64],
    bend: impl FnOnce(&mut ReportSpec),
) -> Evidence {
    let mut spec = ReportSpec::new(amd().product(), VekKind::Vcek);
    spec.report_data = *exchange;
    spec.chip_id[63] = chip;
    bend(&mut spec);
    let vek = vek(chip);
    let issued = u64::try_from(now().as_second()).unwrap();
    let dates = (issued - 3600, issued + 86_400);
    let table = CertificateTable {
        vcek: Some(vek.der.clone()),
        crl: Some(amd().crl(Authority::Ark, &[], dates)),
        ..CertificateTable::default()
    };
    Evidence::Snp(Box::new(SnpEvidence {
        report: spec.sign(&vek),
        certificates: table.encode(),
    }))
}

/// A TD's evidence for an exchange, RTMR 3 untouched; `bend` changes platform and TD before anything is signed.
pub(crate) fn tdx_evidence(exchange: &[u8; 64], bend: impl FnOnce(&mut Spec)) -> Evidence {
    let mut spec = Spec {
        now: now(),
        report_data: *exchange,
        ..Spec::default()
    };
    spec.rtmr[3] = [0; 48];
    bend(&mut spec);
    Evidence::Tdx(Box::new(TdxEvidence {
        quote: intel().quote(&spec),
        event_log: Vec::new(),
        collateral: Some(intel().collateral(&spec)),
    }))
}

fn verified(evidence: &Evidence) -> Claims {
    let roots = Roots {
        snp: snp::roots::Roots::new([amd().der(Authority::Ark)])
            .unwrap()
            .with_intermediates([amd().der(Authority::Ask)])
            .unwrap(),
        snp_crl: CrlRule::Required,
        tdx: intel().roots(),
        ..Roots::default()
    };
    let binder = Binder::Exchange(Exchange([1; 64]));
    let seconds = u64::try_from(now().as_second()).unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let verified = verify(evidence, &binder, &roots, &Collateral::default(), time);
    verified.unwrap().claims().clone()
}

/// What a verified report says, bent before it is signed.
pub(crate) fn snp_claims(bend: impl FnOnce(&mut ReportSpec)) -> Claims {
    verified(&snp_evidence(1, &[1; 64], bend))
}

/// What a verified quote says, bent before it is signed.
pub(crate) fn tdx_claims(bend: impl FnOnce(&mut Spec)) -> Claims {
    verified(&tdx_evidence(&[1; 64], bend))
}

/// What the HCL report of a mock Azure VM says.
pub(crate) fn hcl_claims() -> HclClaims {
    let spec = HclSpec::new(&[0xc3; 256]);
    let report = ReportSpec::new(amd().product(), VekKind::Vcek);
    HclClaims::read(&hcl_snp(&spec, &vek(1), report)).unwrap()
}
