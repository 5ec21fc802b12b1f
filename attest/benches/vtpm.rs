//! Time of verifying a TPM's quote with the event log of a boot, against its budget.
//!
//! `cargo bench -p dawnkey-attest --bench vtpm`. For instruction counts:
//! `valgrind --tool=callgrind --toggle-collect='*measured*' BENCH rsa|ecc`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod timing;

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use dawnkey_attest::{
    evidence::{Binder, Evidence, Exchange, VtpmEvidence},
    fake::{AK_ATTRIBUTES, LogBuilder, SoftTpm},
    tpm::{hash::Hash, name, public::Public},
    verify::{Collateral, Roots, UnixTime, verify},
};
use timing::time;

/// Longest a verification may take.
const BUDGET: Duration = Duration::from_micros(500);
const EXCHANGE: Exchange = Exchange([7; 64]);

fn main() {
    let (rsa, ecc) = (rsa(), ecc());
    match std::env::args().nth(1).as_deref() {
        Some("rsa") => return measured(&rsa),
        Some("ecc") => return measured(&ecc),
        _ => {}
    }
    println!(
        "{:34} {:>8} {:>8}",
        "TPM quote and event log, µs", "median", "best"
    );
    let mut within = true;
    for (name, evidence) in [("RSA-2048", &rsa), ("ECC P-256", &ecc)] {
        let (median, best) = time(500, || judge(evidence));
        within &= best <= BUDGET;
        let row = format!("{name}, log of {} KiB", log().build().len() >> 10);
        println!("{row:34} {:>8} {:>8}", median.as_micros(), best.as_micros());
    }
    println!(
        "budget of 500 µs: {}",
        if within { "kept" } else { "EXCEEDED" }
    );
}

/// One verification, under a name that callgrind can toggle on.
#[inline(never)]
fn measured(evidence: &Evidence) {
    judge(evidence);
}

/// From decoded evidence to claims.
fn judge(evidence: &Evidence) {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
    let binder = Binder::Exchange(EXCHANGE);
    let verified = verify(
        evidence,
        &binder,
        &Roots::default(),
        &Collateral::default(),
        now,
    );
    std::hint::black_box(verified.expect("the evidence is good"));
}

/// The log of a boot with secure boot, shim and GRUB: sizes and number of events are those of recorded logs.
fn log() -> LogBuilder {
    let mut log = LogBuilder::new(&[Hash::Sha256, Hash::Sha1, Hash::Sha384])
        .event(0, 0x8, b"2\x004\x00.\x000\x00\0\0")
        .measured(0, 0x8000_0008, b"firmware volume", &[0; 16]);
    // SecureBoot, PK, KEK, db, dbx.
    for size in [53, 900, 3_000, 5_400, 17_000] {
        log = log.event(7, 0x8000_0001, &vec![0x5a; size]);
    }
    for pcr in 0..8 {
        log = log.event(pcr, 0x4, &[0; 4]);
    }
    for image in 0..4u8 {
        log = log.measured(4, 0x8000_0003, &[image; 64], &[image; 160]);
    }
    log = log.event(5, 0x8000_0006, &[0x33; 1_200]);
    for line in 0..80 {
        let text =
            format!("menuentry {line} --class os linux /boot/vmlinuz root=/dev/mapper/state");
        log = log.measured(
            8,
            0xd,
            text.as_bytes(),
            format!("grub_cmd: {text}\0").as_bytes(),
        );
    }
    for file in 0..6 {
        let path = format!("(hd0,gpt2)/boot/module-{file}.mod\0");
        log = log.measured(9, 0xd, &[file; 64], path.as_bytes());
    }
    log
}

fn ecc() -> Evidence {
    let (tpm, log) = (SoftTpm::new(), log());
    let parts = tpm.honest(&EXCHANGE, log.pcrs());
    let evidence = tpm.evidence(&parts, log.pcrs(), log.clone().build());
    Evidence::Vtpm(Box::new(evidence))
}

/// As [`ecc`], under an RSA attestation key, as most TPMs have.
fn rsa() -> Evidence {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey of a 2048-bit key: headers, a sign octet, the modulus, the exponent.
    let modulus = &pair.public_key().as_ref()[9..265];
    let attributes = AK_ATTRIBUTES.to_be_bytes();
    let ak_public = [
        &[0x00, 0x01, 0x00, 0x0b][..],
        &attributes,
        &[0x00, 0x00, 0x00, 0x10, 0x00, 0x14, 0x00, 0x0b], // no policy, no cipher, RSASSA with SHA-256
        &[0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00], // 2048 bits, default exponent
        modulus,
    ]
    .concat();
    let (tpm, log) = (SoftTpm::new(), log());
    let (ak, ek) = (
        Public::parse(&ak_public).unwrap(),
        Public::parse(&tpm.ek_public).unwrap(),
    );
    let parent = name::qualified_under_endorsement(ek.name_alg, &ek.name());
    let mut parts = tpm.honest(&EXCHANGE, log.pcrs());
    parts.signer = name::qualified(ak.name_alg, &parent, &ak.name());
    let evidence = tpm.evidence(&parts, log.pcrs(), log.clone().build());
    let mut signature = vec![0; 256];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        &evidence.quote,
        &mut signature,
    )
    .unwrap();
    Evidence::Vtpm(Box::new(VtpmEvidence {
        ak_public,
        signature: [&[0x00, 0x14, 0x00, 0x0b, 0x01, 0x00], &signature[..]].concat(),
        ..evidence
    }))
}
