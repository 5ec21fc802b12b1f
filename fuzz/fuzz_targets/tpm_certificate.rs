//! A certificate of a TPM's endorsement or attestation key: reading is total, and nobody trusts what nobody signed.
#![no_main]

use dawnkey_attest::verify::{
    UnixTime,
    chain::{Leaf, Purpose, validate},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = Leaf::read(bytes) {
        assert!(leaf.trailing_bytes < bytes.len());
        assert!(!leaf.subject.chars().any(char::is_control));
        let _ = leaf.key.spki();
    }
    // The certificate as its own helper: a path search that ends, without a root.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_750_000_000));
    for purpose in [
        Purpose::EndorsementKey,
        Purpose::AttestationKey,
        Purpose::Any,
    ] {
        assert!(validate(bytes, &[bytes, bytes], &[], now, purpose).is_err());
    }
});
