//! Measurement lists of IMA: every template in both forms, byte orders, violations, replay, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_attest::{
    ima::{Extension, Form, ImaError, ImaReplayError, Limits, List, Value, replay},
    reader::ReadError,
    tpm::hash::Hash,
};
use proptest::prelude::*;

/// Template data: each field after its length.
fn data(fields: &[&[u8]], order: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let lengths = fields.iter().map(|field| order(field.len() as u32));
    lengths
        .zip(fields)
        .flat_map(|(length, field)| [&length, *field].concat())
        .collect()
}

/// One entry of the binary form.
fn binary(template: &str, data: &[u8], digest: &[u8], order: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let mut out = order(10).to_vec();
    out.extend(digest);
    for part in [template.as_bytes(), data] {
        out.extend(order(part.len() as u32));
        out.extend(part);
    }
    out
}

fn ascii(template: &str, digest: &[u8], fields: &str) -> String {
    format!("10 {} {template} {fields}\n", hex::encode(digest))
}

fn parse(bytes: &[u8]) -> Result<List<'_>, ImaError> {
    List::parse(bytes, Hash::Sha1, Limits::default())
}

const DIGEST: [u8; 32] = [0xab; 32];

fn named() -> Vec<u8> {
    [b"sha256:\0".as_slice(), &DIGEST].concat()
}

fn typed() -> Vec<u8> {
    [b"verity:sha256:\0".as_slice(), &DIGEST].concat()
}

/// Every template with fields: its binary fields and its ASCII text.
fn templates() -> Vec<(&'static str, Vec<Vec<u8>>, String)> {
    let (hex, name) = (hex::encode(DIGEST), b"/bin/sh\0".to_vec());
    let (named, typed) = (named(), typed());
    let (ng, v2) = (
        format!("sha256:{hex} /bin/sh"),
        format!("verity:sha256:{hex} /bin/sh"),
    );
    vec![
        ("ima-ng", vec![named.clone(), name.clone()], ng.clone()),
        (
            "ima-sig",
            vec![named.clone(), name.clone(), vec![3, 2]],
            format!("{ng} 0302"),
        ),
        (
            "ima-sig",
            vec![named.clone(), name.clone(), vec![]],
            format!("{ng} "),
        ),
        ("ima-ngv2", vec![typed.clone(), name.clone()], v2.clone()),
        (
            "ima-sigv2",
            vec![typed, name.clone(), vec![3]],
            format!("{v2} 03"),
        ),
        (
            "ima-buf",
            vec![named.clone(), name.clone(), vec![9; 40]],
            format!("{ng} {}", "09".repeat(40)),
        ),
        (
            "ima-modsig",
            vec![
                named.clone(),
                name.clone(),
                vec![],
                named.clone(),
                vec![7, 7],
            ],
            format!("{ng}  sha256:{hex} 0707"),
        ),
        (
            "evm-sig",
            vec![
                named.clone(),
                name.clone(),
                vec![5],
                b"security.ima\0".to_vec(),
                vec![1, 0, 0, 0],
                vec![4],
                1000u32.to_le_bytes().to_vec(),
                0u32.to_le_bytes().to_vec(),
                0o100_755u16.to_le_bytes().to_vec(),
            ],
            format!("{ng} 05 security.ima 01000000 04 1000 0 33261"),
        ),
        (
            "d-ng|sig|n-ng",
            vec![named, vec![3, 2], name],
            format!("sha256:{hex} 0302 /bin/sh"),
        ),
    ]
}

#[test]
fn both_forms_of_every_template_give_the_same_entry() {
    for (template, fields, text) in templates() {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let data = data(&fields, u32::to_le_bytes);
        let digest = Hash::Sha1.digest(&[&data]);
        let (bytes, text) = (
            binary(template, &data, &digest, u32::to_le_bytes),
            ascii(template, &digest, &text),
        );
        let (binary, ascii) = (parse(&bytes).unwrap(), parse(text.as_bytes()).unwrap());
        assert_eq!((binary.form, ascii.form), (Form::Binary, Form::Ascii));
        assert_eq!(ascii.entries, binary.entries, "{template}");
        assert_eq!(binary.template_hash_mismatches(), 0, "{template}");
        let decoded = binary.entries[0].fields().unwrap();
        assert_eq!(decoded.len(), fields.len());
        assert!(
            decoded.contains(&("n-ng", Value::Text("/bin/sh".into()))),
            "{template}"
        );
    }
}

#[test]
fn fields_decode_by_their_kind() {
    let (template, fields, _) = templates().pop().unwrap();
    assert_eq!(template, "d-ng|sig|n-ng");
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let ng = data(&fields, u32::to_le_bytes);
    let bytes = binary(template, &ng, &[1; 20], u32::to_le_bytes);
    let wanted = vec![
        (
            "d-ng",
            Value::Digest {
                kind: None,
                algorithm: Some("sha256".into()),
                bytes: DIGEST.to_vec(),
            },
        ),
        ("sig", Value::Bytes(vec![3, 2])),
        ("n-ng", Value::Text("/bin/sh".into())),
    ];
    assert_eq!(parse(&bytes).unwrap().entries[0].fields(), Some(wanted));
    let evm = &templates()[7];
    let text = ascii(evm.0, &[1; 20], &evm.2);
    let fields = parse(text.as_bytes()).unwrap().entries[0].fields().unwrap();
    assert_eq!(
        fields[6..],
        [
            ("iuid", Value::Number(1000)),
            ("igid", Value::Number(0)),
            ("imode", Value::Number(0o100_755))
        ]
    );
    let typed = &templates()[3];
    let text = ascii(typed.0, &[1; 20], &typed.2);
    let fields = parse(text.as_bytes()).unwrap().entries[0].fields().unwrap();
    assert!(matches!(&fields[0].1, Value::Digest { kind: Some(kind), .. } if kind == "verity"));
}

#[test]
fn the_oldest_template_is_hashed_with_its_name_padded() {
    let mut hashed = [&DIGEST[..20], b"/bin/sh"].concat();
    hashed.resize(20 + 256, 0);
    let digest = Hash::Sha1.digest(&[&hashed]);
    let mut bytes = 10u32.to_le_bytes().to_vec();
    bytes.extend(&digest);
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(b"ima");
    bytes.extend(&DIGEST[..20]);
    bytes.extend(7u32.to_le_bytes());
    bytes.extend(b"/bin/sh");
    let text = ascii(
        "ima",
        &digest,
        &format!("{} /bin/sh", hex::encode(&DIGEST[..20])),
    );
    for list in [parse(&bytes).unwrap(), parse(text.as_bytes()).unwrap()] {
        assert_eq!(list.template_hash_mismatches(), 0);
        let fields = list.entries[0].fields().unwrap();
        assert_eq!(fields[1], ("n", Value::Text("/bin/sh".into())));
    }
}

#[test]
fn a_big_endian_list_is_read_and_hashed_as_written() {
    let name = b"/bin/sh\0".to_vec();
    let data = data(&[&named(), &name], u32::to_be_bytes);
    let digest = Hash::Sha1.digest(&[&data]);
    let bytes = binary("ima-ng", &data, &digest, u32::to_be_bytes);
    let list = parse(&bytes).unwrap();
    assert_eq!(
        (list.form, list.template_hash_mismatches()),
        (Form::Binary, 0)
    );
    assert_eq!(
        list.entries[0].fields().unwrap()[1],
        ("n-ng", Value::Text("/bin/sh".into()))
    );
}

#[test]
fn a_list_of_another_digest_needs_its_name_said() {
    let data = data(&[&named(), b"/x\0"], u32::to_le_bytes);
    let digest = Hash::Sha256.digest(&[&data]);
    let bytes = binary("ima-ng", &data, &digest, u32::to_le_bytes);
    let list = List::parse(&bytes, Hash::Sha256, Limits::default()).unwrap();
    assert_eq!(list.template_hash_mismatches(), 0);
    let text = ascii(
        "ima-ng",
        &digest,
        &format!("sha256:{} /x", hex::encode(DIGEST)),
    );
    assert_eq!(
        parse(text.as_bytes()).unwrap().template_hash_mismatches(),
        1
    );
    let list = List::parse(text.as_bytes(), Hash::Sha256, Limits::default()).unwrap();
    assert_eq!(list.template_hash_mismatches(), 0);
}

#[test]
fn a_changed_entry_is_counted_and_a_violation_is_not() {
    let good = data(&[&named(), b"/x\0"], u32::to_le_bytes);
    let digest = Hash::Sha1.digest(&[&good]);
    let mut bytes = binary("ima-ng", &good, &digest, u32::to_le_bytes);
    let bad = data(&[&named(), b"/y\0"], u32::to_le_bytes);
    bytes.extend(binary("ima-ng", &bad, &digest, u32::to_le_bytes));
    bytes.extend(binary("ima-ng", &bad, &[0; 20], u32::to_le_bytes));
    let list = parse(&bytes).unwrap();
    assert_eq!(
        (
            list.template_hash_mismatches(),
            list.violations(),
            list.unchecked()
        ),
        (1, 1, 0)
    );
    assert_eq!(list.entries[2].digest_fits(), None);
}

#[test]
fn replay_extends_digests_of_each_bank_and_ones_for_violations() {
    let one = data(&[&named(), b"/x\0"], u32::to_le_bytes);
    let digest = Hash::Sha1.digest(&[&one]);
    let mut bytes = binary("ima-ng", &one, &digest, u32::to_le_bytes);
    bytes.extend(binary("ima-ng", &one, &[0; 20], u32::to_le_bytes));
    let list = parse(&bytes).unwrap();
    let wanted = |bank: Hash, first: &[u8], second: &[u8]| {
        let value = bank.digest(&[&vec![0; bank.size()], first]);
        bank.digest(&[&value, second])
    };
    for bank in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let own = wanted(bank, &bank.digest(&[&one]), &vec![0xff; bank.size()]);
        assert_eq!(replay(&list, bank, Extension::OwnDigest).unwrap()[&10], own);
        let pad = |bytes: &[u8]| [bytes, &vec![0; bank.size() - 20]].concat();
        let padded = wanted(bank, &pad(&digest), &pad(&[0xff; 20]));
        assert_eq!(
            replay(&list, bank, Extension::PaddedSha1).unwrap()[&10],
            padded
        );
    }
    let sha1 = wanted(Hash::Sha1, &digest, &[0xff; 20]);
    assert_eq!(
        replay(&list, Hash::Sha1, Extension::OwnDigest).unwrap()[&10],
        sha1
    );
}

#[test]
fn an_unknown_template_is_kept_and_replays_only_where_its_data_are_there() {
    let bytes = binary(
        "ima-new",
        b"anything",
        &Hash::Sha1.digest(&[b"anything"]),
        u32::to_le_bytes,
    );
    let list = parse(&bytes).unwrap();
    assert_eq!((list.template_hash_mismatches(), list.unchecked()), (0, 0));
    assert_eq!(list.entries[0].fields(), None);
    assert!(replay(&list, Hash::Sha256, Extension::OwnDigest).is_ok());
    let text = ascii("ima-new", &[1; 20], "some thing");
    let list = parse(text.as_bytes()).unwrap();
    assert_eq!(list.unchecked(), 1);
    assert!(replay(&list, Hash::Sha1, Extension::OwnDigest).is_ok());
    let refusal = replay(&list, Hash::Sha256, Extension::OwnDigest);
    assert_eq!(
        refusal,
        Err(ImaReplayError::NoData {
            entry: 0,
            bank: "sha256"
        })
    );
}

#[test]
fn names_with_spaces_and_indented_lines_are_read() {
    let data = data(&[&named(), b"/a b c\0"], u32::to_le_bytes);
    let text = format!(
        " {}",
        ascii(
            "ima-ng",
            &Hash::Sha1.digest(&[&data]),
            &format!("sha256:{} /a b c", hex::encode(DIGEST))
        )
    );
    assert_eq!(
        parse(text.as_bytes()).unwrap().template_hash_mismatches(),
        0
    );
}

#[test]
fn refuses_what_is_no_list_by_name() {
    assert_eq!(parse(b""), Err(ImaError::Empty));
    assert_eq!(parse(b"\n \n\n"), Err(ImaError::Empty));
    assert!(matches!(
        parse(b"x y z"),
        Err(ImaError::Line { line: 1, .. })
    ));
    assert!(matches!(
        parse(b"24 00 ima-ng a"),
        Err(ImaError::Line { line: 1, .. })
    ));
    assert!(matches!(
        parse(b"10 0g ima-ng a"),
        Err(ImaError::Line { line: 1, .. })
    ));
    assert!(parse(b"10 00 ima-sig sha1:00 a b c dd\n").is_ok());
    assert!(matches!(
        parse(b"10 00 ima-buf sha1:00 a xx"),
        Err(ImaError::Line { .. })
    ));
    let good = binary("ima-ng", b"x", &[1; 20], u32::to_le_bytes);
    let cut = parse(&good[..good.len() - 1]);
    assert!(matches!(
        cut,
        Err(ImaError::Malformed {
            entry: 0,
            source: ReadError::Ends { .. }
        })
    ));
    let limits = Limits {
        bytes: 8,
        entries: 1,
    };
    assert!(matches!(
        List::parse(&good, Hash::Sha1, limits),
        Err(ImaError::TooLarge { .. })
    ));
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1,
    };
    let twice = good.repeat(2);
    assert_eq!(
        List::parse(&twice, Hash::Sha1, limits),
        Err(ImaError::TooManyEntries { most: 1 })
    );
}

proptest! {
    #[test]
    fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, value: u8) {
        let _ = parse(&bytes);
        for (template, fields, text) in templates() {
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            let data = data(&fields, u32::to_le_bytes);
            let mut near = binary(template, &data, &[1; 20], u32::to_le_bytes);
            let mut text = ascii(template, &[1; 20], &text).into_bytes();
            for bytes in [&mut near, &mut text] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
                if let Ok(list) = parse(bytes) {
                    let _ = (list.template_hash_mismatches(), list.unchecked());
                    list.entries.iter().for_each(|entry| drop(entry.fields()));
                    let _ = replay(&list, Hash::Sha256, Extension::OwnDigest);
                }
            }
        }
    }
}
