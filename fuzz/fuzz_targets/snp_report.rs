//! An SNP report and a host's certificate table: parsing is total, keeps the bytes, and nothing unsigned verifies.
#![no_main]

use std::sync::LazyLock;

use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::claims::ReportClaims;
use dawnkey_attest::snp::report::{REPORT_LEN, Report};
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::verify::{CrlRule, verify};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::UnixTime;

static AMD: LazyLock<Roots> = LazyLock::new(|| Roots::amd().expect("AMD's roots are usable"));

fuzz_target!(|bytes: &[u8]| {
    let (report, rest) = bytes.split_at(bytes.len().min(REPORT_LEN));
    if let Ok(parsed) = Report::parse(report) {
        assert_eq!(parsed.bytes().as_slice(), report);
        let _ = ReportClaims::new(&parsed, parsed.tcb_layout());
        let _ = (
            parsed.nonzero_reserved(),
            parsed.nonzero_padding(),
            parsed.is_unsigned(),
        );
    }
    if let Ok(table) = CertificateTable::parse(rest) {
        if table.others == 0 {
            assert_eq!(CertificateTable::parse(&table.encode()), Ok(table.clone()));
        }
        let intermediates: Vec<&[u8]> = table.intermediates.iter().map(Vec::as_slice).collect();
        let roots: Vec<&[u8]> = table.ark.iter().map(Vec::as_slice).collect();
        let collateral = Collateral {
            vek: table.vcek.as_deref().or(table.vlek.as_deref()),
            intermediates: &intermediates,
            roots: &roots,
            crls: &[],
        };
        // Only AMD's roots are trusted here, and no fuzzer holds an AMD key: what it accepts, AMD signed.
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_750_000_000));
        let _ = verify(report, &collateral, &AMD, CrlRule::IfPresent, now, None);
    }
});
