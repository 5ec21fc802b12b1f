//! An evidence payload; what decodes must encode to something that decodes to the same.
#![no_main]

use dawnkey_attest::evidence::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(evidence) = Evidence::decode("vtpm", bytes) {
        let encoded = evidence.encode();
        assert_eq!(Evidence::decode("vtpm", &encoded), Ok(evidence));
    }
});
