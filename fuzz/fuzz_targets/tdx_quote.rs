//! A TD quote and a TD event log as a node sends them: parsed, and the quote's own signatures checked.
#![no_main]

use std::sync::LazyLock;

use dawnkey_attest::tdx::{GenuineQuote, PlatformClaims, Quote, TdxRoots, ccel::RtmrLog};
use libfuzzer_sys::fuzz_target;

static INTEL: LazyLock<TdxRoots> =
    LazyLock::new(|| TdxRoots::intel().expect("Intel's root is usable"));

fuzz_target!(|bytes: &[u8]| {
    let log = RtmrLog::parse(bytes);
    if let Ok(quote) = Quote::parse(bytes) {
        assert!(quote.signed.len() + quote.padding.len() < bytes.len());
        let _ = PlatformClaims::read(&quote);
        let _ = GenuineQuote::check(bytes, &INTEL);
        if let Ok(log) = log {
            let _ = log.check(&quote.report.rtmr);
        }
    }
});
