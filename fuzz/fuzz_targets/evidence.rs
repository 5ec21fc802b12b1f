//! An evidence payload of any kind, and an evidence file; what is read must write something that reads the same.
#![no_main]

use dawnkey_attest::evidence::{Evidence, KINDS, file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in KINDS {
        if let Ok(evidence) = Evidence::decode(kind, bytes) {
            let encoded = evidence.encode();
            assert_eq!(Evidence::decode(kind, &encoded), Ok(evidence));
        }
    }
    if let Ok(evidence) = file::read(bytes) {
        let text = file::write(&evidence).expect("what was read can be written");
        assert_eq!(file::read(text.as_bytes()), Ok(evidence));
    }
});
