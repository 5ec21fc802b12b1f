//! The template against everything that a disk's owner can do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_secret::Dek;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::binary::COPY_BYTES;
use super::*;
use crate::geometry::{Integrity, Layout};

const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
const DISK_BYTES: u64 = 256 << 20;

fn dek(byte: u8) -> Dek {
    Dek::take(&mut [byte; 32]).unwrap()
}

fn header() -> SealedHeader {
    let layout = Layout::for_disk(Integrity::HmacSha256, DISK_BYTES).unwrap();
    SealedHeader::create(VOLUME, 1, 1, layout, &dek(7))
        .unwrap()
        .0
}

fn region() -> Vec<u8> {
    header().encode().to_vec()
}

/// Writes the checksum that makes a changed copy whole again, as an attacker would.
fn mend(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&copy);
    copy[448..480].copy_from_slice(&sum);
}

fn mend_both(region: &mut [u8]) {
    region.chunks_exact_mut(COPY_BYTES).for_each(mend);
}

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
fn header_survives_writing_and_reading_for_both_kinds_of_integrity() {
    for integrity in [Integrity::HmacSha256, Integrity::None] {
        let layout = Layout::for_disk(integrity, DISK_BYTES).unwrap();
        let (header, key) = SealedHeader::create(VOLUME, 3, 9, layout, &dek(1)).unwrap();
        let parsed = parse(header.encode().as_slice()).unwrap();
        assert_eq!(parsed.condition, Condition::Clean);
        assert_eq!(parsed.header, header);
        assert_eq!(key.expose().len(), integrity.volume_key_bytes());
        let opened = parsed.header.open(&dek(1)).unwrap();
        assert_eq!(opened.expose(), key.expose());
        let seen = parsed.header.seen();
        assert_eq!((seen.epoch, seen.generation), (3, 9));
    }
}

#[test]
fn advanced_header_keeps_the_key_and_counts_on() {
    let first = header();
    let key = first.open(&dek(7)).unwrap();
    let next = first.advance(5, &dek(7), &key).unwrap();
    assert_eq!((next.sequence(), next.seen().generation), (2, 5));
    assert_eq!(next.open(&dek(7)).unwrap().expose(), key.expose());
    assert_ne!(next.fields.nonce, first.fields.nonce);
    assert_eq!(parse(next.encode().as_slice()).unwrap().header, next);
}

#[test]
fn two_volumes_share_neither_key_nor_nonce_nor_salt() {
    let (a, b) = (header(), header());
    assert_ne!(a.fields.nonce, b.fields.nonce);
    assert_ne!(a.fields.salt, b.fields.salt);
    assert_ne!(
        a.open(&dek(7)).unwrap().expose(),
        b.open(&dek(7)).unwrap().expose()
    );
}

#[test]
fn recovers_from_every_flipped_byte_of_either_copy_and_takes_the_good_one() {
    let good = header();
    let mut region = good.encode();
    for offset in 0..REGION_BYTES {
        region[offset] ^= 0xff;
        let parsed = parse(region.as_slice()).unwrap();
        let damaged = if offset < COPY_BYTES {
            CopyName::Primary
        } else {
            CopyName::Secondary
        };
        assert!(
            matches!(parsed.condition, Condition::Recovered { damaged: d, .. } if d == damaged),
            "byte {offset}: {:?}",
            parsed.condition
        );
        assert_eq!(parsed.header, good, "byte {offset}");
        region[offset] ^= 0xff;
    }
}

#[test]
fn refuses_every_flipped_byte_under_both_checksums() {
    // The same byte flipped in both copies, checksums left alone: nothing whole remains.
    let mut region = region();
    for offset in 0..COPY_BYTES {
        region[offset] ^= 1;
        region[COPY_BYTES + offset] ^= 1;
        let refused = parse(&region).unwrap_err();
        match offset {
            0..6 => assert_eq!(refused, HeaderError::Absent),
            _ => assert!(
                matches!(refused, HeaderError::BothTorn { .. }),
                "byte {offset}: {refused}"
            ),
        }
        region[offset] ^= 1;
        region[COPY_BYTES + offset] ^= 1;
    }
}

/// With both checksums mended a changed byte is either refused as altered, or it is another canonical header (another
/// sequence number, id or base64 value) whose seal does not open.
#[test]
fn refuses_every_flipped_bit_in_both_copies_with_mended_checksums() {
    let good = header();
    let clean = good.encode();
    let text_end = 4096 + clean[4096..].iter().position(|b| *b == 0).unwrap();
    let (mut refused_seals, key) = (0, dek(7));
    // Every bit of all bytes that carry anything; for the zeros behind the text one bit per byte will do.
    let bits = (0..text_end + 64).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    let filler = (text_end + 64..COPY_BYTES).map(|byte| (byte, 0));
    for (byte, bit) in bits
        .chain(filler)
        .filter(|(byte, _)| !(448..480).contains(byte))
    {
        let mut region = clean.clone();
        region[byte] ^= 1 << bit;
        region[COPY_BYTES + byte] ^= 1 << bit;
        mend_both(region.as_mut_slice());
        match parse(region.as_slice()) {
            Err(HeaderError::Altered { .. } | HeaderError::Absent) => {}
            // The trailing half of the checksum field is zero again after mending.
            Ok(parsed) if (480..512).contains(&byte) => assert_eq!(parsed.header, good),
            // Six bytes of magic gone in both: nothing is there. One bit of them: torn.
            Err(HeaderError::BothTorn { .. }) if byte < 6 => {}
            Ok(parsed) => {
                assert_ne!(parsed.header, good, "byte {byte} bit {bit}");
                assert_eq!(parsed.header.open(&key).unwrap_err(), SealError::Open);
                refused_seals += 1;
            }
            Err(other) => panic!("byte {byte} bit {bit}: {other}"),
        }
    }
    assert!(refused_seals > 1000, "{refused_seals}");
}

#[test]
fn refuses_every_flipped_byte_of_one_copy_with_mended_checksum() {
    let good = header();
    let clean = good.encode();
    for which in [0, COPY_BYTES] {
        for byte in (0..COPY_BYTES).filter(|byte| !(448..512).contains(byte)) {
            let mut region = clean.clone();
            region[which + byte] ^= 1;
            mend(&mut region[which..which + COPY_BYTES]);
            match parse(region.as_slice()) {
                Err(HeaderError::Altered { .. } | HeaderError::CopiesDiffer { .. }) => {}
                // Without its magic the copy is torn, and the other one is taken.
                Ok(parsed) if byte < 6 => assert_eq!(parsed.header, good),
                other => panic!("copy {which} byte {byte}: {other:?}"),
            }
        }
    }
}

#[test]
fn refuses_region_of_wrong_size_blank_region_and_foreign_bytes() {
    let refused = parse(&region()[..REGION_BYTES - 1]).unwrap_err();
    assert_eq!(refused, HeaderError::RegionSize { found: 32_767 });
    assert_eq!(
        parse(&vec![0; REGION_BYTES]).unwrap_err(),
        HeaderError::Absent
    );
    assert_eq!(
        parse(&vec![0xa5; REGION_BYTES]).unwrap_err(),
        HeaderError::Absent
    );
}

#[test]
fn recovers_from_one_wiped_copy_and_refuses_when_both_are_torn() {
    let good = header();
    let mut wiped = good.encode();
    wiped[..COPY_BYTES].fill(0);
    let parsed = parse(wiped.as_slice()).unwrap();
    assert_eq!(parsed.header, good);
    let torn = Torn::Magic;
    let damaged = CopyName::Primary;
    assert_eq!(parsed.condition, Condition::Recovered { damaged, torn });
    wiped[COPY_BYTES + 5000] ^= 1;
    let refused = parse(wiped.as_slice()).unwrap_err();
    let (primary, secondary) = (Torn::Magic, Torn::Checksum);
    assert_eq!(refused, HeaderError::BothTorn { primary, secondary });
}

#[test]
fn refuses_luks_version_1_header() {
    let mut region = vec![0; REGION_BYTES];
    region[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    assert_eq!(parse(&region).unwrap_err(), HeaderError::Luks1);
}

#[test]
fn takes_the_newer_copy_after_an_interrupted_write() {
    let old = header();
    let key = old.open(&dek(7)).unwrap();
    let new = old.advance(2, &dek(7), &key).unwrap();
    for (first, second, older) in [
        (&old, &new, CopyName::Primary),
        (&new, &old, CopyName::Secondary),
    ] {
        let mut region = first.encode();
        region[COPY_BYTES..].copy_from_slice(&second.encode()[COPY_BYTES..]);
        let parsed = parse(region.as_slice()).unwrap();
        assert_eq!(parsed.header, new);
        assert_eq!(parsed.condition, Condition::Interrupted { older });
        assert_eq!(parsed.header.open(&dek(7)).unwrap().expose(), key.expose());
    }
}

#[test]
fn refuses_copies_that_differ_by_more_than_one_write() {
    let old = header();
    let key = old.open(&dek(7)).unwrap();
    let new = old.advance(2, &dek(7), &key).unwrap();
    let newest = new.advance(3, &dek(7), &key).unwrap();
    let stranger = header();
    let sibling = old.advance(2, &dek(7), &key).unwrap();
    let backwards = new.advance(1, &dek(7), &key).unwrap();
    for (first, second) in [
        (&old, &newest),
        (&old, &stranger),
        (&new, &sibling),
        (&new, &backwards),
    ] {
        let mut region = first.encode();
        region[COPY_BYTES..].copy_from_slice(&second.encode()[COPY_BYTES..]);
        let refused = parse(region.as_slice()).unwrap_err();
        let (primary, secondary) = (first.sequence(), second.sequence());
        assert_eq!(refused, HeaderError::CopiesDiffer { primary, secondary });
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
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn refuses_header_with_odd_offset_integrity_or_unknown_field() {
    let offset = rewritten(|json| json["segments"]["0"]["offset"] = "16781312".into());
    assert!(matches!(altered(&offset), CopyError::NotCanonical { .. }));
    let journal = rewritten(|json| {
        json["segments"]["0"]["integrity"]["journal_encryption"] = "cbc(aes)".into();
    });
    assert!(matches!(altered(&journal), CopyError::NotCanonical { .. }));
    let unknown = rewritten(|json| json["segments"]["0"]["x"] = 1.into());
    assert!(matches!(altered(&unknown), CopyError::JsonShape(_)));
    let version = rewritten(|json| json["tokens"]["0"]["version"] = 2.into());
    assert_eq!(altered(&version), CopyError::FormatVersion { found: 2 });
}

#[test]
fn refuses_header_whose_integrity_was_taken_away() {
    let region = rewritten(|json| {
        let segment = json["segments"]["0"].as_object_mut().unwrap();
        segment.remove("integrity");
    });
    assert!(matches!(altered(&region), CopyError::Layout(_)));
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
            _ => assert!(matches!(refused, CopyError::JsonShape(_)), "{refused}"),
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
    assert_eq!(altered(&swapped), CopyError::NotCanonical { offset });
}

#[test]
fn seal_refuses_wrong_dek_wrong_epoch_and_other_generation() {
    let good = header();
    assert_eq!(good.open(&dek(8)).unwrap_err(), SealError::Open);
    let mut epoch = good.clone();
    epoch.fields.epoch = 2;
    let mut generation = good.clone();
    generation.fields.generation = 2;
    let mut sequence = good.clone();
    sequence.binary.sequence = 2;
    let mut digest = good.clone();
    digest.fields.digest[0] ^= 1;
    let mut salt = good.clone();
    salt.fields.salt[0] ^= 1;
    for changed in [epoch, generation, sequence, digest, salt] {
        // Each is a canonical header of its own: only the seal tells.
        let parsed = parse(changed.encode().as_slice()).unwrap().header;
        assert_eq!(parsed.open(&dek(7)).unwrap_err(), SealError::Open);
    }
}

#[test]
fn seal_refuses_key_of_another_volume() {
    let mine = header();
    let layout = mine.layout();
    let other = Uuid::from_u128(99);
    let (theirs, _) = SealedHeader::create(other, 1, 1, layout, &dek(7)).unwrap();
    let mut spliced = mine;
    spliced.fields.nonce = theirs.fields.nonce;
    spliced.fields.sealed = theirs.fields.sealed;
    assert_eq!(spliced.open(&dek(7)).unwrap_err(), SealError::Open);
}

#[test]
fn seal_refuses_other_integrity_parameters() {
    let good = header();
    let (data, journal) = (
        good.layout().data_sectors(),
        good.layout().journal_sections(),
    );
    for (data, journal) in [(data - 8, journal), (data, journal + 1)] {
        let mut changed = good.clone();
        changed.fields.layout = Layout::from_parts(Integrity::HmacSha256, data, journal).unwrap();
        let parsed = parse(changed.encode().as_slice()).unwrap().header;
        assert_eq!(parsed.open(&dek(7)).unwrap_err(), SealError::Open);
    }
}

#[test]
fn refuses_to_seal_zero_counters_and_keys_of_wrong_length() {
    let layout = Layout::for_disk(Integrity::None, DISK_BYTES).unwrap();
    for (epoch, generation) in [(0, 1), (1, 0)] {
        let refused = SealedHeader::create(VOLUME, epoch, generation, layout, &dek(7));
        assert_eq!(refused.unwrap_err(), SealError::Counter);
    }
    let short = dawnkey_secret::VolumeKey::fill(64, |_| Ok::<_, ()>(())).unwrap();
    let (found, wanted) = (64, 96);
    assert_eq!(
        header().advance(2, &dek(7), &short).unwrap_err(),
        SealError::KeyLength { found, wanted }
    );
    let mut last = header();
    last.binary.sequence = u64::MAX;
    let key = header().open(&dek(7)).unwrap();
    assert_eq!(
        last.advance(2, &dek(7), &key).unwrap_err(),
        SealError::Counter
    );
}

#[test]
fn claims_name_the_volume_of_a_damaged_header() {
    let mut region = region();
    region[5000] ^= 1;
    region[COPY_BYTES + 5000] ^= 1;
    assert!(parse(&region).is_err());
    assert_eq!(
        claimed_volumes(&region).collect::<Vec<_>>(),
        vec![VOLUME, VOLUME]
    );
    assert_eq!(claimed_volumes(&[0; 3]).count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_header_that_can_be_made_reads_back(
        id: u128, epoch in 1_u32.., generation in 1_u64.., hmac: bool, bytes in (32_u64 << 20)..(1 << 50),
    ) {
        let integrity = if hmac { Integrity::HmacSha256 } else { Integrity::None };
        let layout = Layout::for_disk(integrity, bytes).unwrap();
        let (header, key) =
            SealedHeader::create(Uuid::from_u128(id), epoch, generation, layout, &dek(2)).unwrap();
        let parsed = parse(header.encode().as_slice()).unwrap();
        prop_assert_eq!(&parsed.header, &header);
        let opened = parsed.header.open(&dek(2)).unwrap();
        prop_assert_eq!(opened.expose(), key.expose());
    }

    #[test]
    fn whatever_is_accepted_is_what_its_values_are_written_as(
        changes in proptest::collection::vec((0..REGION_BYTES, any::<u8>()), 1..8), mended: bool,
    ) {
        let mut region = region();
        for (offset, byte) in changes {
            region[offset] = byte;
        }
        if mended {
            mend_both(&mut region);
        }
        if let Ok(parsed) = parse(&region) {
            let written = parsed.header.encode();
            let same = |range: std::ops::Range<usize>| written[range.clone()] == region[range];
            prop_assert!(same(0..COPY_BYTES) || same(COPY_BYTES..REGION_BYTES));
        }
    }

    #[test]
    fn parser_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..512), at in 0..REGION_BYTES - 512) {
        let mut region = region();
        region[at..at + bytes.len()].copy_from_slice(&bytes);
        mend_both(&mut region);
        let _ = parse(&region);
    }
}
