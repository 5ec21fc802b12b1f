//! Secure Boot variables, and an image that they may let run: lists are read to their end or refused, and so is the
//! image's signature.
#![no_main]

use dawnkey_attest::measure::guid::Guid;
use dawnkey_attest::measure::signature_list::{of_certificates, signatures};
use dawnkey_attest::measure::{SecureBoot, SecureBootMode, uki};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (length, rest) = bytes
        .split_first()
        .map_or((0, bytes), |(first, rest)| (usize::from(*first) * 8, rest));
    let (variable, image) = rest.split_at(length.min(rest.len()));
    if let Ok(found) = signatures(variable) {
        let read: usize = found.iter().map(|one| one.whole.len()).sum();
        assert!(read <= variable.len());
    }
    let again = of_certificates(Guid([1; 16]), [variable]);
    if !variable.is_empty() {
        assert_eq!(
            signatures(&again).expect("what is written is read")[0].data,
            variable
        );
    }
    let mut secure_boot = SecureBoot::without_keys(SecureBootMode::On);
    secure_boot.pk = of_certificates(Guid([1; 16]), [b"key".as_slice()]);
    secure_boot.db = variable.to_vec();
    let _ = uki(image, Some(&secure_boot));
});
