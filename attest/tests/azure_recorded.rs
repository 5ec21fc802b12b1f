//! Judges recorded Azure evidence through the one entry point, if it is at hand: every case of the family
//! `azure-vtpm` with its verdict, reason, state of signatures and decoded fields. Nothing here depends on which case
//! it is. Then flips every bit of what is signed.
#![cfg(feature = "verify")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod tdx_common;

use dawnkey_attest::{
    azure::{HclClaims, HclReport, hcl::HEADER_LEN},
    claims::Claims,
    evidence::{AzureEvidence, Binder, Evidence, PcrBank, PcrValue},
    snp::{auxblob::CertificateTable, roots::Roots as SnpRoots, verify::CrlRule},
    tdx::{Quote, TdxRoots},
    tpm::hash::Hash,
    verify::{Collateral, Roots, UnixTime, VerifyError, roots::certificates_from_pem, verify},
};
use serde_json::{Value, json};
use tdx_common::{Case, evidence_dir};

/// A case as the entry point takes it.
struct Setup {
    evidence: AzureEvidence,
    binder: Binder,
    roots: Roots,
    collateral: Collateral,
    now: UnixTime,
}

fn certificates(case: &Case, role: &str) -> Vec<Vec<u8>> {
    case.file(role).map_or_else(Vec::new, |bytes| {
        certificates_from_pem(&bytes).unwrap_or_else(|_| vec![bytes])
    })
}

/// `TPMT_SIGNATURE` of a bare RSASSA signature with SHA-256.
fn rsassa(bare: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bare.len()).unwrap().to_be_bytes();
    [&[0x00, 0x14, 0x00, 0x0b], &length[..], bare].concat()
}

fn pcrs(case: &Case) -> Vec<PcrBank> {
    let Some(bytes) = case.file("pcrs") else {
        return Vec::new();
    };
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    let banks = json.as_object().unwrap().iter().map(|(bank, values)| {
        let hash = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]
            .into_iter()
            .find(|hash| hash.name() == bank);
        let values = values.as_object().unwrap().iter();
        PcrBank {
            alg: hash.unwrap().id().into(),
            values: values
                .map(|(index, value)| PcrValue {
                    index: index.parse().unwrap(),
                    digest: hex::decode(value.as_str().unwrap()).unwrap(),
                })
                .collect(),
        }
    });
    banks.collect()
}

impl Setup {
    fn new(case: &Case) -> Self {
        let table = CertificateTable {
            vcek: case.file("vcek"),
            ..CertificateTable::default()
        };
        let (ark, ask) = (certificates(case, "ark"), certificates(case, "ask"));
        let snp = SnpRoots::new(ark.iter().map(Vec::as_slice)).unwrap();
        let tdx = case.file("intel_root");
        let nonce = case.json["policy"]["expected_nonce"].as_str();
        Self {
            evidence: AzureEvidence {
                hcl_report: case.file("hcl_report").unwrap(),
                quote: case.file("tpm_quote_msg").unwrap_or_default(),
                signature: case
                    .file("tpm_quote_sig")
                    .map_or_else(Vec::new, |bare| rsassa(&bare)),
                pcrs: pcrs(case),
                event_log: Vec::new(),
                certificates: table.encode(),
                td_quote: case.file("quote").unwrap_or_default(),
                td_collateral: case.collateral(),
                ak_certificate: case.file("ak_cert").unwrap_or_default(),
                ak_chain: certificates(case, "ak_intermediate"),
            },
            binder: nonce.map_or(Binder::Unknown, |nonce| {
                Binder::Value(hex::decode(nonce).unwrap())
            }),
            roots: Roots {
                tpm_ak: certificates(case, "azure_tpm_root"),
                snp: snp
                    .with_intermediates(ask.iter().map(Vec::as_slice))
                    .unwrap(),
                snp_crl: CrlRule::IfPresent,
                tdx: tdx.map_or_else(TdxRoots::default, |der| {
                    TdxRoots::new([der.as_slice()]).unwrap()
                }),
                ..Roots::default()
            },
            collateral: Collateral::default(),
            now: case.now(),
        }
    }

    fn verify(&self, evidence: &AzureEvidence) -> Result<Claims, VerifyError> {
        let evidence = Evidence::Azure(Box::new(evidence.clone()));
        let verified = verify(
            &evidence,
            &self.binder,
            &self.roots,
            &self.collateral,
            self.now,
        )?;
        Ok(verified.claims().clone())
    }
}

/// The fields of `expected` that `found` has otherwise, as `path: found, expected`.
fn differences(path: &str, expected: &Value, found: &Value) -> Vec<String> {
    match expected {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| {
                let found = found.get(key).unwrap_or(&Value::Null);
                differences(&format!("{path}.{key}"), value, found)
            })
            .collect(),
        _ if expected == found => Vec::new(),
        _ => vec![format!("{path}: {found}, expected {expected}")],
    }
}

/// What the evidence says, in the names of the cases.
fn decoded(claims: &Claims) -> Value {
    let tpm = claims.tpm.as_ref();
    let certificate = tpm.and_then(|tpm| tpm.attestation_key_certificate.as_ref());
    let firmware = tpm.map(|tpm| format!("{:016x}", tpm.firmware_version));
    let mut out = json!({
        "hcl": claims.azure,
        "tpm": tpm,
        "report": claims.snp.as_ref().map(|snp| &snp.report),
        "ak_subject": certificate.map(|one| &one.subject),
        "ak_not_after": certificate.map(|one| &one.not_after),
        "ak_trailing_bytes": certificate.map(|one| one.trailing_bytes),
    });
    if tpm.is_some() {
        out["tpm"]["firmware_version"] = json!(firmware);
    }
    out
}

#[test]
fn every_recorded_case_is_judged_as_written() {
    let Some(dir) = evidence_dir() else { return };
    let (mut problems, mut passed) = (Vec::new(), 0);
    for case in Case::family(&dir, "azure-vtpm") {
        let setup = Setup::new(&case);
        let outcome = setup.verify(&setup.evidence);
        let (verdict, reason, crypto) = match &outcome {
            Ok(_) => ("accept", "ok", "valid"),
            Err(error) => ("reject", error.reason_class(), error.crypto().name()),
        };
        let mut found = Vec::new();
        for (field, value) in [("verdict", verdict), ("reason", reason), ("crypto", crypto)] {
            if case.expected(field) != value {
                found.push(format!(
                    "{field} {value}, expected {}",
                    case.expected(field)
                ));
            }
        }
        match &outcome {
            Ok(claims) => {
                let decoded = decoded(claims);
                let judged = [
                    "hcl",
                    "tpm",
                    "report",
                    "ak_subject",
                    "ak_not_after",
                    "ak_trailing_bytes",
                ];
                let expected = case.decoded().as_object().unwrap().iter();
                for (key, value) in expected.filter(|(key, _)| judged.contains(&key.as_str())) {
                    found.extend(differences(key, value, &decoded[key]));
                }
            }
            Err(_) => {
                if let Some(hcl) = case.decoded().get("hcl") {
                    let read = HclClaims::read(&setup.evidence.hcl_report).unwrap();
                    found.extend(differences("hcl", hcl, &json!(read)));
                }
            }
        }
        passed += usize::from(found.is_empty());
        problems.extend(found.into_iter().map(|one| format!("{}: {one}", case.id())));
    }
    println!("{passed} cases of azure-vtpm judged as written");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Flips each bit of `bytes`, one at a time, and counts; `judge` must refuse each.
fn flip_all(name: &str, bytes: &[u8], mut refused: impl FnMut(&[u8]) -> bool) -> usize {
    let mut bent = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bent[at] ^= 1 << bit;
            assert!(
                refused(&bent),
                "{name}: bit {bit} of byte {at} was accepted"
            );
            bent[at] ^= 1 << bit;
        }
    }
    bytes.len() * 8
}

/// Every part of a case that something signs, each bit flipped on its own.
fn flip_case(case: &Case, hardware_signed: usize) -> usize {
    let setup = Setup::new(case);
    let good = &setup.evidence;
    setup.verify(good).unwrap();
    let hcl = HclReport::parse(&good.hcl_report).unwrap();
    let claims_at = good
        .hcl_report
        .windows(hcl.runtime_claims.len())
        .position(|window| window == hcl.runtime_claims)
        .unwrap();
    let mut flips = 0;
    let regions = [
        (HEADER_LEN, hardware_signed),
        (claims_at, hcl.runtime_claims.len()),
    ];
    for (at, length) in regions {
        flips += flip_all("HCL report", &good.hcl_report[at..at + length], |bent| {
            let mut evidence = good.clone();
            evidence.hcl_report[at..at + length].copy_from_slice(bent);
            setup.verify(&evidence).is_err()
        });
    }
    flips += flip_all("TPM quote", &good.quote, |bent| {
        let evidence = AzureEvidence {
            quote: bent.to_vec(),
            ..good.clone()
        };
        setup.verify(&evidence).is_err()
    });
    flips += flip_all("TPM signature", &good.signature, |bent| {
        let evidence = AzureEvidence {
            signature: bent.to_vec(),
            ..good.clone()
        };
        setup.verify(&evidence).is_err()
    });
    for (at, value) in good.pcrs[0].values.iter().enumerate() {
        flips += flip_all("PCR value", &value.digest, |bent| {
            let mut evidence = good.clone();
            evidence.pcrs[0].values[at].digest = bent.to_vec();
            setup.verify(&evidence).is_err()
        });
    }
    flips
}

#[test]
fn no_flipped_bit_of_anything_signed_is_accepted_on_snp() {
    let Some(dir) = evidence_dir() else { return };
    let cases = Case::family(&dir, "azure-vtpm");
    let case = cases.iter().find(|case| {
        case.expected("verdict") == "accept"
            && case.file("vcek").is_some()
            && case.file("tpm_quote_msg").is_some()
    });
    let flips = flip_case(case.unwrap(), 0x2a0 + 144);
    println!("{flips} flipped bits refused");
}

#[test]
fn no_flipped_bit_of_anything_signed_is_accepted_on_tdx() {
    let Some(dir) = evidence_dir() else { return };
    let cases = Case::family(&dir, "azure-vtpm");
    let case = cases
        .iter()
        .find(|case| case.expected("verdict") == "accept" && case.file("quote").is_some());
    let setup = Setup::new(case.unwrap());
    let good = &setup.evidence;
    setup.verify(good).unwrap();
    let signed = Quote::parse(&good.td_quote).unwrap().signed.len();
    let flips = flip_all("TD quote", &good.td_quote[..signed], |bent| {
        let mut evidence = good.clone();
        evidence.td_quote[..signed].copy_from_slice(bent);
        setup.verify(&evidence).is_err()
    });
    println!("{flips} flipped bits refused");
}
