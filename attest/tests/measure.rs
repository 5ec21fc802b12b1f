//! Predictions on a small synthetic image. That they hold for booted machines is shown by the tests that boot one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod measure_common;

use dawnkey_attest::{
    measure::{self, MeasureError, UkiMeasurements},
    tpm::hash::Hash,
};

use measure_common::{HEADERS, OPTIONAL, STUB_252, STUB_257, image, kernel, pe};

fn predict(image: &[u8]) -> UkiMeasurements {
    measure::uki(image, None).unwrap()
}

fn extend(parts: &[&[u8]]) -> String {
    let value = parts.iter().fold(vec![0; 32], |value, part| {
        Hash::Sha256.digest(&[&value, &Hash::Sha256.digest(&[part])])
    });
    hex::encode(value)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn predicts_pcr_11_from_section_names_and_contents_in_the_stubs_order() {
    let kernel = kernel();
    let common: [&[u8]; 8] = [
        b".linux\0",
        &kernel,
        b".osrel\0",
        b"ID=x\n",
        b".cmdline\0",
        b"quiet",
        b".initrd\0",
        b"initrd!",
    ];
    assert_eq!(
        predict(&image(STUB_252, b"quiet")).sha256[&11],
        extend(&common)
    );
    let with_sbat = [common.as_slice(), &[b".sbat\0", b"sbat"]].concat();
    assert_eq!(
        predict(&image(STUB_257, b"quiet")).sha256[&11],
        extend(&with_sbat)
    );
}

#[test]
fn predicts_pcr_9_from_load_options_and_initrd() {
    let found = predict(&image(STUB_252, b"quiet splash\n"));
    assert_eq!(
        found.sha256[&9],
        extend(&[&utf16("quiet splash\0"), b"initrd!"])
    );
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(found.notes[0].starts_with("PCR 7 is not predicted"));
    let newer = predict(&image(STUB_257, b"quiet splash\n"));
    assert_ne!(
        newer.sha256[&9], found.sha256[&9],
        "stub 257 appends os-release to the initrd"
    );
}

#[test]
fn predicts_nothing_in_pcrs_12_and_13() {
    let found = predict(&image(STUB_252, b"quiet"));
    assert_eq!(found.sha256[&12], "0".repeat(64));
    assert_eq!(found.sha256[&13], "0".repeat(64));
}

#[test]
fn leaves_pcr_9_out_where_it_cannot_be_certain_and_says_so() {
    let found = predict(&image(STUB_252, "ä".as_bytes()));
    assert!(!found.sha256.contains_key(&9));
    assert!(found.notes[1].starts_with("PCR 9 is not predicted"));
}

#[test]
fn one_changed_argument_changes_pcrs_4_9_and_11() {
    let (one, other) = (
        predict(&image(STUB_252, b"a=1")),
        predict(&image(STUB_252, b"a=2")),
    );
    for pcr in [4, 9, 11] {
        assert_ne!(one.sha256[&pcr], other.sha256[&pcr], "PCR {pcr}");
    }
    assert_eq!(one.sha256[&12], other.sha256[&12]);
}

#[test]
fn pcr_4_covers_neither_checksum_nor_certificate_table() {
    let plain = image(STUB_252, b"quiet");
    let wanted = predict(&plain).sha256[&4].clone();
    let mut signed = plain.clone();
    signed[OPTIONAL + 64..OPTIONAL + 68].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    let entry = OPTIONAL + 112 + 4 * 8;
    let table = (plain.len() as u32).to_le_bytes();
    signed[entry..entry + 4].copy_from_slice(&table);
    signed[entry + 4..entry + 8].copy_from_slice(&16u32.to_le_bytes());
    signed.extend_from_slice(&[7; 16]);
    assert_eq!(predict(&signed).sha256[&4], wanted);
    let mut appended = plain.clone();
    appended.extend_from_slice(&[7; 16]);
    assert_ne!(
        predict(&appended).sha256[&4],
        wanted,
        "trailing data is measured"
    );
    let mut header = plain;
    header[OPTIONAL + 70] ^= 1;
    assert_ne!(predict(&header).sha256[&4], wanted);
}

#[test]
fn lists_the_events_it_predicts_in_order() {
    let found = predict(&image(STUB_252, b"quiet"));
    let pcrs: Vec<u8> = found.events.iter().map(|event| event.pcr).collect();
    assert_eq!(pcrs, [4, 4, 4, 11, 11, 11, 11, 11, 11, 11, 11, 4, 9, 9]);
    assert_eq!(found.events[0].event_type, "EV_EFI_ACTION");
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(
        serde_json::from_str::<UkiMeasurements>(&json).unwrap(),
        found
    );
}

#[test]
fn refuses_what_is_no_unified_kernel_image() {
    let refused = |bytes: &[u8]| measure::uki(bytes, None).unwrap_err();
    assert!(matches!(
        refused(b"ELF"),
        MeasureError::NotPe {
            what: "the image",
            ..
        }
    ));
    assert_eq!(refused(&kernel()), MeasureError::NoStub);
    let unknown = refused(&image(b"#### LoaderInfo: systemd-stub 299 ####", b"x"));
    assert_eq!(
        unknown,
        MeasureError::UnknownStub {
            found: "299".into()
        }
    );
    let missing = refused(&pe(&[(".sdmagic", STUB_252)]));
    assert_eq!(missing, MeasureError::MissingSection { section: ".linux" });
    let double = refused(&pe(&[
        (".sdmagic", STUB_252),
        (".linux", b"a"),
        (".linux", b"b"),
    ]));
    assert_eq!(
        double,
        MeasureError::DoubleSection {
            section: ".linux".into()
        }
    );
    let inner = refused(&pe(&[(".sdmagic", STUB_252), (".linux", b"no kernel")]));
    assert!(matches!(
        inner,
        MeasureError::NotPe {
            what: "the kernel in .linux",
            ..
        }
    ));
}

#[test]
fn refuses_sections_and_tables_outside_the_file() {
    let mut outside = image(STUB_252, b"quiet");
    outside.truncate(HEADERS + 512);
    assert!(matches!(
        measure::uki(&outside, None),
        Err(MeasureError::Malformed { .. })
    ));
    let mut huge = image(STUB_252, b"quiet");
    huge[OPTIONAL + 240 + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        measure::uki(&huge, None),
        Err(MeasureError::Malformed { .. })
    ));
    let mut many = image(STUB_252, b"quiet");
    for section in 0..3 {
        let size = OPTIONAL + 240 + 40 * section + 8;
        many[size..size + 4].copy_from_slice(&(6u32 << 20).to_le_bytes());
    }
    assert!(matches!(
        measure::uki(&many, None),
        Err(MeasureError::Malformed { .. })
    ));
    let mut table = image(STUB_252, b"quiet");
    table[OPTIONAL + 112 + 4 * 8 + 4..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        measure::uki(&table, None),
        Err(MeasureError::Malformed { .. })
    ));
}
