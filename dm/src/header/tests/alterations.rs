//! Headers rewritten with both checksums mended, as attacks on LUKS2 headers do: each refused by its name.

use super::*;

/// Rewrites the JSON of both copies and mends their checksums.
fn rewritten(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut region = region();
    for copy in region.chunks_exact_mut(COPY_BYTES) {
        let end = 4096 + copy[4096..].iter().position(|b| *b == 0).unwrap();
        let mut json = serde_json::from_slice(&copy[4096..end]).unwrap();
        change(&mut json);
        let text = serde_json::to_string(&json).unwrap();
        copy[4096..].fill(0);
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
    }
    mend_both(&mut region);
    region
}

fn altered(region: &[u8]) -> CopyError {
    match parse(region) {
        Err(HeaderError::Altered { source, .. }) => source,
        other => panic!("must be refused as altered: {other:?}"),
    }
}

#[test]
fn refuses_header_with_null_cipher() {
    let region = rewritten(|json| {
        json["segments"]["0"]["encryption"] = "cipher_null-ecb".into();
    });
    let found = "cipher_null-ecb".to_owned();
    assert_eq!(altered(&region), CopyError::NullCipher { found });
    let linear = rewritten(|json| {
        json["segments"]["0"] =
            serde_json::json!({"type": "linear", "offset": "16777216", "size": "dynamic"});
    });
    assert!(matches!(altered(&linear), CopyError::NullCipher { .. }));
}

#[test]
fn refuses_header_with_null_cipher_in_an_added_keyslot() {
    let region = rewritten(|json| {
        json["keyslots"]["0"] = serde_json::json!({
            "type": "luks2", "key_size": 64,
            "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
            "area": {"type": "raw", "offset": "32768", "size": "258048",
                     "encryption": "cipher_null-ecb", "key_size": 32},
            "kdf": {"type": "argon2id", "time": 4_294_967_295_u32, "memory": 4_294_967_295_u32,
                    "cpus": 4, "salt": "AAAA"},
        });
    });
    assert_eq!(altered(&region), CopyError::Keyslot { count: 1 });
}

#[test]
fn refuses_header_with_second_segment() {
    let region = rewritten(|json| {
        json["segments"]["1"] = json["segments"]["0"].clone();
    });
    assert_eq!(altered(&region), CopyError::Segments { count: 2 });
}

#[test]
fn refuses_header_with_another_cipher() {
    let region = rewritten(|json| json["segments"]["0"]["encryption"] = "aes-ecb".into());
    let found = "aes-ecb".to_owned();
    assert_eq!(altered(&region), CopyError::Cipher { found });
}

#[test]
fn refuses_header_with_added_or_foreign_token() {
    let added = rewritten(|json| {
        json["tokens"]["1"] = serde_json::json!({"type": "systemd-tpm2", "keyslots": []});
    });
    assert_eq!(altered(&added), CopyError::Tokens { count: 2 });
    let foreign = rewritten(|json| json["tokens"]["0"]["type"] = "clevis".into());
    let found = "clevis".to_owned();
    assert_eq!(altered(&foreign), CopyError::TokenType { found });
}

#[test]
fn refuses_header_with_flags_or_requirements() {
    let flags = rewritten(|json| {
        json["config"]["flags"] = serde_json::json!(["no-journal", "allow-discards"]);
    });
    assert_eq!(altered(&flags), CopyError::Flags);
    let requirements = rewritten(|json| {
        json["config"]["requirements"] = serde_json::json!({"mandatory": ["online-reencrypt"]});
    });
    assert_eq!(altered(&requirements), CopyError::Requirements);
    let segment = rewritten(|json| {
        json["segments"]["0"]["flags"] = serde_json::json!(["backup-final"]);
    });
    assert_eq!(altered(&segment), CopyError::SegmentFlags);
}

#[test]
fn refuses_header_with_costly_digest_at_once() {
    let begun = std::time::Instant::now();
    let region = rewritten(|json| json["digests"]["0"]["iterations"] = 2_147_483_647_u32.into());
    let found = 2_147_483_647;
    assert_eq!(altered(&region), CopyError::Iterations { found });
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn refuses_header_with_odd_offset_integrity_or_unknown_field() {
    let offset = rewritten(|json| json["segments"]["0"]["offset"] = "16781312".into());
    let field = "segments.0.offset".to_owned();
    assert_eq!(altered(&offset), CopyError::Value { field });
    let journal = rewritten(|json| {
        json["segments"]["0"]["integrity"]["journal_encryption"] = "cbc(aes)".into();
    });
    let field = "segments.0.integrity.journal_encryption".to_owned();
    assert_eq!(altered(&journal), CopyError::Value { field });
    let unknown = rewritten(|json| json["segments"]["0"]["x"] = 1.into());
    let field = "segments.0.x".to_owned();
    assert_eq!(altered(&unknown), CopyError::Unknown { field });
    let version = rewritten(|json| json["tokens"]["0"]["version"] = 2.into());
    assert_eq!(altered(&version), CopyError::FormatVersion { found: 2 });
}

#[test]
fn refuses_header_whose_integrity_was_taken_away() {
    let region = rewritten(|json| {
        let segment = json["segments"]["0"].as_object_mut().unwrap();
        segment.remove("integrity");
    });
    let (segment, token) = (false, true);
    assert_eq!(
        altered(&region),
        CopyError::IntegrityDiffers { segment, token }
    );
}

#[test]
fn refuses_oversized_deep_and_unterminated_json() {
    for filler in [b'[', b' ', b'a', 0xff] {
        let mut region = region();
        for copy in region.chunks_exact_mut(COPY_BYTES) {
            copy[4096..].fill(filler);
        }
        mend_both(&mut region);
        assert_eq!(altered(&region), CopyError::JsonArea);
        region[COPY_BYTES - 1] = 0;
        region[2 * COPY_BYTES - 1] = 0;
        mend_both(&mut region);
        let refused = altered(&region);
        match filler {
            0xff => assert_eq!(refused, CopyError::JsonArea),
            _ => assert!(matches!(refused, CopyError::Json(_)), "{refused}"),
        }
    }
}

#[test]
fn refuses_same_values_written_in_another_way() {
    let mut region = region();
    for copy in region.chunks_exact_mut(COPY_BYTES) {
        let end = 4096 + copy[4096..].iter().position(|b| *b == 0).unwrap();
        copy[end] = b'\n';
    }
    mend_both(&mut region);
    assert!(matches!(altered(&region), CopyError::NotCanonical { .. }));
    let swapped = rewritten(|json| {
        let json = json.as_object_mut().unwrap();
        let keyslots = json.shift_remove("keyslots").unwrap();
        json.insert("keyslots".into(), keyslots);
    });
    let offset = 4096 + r#"{""#.len();
    let field = "JSON area";
    assert_eq!(altered(&swapped), CopyError::NotCanonical { offset, field });
}
