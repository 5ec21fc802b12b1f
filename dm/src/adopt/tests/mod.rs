#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod sample;

use super::*;
use crate::header::{CopyName, REGION_BYTES, Torn};
use proptest::prelude::*;
use sample::{COPY, ID, document, keyslot, mend, region};
use serde_json::{Value, json};

const DISK: u64 = 256 << 20;

fn judge(document: &Value) -> Result<ForeignHeader, ForeignError> {
    parse(&region(&document.to_string()), DISK)
}

/// The good document with one member at `pointer` put in.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = document();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    document
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.to_owned(), value);
    document
}

fn refusal(pointer: &str, value: Value) -> ForeignError {
    judge(&with(pointer, value)).unwrap_err()
}

#[test]
fn takes_the_header_of_a_constellation_state_disk() {
    let header = judge(&document()).unwrap();
    assert_eq!(header.volume().to_string(), ID);
    assert_eq!(header.integrity(), Integrity::HmacSha256);
    assert_eq!(
        (header.data_offset(), header.sector_size()),
        (16 << 20, 4096)
    );
    assert_eq!(header.keyslots(), [0]);
    assert_eq!(header.tokens(), ["constellation-state-disk"]);
    assert_eq!((header.sequence(), header.area_bytes()), (3, 16 << 20));
}

#[test]
fn null_ciphers_of_segment_and_keyslot_are_refused_by_name() {
    for cipher in ["cipher_null-ecb", "null", "", "none"] {
        assert!(matches!(
            refusal("/segments/0/encryption", json!(cipher)),
            ForeignError::NullCipher { .. }
        ));
        assert!(matches!(
            refusal("/keyslots/0/area/encryption", json!(cipher)),
            ForeignError::KeyslotNullCipher { slot: 0, .. }
        ));
    }
    for weak in [
        "aes-ecb",
        "aes-cbc-plain",
        "aes-xts-plain",
        "serpent-xts-plain64",
    ] {
        assert!(matches!(
            refusal("/segments/0/encryption", json!(weak)),
            ForeignError::Cipher { .. }
        ));
    }
}

#[test]
fn key_derivation_beyond_every_bound_is_refused_by_name() {
    for (member, value) in [
        ("memory", json!(u64::MAX)),
        ("memory", json!((1_u64 << 20) + 1)),
        ("memory", json!(0)),
        ("time", json!(u64::MAX)),
        ("time", json!(1 << 20)),
        ("time", json!(0)),
        ("cpus", json!(5)),
        ("cpus", json!(0)),
    ] {
        let refused = refusal(&format!("/keyslots/0/kdf/{member}"), value);
        assert!(
            matches!(refused, ForeignError::KdfCost { slot: 0, .. }),
            "{refused}"
        );
    }
    let pbkdf2 = |iterations: u64| {
        json!({"type": "pbkdf2", "hash": "sha256", "iterations": iterations,
            "salt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
    };
    assert!(judge(&with("/keyslots/0/kdf", pbkdf2(1000))).is_ok());
    for iterations in [0, 999, 20_000_001, u64::MAX] {
        let refused = refusal("/keyslots/0/kdf", pbkdf2(iterations));
        assert!(matches!(
            refused,
            ForeignError::KdfCost {
                what: "iterations",
                ..
            }
        ));
    }
    let refused = refusal("/digests/0/iterations", json!(20_000_001));
    assert!(matches!(
        refused,
        ForeignError::Digest {
            field: "iterations",
            ..
        }
    ));
    let refused = refusal("/keyslots/0/kdf/type", json!("scrypt"));
    assert!(matches!(refused, ForeignError::Kdf { .. }));
    let refused = refusal("/keyslots/0/kdf/iterations", json!(1000));
    assert!(matches!(
        refused,
        ForeignError::Keyslot { field: "kdf", .. }
    ));
}

#[test]
fn reencryption_requirements_and_flags_are_refused_by_name() {
    for place in [
        "online-reencrypt",
        "offline-reencrypt",
        "online-reencrypt-v2",
    ] {
        let refused = refusal("/config/requirements", json!({"mandatory": [place]}));
        assert!(
            matches!(refused, ForeignError::Reencryption { .. }),
            "{refused}"
        );
    }
    let refused = refusal(
        "/config/requirements",
        json!({"mandatory": ["inline-hw-tags"]}),
    );
    assert_eq!(refused, ForeignError::Requirements);
    let refused = refusal("/segments/0/flags", json!(["in-reencryption"]));
    assert!(matches!(refused, ForeignError::Reencryption { .. }));
    let refused = refusal("/keyslots/1", json!({"type": "reencrypt"}));
    assert!(matches!(refused, ForeignError::Reencryption { .. }));
    assert!(judge(&with("/config/flags", json!(["allow-discards"]))).is_ok());
    let refused = refusal("/config/flags", json!(["no-journal"]));
    assert!(matches!(refused, ForeignError::Flag { .. }));
}

#[test]
fn extra_and_missing_objects_are_refused_by_name() {
    let segment = document()["segments"]["0"].clone();
    assert_eq!(
        refusal("/segments/1", segment),
        ForeignError::Segments { count: 2 }
    );
    assert_eq!(
        refusal("/segments", json!({})),
        ForeignError::Segments { count: 0 }
    );
    let digest = document()["digests"]["0"].clone();
    assert_eq!(
        refusal("/digests/1", digest),
        ForeignError::Digests { count: 2 }
    );
    assert_eq!(
        refusal("/keyslots", json!({})),
        ForeignError::Keyslots { count: 0 }
    );
    // A keyslot that no digest covers would be tried and never found wrong.
    let refused = refusal("/keyslots/1", keyslot(1 << 20, 96));
    assert!(matches!(
        refused,
        ForeignError::Digest {
            field: "keyslots",
            ..
        }
    ));
    let refused = refusal("/keyslots/0/type", json!("luks3"));
    assert!(matches!(refused, ForeignError::KeyslotType { .. }));
    let refused = refusal("/extra", json!(1));
    assert!(matches!(refused, ForeignError::Json { .. }));
    let refused = refusal("/keyslots/00", keyslot(1 << 20, 96));
    assert!(matches!(refused, ForeignError::Json { .. }));
}

#[test]
fn offsets_out_of_range_and_overlaps_are_refused_by_name() {
    for offset in [
        "0",
        "4096",
        "16777215",
        "33554433",
        "268435456",
        "99999999999999999999",
        "-1",
    ] {
        let refused = refusal("/segments/0/offset", json!(offset));
        assert!(
            matches!(refused, ForeignError::SegmentOffset { .. }),
            "{offset}"
        );
    }
    for (member, value) in [
        ("offset", "0"),
        ("offset", "32769"),
        ("offset", "16773120"),
        ("offset", "18446744073709551615"),
        ("size", "18446744073709551615"),
        ("size", "4096"),
    ] {
        let refused = refusal(&format!("/keyslots/0/area/{member}"), json!(value));
        assert_eq!(
            refused,
            ForeignError::AreaOutside { slot: 0 },
            "{member} {value}"
        );
    }
    for offset in [32768, 36864, 413_696] {
        let mut document = with("/keyslots/5", keyslot(offset, 96));
        document["digests"]["0"]["keyslots"] = json!(["0", "5"]);
        let overlaps = ForeignError::AreasOverlap {
            first: 0,
            second: 5,
        };
        assert_eq!(judge(&document), Err(overlaps), "{offset}");
    }
    let mut document = with("/keyslots/5", keyslot(417_792, 96));
    document["digests"]["0"]["keyslots"] = json!(["5", "0"]);
    assert_eq!(judge(&document).unwrap().keyslots(), [0, 5]);
    for size in ["0", "4095", "18446744073709551615", "33554432"] {
        let refused = refusal("/config/keyslots_size", json!(size));
        assert!(matches!(refused, ForeignError::Config { .. }), "{size}");
    }
}

#[test]
fn other_values_of_the_segment_and_keyslot_are_refused_by_name() {
    for (member, value) in [
        ("type", json!("linear")),
        ("size", json!("4096")),
        ("iv_tweak", json!("8")),
        ("sector_size", json!(8192)),
    ] {
        let refused = refusal(&format!("/segments/0/{member}"), value);
        assert!(matches!(refused, ForeignError::Segment { .. }), "{refused}");
    }
    for (member, value) in [("type", "poly1305"), ("journal_integrity", "crc32")] {
        let refused = refusal(&format!("/segments/0/integrity/{member}"), json!(value));
        assert!(matches!(refused, ForeignError::Segment { .. }), "{refused}");
    }
    // Integrity taken away: the keyslots still hold keys for it.
    let mut document = document();
    document["segments"]["0"]
        .as_object_mut()
        .unwrap()
        .shift_remove("integrity");
    let refused = judge(&document).unwrap_err();
    assert!(matches!(
        refused,
        ForeignError::Keyslot {
            field: "key_size",
            ..
        }
    ));
    for (member, value) in [
        ("stripes", json!(1)),
        ("hash", json!("md5")),
        ("type", json!("none")),
    ] {
        let refused = refusal(&format!("/keyslots/0/af/{member}"), value);
        assert!(
            matches!(
                refused,
                ForeignError::Keyslot { field: "af", .. } | ForeignError::AreaOutside { .. }
            ),
            "{refused}"
        );
    }
}

#[test]
fn texts_that_two_readers_take_differently_are_refused_by_name() {
    let text = document().to_string();
    let twice = text.replacen("\"tokens\"", "\"config\":{},\"tokens\"", 1);
    let refused = parse(&region(&twice), DISK).unwrap_err();
    assert_eq!(
        refused,
        ForeignError::Duplicate {
            member: "config".into()
        }
    );
    let nul = text.replacen("\"luks2\"", "\"luks2\\u0000\"", 1);
    assert_eq!(parse(&region(&nul), DISK), Err(ForeignError::Nul));
    let mut behind = region(&text);
    for at in [COPY - 1, 2 * COPY - 1] {
        behind[at] = b'x';
    }
    mend(&mut behind[..COPY]);
    mend(&mut behind[COPY..]);
    assert_eq!(parse(&behind, DISK), Err(ForeignError::JsonArea));
}

#[test]
fn torn_differing_and_older_formats_are_refused_by_name() {
    let good = region(&document().to_string());
    for (at, which) in [
        (5000, CopyName::Primary),
        (COPY + 5000, CopyName::Secondary),
    ] {
        let mut bent = good.clone();
        bent[at] ^= 1;
        let torn = Torn::Checksum;
        assert_eq!(parse(&bent, DISK), Err(ForeignError::Torn { which, torn }));
    }
    let mut newer = good.clone();
    newer[COPY + 23] += 1;
    mend(&mut newer[COPY..]);
    let field = "sequence number";
    assert_eq!(
        parse(&newer, DISK),
        Err(ForeignError::CopiesDiffer { field })
    );
    let other = with("/config/flags", json!(["allow-discards"]));
    let mut mixed = good.clone();
    mixed[COPY..].copy_from_slice(&region(&other.to_string())[COPY..]);
    assert_eq!(
        parse(&mixed, DISK),
        Err(ForeignError::CopiesDiffer { field: "JSON" })
    );
    assert_eq!(
        parse(&vec![0; REGION_BYTES], DISK),
        Err(ForeignError::Absent)
    );
    assert_eq!(
        parse(&good[1..], DISK),
        Err(ForeignError::RegionSize {
            found: REGION_BYTES - 1
        })
    );
    let mut first = vec![0; REGION_BYTES];
    first[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    assert_eq!(parse(&first, DISK), Err(ForeignError::Luks1));
}

#[test]
fn binary_fields_are_refused_by_name_with_checksums_mended() {
    for (at, value, field) in [
        (7, 3, "version"),
        (13, 1, "header size"),
        (263, 1, "offset"),
        (72, b'x', "checksum algorithm"),
        (168, b'G', "UUID"),
    ] {
        let mut bent = region(&document().to_string());
        for copy in bent.chunks_exact_mut(COPY) {
            copy[at] = value;
            mend(copy);
        }
        let refused = parse(&bent, DISK).unwrap_err();
        assert!(
            matches!(refused, ForeignError::Binary { field: f, .. } if f == field),
            "{field}: {refused}"
        );
    }
}

#[test]
fn every_member_taken_away_or_retyped_is_refused() {
    fn paths(value: &Value, at: String, out: &mut Vec<String>) {
        if let Value::Object(members) = value {
            for (name, inner) in members {
                let path = format!("{at}/{name}");
                paths(inner, path.clone(), out);
                out.push(path);
            }
        }
    }
    let mut all = Vec::new();
    paths(&document(), String::new(), &mut all);
    // What a token says is nobody's business.
    let free = [
        "/tokens/0",
        "/tokens/0/type",
        "/tokens/0/keyslots",
        "/tokens/0/diskIsInitialized",
    ];
    let checked = all.iter().filter(|path| !free.contains(&path.as_str()));
    let mut count = 0;
    for path in checked {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut without = document();
        let members = without
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        members.shift_remove(name);
        assert!(judge(&without).is_err(), "{path} removed");
        for other in [
            json!(null),
            json!([[]]),
            json!(-1),
            json!("\u{1b}[2J"),
            json!({"a": 1}),
        ] {
            let refused = judge(&with(path, other.clone())).unwrap_err();
            assert!(!refused.to_string().contains('\u{1b}'), "{refused}");
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

proptest! {
    #[test]
    fn any_bytes_with_right_checksums_are_judged_without_panic(
        at in proptest::collection::vec((0..COPY, any::<u8>()), 1..6), size in any::<u64>(),
    ) {
        let mut bent = region(&document().to_string());
        for copy in bent.chunks_exact_mut(COPY) {
            for (at, value) in &at {
                copy[*at] = *value;
            }
            mend(copy);
        }
        let _ = parse(&bent, size);
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[\\[\\]{}\",:0-9a-z\\\\]{0,400}") {
        let _ = parse(&region(&text), DISK);
    }
}
