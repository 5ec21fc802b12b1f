//! Recorded evidence of real machines against the expected verdicts that come with it.
//!
//! The folder is `$DAWNKEY_EVIDENCE`, or `../shared/evidence` beside the workspace. Without it the tests say so and
//! pass, except in CI (`CI=true`), where it must be there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use dawnkey_attest::{
    eventlog::{EventLog, Limits, replay::replay},
    tpm::{
        attest::Quote,
        hash::Hash,
        public::{Curve, Key, Public},
        signature::{Signature, Value as SignatureValue},
    },
    verify::{
        UnixTime,
        chain::{self, ChainError, Purpose},
        roots::certificates_from_pem,
        signature::SignatureError,
        vtpm::{
            VtpmError,
            quote::{check, check_binding, check_pcrs},
        },
    },
};
use serde_json::Value;

struct Case {
    dir: PathBuf,
    json: Value,
}

impl Case {
    fn id(&self) -> &str {
        self.json["id"].as_str().unwrap()
    }

    fn bytes(&self, role: &str) -> Option<Vec<u8>> {
        let path = self.json["files"][role].as_str()?;
        Some(fs::read(self.dir.join(path)).unwrap())
    }

    fn reason(&self) -> &str {
        self.json["expected"]["reason"].as_str().unwrap()
    }

    fn decoded(&self) -> &Value {
        &self.json["expected"]["decoded"]
    }

    fn time(&self) -> UnixTime {
        let text = self.json["verify_time"].as_str().unwrap();
        let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
        // Days from civil (proleptic Gregorian), the year beginning in March.
        let (year, month) = match (number(0..4), number(5..7)) {
            (year, month @ 3..) => (year, month - 3),
            (year, month) => (year - 1, month + 9),
        };
        let days =
            year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + number(8..10)
                - 1
                - 719_468;
        UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400))
    }
}

fn cases(family: &str) -> Option<Vec<Case>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/evidence");
    let dir =
        std::env::var_os("DAWNKEY_EVIDENCE").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let Ok(text) = fs::read(dir.join("cases.json")) else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "CI has no recorded evidence at {}",
            dir.display()
        );
        eprintln!("skipped: no recorded evidence at {}", dir.display());
        return None;
    };
    let json: Value = serde_json::from_slice(&text).unwrap();
    let list = json.get("cases").unwrap_or(&json).as_array().unwrap();
    let found: Vec<Case> = list
        .iter()
        .filter(|case| case["family"] == family)
        .map(|case| Case {
            dir: dir.clone(),
            json: case.clone(),
        })
        .collect();
    assert!(!found.is_empty());
    Some(found)
}

fn bank(name: &str) -> Hash {
    [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]
        .into_iter()
        .find(|hash| hash.name() == name)
        .unwrap()
}

fn pcr_map(json: &Value) -> BTreeMap<u8, Vec<u8>> {
    let object = json.as_object().unwrap();
    object
        .iter()
        .map(|(k, v)| {
            (
                k.parse().unwrap(),
                hex::decode(v.as_str().unwrap()).unwrap(),
            )
        })
        .collect()
}

/// PCRs whose recorded value the log does not give, over all recorded banks.
fn mismatching(log: &EventLog<'_>, decoded: &Value) -> Vec<u8> {
    let Some(recorded) = decoded["recorded_pcrs"].as_object() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, values) in recorded {
        let replayed = replay(log, bank(name)).unwrap();
        for (pcr, value) in pcr_map(values) {
            if replayed.get(&pcr).is_some_and(|found| *found != value) {
                out.push(pcr);
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

#[test]
fn judges_every_recorded_event_log() {
    let Some(cases) = cases("tpm-eventlog") else {
        return;
    };
    for case in &cases {
        let bytes = case.bytes("event_log").unwrap();
        let parsed = EventLog::parse(&bytes, Limits::default());
        let decoded = case.decoded();
        match case.reason() {
            "malformed" => assert!(parsed.is_err(), "{}", case.id()),
            "event_log_mismatch" => {
                let log = parsed.unwrap_or_else(|error| panic!("{}: {error}", case.id()));
                let wanted: Vec<u8> =
                    serde_json::from_value(decoded["mismatching_pcrs"].clone()).unwrap();
                assert_eq!(mismatching(&log, decoded), wanted, "{}", case.id());
            }
            "ok" => {
                let log = parsed.unwrap_or_else(|error| panic!("{}: {error}", case.id()));
                assert_log(case, &log);
            }
            other => panic!("{}: unknown reason {other}", case.id()),
        }
    }
    assert!(cases.len() >= 30);
}

fn assert_log(case: &Case, log: &EventLog<'_>) {
    let (id, decoded) = (case.id(), case.decoded());
    assert_eq!(
        log.crypto_agile,
        decoded["crypto_agile"].as_bool().unwrap(),
        "{id}"
    );
    // Windows' trust point event has PCR index -1 and is not extended; the list's reader took it for filler.
    let trust_point = log.events.iter().position(|event| event.pcr == u32::MAX);
    let events = trust_point.unwrap_or(log.events.len());
    assert_eq!(
        events as u64,
        decoded["event_count"].as_u64().unwrap(),
        "{id}"
    );
    if trust_point.is_none() {
        assert_eq!(
            log.parsed_bytes as u64,
            decoded["parsed_bytes"].as_u64().unwrap(),
            "{id}"
        );
        assert_eq!(log.padding.is_some(), !decoded["padding"].is_null(), "{id}");
    }
    let banks: Vec<&str> = log
        .banks
        .iter()
        .filter_map(|one| Hash::from_id(one.alg))
        .map(Hash::name)
        .collect();
    let wanted: Vec<&str> = decoded["banks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    assert_eq!(banks, wanted, "{id}");
    assert_eq!(mismatching(log, decoded), Vec::<u8>::new(), "{id}");
    for (name, values) in decoded["replayed_pcrs"].as_object().unwrap() {
        assert_eq!(
            replay(log, bank(name)).unwrap(),
            pcr_map(values),
            "{id} {name}"
        );
    }
    if let Some(message) = case.bytes("quote_msg_sha256") {
        let quote = Quote::parse(&message).unwrap();
        let replayed = replay(log, Hash::Sha256).unwrap();
        let values: Vec<&[u8]> = quote.selections[0]
            .pcrs
            .iter()
            .map(|pcr| replayed[pcr].as_slice())
            .collect();
        assert_eq!(quote.pcr_digest, Hash::Sha256.digest(&values), "{id}");
    }
}

/// The attestation key of a case, in whichever form it was recorded.
fn key(case: &Case) -> Key {
    if let Some(bytes) = case.bytes("ak_public") {
        return Public::parse(&bytes).unwrap().key;
    }
    if let Some(bytes) = case.bytes("ak_public_tpm2b") {
        return Public::parse(&bytes[2..]).unwrap().key;
    }
    let der = case.bytes("ak_public_spki").unwrap_or_else(|| {
        let pem = case.bytes("ak_public_pem").unwrap();
        x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents
    });
    spki_key(&der)
}

fn spki_key(der: &[u8]) -> Key {
    use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};
    let info = SubjectPublicKeyInfo::from_der(der).unwrap().1;
    match info.parsed().unwrap() {
        PublicKey::RSA(rsa) => Key::Rsa {
            modulus: rsa
                .modulus
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect(),
            exponent: u32::try_from(rsa.try_exponent().unwrap()).unwrap(),
        },
        PublicKey::EC(point) => {
            let (curve, half) = (Curve::P256, 32);
            Key::Ecc {
                curve,
                x: point.data()[1..=half].to_vec(),
                y: point.data()[half + 1..].to_vec(),
            }
        }
        _ => panic!("another key"),
    }
}

/// All checks on the quote of one bank that the case has material for.
fn judge(case: &Case, name: &str) -> Result<(), VtpmError> {
    let message = case.bytes(&format!("quote_msg_{name}")).unwrap();
    let signature = match case.bytes(&format!("quote_rawsig_{name}")) {
        Some(raw) => Signature {
            hash: Hash::Sha256.id(),
            value: SignatureValue::RsaSsa(raw),
        },
        None => {
            let bytes = case.bytes(&format!("quote_sig_{name}")).unwrap();
            Signature::parse(&bytes).map_err(VtpmError::MalformedSignature)?
        }
    };
    let signed = check(&key(case), &message, &signature)?;
    if let Some(nonce) = case.json["policy"]["expected_nonce"].as_str() {
        check_binding(&signed, &hex::decode(nonce).unwrap())?;
    }
    let all: Value = serde_json::from_slice(&case.bytes("pcrs").unwrap()).unwrap();
    let selected = &signed.quote.selections[0].pcrs;
    let values = pcr_map(&all[name])
        .into_iter()
        .filter(|(pcr, _)| selected.contains(pcr))
        .collect();
    check_pcrs(&signed, bank(name), &values)?;
    if let Some(bytes) = case.bytes("event_log") {
        let log =
            EventLog::parse(&bytes, Limits::default()).map_err(VtpmError::MalformedEventLog)?;
        for (pcr, replayed) in replay(&log, bank(name)).map_err(VtpmError::Replay)? {
            if let Some(quoted) = values.get(&pcr).filter(|quoted| **quoted != replayed) {
                return Err(VtpmError::LogMismatch {
                    pcr,
                    replayed: hex::encode(replayed),
                    quoted: hex::encode(quoted),
                });
            }
        }
    }
    Ok(())
}

#[test]
fn judges_every_recorded_quote() {
    let Some(cases) = cases("tpm-quote") else {
        return;
    };
    for case in &cases {
        let name = ["sha256", "sha1"]
            .into_iter()
            .find(|name| !case.json["files"][format!("quote_msg_{name}")].is_null());
        let verdict = judge(case, name.unwrap());
        let id = case.id();
        match case.reason() {
            "ok" => assert_eq!(verdict, Ok(()), "{id}"),
            "weak_hash" => {
                let wanted = VtpmError::Signature(SignatureError::WeakHash { found: 0x0004 });
                assert_eq!(verdict, Err(wanted), "{id}");
            }
            "not_a_quote" => {
                assert_eq!(verdict, Err(VtpmError::NotAQuote { found: 0x801a }), "{id}")
            }
            "tpm_quote_signature_invalid" => {
                assert_eq!(
                    verdict,
                    Err(VtpmError::Signature(SignatureError::Invalid)),
                    "{id}"
                );
            }
            "pcr_digest_mismatch" => {
                let expected = matches!(
                    verdict,
                    Err(VtpmError::PcrDigestMismatch { .. } | VtpmError::MalformedPcr { .. })
                );
                assert!(expected, "{id}: {verdict:?}");
            }
            "bad_magic" => assert!(
                matches!(verdict, Err(VtpmError::Magic { .. })),
                "{id}: {verdict:?}"
            ),
            "malformed" => {
                assert!(
                    matches!(verdict, Err(VtpmError::MalformedQuote(_))),
                    "{id}: {verdict:?}"
                );
            }
            "event_log_mismatch" => {
                assert!(
                    matches!(verdict, Err(VtpmError::LogMismatch { .. })),
                    "{id}: {verdict:?}"
                );
            }
            other => panic!("{id}: unknown reason {other}"),
        }
        assert_quote(case, name.unwrap());
    }
    assert!(cases.len() >= 14);
}

/// Decoded fields, and the further banks of a case.
fn assert_quote(case: &Case, name: &str) {
    let id = case.id();
    if case.reason() == "ok" && !case.json["files"]["quote_msg_sha384"].is_null() {
        assert_eq!(judge(case, "sha384"), Ok(()), "{id}");
    }
    let Some(quotes) = case.decoded()["quotes"].as_array() else {
        return;
    };
    let message = case.bytes(&format!("quote_msg_{name}")).unwrap();
    let quote = Quote::parse(&message).unwrap();
    let wanted = quotes
        .iter()
        .find(|one| one["pcr_select"][0]["bank"] == name)
        .unwrap();
    assert_eq!(
        hex::encode(&quote.qualified_signer),
        wanted["qualified_signer"].as_str().unwrap(),
        "{id}"
    );
    assert_eq!(
        hex::encode(&quote.extra_data),
        wanted["extra_data"].as_str().unwrap(),
        "{id}"
    );
    assert_eq!(quote.clock, wanted["clock"].as_u64().unwrap(), "{id}");
    assert_eq!(
        u64::from(quote.reset_count),
        wanted["reset_count"].as_u64().unwrap(),
        "{id}"
    );
    assert_eq!(
        format!("{:016x}", quote.firmware_version),
        wanted["firmware_version"].as_str().unwrap(),
        "{id}"
    );
    assert_eq!(
        hex::encode(&quote.pcr_digest),
        wanted["pcr_digest"].as_str().unwrap(),
        "{id}"
    );
    let ak = &case.decoded()["ak"];
    if let (Some(bytes), Some(wanted)) = (case.bytes("ak_public"), ak["name"].as_str()) {
        let public = Public::parse(&bytes).unwrap();
        assert_eq!(hex::encode(public.name()), wanted, "{id}");
        assert!(public.attributes.is_attestation_key(), "{id}");
    }
}

#[test]
fn judges_every_recorded_certificate_path() {
    let Some(cases) = cases("tpm-certs") else {
        return;
    };
    for case in &cases {
        let id = case.id();
        let leaf = case.bytes("cert").unwrap();
        let leaf = certificates_from_pem(&leaf).map_or(leaf, |list| list[0].clone());
        let Some(root) = case.bytes("root") else {
            // A root certificate by itself: readable although its name is not in DER order.
            assert!(x509_parser::parse_x509_certificate(&leaf).is_ok(), "{id}");
            continue;
        };
        let helpers: Vec<Vec<u8>> = ["intermediate", "intermediate2"]
            .iter()
            .filter_map(|role| case.bytes(role))
            .flat_map(|pem| certificates_from_pem(&pem).unwrap())
            .collect();
        let helpers: Vec<&[u8]> = helpers.iter().map(Vec::as_slice).collect();
        let roots = certificates_from_pem(&root).unwrap();
        let verdict = chain::validate(&leaf, &helpers, &roots, case.time(), Purpose::Any);
        match case.reason() {
            "ok" => assert!(verdict.is_ok(), "{id}: {verdict:?}"),
            "chain_invalid" => {
                assert!(
                    matches!(verdict, Err(ChainError::NoTrustedPath { .. })),
                    "{id}: {verdict:?}"
                );
            }
            other => panic!("{id}: unknown reason {other}"),
        }
    }
}
