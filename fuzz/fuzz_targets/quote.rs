//! Structures of a TPM: quote, public area, signature.
#![no_main]

use dawnkey_attest::tpm::{attest::Quote, public::Public, signature::Signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Quote::parse(bytes);
    let _ = (Signature::parse(bytes), Public::parse_sized(bytes));
    if let Ok(public) = Public::parse(bytes) {
        assert_eq!(public.bytes(), bytes, "a public area is kept as it came");
        let _ = public.name();
    }
});
