//! Flips every bit of every signed region of accepted quotes: none may pass, none may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use std::ops::Range;

use dawnkey_attest::tdx::{CheckedCollateral, GenuineQuote, Quote, TdxRoots};
use tdx_common::{Case, evidence_dir};

/// Where `part` lies in `whole`.
fn range(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// Signed regions of a quote: all but lengths, certification types and the PEM chain, which the next test covers.
fn regions(bytes: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let quote = Quote::parse(bytes).unwrap();
    let data = &quote.signature;
    vec![
        ("header and body", range(bytes, quote.signed)),
        ("quote signature", range(bytes, data.quote_signature)),
        ("attestation key", range(bytes, data.attestation_key)),
        ("QE report", range(bytes, data.qe_report_bytes)),
        (
            "QE report signature",
            range(bytes, data.qe_report_signature),
        ),
        ("QE authentication data", range(bytes, data.qe_auth_data)),
    ]
}

/// The first accepted case of a quote version.
fn accepted(version: u16) -> Option<Case> {
    let cases = Case::family(&evidence_dir()?, "tdx");
    let case = cases.into_iter().find(|case| {
        let quote = case.file("quote").expect("a quote");
        case.expected("verdict") == "accept"
            && Quote::parse(&quote).is_ok_and(|quote| quote.version == version)
    });
    Some(case.expect("an accepted case"))
}

fn flip_all(version: u16, signed_len: usize) {
    let Some(case) = accepted(version) else {
        return;
    };
    let (original, roots) = (case.file("quote").unwrap(), case.roots());
    let collateral = CheckedCollateral::check(&case.collateral().unwrap(), &roots).unwrap();
    let accept = |bytes: &[u8], roots: &TdxRoots| {
        GenuineQuote::check(bytes, roots)
            .and_then(|quote| quote.judge(&collateral, case.now()))
            .is_ok()
    };
    assert!(accept(&original, &roots), "{}", case.id());
    let mut flips = 0;
    for (region, range) in regions(&original) {
        if region == "header and body" {
            assert_eq!(range, 0..signed_len);
        }
        for at in range {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[at] ^= 1 << bit;
                assert!(
                    !accept(&changed, &roots),
                    "{}: bit {bit} of byte {at} ({region}) passes",
                    case.id()
                );
                flips += 1;
            }
        }
    }
    eprintln!("{}: {flips} flips, none accepted", case.id());
}

#[test]
fn accepts_no_flipped_bit_of_a_version_4_quote() {
    flip_all(4, 48 + 584);
}

#[test]
fn accepts_no_flipped_bit_of_a_version_5_quote() {
    flip_all(5, 48 + 6 + 648);
}

#[test]
fn accepts_no_flipped_bit_of_the_signed_collateral() {
    let Some(case) = accepted(4) else { return };
    let (original, roots) = (case.collateral().unwrap(), case.roots());
    type Field = fn(&mut dawnkey_attest::tdx::TdxCollateral) -> &mut Vec<u8>;
    let fields: [(&str, Field); 6] = [
        ("TCB info", |it| &mut it.tcb_info),
        ("TCB info signature", |it| &mut it.tcb_info_signature),
        ("QE identity", |it| &mut it.qe_identity),
        ("QE identity signature", |it| &mut it.qe_identity_signature),
        ("root CA CRL", |it| &mut it.root_ca_crl),
        ("PCK CRL", |it| &mut it.pck_crl),
    ];
    let mut flips = 0;
    for (name, field) in fields {
        let mut changed = original.clone();
        let length = field(&mut changed).len();
        // Every byte, each with another bit; every bit of the signatures.
        let bits = if length == 64 { 0..8 } else { 0..1 };
        for at in 0..length {
            for bit in bits.clone() {
                let mask = 1 << ((at + bit) % 8);
                field(&mut changed)[at] ^= mask;
                assert!(
                    CheckedCollateral::check(&changed, &roots).is_err(),
                    "bits {mask:#x} of byte {at} of {name} pass"
                );
                field(&mut changed)[at] ^= mask;
                flips += 1;
            }
        }
    }
    eprintln!("{}: {flips} flips of collateral, none accepted", case.id());
}

#[test]
fn flips_in_lengths_and_certificates_never_panic() {
    let Some(case) = accepted(4) else { return };
    let (original, roots) = (case.file("quote").unwrap(), case.roots());
    let start = 48 + 584;
    let signed: Vec<_> = regions(&original)
        .into_iter()
        .map(|(_, range)| range)
        .collect();
    for at in start..original.len() {
        if signed.iter().any(|range| range.contains(&at)) {
            continue;
        }
        let mut changed = original.clone();
        changed[at] ^= 1 << (at % 8);
        // Line ends and text around the certificates carry nothing; whatever passes has the same claims.
        if let Ok(quote) = GenuineQuote::check(&changed, &roots) {
            assert_eq!(
                quote.platform(),
                GenuineQuote::check(&original, &roots).unwrap().platform()
            );
        }
    }
}
