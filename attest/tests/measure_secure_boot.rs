//! PCR 7 of images signed here, over a small signature of our own making.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod measure_common;

use dawnkey_attest::{
    measure::{
        self, MeasureError, SecureBoot, SecureBootMode, UkiMeasurements,
        guid::Guid,
        signature_list::{of_certificates, signatures},
    },
    tpm::hash::Hash,
};
use measure_common::{OPTIONAL, STUB_257, image};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const OWNER: Guid = Guid([3; 16]);

/// One DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short if short < 0x80 => out.push(short as u8),
        long => {
            out.push(0x82);
            out.extend_from_slice(&(long as u16).to_be_bytes());
            assert!(long >= 0x100, "{long}");
        }
    }
    out.extend(content);
    out
}

/// Authority and signer, as DER.
struct Keys {
    ca: Vec<u8>,
    signer: Vec<u8>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
}

fn keys(name: &str) -> Keys {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.serial_number = Some(vec![0x11, 0x22].into());
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, format!("signer of {name}"));
    let issuer = Issuer::from_params(&params, &key);
    let signer = leaf
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(signer.der()).unwrap();
    Keys {
        serial: parsed.raw_serial().to_vec(),
        issuer: parsed.issuer().as_raw().to_vec(),
        ca: ca.der().to_vec(),
        signer: signer.der().to_vec(),
    }
}

/// A `SignedData` over an image's digest. Nothing here checks its last signature: firmware does, before it measures.
fn pkcs7(keys: &Keys, digest: &[u8], embedded: &[&[u8]]) -> Vec<u8> {
    let sha256 = der(
        0x30,
        &[&der(0x06, &[&hex::decode("608648016503040201").unwrap()])],
    );
    let indirect_oid = der(0x06, &[&hex::decode("2b060104018237020104").unwrap()]);
    let message = der(0x30, &[&sha256, &der(0x04, &[digest])]);
    let indirect = der(0x30, &[&der(0x30, &[]), &message]);
    let content = der(0x30, &[&indirect_oid, &der(0xa0, &[&indirect])]);
    let name = der(0x30, &[&keys.issuer, &der(0x02, &[&keys.serial])]);
    let signer = der(0x30, &[&der(0x02, &[&[1]]), &name, &sha256]);
    let signed = der(
        0x30,
        &[
            &der(0x02, &[&[1]]),
            &der(0x31, &[&sha256]),
            &content,
            &der(0xa0, embedded),
            &der(0x31, &[&signer]),
        ],
    );
    let oid = der(0x06, &[&hex::decode("2a864886f70d010702").unwrap()]);
    der(0x30, &[&oid, &der(0xa0, &[&signed])])
}

/// Appends signatures to an image, as signing tools do.
fn sign(image: &[u8], signatures: &[Vec<u8>]) -> Vec<u8> {
    let mut out = image.to_vec();
    let start = out.len();
    for signature in signatures {
        let length = 8 + signature.len();
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&0x0200u16.to_le_bytes());
        out.extend_from_slice(&2u16.to_le_bytes());
        out.extend_from_slice(signature);
        out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    }
    let size = (out.len() - start) as u32;
    let entry = OPTIONAL + 112 + 4 * 8;
    out[entry..entry + 4].copy_from_slice(&(start as u32).to_le_bytes());
    out[entry + 4..entry + 8].copy_from_slice(&size.to_le_bytes());
    out
}

/// Digest of the image as firmware measures it: what PCR 4's third event is of.
fn image_digest(image: &[u8]) -> Vec<u8> {
    let found = measure::uki(image, None).unwrap();
    let event = found
        .events
        .iter()
        .find(|event| event.description == "the image");
    hex::decode(&event.unwrap().digest).unwrap()
}

fn state(db: Vec<u8>) -> SecureBoot {
    SecureBoot {
        mode: SecureBootMode::On,
        pk: of_certificates(OWNER, [b"platform key".as_slice()]),
        kek: Vec::new(),
        db,
        dbx: Vec::new(),
    }
}

fn digest_entry(digest: &[u8]) -> Vec<u8> {
    let kind = hex::decode("2616c4c14c509240aca941f936934328").unwrap();
    let sizes: Vec<u8> = [76u32, 0, 48]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    [kind.as_slice(), &sizes, &OWNER.0, digest].concat()
}

/// PCR 7's last event as `UEFI_VARIABLE_DATA` of an entry of db.
fn authority(entry: &[u8]) -> String {
    let vendor = hex::decode("cbb219d73a3d9645a3bcdad00e67656f").unwrap();
    let data = [
        vendor.as_slice(),
        &2u64.to_le_bytes(),
        &(entry.len() as u64).to_le_bytes(),
        b"d\0b\0",
        entry,
    ];
    hex::encode(Hash::Sha256.digest(&data))
}

fn last_of_pcr_7(found: &UkiMeasurements) -> &str {
    &found
        .events
        .iter()
        .rfind(|event| event.pcr == 7)
        .unwrap()
        .digest
}

#[test]
fn the_entry_that_authenticated_the_image_is_measured() {
    let plain = image(STUB_257, b"quiet");
    let digest = image_digest(&plain);
    let (ours, other) = (keys("ours"), keys("other"));
    let signed = sign(&plain, &[pkcs7(&ours, &digest, &[&ours.signer])]);
    for trusted in [&ours.ca, &ours.signer] {
        let db = of_certificates(OWNER, [other.ca.as_slice(), trusted]);
        let entry = [&OWNER.0, trusted.as_slice()].concat();
        let found = measure::uki(&signed, Some(&state(db))).unwrap();
        assert_eq!(last_of_pcr_7(&found), authority(&entry));
        let pcrs: Vec<u8> = found
            .events
            .iter()
            .map(|event| event.pcr)
            .filter(|pcr| [4, 7].contains(pcr))
            .collect();
        assert_eq!(
            pcrs,
            [7, 7, 7, 7, 7, 7, 4, 4, 7, 4],
            "no event of the inner kernel"
        );
    }
}

#[test]
fn of_two_entries_that_would_do_the_first_in_db_is_measured() {
    let plain = image(STUB_257, b"quiet");
    let ours = keys("ours");
    let signed = sign(
        &plain,
        &[pkcs7(
            &ours,
            &image_digest(&plain),
            &[&ours.ca, &ours.signer],
        )],
    );
    let db = of_certificates(OWNER, [ours.ca.as_slice(), &ours.signer]);
    let found = measure::uki(&signed, Some(&state(db))).unwrap();
    let entry = [&OWNER.0, ours.ca.as_slice()].concat();
    assert_eq!(last_of_pcr_7(&found), authority(&entry));
}

#[test]
fn a_second_signature_counts_where_the_first_does_not() {
    let plain = image(STUB_257, b"quiet");
    let digest = image_digest(&plain);
    let (ours, other) = (keys("ours"), keys("other"));
    let signatures = [&other, &ours].map(|keys| pkcs7(keys, &digest, &[&keys.signer]));
    let signed = sign(&plain, &signatures);
    let db = of_certificates(OWNER, [ours.ca.as_slice()]);
    let entry = [&OWNER.0, ours.ca.as_slice()].concat();
    let found = measure::uki(&signed, Some(&state(db))).unwrap();
    assert_eq!(last_of_pcr_7(&found), authority(&entry));
}

#[test]
fn an_image_may_run_by_its_digest() {
    let plain = image(STUB_257, b"quiet");
    let digest = image_digest(&plain);
    let db = digest_entry(&digest);
    assert_eq!(signatures(&db).unwrap()[0].data, digest);
    let found = measure::uki(&plain, Some(&state(db))).unwrap();
    let entry = [OWNER.0.as_slice(), &digest].concat();
    assert_eq!(last_of_pcr_7(&found), authority(&entry));
}

#[test]
fn an_image_that_firmware_would_not_run_is_refused_saying_why() {
    let plain = image(STUB_257, b"quiet");
    let digest = image_digest(&plain);
    let (ours, other) = (keys("ours"), keys("other"));
    let db = of_certificates(OWNER, [ours.ca.as_slice()]);
    let refused = |image: &[u8]| match measure::uki(image, Some(&state(db.clone()))) {
        Err(MeasureError::NotAuthenticated { problem }) => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&plain), "it is not signed");
    let foreign = sign(&plain, &[pkcs7(&other, &digest, &[&other.signer])]);
    assert!(refused(&foreign).contains("signer of other"));
    let stale = sign(&plain, &[pkcs7(&ours, &[0; 32], &[&ours.signer])]);
    assert_eq!(refused(&stale), "its signature is of other content");
    let headless = sign(&plain, &[pkcs7(&ours, &digest, &[&other.signer])]);
    assert!(refused(&headless).contains("signer's certificate"));
    let noise = sign(&plain, &[vec![0x30; 40]]);
    assert!(refused(&noise).contains("no PKCS#7"));
}

#[test]
fn with_secure_boot_off_nothing_authenticates() {
    let plain = image(STUB_257, b"quiet");
    for mode in [SecureBootMode::Off, SecureBootMode::Unsupported] {
        let found = measure::uki(&plain, Some(&SecureBoot::without_keys(mode))).unwrap();
        assert_eq!(
            found.events.iter().filter(|event| event.pcr == 7).count(),
            6
        );
        assert_eq!(
            found.events.iter().filter(|event| event.pcr == 4).count(),
            4
        );
        assert!(found.notes.is_empty());
    }
}

#[test]
fn refuses_certificate_tables_that_are_cut() {
    let plain = image(STUB_257, b"quiet");
    let ours = keys("ours");
    let signed = sign(
        &plain,
        &[pkcs7(&ours, &image_digest(&plain), &[&ours.signer])],
    );
    let state = state(of_certificates(OWNER, [ours.ca.as_slice()]));
    for length in [0u32, 7, u32::MAX] {
        let mut bytes = signed.clone();
        bytes[plain.len()..plain.len() + 4].copy_from_slice(&length.to_le_bytes());
        let found = measure::uki(&bytes, Some(&state));
        assert!(
            matches!(found, Err(MeasureError::Malformed { .. })),
            "{length}: {found:?}"
        );
    }
    let mut no_lists = state.clone();
    no_lists.kek = vec![1; 30];
    let found = measure::uki(&signed, Some(&no_lists));
    assert!(matches!(
        found,
        Err(MeasureError::SignatureList {
            variable: "KEK",
            ..
        })
    ));
}
