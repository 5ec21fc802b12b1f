//! Judging a vTPM's evidence.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::policy::testing::{FILE, claims, parse};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn judge(text: &str, claims: &Claims) -> Decision {
    parse(text)
        .unwrap()
        .judge("state", claims, Freshness::Demanded, now())
}

fn denied(decision: &Decision) -> (Reason, String) {
    match &decision.verdict {
        Verdict::Deny { reason, detail, .. } => (*reason, detail.clone()),
        Verdict::Approve { image, .. } => panic!("approved as {image}"),
    }
}

#[test]
fn approves_the_listed_image_and_says_which_lines_decided() {
    let decision = judge(FILE, &claims(1));
    let image = "node-2026-11".to_owned();
    let platform = None;
    assert_eq!(decision.verdict, Verdict::Approve { image, platform });
    let keys: Vec<_> = decision.trace.iter().map(|l| l.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "volume-policy.state.trust_class",
            "volume-policy.state.pcrs_pre_cap",
            "image.node-2026-11.pcrs.sha256",
            "image.node-2026-11.valid_until",
            "volume-policy.state.images",
        ]
    );
    assert!(decision.trace.iter().all(|line| line.met));
}

#[test]
fn refuses_changed_pcr_and_names_it_with_both_values() {
    let mut changed = claims(1);
    changed.pcrs.insert(12, vec![0xcc; 32]);
    let decision = judge(FILE, &changed);
    let (reason, detail) = denied(&decision);
    assert_eq!(reason, Reason::PcrMismatch);
    assert!(detail.contains("PCR 12 is cccccccc"), "{detail}");
    assert!(detail.contains("expected 00000000"), "{detail}");
    assert_eq!(decision.rule(), "volume-policy.state.images");
}

#[test]
fn refuses_unknown_measurement() {
    let mut other = claims(1);
    other.pcrs.insert(4, vec![1; 32]);
    other.pcrs.insert(11, vec![2; 32]);
    let (reason, detail) = denied(&judge(FILE, &other));
    assert_eq!(reason, Reason::ImageUnknown);
    assert!(detail.contains("PCR 4 is 0101") && detail.contains("PCR 11 is 0202"));
}

#[test]
fn refuses_second_request_after_the_boot_was_closed() {
    let mut capped = claims(1);
    capped.pcrs.insert(15, vec![9; 32]);
    let (reason, detail) = denied(&judge(FILE, &capped));
    assert_eq!(reason, Reason::PcrMismatch);
    assert!(detail.starts_with("PCR 15 is 0909"), "{detail}");
}

#[test]
fn refuses_another_trust_class() {
    let mut tee = claims(1);
    tee.trust_class = Some(TrustClass::Tee);
    assert_eq!(denied(&judge(FILE, &tee)).0, Reason::TrustClass);
    let wants_tee = FILE.replacen("\"hypervisor\"", "\"tee\"", 1);
    let decision = judge(&wants_tee, &claims(1));
    assert_eq!(denied(&decision).0, Reason::TrustClass);
    assert_eq!(decision.rule(), "volume-policy.state.trust_class");
}

#[test]
fn refuses_quote_without_a_pcr_that_policy_needs() {
    for pcr in [4, 15] {
        let mut partial = claims(1);
        partial.pcrs.remove(&pcr);
        let (reason, detail) = denied(&judge(FILE, &partial));
        assert_eq!(reason, Reason::PcrSelection);
        assert!(detail.contains(&format!("PCR {pcr} ")));
    }
}

#[test]
fn refuses_expired_image() {
    let expired = FILE.replacen("2027-11-01", "2026-11-01", 1);
    let decision = judge(&expired, &claims(1));
    assert_eq!(denied(&decision).0, Reason::ImageExpired);
}

#[test]
fn refuses_everything_while_no_image_is_listed() {
    let none = FILE.replacen("images = [\"node-2026-11\"]", "images = []", 1);
    assert_eq!(denied(&judge(&none, &claims(1))).0, Reason::ImageUnknown);
}

#[test]
fn refuses_volume_policy_that_is_not_in_the_file() {
    let decision = parse(FILE)
        .unwrap()
        .judge("gone", &claims(1), Freshness::Demanded, now());
    assert_eq!(denied(&decision).0, Reason::Internal);
    assert_eq!(decision.rule(), "volume-policy.gone");
}

#[test]
fn refuses_evidence_that_was_not_compared_with_an_exchange() {
    for binding in [Binding::Value, Binding::Unknown] {
        let mut recorded = claims(1);
        recorded.binding = binding;
        let decision = judge(FILE, &recorded);
        assert_eq!(denied(&decision).0, Reason::BinderMismatch);
        assert_eq!(decision.rule(), "volume-policy.state");
        let policy = parse(FILE).unwrap();
        let assumed = policy.judge("state", &recorded, Freshness::Assumed, now());
        assert!(matches!(assumed.verdict, Verdict::Approve { .. }));
    }
}

#[test]
fn refuses_image_before_its_time() {
    let text = FILE.replacen(
        "valid_until",
        "valid_from = \"2026-12-01T00:00:00Z\"\nvalid_until",
        1,
    );
    let decision = judge(&text, &claims(1));
    let (reason, detail) = denied(&decision);
    assert_eq!(reason, Reason::ImageExpired);
    assert!(detail.contains("valid from 2026-12-01"), "{detail}");
}

#[test]
fn accepts_either_image_during_a_roll_out() {
    let (_, image) = FILE.split_once("[[image]]").unwrap();
    let (image, _) = image.split_once("[volume-policy").unwrap();
    let next = image.replacen("node-2026-11", "node-2026-12", 1).replacen(
        &"1".repeat(64),
        &"2".repeat(64),
        1,
    );
    let text = format!("{FILE}\n[[image]]{next}").replacen(
        "images = [\"node-2026-11\"]",
        "images = [\"node-2026-11\", \"node-2026-12\"]",
        1,
    );
    let mut newer = claims(1);
    newer.pcrs.insert(11, vec![0x22; 32]);
    for (claims, expected) in [(claims(1), "node-2026-11"), (newer, "node-2026-12")] {
        let decision = judge(&text, &claims);
        assert!(matches!(decision.verdict, Verdict::Approve { image, .. } if image == expected));
    }
}
