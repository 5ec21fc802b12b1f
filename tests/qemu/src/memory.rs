//! Looking for secrets in a dump of a guest's memory, and telling a cipher's state from a copy of a key.

use std::io::BufRead;

/// Bytes of the round keys of AES-256.
pub const SCHEDULE: usize = 240;

/// Every place at which the needle stands.
#[must_use]
pub fn find(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    // Most of a memory is zeros: a needle's zero would be found at each of them.
    let common = |byte: &u8| *byte == 0 || *byte == 0xff;
    let Some(anchor) = needle.iter().position(|byte| !common(byte)) else {
        return Vec::new();
    };
    let Some(byte) = needle.get(anchor) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let (mut rest, mut passed) = (haystack, 0);
    while let Ok(length @ 1..) = rest.skip_until(*byte) {
        passed += length;
        let Some(begin) = passed.checked_sub(anchor + 1) else {
            continue;
        };
        if haystack
            .get(begin..)
            .is_some_and(|from| from.starts_with(needle))
        {
            found.push(begin);
        }
    }
    found
}

/// The round keys of AES-256 as they are stored for encryption: FIPS 197, section 5.2, 15 keys of 16 bytes. The key
/// itself is the first 32 bytes.
#[must_use]
pub fn aes256_schedule(key: &[u8; 32]) -> Vec<u8> {
    let mut words: Vec<[u8; 4]> = key
        .chunks_exact(4)
        .filter_map(|word| word.try_into().ok())
        .collect();
    let mut constant = 1;
    for number in words.len()..SCHEDULE / 4 {
        let word = |back: usize| words.get(number - back).copied().unwrap_or_default();
        let mut next = word(1);
        if number % 8 == 0 {
            next.rotate_left(1);
            next = next.map(substituted);
            let [first, ..] = &mut next;
            *first ^= constant;
            constant = doubled(constant);
        } else if number % 8 == 4 {
            next = next.map(substituted);
        }
        for (byte, other) in next.iter_mut().zip(word(8)) {
            *byte ^= other;
        }
        words.push(next);
    }
    words.concat()
}

/// Multiplication by x in AES's field.
fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        a = doubled(a);
        b >>= 1;
    }
    sum
}

/// The S-box, computed: the inverse in the field, then the affine map.
fn substituted(byte: u8) -> u8 {
    let inverse = (0..=255)
        .find(|other| product(byte, *other) == 1)
        .unwrap_or(0);
    let rotations = (1..5).map(|by| inverse.rotate_left(by));
    rotations.fold(inverse, |sum, rotated| sum ^ rotated) ^ 0x63
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// FIPS 197, appendix A.3.
    #[test]
    fn schedule_is_that_of_the_standard() {
        let key: [u8; 32] = [
            0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d,
            0x77, 0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3,
            0x09, 0x14, 0xdf, 0xf4,
        ];
        let schedule = aes256_schedule(&key);
        assert_eq!(schedule.len(), SCHEDULE);
        assert_eq!(schedule[..32], key);
        assert_eq!(schedule[32..36], [0x9b, 0xa3, 0x54, 0x11]);
        assert_eq!(schedule[236..], [0x70, 0x6c, 0x63, 0x1e]);
    }

    #[test]
    fn finds_every_place_also_of_needles_that_begin_with_zeros() {
        let haystack = [0, 0, 0, 7, 9, 0, 0, 7, 7, 9];
        assert_eq!(find(&haystack, &[0, 0, 7]), [1, 5]);
        assert_eq!(find(&haystack, &[7, 9]), [3, 8]);
        assert_eq!(find(&haystack, &[8]), [0; 0]);
    }
}
