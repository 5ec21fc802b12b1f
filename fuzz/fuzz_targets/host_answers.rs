//! What a host's quote generation service and a cloud's metadata service answer: reading it is total and bounded.
#![no_main]

use dawnkey_attest::collect::{imds, qgs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = qgs::parse_response(bytes) {
        assert!(!quote.is_empty() && quote.len() <= qgs::MAX_QUOTE);
        assert!(bytes.ends_with(&quote));
    }
    let whole = imds::parse_response(bytes, true, "/");
    if let Ok(Some(body)) = imds::parse_response(bytes, false, "/") {
        // What is complete before the end stays what it is.
        assert!(body.len() <= bytes.len());
        assert!(matches!(whole, Ok(Some(same)) if same == body));
    }
});
