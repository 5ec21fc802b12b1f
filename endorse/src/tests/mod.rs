//! Tests that bring store, services and evidence together, over mock PKIs and a vendor in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod exchanging;
mod fetching;
mod keeping;
mod network;
mod recorded;
mod storing;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dawnkey_attest::evidence::{
    Binder, Evidence, Exchange, SnpEvidence, TdxCollateral, TdxEvidence,
};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{Authority, MockAmd, MockVek, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::roots::Roots as AmdRoots;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::tdx::fake::{MockIntel, Spec};
use dawnkey_attest::tdx::{Bytes, PckCa};
use dawnkey_attest::verify::{Collateral, Roots, UnixTime, VerifyError, verify};
use jiff::Timestamp;

use crate::answer::{self, Kind};
use crate::check::{Checked, Helpers, Trust, check};
use crate::fake::{Canned, FakeVendor, header_of_chain};
use crate::item::Item;
use crate::service::{Clock, Endorsements, OnlineSettings, Settings};
use crate::store::Store;

static AMD: LazyLock<MockAmd> = LazyLock::new(|| MockAmd::new(Product::Milan));
static INTEL: LazyLock<MockIntel> = LazyLock::new(MockIntel::new);
static VCEK: LazyLock<MockVek> = LazyLock::new(|| AMD.issue(&vek_spec()));

const DAY: u64 = 86_400;
const REPORT_DATA: [u8; 64] = [0x42; 64];

/// The time around which mock collateral is made.
fn now() -> u64 {
    Spec::default().now.as_second() as u64
}

fn vek_spec() -> VekSpec {
    VekSpec::new(VekKind::Vcek, &Product::Milan)
}

fn vcek_item() -> Item {
    let spec = vek_spec();
    Item::Vcek {
        product: Product::Milan,
        chip: spec.hwid,
        tcb: spec.tcb,
    }
}

fn amd_crl(issued: u64, until: u64) -> Vec<u8> {
    AMD.crl(Authority::Ark, &[], (issued, until))
}

fn roots() -> Roots {
    let amd = AmdRoots::new([AMD.der(Authority::Ark)]).unwrap();
    let asks = [AMD.der(Authority::Ask), AMD.der(Authority::Asvk)];
    Roots {
        snp: amd.with_intermediates(asks).unwrap(),
        tdx: INTEL.roots(),
        ..Roots::default()
    }
}

fn trust() -> Trust {
    Trust::from(&roots())
}

/// An SNP report of the mock chip; with its certificate beside it or without.
fn snp(with_certificate: bool) -> Evidence {
    let mut report = ReportSpec::new(&Product::Milan, VekKind::Vcek);
    report.report_data = REPORT_DATA;
    let table = CertificateTable {
        vcek: with_certificate.then(|| VCEK.der.clone()),
        ..CertificateTable::default()
    };
    Evidence::Snp(Box::new(SnpEvidence {
        report: report.sign(&VCEK),
        certificates: match with_certificate {
            true => table.encode(),
            false => Vec::new(),
        },
    }))
}

fn tdx(collateral: Option<TdxCollateral>) -> Evidence {
    Evidence::Tdx(Box::new(TdxEvidence {
        quote: INTEL.quote(&Spec::default()),
        event_log: Vec::new(),
        collateral,
    }))
}

fn fmspc() -> Item {
    Item::TcbInfo(Bytes(Spec::default().fmspc))
}

/// Judges evidence with what was found for it.
fn judge(evidence: &Evidence, collateral: &Collateral) -> Result<(), VerifyError> {
    let binder = Binder::Exchange(Exchange(REPORT_DATA));
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now()));
    verify(evidence, &binder, &roots(), collateral, time).map(drop)
}

fn tcb_answer(collateral: &TdxCollateral) -> Vec<u8> {
    answer::write(
        Kind::TcbInfo,
        &collateral.tcb_info,
        &collateral.tcb_info_signature,
    )
}

fn qe_answer(collateral: &TdxCollateral) -> Vec<u8> {
    answer::write(
        Kind::QeIdentity,
        &collateral.qe_identity,
        &collateral.qe_identity_signature,
    )
}

/// Items of a mock, checked.
fn checked(document: &[u8], chain: Option<&[u8]>) -> Checked {
    let helpers = Helpers {
        chains: chain.map(<[u8]>::to_vec).into_iter().collect(),
        ..Helpers::default()
    };
    check(document, false, &trust(), &helpers, now()).unwrap()
}

fn checked_tcb(spec: &Spec) -> Checked {
    let collateral = INTEL.collateral(spec);
    checked(
        &tcb_answer(&collateral),
        Some(&collateral.tcb_info_issuer_chain),
    )
}

fn store(directory: &Path) -> Store {
    Store::open(directory, Arc::new(trust())).unwrap()
}

const VCEK_PATH: &str = "?blSPL=4&teeSPL=1&snpSPL=24&ucodeSPL=219";
const AMD_CRL_PATH: &str = "/vcek/v1/Milan/crl";
const QE_PATH: &str = "/tdx/certification/v4/qe/identity";
const PCK_CRL_PATH: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
const ROOT_CRL_PATH: &str = "/IntelSGXRootCA.der";

fn vcek_path() -> String {
    format!("/vcek/v1/Milan/{}{VCEK_PATH}", hex::encode(vek_spec().hwid))
}

fn tcb_path() -> String {
    let fmspc = hex::encode(Spec::default().fmspc);
    format!("/tdx/certification/v4/tcb?fmspc={fmspc}")
}

/// Endorsements over a store in a directory of its own, a vendor in memory, and a clock that a test sets.
struct World {
    directory: tempfile::TempDir,
    vendor: FakeVendor,
    time: Arc<AtomicI64>,
    endorsements: Arc<Endorsements>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let vendor = FakeVendor::default();
        let time = Arc::new(AtomicI64::new(now() as i64));
        let endorsements = open(directory.path(), &vendor, &time);
        let world = Self {
            directory,
            vendor,
            time,
            endorsements,
        };
        world.publish(&Spec::default());
        world
    }

    /// Puts everything about the mock platforms online.
    fn publish(&self, spec: &Spec) {
        let c = INTEL.collateral(spec);
        let signer = header_of_chain(&c.tcb_info_issuer_chain);
        let pck = header_of_chain(&c.pck_crl_issuer_chain);
        let v = &self.vendor;
        let tcb = Canned::ok(tcb_answer(&c)).with("TCB-Info-Issuer-Chain", &signer);
        v.answer(tcb_path(), tcb);
        let qe = Canned::ok(qe_answer(&c)).with("SGX-Enclave-Identity-Issuer-Chain", &signer);
        v.answer(QE_PATH, qe);
        let crl = Canned::ok(c.pck_crl).with("SGX-PCK-CRL-Issuer-Chain", &pck);
        v.answer(PCK_CRL_PATH, crl);
        v.answer(ROOT_CRL_PATH, Canned::ok(c.root_ca_crl));
        v.answer(vcek_path(), Canned::ok(VCEK.der.clone()));
        v.answer(
            AMD_CRL_PATH,
            Canned::ok(amd_crl(now() - DAY, now() + 30 * DAY)),
        );
    }

    /// The same store, opened anew as after a restart.
    fn restarted(&self) -> Arc<Endorsements> {
        open(self.directory.path(), &self.vendor, &self.time)
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds as i64, Ordering::Relaxed);
    }

    fn has(&self, item: &Item) -> bool {
        self.endorsements
            .store()
            .get(item, now())
            .unwrap()
            .is_some()
    }
}

fn open(directory: &Path, vendor: &FakeVendor, time: &Arc<AtomicI64>) -> Arc<Endorsements> {
    let time = Arc::clone(time);
    let clock: Clock =
        Arc::new(move || Timestamp::from_second(time.load(Ordering::Relaxed)).unwrap());
    let settings = Settings {
        path: directory.to_owned(),
        online: Some(OnlineSettings::default()),
        refresh: Duration::from_secs(12 * 3600),
    };
    Endorsements::open_with(&settings, trust(), clock, Some(Arc::new(vendor.clone()))).unwrap()
}

fn pck_crl() -> Item {
    Item::PckCrl(PckCa::Platform)
}
