//! Every byte of the template, flipped: alone, in both copies, with and without mended checksums.

use super::*;

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
