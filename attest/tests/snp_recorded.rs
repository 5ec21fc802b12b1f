//! Bends recorded SEV-SNP evidence, if it is at hand: no flipped bit of a report and no changed certificate is accepted,
//! and refusals name what was done. That every recorded case is judged as written, `tests/corpus` shows.
//!
//! The evidence directory comes from `DAWNKEY_EVIDENCE`; otherwise it is `../shared/evidence` beside the
//! workspace. Where it is absent, CI fails and a developer is told.
#![cfg(feature = "verify")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dawnkey_attest::snp::certs::documents;
use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::policy::PolicyError;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::verify::{ChainCache, CrlRule, SnpVerified, verify};
use dawnkey_attest::snp::{SnpError, SnpPolicy};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};

fn evidence() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    let directory = std::env::var_os("DAWNKEY_EVIDENCE").map_or_else(default, PathBuf::from);
    if directory.join("cases.json").is_file() {
        return Some(directory);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no recorded evidence at {}",
        directory.display()
    );
    println!(
        "not judged: no recorded evidence at {} (set DAWNKEY_EVIDENCE)",
        directory.display()
    );
    None
}

fn cases(directory: &Path, families: &[&str]) -> Vec<Value> {
    let text = std::fs::read(directory.join("cases.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    let wanted = |case: &&Value| families.contains(&case["family"].as_str().unwrap());
    all["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(wanted)
        .cloned()
        .collect()
}

/// A case's files by role, PEM turned into DER.
struct Files(HashMap<String, Vec<u8>>);

impl Files {
    fn load(directory: &Path, case: &Value) -> Self {
        let read = |(role, path): (&String, &Value)| {
            let bytes = std::fs::read(directory.join(path.as_str().unwrap())).unwrap();
            let bytes = if role == "report" {
                bytes
            } else {
                documents(&bytes).unwrap().concat()
            };
            (role.clone(), bytes)
        };
        Self(
            case["files"]
                .as_object()
                .unwrap()
                .iter()
                .map(read)
                .collect(),
        )
    }

    fn get(&self, role: &str) -> Option<&[u8]> {
        self.0.get(role).map(Vec::as_slice)
    }

    fn all(&self, roles: &[&str]) -> Vec<&[u8]> {
        roles.iter().filter_map(|role| self.get(role)).collect()
    }

    fn with<T>(&self, run: impl FnOnce(&Collateral<'_>) -> T) -> T {
        run(&Collateral {
            vek: self.get("vcek").or(self.get("vlek")),
            intermediates: &self.all(&["ask", "asvk"]),
            roots: &self.all(&["ark"]),
            crls: &self.all(&["crl"]),
        })
    }
}

fn time(case: &Value) -> UnixTime {
    let text = case["verify_time"].as_str().unwrap();
    let field = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (field(0..4), field(5..7), field(8..10));
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + field(11..13) * 3600 + field(14..16) * 60 + field(17..19);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
}

/// An accepted case of each product and kind of key, for what follows.
fn accepted(directory: &Path) -> Vec<(String, Files, UnixTime)> {
    let mut found: Vec<(String, Files, UnixTime)> = Vec::new();
    let genuine =
        |case: &Value| case["expected"]["verdict"] == "accept" && case["policy"] == json!({});
    for case in cases(directory, &["snp"]).into_iter().filter(genuine) {
        let (files, now) = (Files::load(directory, &case), time(&case));
        let verified = run(&files, files.get("report").unwrap(), now, None).unwrap();
        let name = format!(
            "{} {}",
            verified.product(),
            verified.chain().vek.kind.name()
        );
        if !found.iter().any(|(known, ..)| *known == name) {
            found.push((name, files, now));
        }
    }
    found
}

fn run(
    files: &Files,
    report: &[u8],
    now: UnixTime,
    cache: Option<&ChainCache>,
) -> Result<SnpVerified, SnpError> {
    let roots = Roots::amd().unwrap().without_intermediates();
    files.with(|collateral| verify(report, collateral, &roots, CrlRule::IfPresent, now, cache))
}

#[test]
fn accepts_no_report_with_any_bit_flipped() {
    let Some(directory) = evidence() else { return };
    let mut flips = 0u32;
    for (name, files, now) in accepted(&directory) {
        let cache = ChainCache::new();
        let genuine = files.get("report").unwrap();
        run(&files, genuine, now, Some(&cache)).unwrap();
        for bit in 0..genuine.len() * 8 {
            let mut report = genuine.to_vec();
            report[bit / 8] ^= 1 << (bit % 8);
            let error =
                run(&files, &report, now, Some(&cache)).expect_err("a flipped bit was accepted");
            let expected = match bit / 8 {
                0..4 => matches!(
                    error,
                    SnpError::Report(_) | SnpError::ReportSignatureInvalid { .. }
                ),
                0x330.. => {
                    matches!(error, SnpError::NonzeroSignaturePadding { at } if at == bit / 8)
                }
                _ => matches!(error, SnpError::ReportSignatureInvalid { .. }),
            };
            assert!(expected, "{name}, bit {bit}: {error}");
            flips += 1;
        }
        println!("{name}: {} bits", genuine.len() * 8);
    }
    println!("{flips} flips, none accepted");
}

#[test]
fn accepts_no_certificate_with_any_byte_changed() {
    let Some(directory) = evidence() else { return };
    let mut changes = 0u32;
    for (name, files, now) in accepted(&directory) {
        let genuine = files.get("report").unwrap();
        for role in ["vcek", "vlek", "ask", "asvk"] {
            let Some(der) = files.get(role) else { continue };
            for at in 0..der.len() {
                let mut changed = Files(files.0.clone());
                changed.0.get_mut(role).unwrap()[at] ^= 1 << (at % 8);
                let result = run(&changed, genuine, now, None);
                assert!(result.is_err(), "{name}: {role} byte {at}");
                changes += 1;
            }
        }
    }
    println!("{changes} changes, none accepted");
}

#[test]
fn names_a_changed_certificate_as_changed_and_a_foreign_one_as_foreign() {
    let Some(directory) = evidence() else { return };
    for (name, files, now) in accepted(&directory) {
        let role = if files.get("vcek").is_some() {
            "vcek"
        } else {
            "vlek"
        };
        let der = files.get(role).unwrap();
        // The last byte of the content is in an extension, the last of all in the signature.
        let content = u16::from_be_bytes([der[6], der[7]]) as usize + 7;
        for at in [content, der.len() - 1] {
            let mut changed = Files(files.0.clone());
            changed.0.get_mut(role).unwrap()[at] ^= 1;
            let error = run(&changed, files.get("report").unwrap(), now, None).unwrap_err();
            assert!(
                matches!(error, SnpError::VekSignatureInvalid { .. }),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn needs_no_intermediate_in_evidence_when_it_is_built_in() {
    let Some(directory) = evidence() else { return };
    let roots = Roots::amd().unwrap();
    for (name, files, now) in accepted(&directory) {
        let collateral = Collateral {
            vek: files.get("vcek").or(files.get("vlek")),
            ..Collateral::default()
        };
        let report = files.get("report").unwrap();
        verify(report, &collateral, &roots, CrlRule::IfPresent, now, None)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let bare = roots.clone().without_intermediates();
        let error = verify(report, &collateral, &bare, CrlRule::IfPresent, now, None).unwrap_err();
        assert_eq!(error, SnpError::NoIntermediate);
        let error = verify(report, &collateral, &roots, CrlRule::Required, now, None).unwrap_err();
        assert!(
            matches!(error, SnpError::CrlMissing { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn default_policy_refuses_what_the_recorded_guests_do_beyond_it() {
    let Some(directory) = evidence() else { return };
    for case in cases(&directory, &["snp"])
        .into_iter()
        .filter(|case| case["expected"]["crypto"] == "valid")
    {
        let files = Files::load(&directory, &case);
        let Ok(verified) = run(&files, files.get("report").unwrap(), time(&case), None) else {
            continue;
        };
        let expected = match (verified.report().policy.debug(), verified.report().vmpl) {
            (true, _) => Err(PolicyError::DebugEnabled),
            (_, 1) => Err(PolicyError::VmplTooHigh { vmpl: 1, max: 0 }),
            _ => Ok(()),
        };
        assert_eq!(
            verified.judge(&SnpPolicy::default()),
            expected,
            "{}",
            case["id"]
        );
    }
}
