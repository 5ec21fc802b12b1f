//! The template against everything that a disk's owner can do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use dawnkey_secret::Dek;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

mod alterations;
mod sweeps;

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
    let next = first.advance(first.next(5), &dek(7), &key).unwrap();
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
    let new = old.advance(old.next(2), &dek(7), &key).unwrap();
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
    let new = old.advance(old.next(2), &dek(7), &key).unwrap();
    let newest = new.advance(new.next(3), &dek(7), &key).unwrap();
    let stranger = header();
    let sibling = old.advance(old.next(2), &dek(7), &key).unwrap();
    let step = new.advance(new.next(1), &dek(7), &key);
    assert_eq!(step.unwrap_err(), SealError::Step);
    let mut backwards = new.clone();
    backwards.binary.sequence += 1;
    backwards.fields.generation = 1;
    let backwards = backwards.sealed(&dek(7), &key).unwrap();
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
        header()
            .advance(header().next(2), &dek(7), &short)
            .unwrap_err(),
        SealError::KeyLength { found, wanted }
    );
    let mut last = header();
    last.binary.sequence = u64::MAX;
    let key = header().open(&dek(7)).unwrap();
    assert_eq!(
        last.advance(last.next(2), &dek(7), &key).unwrap_err(),
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
