//! A measurement list of IMA, in either form and of either digest: read, checked and replayed.
#![no_main]

use dawnkey_attest::ima::{Extension, Limits, List, replay};
use dawnkey_attest::tpm::hash::Hash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for hash in [Hash::Sha1, Hash::Sha256] {
        let Ok(list) = List::parse(bytes, hash, Limits::default()) else {
            continue;
        };
        assert!(!list.entries.is_empty());
        let checked = list.template_hash_mismatches() + list.violations() + list.unchecked();
        assert!(checked <= list.entries.len());
        for entry in &list.entries {
            let _ = entry.fields();
        }
        for extension in [Extension::OwnDigest, Extension::PaddedSha1] {
            let _ = replay(&list, Hash::Sha384, extension);
        }
    }
});
