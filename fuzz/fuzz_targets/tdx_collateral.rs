//! Collateral as a cache or a node sends it. The first byte picks the part that the input replaces; TCB info and QE
//! identity are signed afterwards, so that their readers are reached, and a quote is judged by what comes out.
#![no_main]

use std::sync::LazyLock;

use dawnkey_attest::tdx::{
    CheckedCollateral, GenuineQuote, TdxCollateral, TdxRoots,
    fake::{MockIntel, Spec},
};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::UnixTime;

struct Fixture {
    intel: MockIntel,
    roots: TdxRoots,
    spec: Spec,
    quote: Vec<u8>,
    collateral: TdxCollateral,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let (intel, spec) = (
        MockIntel::new(),
        Spec {
            body_type: Some(3),
            ..Spec::default()
        },
    );
    let (roots, quote, collateral) = (intel.roots(), intel.quote(&spec), intel.collateral(&spec));
    Fixture {
        intel,
        roots,
        spec,
        quote,
        collateral,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((part, text)) = bytes.split_first() else {
        return;
    };
    let fixture = &*FIXTURE;
    let mut collateral = fixture.collateral.clone();
    let text = text.to_vec();
    match part % 6 {
        0 => collateral.pck_crl_issuer_chain = text,
        1 => collateral.root_ca_crl = text,
        2 => collateral.pck_crl = text,
        3 => collateral.tcb_info_issuer_chain = text,
        4 => {
            collateral.tcb_info_signature = fixture.intel.sign_collateral(&text);
            collateral.tcb_info = text;
        }
        _ => {
            collateral.qe_identity_signature = fixture.intel.sign_collateral(&text);
            collateral.qe_identity = text;
        }
    }
    if let Ok(checked) = CheckedCollateral::check(&collateral, &fixture.roots) {
        let quote = GenuineQuote::check(&fixture.quote, &fixture.roots).expect("a genuine quote");
        let now = fixture.spec.now.as_second().unsigned_abs();
        let _ = quote.judge(
            &checked,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(now)),
        );
    }
});
