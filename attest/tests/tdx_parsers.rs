//! The parsers of TDX are total: whatever the bytes, they answer and do not panic.

use dawnkey_attest::tdx::{
    CheckedCollateral, PlatformClaims, Quote, TdxCollateral,
    ccel::RtmrLog,
    fake::{MockIntel, Spec},
};
use proptest::prelude::*;
use std::sync::LazyLock;

struct Sample {
    intel: MockIntel,
    quotes: Vec<Vec<u8>>,
    collateral: TdxCollateral,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let intel = MockIntel::new();
    let bodies = [None, Some(2), Some(3), Some(4)];
    let quotes = bodies.map(|body_type| {
        intel.quote(&Spec {
            body_type,
            ..Spec::default()
        })
    });
    let collateral = intel.collateral(&Spec::default());
    Sample {
        intel,
        quotes: quotes.to_vec(),
        collateral,
    }
});

/// A change somewhere in bytes: cut, overwrite, insert.
fn damage(bytes: &[u8], at: usize, with: &[u8], kind: u8) -> Vec<u8> {
    let at = at.checked_rem(bytes.len()).unwrap_or_default();
    let (head, tail) = bytes.split_at(at);
    match kind {
        0 => head.to_vec(),
        1 => [head, with, tail.get(with.len()..).unwrap_or_default()].concat(),
        _ => [head, with, tail].concat(),
    }
}

proptest! {
    #[test]
    fn quotes_of_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Quote::parse(&bytes);
    }

    #[test]
    fn quotes_with_damage(which in 0..4usize, at: usize, with in proptest::collection::vec(any::<u8>(), 1..16), kind in 0..3u8) {
        let original = SAMPLE.quotes.get(which).expect("four quotes");
        let bytes = damage(original, at, &with, kind);
        if let Ok(quote) = Quote::parse(&bytes) {
            let _ = PlatformClaims::read(&quote);
            prop_assert_eq!(quote.signed.len() + 4 <= bytes.len(), true);
        }
    }

    #[test]
    fn collateral_with_damage(field in 0..9u8, at: usize, with in proptest::collection::vec(any::<u8>(), 1..16), kind in 0..3u8) {
        let mut collateral = SAMPLE.collateral.clone();
        let part = match field {
            0 => &mut collateral.pck_crl_issuer_chain,
            1 => &mut collateral.root_ca_crl,
            2 => &mut collateral.pck_crl,
            3 => &mut collateral.tcb_info_issuer_chain,
            4 => &mut collateral.tcb_info,
            5 => &mut collateral.tcb_info_signature,
            6 => &mut collateral.qe_identity_issuer_chain,
            7 => &mut collateral.qe_identity,
            _ => &mut collateral.qe_identity_signature,
        };
        *part = damage(part, at, &with, kind);
        let _ = CheckedCollateral::check(&collateral, &SAMPLE.intel.roots());
    }

    #[test]
    fn event_logs_of_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = RtmrLog::parse(&bytes);
        let _ = RtmrLog::parse_json(&bytes);
    }

    #[test]
    fn event_lists_of_any_fields(imr: u32, kind: u32, digest in ".{0,100}", name in ".{0,20}", payload in "[0-9a-g]{0,9}") {
        let list = serde_json::json!([{"imr": imr, "event_type": kind, "digest": digest, "event": name, "event_payload": payload}]);
        let _ = RtmrLog::parse(list.to_string().as_bytes());
    }
}
