//! Mutations of the binary part, of whole copies, and of whole headers.

use dawnkey_dm::header::HEADER_COPY_BYTES;
use uuid::Uuid;

use crate::lab::{Copies, Lab, Mutation, VOLUME, mend};

/// Fields of the binary part: place, name, reasons that a changed one may be refused by.
const FIELDS: &[(std::ops::Range<usize>, &str, &[&str])] = &[
    (6..8, "version", &["Altered.Version"]),
    (8..16, "size", &["Altered.Size"]),
    (16..24, "sequence number", &["Altered.Sequence", "Seal"]),
    (24..72, "label", &["Altered.FixedField label"]),
    (
        72..104,
        "checksum algorithm",
        &["Altered.FixedField checksum algorithm"],
    ),
    (104..168, "salt", &["Altered.NotCanonical salt"]),
    // Another id is another volume's header: the disk is not the wanted one and not blank either.
    (
        168..208,
        "UUID",
        &["Altered.Uuid", "NotBlank", "Altered.NotCanonical UUID"],
    ),
    (208..256, "subsystem", &["Altered.FixedField subsystem"]),
    (256..264, "offset", &["Altered.Offset"]),
    (264..448, "padding", &["Altered.NotCanonical padding"]),
    (512..4096, "padding", &["Altered.NotCanonical padding"]),
];

/// Every field of both copies or either one: zeros, ones, counted up and down, turned round, text.
pub fn binary(lab: &Lab) -> Vec<Mutation> {
    let mut made = Vec::new();
    for (range, name, reasons) in FIELDS {
        type Change = fn(&mut [u8]);
        let changes: [(&str, Change); 7] = [
            ("zeros", |field| field.fill(0)),
            ("ones", |field| field.fill(0xff)),
            ("spaces", |field| field.fill(b' ')),
            ("last bit", |field| *field.last_mut().unwrap() ^= 1),
            ("first bit", |field| field[0] ^= 0x80),
            ("one more", |field| {
                *field.last_mut().unwrap() = field[field.len() - 1].wrapping_add(1)
            }),
            ("turned round", |field| field.reverse()),
        ];
        for (what, change) in changes {
            for copies in Copies::ALL {
                let region = copies.change(&lab.good, |copy| change(&mut copy[range.clone()]));
                if region == lab.good {
                    continue;
                }
                let mut mutation = Mutation::new(
                    "binary field",
                    format!("{name}: {what} ({copies:?})"),
                    region,
                    reasons,
                );
                if copies != Copies::Both {
                    mutation.expect.push("CopiesDiffer".into());
                }
                made.push(mutation);
            }
        }
    }
    made
}

/// Copies that differ although both are whole, and headers that are whole and yet not this volume's newest.
pub fn headers(lab: &Lab) -> Vec<Mutation> {
    let good = &lab.good;
    let mut made = Vec::new();
    let mut add = |class, label: &str, region: Vec<u8>, expect: &[&str]| {
        made.push(Mutation::new(class, label, region, expect));
    };
    for raised in [2_u64, 3, 1 << 32, u64::MAX] {
        let raise = |copy: &mut [u8]| copy[16..24].copy_from_slice(&raised.to_be_bytes());
        add(
            "sequence number raised",
            &format!("{raised} in both"),
            Copies::Both.change(good, raise),
            &["Seal"],
        );
        for copies in [Copies::Primary, Copies::Secondary] {
            let label = format!("{raised} ({copies:?})");
            add(
                "sequence number raised",
                &label,
                copies.change(good, raise),
                &["CopiesDiffer"],
            );
        }
    }
    // Sequence number and generation raised as the next write would: the newer copy is taken, and its seal is not one.
    for copies in [Copies::Primary, Copies::Secondary] {
        let text =
            crate::lab::text(good).replacen("\"generation\":\"1\"", "\"generation\":\"9\"", 1);
        let raised = copies.rewrite(good, text.as_bytes());
        let raised = copies.change(&raised, |copy| copy[23] = 2);
        add(
            "sequence number raised",
            &format!("with generation 9 ({copies:?})"),
            raised,
            &["GenerationNotHigher"],
        );
        let text = text.replacen("\"generation\":\"9\"", "\"generation\":\"2\"", 1);
        let again = copies.rewrite(good, text.as_bytes());
        let again = copies.change(&again, |copy| copy[23] = 2);
        add(
            "sequence number raised",
            &format!("with generation 2 ({copies:?})"),
            again,
            &["GenerationNotHigher"],
        );
    }

    let twin = lab.volume(VOLUME, 8, 1);
    let cousin = lab.volume(VOLUME, 7, 1);
    let epoch = lab.volume(VOLUME, 7, 2);
    let stranger = lab.volume(Uuid::from_u128(77), 7, 1);
    let half = |first: &[u8], second: &[u8]| {
        [&first[..HEADER_COPY_BYTES], &second[HEADER_COPY_BYTES..]].concat()
    };
    add(
        "another volume's header",
        "same id, attacker's DEK",
        twin.clone(),
        &["Seal"],
    );
    add(
        "another volume's header",
        "another id",
        stranger.clone(),
        &["NotBlank"],
    );
    add(
        "another epoch or DEK",
        "epoch 2",
        epoch.clone(),
        &["EpochDiffers"],
    );
    let text = crate::lab::text(&epoch).replacen("\"epoch\":2", "\"epoch\":1", 1);
    add(
        "another epoch or DEK",
        "epoch 2 that says 1",
        Copies::Both.rewrite(&epoch, text.as_bytes()),
        &["Seal"],
    );
    for (label, other) in [
        ("twin", &twin),
        ("cousin", &cousin),
        ("epoch 2", &epoch),
        ("stranger", &stranger),
    ] {
        add(
            "copies differ",
            &format!("good, {label}"),
            half(good, other),
            &["CopiesDiffer"],
        );
        add(
            "copies differ",
            &format!("{label}, good"),
            half(other, good),
            &["CopiesDiffer"],
        );
        let alone = match label {
            "epoch 2" => "EpochDiffers",
            "stranger" => "NotBlank",
            "twin" => "Seal",
            // Written by a node with the DEK: it is a header of this volume.
            _ => continue,
        };
        let label = format!("{label} with a torn copy");
        add(
            "another volume's header",
            &label,
            torn(other, Copies::Secondary),
            &[alone],
        );
    }
    let swapped = [&good[HEADER_COPY_BYTES..], &good[..HEADER_COPY_BYTES]].concat();
    add("copies differ", "exchanged", swapped, &["NotBlank"]);

    let mut luks1 = vec![0; good.len()];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    luks1[8..40].copy_from_slice(b"aes\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    luks1[168..204].copy_from_slice(VOLUME.hyphenated().to_string().as_bytes());
    add("LUKS1", "with this id", luks1.clone(), &["Luks1"]);
    luks1[168..204].fill(0);
    add("LUKS1", "without id", luks1, &["Luks1"]);
    let downgraded = Copies::Both.change(good, |copy| copy[7] = 1);
    add(
        "LUKS1",
        "version 1 in the good header",
        downgraded,
        &["Altered.Version"],
    );
    let both = torn(&torn(good, Copies::Primary), Copies::Secondary);
    add("both copies torn", "one bit each", both, &["BothTorn"]);
    made
}

/// Flips one bit of these copies and mends nothing.
fn torn(region: &[u8], copies: Copies) -> Vec<u8> {
    let mut region = region.to_vec();
    match copies {
        Copies::Primary => region[5000] ^= 1,
        _ => region[HEADER_COPY_BYTES + 5000] ^= 1,
    }
    region
}

/// The good header with one copy destroyed in every way that counts as torn: by rule the other one is taken.
pub fn repaired(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let (primary, secondary) = lab.good.split_at(HEADER_COPY_BYTES);
    let mut made = vec![
        ("primary twice".to_owned(), [primary, primary].concat()),
        (
            "secondary twice".to_owned(),
            [secondary, secondary].concat(),
        ),
    ];
    for begin in [0, HEADER_COPY_BYTES] {
        type Change = fn(&mut [u8]);
        let changes: [(&str, Change); 6] = [
            ("zeros", |copy| copy.fill(0)),
            ("ones", |copy| copy.fill(0xff)),
            ("LUKS1", |copy| copy[7] = 1),
            ("magic gone, checksum mended", |copy| {
                copy[..6].fill(0);
                mend(copy);
            }),
            ("checksum gone", |copy| copy[448..512].fill(0)),
            ("second half gone", |copy| copy[8192..].fill(0)),
        ];
        for (what, change) in changes {
            let mut region = lab.good.clone();
            change(&mut region[begin..][..HEADER_COPY_BYTES]);
            if what == "second half gone" {
                // Behind the text there are zeros already.
                region[begin + 6000] = 1;
            }
            made.push((format!("{what} at {begin}"), region));
        }
    }
    made
}
