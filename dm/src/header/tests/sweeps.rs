//! Every bit of the template, flipped: alone, in both copies, with and without mended checksums.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Gives every bit of `bytes` to `check`, with a region of its own to spoil that is sound again each time. Returns how
/// many bits there were.
fn each_bit(
    good: &[u8],
    bytes: Range<usize>,
    check: impl Fn(&mut [u8], usize, u8) + Sync,
) -> usize {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = bytes.len().div_ceil(workers);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (bytes, check) = (bytes.clone(), &check);
            scope.spawn(move || {
                let mut region = good.to_vec();
                for byte in bytes.skip(worker * share).take(share) {
                    for bit in 0..8 {
                        check(&mut region, byte, 1 << bit);
                        region.copy_from_slice(good);
                    }
                }
            });
        }
    });
    bytes.len() * 8
}

#[test]
fn recovers_from_every_flipped_bit_of_either_copy_and_takes_the_good_one() {
    let good = header();
    let bits = each_bit(
        good.encode().as_slice(),
        0..REGION_BYTES,
        |region, byte, bit| {
            region[byte] ^= bit;
            let parsed = parse(region).unwrap();
            let wanted = if byte < COPY_BYTES {
                CopyName::Primary
            } else {
                CopyName::Secondary
            };
            assert!(
                matches!(parsed.condition, Condition::Recovered { damaged, .. } if damaged == wanted),
                "byte {byte}: {:?}",
                parsed.condition
            );
            assert_eq!(parsed.header, good, "byte {byte}");
        },
    );
    println!("{bits} bits of one copy flipped: the good header each time");
}

#[test]
fn refuses_every_flipped_bit_under_both_checksums() {
    // The same bit flipped in both copies, checksums left alone: nothing whole remains.
    let bits = each_bit(&region(), 0..COPY_BYTES, |region, byte, bit| {
        region[byte] ^= bit;
        region[COPY_BYTES + byte] ^= bit;
        let refused = parse(region).unwrap_err();
        match byte {
            0..6 => assert_eq!(refused, HeaderError::Absent),
            _ => assert!(
                matches!(refused, HeaderError::BothTorn { .. } | HeaderError::Luks1),
                "byte {byte}: {refused}"
            ),
        }
    });
    println!("{bits} bits of both copies flipped: refused");
}

/// With both checksums mended a changed bit is either refused as altered, or it is another canonical header (another
/// sequence number, id or base64 value) whose seal does not open.
#[test]
fn refuses_every_flipped_bit_in_both_copies_with_mended_checksums() {
    let good = header();
    let (seals, unchanged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let bits = each_bit(
        good.encode().as_slice(),
        0..COPY_BYTES,
        |region, byte, bit| {
            region[byte] ^= bit;
            region[COPY_BYTES + byte] ^= bit;
            mend_both(region);
            match parse(region) {
                Err(HeaderError::Altered { .. }) => {}
                Err(HeaderError::Absent) if byte < 6 => {}
                // The checksum field is what it was before, after mending.
                Ok(parsed) if (448..512).contains(&byte) => {
                    assert_eq!(parsed.header, good);
                    unchanged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(parsed) => {
                    assert_ne!(parsed.header, good, "byte {byte} bit {bit}");
                    let refused = parsed.header.open(&dek(7)).unwrap_err();
                    assert_eq!(refused, SealError::Open);
                    seals.fetch_add(1, Ordering::Relaxed);
                }
                Err(other) => panic!("byte {byte} bit {bit}: {other}"),
            }
        },
    );
    let (seals, unchanged) = (seals.into_inner(), unchanged.into_inner());
    println!(
        "{bits} mended bits of both copies: {seals} seals closed, {unchanged} mended back, the rest altered"
    );
    assert!(seals > 1000, "{seals}");
    assert_eq!(unchanged, 512);
}

#[test]
fn refuses_every_flipped_bit_of_one_copy_with_mended_checksum() {
    let good = header();
    let bits = each_bit(
        good.encode().as_slice(),
        0..REGION_BYTES,
        |region, byte, bit| {
            let copy = byte / COPY_BYTES * COPY_BYTES;
            region[byte] ^= bit;
            mend(&mut region[copy..copy + COPY_BYTES]);
            match parse(region) {
                Err(HeaderError::Altered { .. } | HeaderError::CopiesDiffer { .. }) => {}
                // Without its magic the copy is torn, and the other one is taken.
                Ok(parsed) if byte % COPY_BYTES < 6 => assert_eq!(parsed.header, good),
                Ok(parsed) if (448..512).contains(&(byte % COPY_BYTES)) => {
                    assert_eq!(parsed.header, good);
                }
                other => panic!("byte {byte} bit {bit}: {other:?}"),
            }
        },
    );
    println!("{bits} mended bits of one copy: refused, or the good header");
}
