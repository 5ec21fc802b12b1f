//! Flips every bit of what is signed, or bound by a digest, in one accepted case of each family: none may pass, none
//! may panic. SNP reports and TD quotes have their own, with more of them, in `attest/tests`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod common;

use common::{accepted, part, passes};
use dawnkey_attest::{
    azure::{HclReport, hcl::HEADER_LEN},
    eventlog::{EventLog, Limits, kind},
    evidence::{AzureEvidence, Evidence},
    ima::{self, List},
    part::{Part, QuoteSignature},
    tdx::Quote,
    tpm::hash::Hash,
};
use dawnkey_corpus::{case::Case, input::Input};

/// Flips each bit of the bytes that `field` gives, one at a time; `at` are the bytes to flip.
fn flip(
    input: &Input,
    what: &str,
    at: impl IntoIterator<Item = usize>,
    field: impl Fn(&mut Input) -> &mut [u8],
) -> usize {
    let mut bent = input.clone();
    let mut flips = 0;
    for at in at {
        for bit in 0..8 {
            field(&mut bent)[at] ^= 1 << bit;
            assert!(!passes(&bent), "{what}: bit {bit} of byte {at} passes");
            field(&mut bent)[at] ^= 1 << bit;
            flips += 1;
        }
    }
    assert!(passes(&bent));
    flips
}

/// [`flip`] of all bytes.
fn flip_all(input: &Input, what: &str, field: impl Fn(&mut Input) -> &mut [u8]) -> usize {
    let length = field(&mut input.clone()).len();
    flip(input, what, 0..length, field)
}

fn said(case: &Case, flips: usize) {
    eprintln!("{}: {flips} flips, none accepted", case.name());
}

fn has(case: &Case, role: &str) -> bool {
    case.roles().any(|one| one == role)
}

#[test]
fn accepts_no_flipped_bit_of_a_quote_its_values_and_its_certificate() {
    let wanted = |case: &Case| has(case, "ak_cert") && has(case, "quote_msg_sha256");
    let Some(cases) = accepted("tpm-quote", wanted) else {
        return;
    };
    let (case, input) = cases
        .iter()
        .min_by_key(|(case, _)| case.roles().count())
        .unwrap();
    macro_rules! quote {
        ($input:expr) => {
            match part($input) {
                Part::Quote(part) => part,
                _ => panic!("no quote"),
            }
        };
    }
    let mut flips = flip_all(input, "quote", |input| &mut quote!(input).quotes[0].message);
    flips += flip_all(input, "signature", |input| {
        match &mut quote!(input).quotes[0].signature {
            QuoteSignature::Tpmt(bytes) | QuoteSignature::Bare(bytes) => bytes,
        }
    });
    for pcr in 0..24u8 {
        flips += flip_all(input, "PCR value", |input| {
            let bank = quote!(input).pcrs.get_mut(&Hash::Sha256).unwrap();
            bank.get_mut(&pcr).unwrap()
        });
    }
    flips += flip_all(input, "AK certificate", |input| {
        &mut quote!(input).ak_certificate
    });
    said(case, flips);
}

#[test]
fn accepts_no_flipped_bit_of_a_bare_signature() {
    let Some(cases) = accepted("tpm-quote", |case| has(case, "quote_rawsig_sha256")) else {
        return;
    };
    let (case, input) = &cases[0];
    let flips = flip_all(input, "signature", |input| match part(input) {
        Part::Quote(part) => match &mut part.quotes[0].signature {
            QuoteSignature::Bare(bytes) => bytes,
            QuoteSignature::Tpmt(_) => panic!("not bare"),
        },
        _ => panic!("no quote"),
    });
    said(case, flips);
}

#[test]
fn accepts_no_flipped_bit_of_a_tpm_certificate_or_its_issuers() {
    let Some(cases) = accepted("tpm-certs", |case| has(case, "root")) else {
        return;
    };
    // One with filler and two issuers, as an endorsement certificate from a TPM has them.
    let longest = |(case, _): &&(Case, Input)| case.roles().count();
    let (case, input) = cases.iter().max_by_key(longest).unwrap();
    macro_rules! certificate {
        ($input:expr) => {
            match part($input) {
                Part::Certificate(part) => part,
                _ => panic!("no certificate"),
            }
        };
    }
    let mut own = input.clone();
    let der = &certificate!(&mut own).certificate;
    let length = 4 + usize::from(u16::from_be_bytes([der[2], der[3]]));
    let mut flips = flip(input, "certificate", 0..length, |input| {
        &mut certificate!(input).certificate
    });
    let issuers = certificate!(&mut own).chain.as_ref().unwrap().len();
    for number in 0..issuers {
        flips += flip_all(input, "issuer", |input| {
            &mut certificate!(input).chain.as_mut().unwrap()[number]
        });
    }
    said(case, flips);
}

#[test]
fn accepts_no_flipped_bit_of_amds_certificates_and_lists() {
    let Some(cases) = accepted("amd-certs", |_| true) else {
        return;
    };
    let of = |role: &str| cases.iter().find(|(case, _)| has(case, role)).unwrap();
    let (case, input) = of("vcek");
    let flips = flip_all(input, "VCEK", |input| match part(input) {
        Part::AmdCertificate(part) => &mut part.certificate,
        _ => panic!("no certificate"),
    });
    said(case, flips);
    let (case, input) = of("crl");
    let flips = flip_all(input, "CRL", |input| match part(input) {
        Part::AmdCrl(part) => &mut part.crl,
        _ => panic!("no list"),
    });
    said(case, flips);
}

/// Offsets in `whole` of the digests that a replay uses.
fn digests(whole: &[u8], extends: impl Fn(u32) -> bool, banks: &[Hash]) -> Vec<usize> {
    let log = EventLog::parse(whole, Limits::default()).unwrap();
    let events = log.events.iter();
    let extended = events.filter(|event| event.kind != kind::NO_ACTION && extends(event.pcr));
    let digests = extended.flat_map(|event| &event.digests);
    let used = digests.filter(|digest| banks.iter().any(|bank| bank.id() == digest.alg));
    used.flat_map(|digest| {
        let start = digest.bytes.as_ptr() as usize - whole.as_ptr() as usize;
        start..start + digest.bytes.len()
    })
    .collect()
}

#[test]
fn accepts_no_flipped_bit_of_a_digest_of_an_event_log() {
    let Some(cases) = accepted("tpm-eventlog", |case| {
        case.expected()["decoded"]["recorded_pcrs"]["sha256"].is_object()
    }) else {
        return;
    };
    let size = |(case, _): &&(Case, Input)| case.needed("event_log").unwrap().len();
    let (case, input) = cases.iter().min_by_key(size).unwrap();
    let mut own = input.clone();
    let Part::EventLog(log) = part(&mut own) else {
        panic!("no log")
    };
    let banks: Vec<Hash> = log.recorded.keys().copied().collect();
    let recorded = log.recorded[&Hash::Sha256].clone();
    let extends = |pcr| u8::try_from(pcr).is_ok_and(|pcr| recorded.contains_key(&pcr));
    let at = digests(&log.log, extends, &banks);
    let flips = flip(input, "digest", at, |input| match part(input) {
        Part::EventLog(part) => &mut part.log,
        _ => panic!("no log"),
    });
    said(case, flips);
}

#[test]
fn accepts_no_flipped_bit_of_a_digest_of_a_tds_event_log() {
    let Some(cases) = accepted("tdx-eventlog", |case| {
        let binary = |log: Vec<u8>| !log.starts_with(b"[");
        has(case, "quote") && case.file("event_log").unwrap().is_some_and(binary)
    }) else {
        return;
    };
    let (case, input) = cases
        .iter()
        .min_by_key(|(case, _)| case.expected()["decoded"]["event_count"].as_u64())
        .unwrap();
    let mut own = input.clone();
    let Part::RtmrLog(log) = part(&mut own) else {
        panic!("no log")
    };
    let at = digests(&log.log, |index| index > 0, &[Hash::Sha384]);
    let flips = flip(input, "digest", at, |input| match part(input) {
        Part::RtmrLog(part) => &mut part.log,
        _ => panic!("no log"),
    });
    said(case, flips);
}

/// A list in the binary form, and the offsets of its template digests and data.
fn binary(list: &List<'_>) -> (Vec<u8>, Vec<usize>) {
    let (mut out, mut at) = (Vec::new(), Vec::new());
    for entry in &list.entries {
        let (name, data) = (
            entry.template_name.as_bytes(),
            entry.data.as_deref().unwrap(),
        );
        out.extend(u32::from(entry.pcr).to_le_bytes());
        at.extend(out.len()..out.len() + entry.digest.len());
        out.extend(&entry.digest);
        for part in [name, data] {
            out.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            out.extend(part);
        }
        at.extend(out.len() - data.len()..out.len());
    }
    (out, at)
}

#[test]
fn accepts_no_flipped_bit_of_a_measurement_lists_digests_and_data() {
    let Some(cases) = accepted("ima", |case| case.expected()["decoded"]["violations"] == 0) else {
        return;
    };
    let (case, input) = cases
        .iter()
        .min_by_key(|(case, _)| case.expected()["decoded"]["entries"].as_u64())
        .unwrap();
    let mut own = input.clone();
    let Part::Ima(given) = part(&mut own) else {
        panic!("no list")
    };
    let list = List::parse(&given.list, given.hash, ima::Limits::default()).unwrap();
    let (bytes, at) = binary(&list);
    given.list = bytes;
    let flips = flip(&own, "entry", at, |input| match part(input) {
        Part::Ima(part) => &mut part.list,
        _ => panic!("no list"),
    });
    said(case, flips);
}

fn azure(input: &mut Input) -> &mut AzureEvidence {
    match &mut input.evidence {
        Evidence::Azure(evidence) => evidence,
        other => panic!("{} is not Azure's", other.kind()),
    }
}

#[test]
fn accepts_no_flipped_bit_of_azures_report_runtime_data_quote_and_values() {
    let Some(cases) = accepted("azure-vtpm", |case| {
        has(case, "vcek") && has(case, "tpm_quote_msg")
    }) else {
        return;
    };
    let (case, input) = &cases[0];
    let mut own = input.clone();
    let evidence = azure(&mut own);
    let hcl = HclReport::parse(&evidence.hcl_report).unwrap();
    let whole = evidence.hcl_report.as_ptr() as usize;
    let runtime = hcl.runtime_claims.as_ptr() as usize - whole;
    let runtime = runtime..runtime + hcl.runtime_claims.len();
    let mut flips = flip(
        input,
        "HCL report",
        (HEADER_LEN..HEADER_LEN + 1184).chain(runtime),
        |input| &mut azure(input).hcl_report,
    );
    flips += flip_all(input, "quote", |input| &mut azure(input).quote);
    flips += flip_all(input, "signature", |input| &mut azure(input).signature);
    for at in 0..evidence.pcrs[0].values.len() {
        flips += flip_all(input, "PCR value", |input| {
            &mut azure(input).pcrs[0].values[at].digest
        });
    }
    said(case, flips);
}

#[test]
fn accepts_no_flipped_bit_of_azures_td_quote() {
    let Some(cases) = accepted("azure-vtpm", |case| has(case, "quote")) else {
        return;
    };
    let (case, input) = &cases[0];
    let signed = Quote::parse(&azure(&mut input.clone()).td_quote)
        .unwrap()
        .signed
        .len();
    let flips = flip(input, "TD quote", 0..signed, |input| {
        &mut azure(input).td_quote
    });
    said(case, flips);
}
