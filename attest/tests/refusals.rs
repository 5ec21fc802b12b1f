//! What the verifier refuses, by variant. The evidence is signed by a software key, so that each field can be wrong
//! under a right signature.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{collections::BTreeMap, time::Duration};

use dawnkey_attest::{
    claims::Claims,
    eventlog::{LogError, ReplayError, kind},
    evidence::{Evidence, Exchange, VtpmEvidence},
    fake::{AK_ATTRIBUTES, LogBuilder, QuoteParts, SoftTpm},
    tpm::{hash::Hash, public::Attributes},
    verify::{
        self, Collateral, Roots, UnixTime, VerifyError, signature::SignatureError, vtpm::VtpmError,
    },
};

const EXCHANGE: Exchange = Exchange([7; 64]);

/// An honest boot: TPM, PCR values, event log.
struct Boot {
    tpm: SoftTpm,
    pcrs: BTreeMap<u8, Vec<u8>>,
    log: Vec<u8>,
}

impl Boot {
    fn new() -> Self {
        let log = LogBuilder::new(&[Hash::Sha256])
            .event(
                4,
                kind::EFI_ACTION,
                b"Calling EFI Application from Boot Option",
            )
            .event(7, kind::SEPARATOR, &[0; 4])
            .measured(11, kind::IPL, b"kernel", b".\0l\0i\0n\0u\0x\0\0\0");
        Self {
            tpm: SoftTpm::new(),
            pcrs: log.pcrs().clone(),
            log: log.build(),
        }
    }

    fn honest(&self) -> VtpmEvidence {
        self.with(|_| ())
    }

    /// Evidence whose quote was changed before it was signed.
    fn with(&self, change: impl FnOnce(&mut QuoteParts)) -> VtpmEvidence {
        let mut parts = self.tpm.honest(&EXCHANGE, &self.pcrs);
        change(&mut parts);
        self.tpm.evidence(&parts, &self.pcrs, self.log.clone())
    }
}

fn judge(evidence: VtpmEvidence) -> Result<Claims, VtpmError> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let evidence = Evidence::Vtpm(Box::new(evidence));
    verify::verify(
        &evidence,
        &EXCHANGE.into(),
        &Roots::default(),
        &Collateral::default(),
        now,
    )
    .map(|verified| verified.claims().clone())
    .map_err(|error| match error {
        VerifyError::Vtpm(error) => error,
        other => panic!("{other}"),
    })
}

#[test]
fn accepts_the_honest_boot_without_endorsement() {
    let claims = judge(Boot::new().honest()).unwrap();
    assert_eq!(claims.tpm.as_ref().unwrap().endorsement, None);
    assert_eq!(
        claims.tpm.as_ref().unwrap().endorsement_problem.as_deref(),
        Some("the TPM has no endorsement key certificate")
    );
    assert_eq!(claims.events.len(), 3);
    assert!(claims.events[0].description_proven);
    assert!(!claims.events[2].description_proven);
    assert_eq!(claims.events[2].description, ".linux");
    let json = serde_json::to_string(&claims).unwrap();
    assert!(json.contains("\"trust_class\":\"hypervisor\""));
    assert_eq!(serde_json::from_str::<Claims>(&json).unwrap(), claims);
}

#[test]
fn refuses_a_quote_with_another_nonce() {
    let error = judge(Boot::new().with(|quote| quote.extra_data = vec![9; 32])).unwrap_err();
    assert!(matches!(error, VtpmError::BinderMismatch { .. }));
    let error = judge(Boot::new().with(|quote| quote.extra_data.clear())).unwrap_err();
    assert!(matches!(error, VtpmError::BinderMismatch { .. }));
}

#[test]
fn refuses_a_quote_of_another_key() {
    let (boot, other) = (Boot::new(), Boot::new());
    let mut evidence = boot.honest();
    evidence.signature = other.tpm.sign(&evidence.quote);
    assert_eq!(
        judge(evidence),
        Err(VtpmError::Signature(SignatureError::Invalid))
    );
}

#[test]
fn refuses_an_attestation_key_under_another_endorsement_key() {
    let mut evidence = Boot::new().honest();
    evidence.ek_public = SoftTpm::new().ek_public;
    assert!(matches!(
        judge(evidence),
        Err(VtpmError::QualifiedSigner { .. })
    ));
}

#[test]
fn refuses_a_quote_of_another_pcr_selection() {
    for pcrs in [vec![], vec![4, 11], (0..23).collect(), (1..24).collect()] {
        let error =
            judge(Boot::new().with(|quote| quote.selections = vec![(0x0b, pcrs)])).unwrap_err();
        assert!(matches!(error, VtpmError::Selection { .. }));
    }
    let twice = vec![(0x0b, (0..24).collect()), (0x0b, (0..24).collect())];
    let error = judge(Boot::new().with(|quote| quote.selections = twice)).unwrap_err();
    assert!(matches!(error, VtpmError::Selection { .. }));
}

#[test]
fn refuses_a_quote_of_another_bank() {
    for bank in [0x04, 0x0c, 0x12] {
        let selections = vec![(bank, (0..24).collect())];
        let error = judge(Boot::new().with(|quote| quote.selections = selections)).unwrap_err();
        assert!(matches!(error, VtpmError::Selection { .. }));
    }
}

#[test]
fn refuses_evidence_without_the_quoted_bank() {
    let mut evidence = Boot::new().honest();
    evidence.pcrs[0].alg = 0x0c;
    assert_eq!(
        judge(evidence),
        Err(VtpmError::BankMissing { bank: "sha256" })
    );
}

#[test]
fn refuses_a_changed_pcr_value() {
    let mut evidence = Boot::new().honest();
    evidence.pcrs[0].values[11].digest = vec![1; 32];
    assert!(matches!(
        judge(evidence),
        Err(VtpmError::PcrDigestMismatch { bank: "sha256", .. })
    ));
}

#[test]
fn refuses_missing_double_and_oversized_pcr_values() {
    let honest = Boot::new().honest();
    let mut missing = honest.clone();
    missing.pcrs[0].values.pop();
    let mut double = honest.clone();
    double.pcrs[0].values[3].index = 4;
    let mut beyond = honest.clone();
    beyond.pcrs[0].values[23].index = 24;
    let mut long = honest.clone();
    long.pcrs[0].values[0].digest.push(0);
    let mut banks = honest.clone();
    banks.pcrs.push(honest.pcrs[0].clone());
    for evidence in [missing, double, beyond, long, banks] {
        assert!(matches!(
            judge(evidence),
            Err(VtpmError::MalformedPcr { .. })
        ));
    }
}

#[test]
fn refuses_an_event_log_that_does_not_replay() {
    let mut boot = Boot::new();
    boot.log = LogBuilder::new(&[Hash::Sha256]).build();
    let Err(VtpmError::LogMismatch {
        pcr,
        replayed,
        quoted,
    }) = judge(boot.honest())
    else {
        panic!("not refused for its log");
    };
    assert_eq!(pcr, 4);
    assert_eq!(replayed, "0".repeat(64));
    assert_eq!(quoted, hex::encode(&boot.pcrs[&4]));
}

#[test]
fn refuses_an_event_log_that_explains_more_than_was_measured() {
    let mut boot = Boot::new();
    let extra = LogBuilder::new(&[Hash::Sha256])
        .event(12, kind::IPL, b"x")
        .build();
    boot.pcrs.clear();
    boot.log = extra;
    assert!(matches!(
        judge(boot.honest()),
        Err(VtpmError::LogMismatch { pcr: 12, .. })
    ));
}

#[test]
fn leaves_to_policy_what_no_firmware_log_covers() {
    let mut boot = Boot::new();
    for pcr in [10, 15, 16, 23] {
        boot.pcrs.insert(pcr, vec![3; 32]);
    }
    assert_eq!(judge(boot.honest()).unwrap().pcrs[&15], [3; 32]);
}

#[test]
fn refuses_a_malformed_event_log() {
    let boot = Boot::new();
    let with = |event_log: Vec<u8>| {
        judge(VtpmEvidence {
            event_log,
            ..boot.honest()
        })
    };
    assert_eq!(
        with(Vec::new()),
        Err(VtpmError::MalformedEventLog(LogError::Empty))
    );
    let cut = boot.log[..boot.log.len() - 1].to_vec();
    assert!(matches!(
        with(cut),
        Err(VtpmError::MalformedEventLog(LogError::Malformed {
            event: 3,
            ..
        }))
    ));
    let sha384 = LogBuilder::new(&[Hash::Sha384]).build();
    assert_eq!(
        with(sha384),
        Err(VtpmError::Replay(ReplayError::NoBank { bank: "sha256" }))
    );
}

#[test]
fn refuses_an_attestation_key_that_could_sign_anything() {
    let wrong = [
        AK_ATTRIBUTES & !Attributes::RESTRICTED,
        AK_ATTRIBUTES & !Attributes::SIGN,
        AK_ATTRIBUTES & !Attributes::FIXED_TPM,
        AK_ATTRIBUTES & !Attributes::FIXED_PARENT,
        AK_ATTRIBUTES & !Attributes::SENSITIVE_DATA_ORIGIN,
        AK_ATTRIBUTES | Attributes::DECRYPT,
    ];
    for attributes in wrong {
        let mut boot = Boot::new();
        boot.tpm = boot.tpm.with_ak_attributes(attributes);
        assert_eq!(
            judge(boot.honest()),
            Err(VtpmError::AttestationKeyAttributes { found: attributes })
        );
    }
}

#[test]
fn refuses_another_magic_and_another_attestation_type() {
    let error = judge(Boot::new().with(|quote| quote.magic = 0xff54_4346));
    assert_eq!(error, Err(VtpmError::Magic { found: 0xff54_4346 }));
    let error = judge(Boot::new().with(|quote| quote.kind = 0x8017));
    assert_eq!(error, Err(VtpmError::NotAQuote { found: 0x8017 }));
}

#[test]
fn refuses_a_scheme_the_key_is_not_bound_to() {
    let mut evidence = Boot::new().honest();
    evidence.signature[3] = 0x0c;
    assert!(matches!(
        judge(evidence),
        Err(VtpmError::SchemeMismatch {
            found_hash: 0x0c,
            ..
        })
    ));
}

#[test]
fn refuses_malformed_structures_by_name() {
    let honest = Boot::new().honest();
    let change = |change: fn(&mut VtpmEvidence)| {
        let mut evidence = honest.clone();
        change(&mut evidence);
        judge(evidence).unwrap_err()
    };
    let error = change(|evidence| evidence.ak_public.push(0));
    assert!(matches!(error, VtpmError::MalformedAttestationKey(_)));
    let error = change(|evidence| evidence.ek_public.truncate(9));
    assert!(matches!(error, VtpmError::MalformedEndorsementKey(_)));
    let error = change(|evidence| evidence.signature.clear());
    assert!(matches!(error, VtpmError::MalformedSignature(_)));
    let error = change(|evidence| evidence.quote.truncate(40));
    assert!(matches!(error, VtpmError::MalformedQuote(_)));
    let error = change(|evidence| evidence.quote.push(0));
    assert!(matches!(error, VtpmError::MalformedQuote(_)));
}

#[test]
fn accepts_no_flipped_bit_of_quote_or_signature() {
    let honest = Boot::new().honest();
    assert!(judge(honest.clone()).is_ok());
    let flips = |bytes: &[u8]| (0..bytes.len() * 8).collect::<Vec<_>>();
    for bit in flips(&honest.quote) {
        let mut evidence = honest.clone();
        evidence.quote[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(evidence).is_err(), "quote bit {bit}");
    }
    for bit in flips(&honest.signature) {
        let mut evidence = honest.clone();
        evidence.signature[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(evidence).is_err(), "signature bit {bit}");
    }
    for bit in flips(&honest.ak_public) {
        let mut evidence = honest.clone();
        evidence.ak_public[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(evidence).is_err(), "attestation key bit {bit}");
    }
    for bit in flips(&honest.ek_public) {
        let mut evidence = honest.clone();
        evidence.ek_public[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(evidence).is_err(), "endorsement key bit {bit}");
    }
}

#[test]
fn accepts_no_flipped_bit_that_changes_what_the_log_says() {
    let boot = Boot::new();
    let honest = judge(boot.honest()).unwrap();
    for bit in 0..boot.log.len() * 8 {
        let mut evidence = boot.honest();
        evidence.event_log[bit / 8] ^= 1 << (bit % 8);
        if let Ok(claims) = judge(evidence) {
            // Text and type of an event are not what its digest covers; PCRs and digests are.
            let proven = |claims: &Claims| -> Vec<(u8, String)> {
                claims
                    .events
                    .iter()
                    .map(|event| (event.register, event.digest.clone()))
                    .collect()
            };
            assert_eq!(proven(&claims), proven(&honest), "log bit {bit}");
            assert_eq!(claims.pcrs, honest.pcrs);
        }
    }
}
