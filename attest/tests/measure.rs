//! Predictions on a small synthetic image. That they hold for booted machines is shown by the tests that boot one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_attest::{
    measure::{self, MeasureError, UkiMeasurements},
    tpm::hash::Hash,
};

const STUB_252: &[u8] = b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\0";
const STUB_257: &[u8] = b"#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0";
const HEADERS: usize = 0x400;
const OPTIONAL: usize = 0x40 + 24;

/// A PE32+ file with these sections, each at the next multiple of 512 bytes.
fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &(sections.len() as u16).to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    put(0x56, &0x0022u16.to_le_bytes());
    put(OPTIONAL, &0x020bu16.to_le_bytes());
    put(OPTIONAL + 32, &4096u32.to_le_bytes());
    put(OPTIONAL + 36, &512u32.to_le_bytes());
    put(OPTIONAL + 60, &(HEADERS as u32).to_le_bytes());
    put(OPTIONAL + 108, &16u32.to_le_bytes());
    for (index, (name, content)) in sections.iter().enumerate() {
        let start = out.len();
        let raw = content.len().next_multiple_of(512);
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[8..12].copy_from_slice(&(content.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(0x1_0000 * (index as u32 + 1)).to_le_bytes());
        header[16..20].copy_from_slice(&(raw as u32).to_le_bytes());
        header[20..24].copy_from_slice(&(start as u32).to_le_bytes());
        out[OPTIONAL + 240 + index * 40..][..40].copy_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(start + raw, 0);
    }
    out
}

fn kernel() -> Vec<u8> {
    pe(&[(".text", b"kernel code")])
}

fn image(stub: &[u8], cmdline: &[u8]) -> Vec<u8> {
    pe(&[
        (".sdmagic", stub),
        (".sbat", b"sbat"),
        (".osrel", b"ID=x\n"),
        (".cmdline", cmdline),
        (".initrd", b"initrd!"),
        (".linux", &kernel()),
    ])
}

fn predict(image: &[u8]) -> UkiMeasurements {
    measure::uki(image).unwrap()
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
    assert!(found.notes.is_empty());
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
    assert!(found.notes[0].starts_with("PCR 9 is not predicted"));
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
    let refused = |bytes: &[u8]| measure::uki(bytes).unwrap_err();
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
        measure::uki(&outside),
        Err(MeasureError::Malformed { .. })
    ));
    let mut huge = image(STUB_252, b"quiet");
    huge[OPTIONAL + 240 + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        measure::uki(&huge),
        Err(MeasureError::Malformed { .. })
    ));
    let mut table = image(STUB_252, b"quiet");
    table[OPTIONAL + 112 + 4 * 8 + 4..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        measure::uki(&table),
        Err(MeasureError::Malformed { .. })
    ));
}
