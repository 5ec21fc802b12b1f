//! Certificates and revocation lists of AMD's hierarchy: parsing is total and no bytes chain to AMD's roots by chance.
#![no_main]

use std::sync::LazyLock;

use dawnkey_attest::snp::certs::{Certificate, documents};
use dawnkey_attest::snp::claims::VekClaims;
use dawnkey_attest::snp::crl::Crl;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::vek::Vek;
use libfuzzer_sys::fuzz_target;

static AMD: LazyLock<Roots> = LazyLock::new(|| Roots::amd().expect("AMD's roots are usable"));

fuzz_target!(|bytes: &[u8]| {
    for der in documents(bytes).unwrap_or_default() {
        if let Ok(certificate) = Certificate::parse(&der) {
            assert_eq!(certificate.der(), der);
            let _ = (
                certificate.common_name(),
                certificate.may_sign_certificates(),
            );
            if let Ok(vek) = Vek::parse(&certificate) {
                let _ = (
                    VekClaims::new(&certificate, &vek),
                    vek.product(),
                    vek.layout(),
                );
            }
        }
        for root in AMD.roots() {
            let _ = Crl::verify(&der, root);
        }
    }
});
