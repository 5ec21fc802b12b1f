//! `[[node]]` tables that are read, and those that are refused.
#![allow(clippy::unwrap_used)]

use crate::policy::identity::hashed;
use crate::policy::testing::{FILE, claims, parse, snp_claims, tdx_claims};
use crate::policy::{Freshness, Identity, PolicyError, Verdict, instance_of};
use dawnkey_proto::message::Reason;

fn with(node: &str) -> String {
    format!("{FILE}\n[[node]]\nname = \"a\"\n{node}\n")
}

#[test]
fn a_chip_and_a_platform_are_known_by_what_their_vendors_certify() {
    let (snp, tdx) = (snp_claims(), tdx_claims());
    let chip = snp.snp.as_ref().unwrap().vek.hwid.clone().unwrap();
    let ppid = tdx.tdx.as_ref().unwrap().platform.ppid.0;
    for (claims, known_by) in [
        (&snp, format!("chip_id = \"{chip:0<128}\"")),
        (&tdx, format!("ppid = \"{}\"", hex::encode(ppid))),
    ] {
        let policy = parse(&with(&known_by)).unwrap();
        let identity = Identity::Attested(instance_of(claims).unwrap());
        assert!(policy.nodes["a"].is(&identity), "{known_by}");
        let other = Identity::Attested(crate::volume::Digest32([7; 32]));
        assert!(!policy.nodes["a"].is(&other));
    }
}

#[test]
fn an_attestation_key_is_known_with_who_vouches_for_it() {
    let key = "5a".repeat(32);
    let identity = |kind| Identity::Attested(hashed(kind, &[0x5a; 32]));
    for (known_by, kind, other) in [
        ("ak_sha256", "tpm-ak", "azure-vtpm"),
        ("azure_ak_sha256", "azure-vtpm", "tpm-ak"),
    ] {
        let policy = parse(&with(&format!("{known_by} = \"{key}\""))).unwrap();
        assert!(policy.nodes["a"].is(&identity(kind)));
        assert!(!policy.nodes["a"].is(&identity(other)));
    }
}

#[test]
fn refuses_nodes_that_are_known_by_nothing_or_badly_and_names_used_twice() {
    for bad in [
        "",
        "chip_id = \"12\"",
        "ppid = \"zz\"",
        "instance = \"00\"",
        "ek_sha256 = \"\"",
    ] {
        let refused = parse(&with(bad)).unwrap_err();
        assert!(matches!(refused, PolicyError::Value { .. }), "{bad}");
    }
    let known = format!("ek_sha256 = \"{}\"", "00".repeat(32));
    let twice = format!("{}\n[[node]]\nname = \"a\"\n{known}\n", with(&known));
    assert!(matches!(
        parse(&twice),
        Err(PolicyError::DuplicateNode { name, .. }) if name == "a"
    ));
    let surprise = with(&format!("{known}\nsurprise = 1"));
    assert!(matches!(parse(&surprise), Err(PolicyError::Syntax { .. })));
}

#[test]
fn an_explanation_says_who_the_machine_is_and_whether_it_is_listed() {
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let known = format!("ek_sha256 = \"{}\"", "01".repeat(32));
    let listed = with(&known).replacen(
        "instances = []",
        "nodes = [\"a\"]\napproval = \"required\"",
        1,
    );
    let policy = parse(&listed).unwrap();
    let explain = |n| policy.judge_with_identity("state", &claims(n), Freshness::Demanded, now);
    let good = explain(1);
    assert!(matches!(good.verdict, Verdict::Approve { .. }));
    let [.., who, approval] = good.trace.as_slice() else {
        unreachable!("two steps at least")
    };
    assert!(who.finding.contains("node a is listed"), "{}", who.finding);
    assert_eq!(approval.key, "volume-policy.state.approval");
    let other = explain(2);
    assert_eq!(other.rule(), "volume-policy.state.nodes");
    assert!(matches!(
        other.verdict,
        Verdict::Deny {
            reason: Reason::InstanceNotAllowed,
            ..
        }
    ));
}

#[test]
fn refuses_a_volume_policy_that_names_an_unknown_node_or_label() {
    let known = format!("ek_sha256 = \"{}\"\nlabels = [\"rack\"]", "00".repeat(32));
    for (wanted, good) in [
        ("a", true),
        ("label:rack", true),
        ("b", false),
        ("label:a", false),
    ] {
        let text = with(&known).replacen("instances = []", &format!("nodes = [\"{wanted}\"]"), 1);
        match parse(&text) {
            Ok(_) => assert!(good, "{wanted}"),
            Err(PolicyError::UnknownNode { node, .. }) => {
                assert!(!good);
                assert_eq!(node, wanted);
            }
            Err(other) => unreachable!("{other}"),
        }
    }
}
