//! `dawnkey evidence` and `dawnkey policy test` with the real binary, on evidence that mocks of the vendors' PKIs signed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{Run, dawnkey};
use dawnkey_attest::azure::fake::{HclSpec, hcl_snp};
use dawnkey_attest::snp::fake::{Authority, MockAmd, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::tdx::fake::{MockIntel, Spec};
use serde_json::{Value, json};
use std::path::Path;

const AT: &str = "2026-11-22T12:00:00Z";

/// What a vendor's tools leave of an SNP guest: report, certificates, revocation list.
fn snp(bend: impl FnOnce(&mut ReportSpec)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let amd = MockAmd::new(Product::Milan);
    let vek = amd.issue(&VekSpec::new(VekKind::Vcek, amd.product()));
    let mut spec = ReportSpec::new(amd.product(), VekKind::Vcek);
    spec.report_data = [0x42; 64];
    bend(&mut spec);
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("report.bin", &spec.sign(&vek));
    write("vcek.der", &vek.der);
    write("ark.der", amd.der(Authority::Ark));
    write("ask.der", amd.der(Authority::Ask));
    let issued = 1_795_000_000;
    let list = amd.crl(Authority::Ark, &[], (issued, issued + 31_536_000));
    write("crl.der", &list);
    let hcl = hcl_snp(&hostile(), &vek, spec);
    write("hcl.bin", &hcl);
    dir
}

/// An HCL report whose strings try to drive a terminal.
fn hostile() -> HclSpec {
    let mut spec = HclSpec::new(&[0xc3; 256]);
    spec.claims["vm-configuration"]["vmUniqueId"] = json!("\u{1b}[2J\u{9b}31mvm\u{202e}\r\n");
    spec
}

fn tdx(dir: &Path, bend: impl FnOnce(&mut Spec)) {
    let intel = MockIntel::new();
    let mut spec = Spec {
        now: AT.parse().unwrap(),
        ..Spec::default()
    };
    spec.rtmr[3] = [0; 48];
    bend(&mut spec);
    let collateral = intel.collateral(&spec);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let json = json!({
        "pck_crl_issuer_chain": text(&collateral.pck_crl_issuer_chain),
        "root_ca_crl": hex::encode(&collateral.root_ca_crl),
        "pck_crl": hex::encode(&collateral.pck_crl),
        "tcb_info_issuer_chain": text(&collateral.tcb_info_issuer_chain),
        "tcb_info": text(&collateral.tcb_info),
        "tcb_info_signature": hex::encode(&collateral.tcb_info_signature),
        "qe_identity_issuer_chain": text(&collateral.qe_identity_issuer_chain),
        "qe_identity": text(&collateral.qe_identity),
        "qe_identity_signature": hex::encode(&collateral.qe_identity_signature),
    });
    std::fs::write(dir.join("quote.bin"), intel.quote(&spec)).unwrap();
    std::fs::write(dir.join("collateral.json"), json.to_string()).unwrap();
    std::fs::write(dir.join("intel.der"), intel.root_der()).unwrap();
}

const SNP: [&str; 6] = [
    "report.bin",
    "--kind",
    "snp",
    "--vek",
    "vcek.der",
    "--chain",
];

fn run(dir: &Path, parts: &[&[&str]]) -> Run {
    dawnkey(dir, &parts.concat())
}

fn verify(dir: &Path, more: &[&str]) -> Run {
    let trust: &[&str] = &[
        "ask.der", "--roots", "ark.der", "--crl", "crl.der", "--at", AT,
    ];
    run(dir, &[&["evidence", "verify"], &SNP, trust, more])
}

#[test]
fn shows_a_report_without_verifying_and_says_so() {
    let dir = snp(|r| r.policy |= 1 << 19);
    let shown = run(dir.path(), &[&["evidence", "show"], &SNP[..5]]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown.out.starts_with("UNVERIFIED snp evidence\n"),
        "{}",
        shown.out
    );
    for words in [
        "nothing below was checked",
        "DEBUG",
        "boot loader 4, TEE 1, SNP 24, microcode 219",
        "days left",
        &"3d".repeat(48),
    ] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let json = run(dir.path(), &[&["evidence", "show", "--json"], &SNP[..5]]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["verified"], false);
    assert_eq!(json["report"]["policy_flags"]["debug"], true);
    assert_eq!(json["vek"][0]["kind"], "VCEK");
}

#[test]
fn verifies_a_report_and_shows_what_it_proves_and_from_where() {
    let dir = snp(|_| ());
    let run = verify(dir.path(), &["--report-data", &"42".repeat(64)]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    for words in [
        "VERIFIED as of 2026-11-22T12:00:00Z: snp evidence of trust class tee",
        "binding: carries the value you gave",
        "instance: ",
        "SNP report, Milan",
        "from: the report's fields, signed by the endorsed key",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    let run = verify(dir.path(), &["--unbound"]);
    assert!(run.out.contains("NOT COMPARED"), "{}", run.out);
    let run = verify(dir.path(), &["--unbound", "--json"]);
    let json: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&json["verdict"], &json["kind"]),
        (&"accepted".into(), &"snp".into())
    );
    assert_eq!(json["claims"]["binding"], "unknown");
    assert_eq!(json["instance"].as_str().unwrap().len(), 64);
}

#[test]
fn refuses_with_the_cause_and_whether_signatures_hold() {
    let dir = snp(|_| ());
    let refused = |more: &[&str]| {
        let run = verify(dir.path(), &[more, &["--json"]].concat());
        assert_eq!(run.code, 1, "{}", run.err);
        let json: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(json["verdict"], "refused");
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        (text("reason"), text("crypto"))
    };
    let other = refused(&["--report-data", &"43".repeat(64)]);
    assert_eq!(
        other,
        ("report_data_mismatch".to_owned(), "valid".to_owned())
    );
    let builtin: &[&str] = &["ask.der", "--crl", "crl.der", "--at", AT, "--unbound"];
    let run_built_in = run(dir.path(), &[&["evidence", "verify"], &SNP, builtin]);
    assert_eq!(run_built_in.code, 1);
    assert!(
        run_built_in.out.starts_with("REFUSED as of "),
        "{}",
        run_built_in.out
    );
    let mut bytes = std::fs::read(dir.path().join("report.bin")).unwrap();
    bytes[0x90] ^= 1;
    std::fs::write(dir.path().join("report.bin"), bytes).unwrap();
    assert_eq!(refused(&["--unbound"]).1, "invalid");
}

#[test]
fn demands_to_be_told_what_evidence_is_bound_to() {
    let dir = snp(|_| ());
    let run = verify(dir.path(), &[]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(run.err.contains("--unbound"), "{}", run.err);
    assert_eq!(verify(dir.path(), &["--unbound", "--nonce", "00"]).code, 2);
    assert_eq!(verify(dir.path(), &["--report-data", "xyz"]).code, 2);
}

#[test]
fn saves_vendors_files_into_one_that_says_what_it_holds() {
    let dir = snp(|_| ());
    let save: &[&str] = &["ask.der", "--out", "node.evidence"];
    let saved = run(dir.path(), &[&["evidence", "save"], &SNP, save]);
    assert_eq!((saved.code, saved.err.as_str()), (0, ""));
    let trust: &[&str] = &[
        "--roots",
        "ark.der",
        "--crl",
        "crl.der",
        "--at",
        AT,
        "--unbound",
    ];
    let file = &["node.evidence"];
    let verified = run(dir.path(), &[&["evidence", "verify"], file, trust]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let again = run(dir.path(), &[&["evidence", "save"], &SNP, save]);
    assert_eq!(again.code, 5, "nothing is overwritten");
    // Without being told, a vendor's file is nothing.
    let raw = run(dir.path(), &[&["evidence", "show", "report.bin"]]);
    assert_eq!(raw.code, 5, "{}", raw.out);
    assert!(raw.err.contains("--kind"), "{}", raw.err);
    let cut = run(
        dir.path(),
        &[&["evidence", "show", "vcek.der", "--kind", "snp"]],
    );
    assert_eq!(cut.code, 5, "{}", cut.out);
}

#[test]
fn verifies_a_quote_with_collateral_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    tdx(dir.path(), |_| ());
    let quote: &[&str] = &[
        "quote.bin",
        "--kind",
        "tdx",
        "--collateral",
        "collateral.json",
    ];
    let shown = run(dir.path(), &[&["evidence", "show"], quote]);
    assert!(
        shown.out.contains("all zero: nothing was extended"),
        "{}{}",
        shown.out,
        shown.err
    );
    let trust: &[&str] = &["--roots", "intel.der", "--unbound", "--at", AT];
    let verified = run(dir.path(), &[&["evidence", "verify"], quote, trust]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains("UpToDate"), "{}", verified.out);
    let without = run(dir.path(), &[&["evidence", "verify"], &quote[..3], trust]);
    assert_eq!(without.code, 1, "{}", without.err);
}

#[test]
fn hostile_text_reaches_the_terminal_as_text_only() {
    let dir = snp(|_| ());
    let azure: &[&str] = &["hcl.bin", "--kind", "azure", "--vek", "vcek.der"];
    for json in [&[][..], &["--json"]] {
        let shown = run(dir.path(), &[&["evidence", "show"], azure, json]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.out.contains(obeyed), "{:?}", shown.out);
        assert!(shown.out.contains("vm"), "{}", shown.out);
    }
}

fn policy(dir: &Path) {
    let text = format!(
        r#"
version = 1
[roots]
amd = ["amd.pem"]
[platform.milan.snp]
products = ["Milan"]
[[image]]
name = "node"
[image.snp]
measurement = "{}"
[volume-policy.state]
trust_class = "tee"
images = ["node"]
platforms = ["milan"]
rollback = "refuse"
"#,
        "3d".repeat(48)
    );
    std::fs::write(dir.join("policy.toml"), text).unwrap();
    let pem: Vec<String> = ["ark.der", "ask.der"]
        .iter()
        .map(|name| {
            let der = std::fs::read(dir.join(name)).unwrap();
            pem_of(&der)
        })
        .collect();
    std::fs::write(dir.join("amd.pem"), pem.concat()).unwrap();
}

fn pem_of(der: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let body = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn test(dir: &Path, more: &[&str]) -> Run {
    let head: &[&str] = &["policy", "test", "policy.toml"];
    let tail: &[&str] = &["--crl", "crl.der", "--volume-policy", "state", "--at", AT];
    run(dir, &[head, &SNP[..5], tail, more])
}

#[test]
fn policy_test_approves_recorded_evidence_and_says_what_was_not_checked() {
    let dir = snp(|_| ());
    policy(dir.path());
    let run = test(dir.path(), &["--recorded"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    assert!(
        run.out.contains("approved: image node on platform milan"),
        "{}",
        run.out
    );
    assert!(
        run.out.contains("not checked: that the evidence is fresh"),
        "{}",
        run.out
    );
    let fresh = test(dir.path(), &[]);
    assert_eq!(fresh.code, 1, "{}", fresh.err);
    assert!(
        fresh.out.contains("denied: binder-mismatch"),
        "{}",
        fresh.out
    );
}

#[test]
fn policy_test_names_the_rule_both_values_and_the_way_out() {
    let dir = snp(|r| r.policy |= 1 << 19);
    policy(dir.path());
    let run = test(dir.path(), &["--recorded"]);
    assert_eq!(run.code, 1, "{}", run.err);
    for words in [
        "denied: guest-not-allowed: debug_enabled",
        "to pass: launch the guest as the policy wants it",
        "decided by: platform.milan.snp.allow_debug",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    let other = snp(|r| r.measurement = [0xaa; 48]);
    policy(other.path());
    let run = test(other.path(), &["--recorded"]);
    assert!(run.out.contains(&"aa".repeat(48)) && run.out.contains(&"3d".repeat(48)));
    assert!(run.out.contains("denied: image-unknown"), "{}", run.out);
}

#[test]
fn policy_test_refuses_evidence_that_is_not_genuine() {
    let dir = snp(|_| ());
    policy(dir.path());
    let mut bytes = std::fs::read(dir.path().join("report.bin")).unwrap();
    bytes[0x90] ^= 1;
    std::fs::write(dir.path().join("report.bin"), bytes).unwrap();
    let run = test(dir.path(), &["--recorded"]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.out.starts_with("REFUSED as of"), "{}", run.out);
    let absent = test(dir.path(), &["--recorded", "--volume-policy", "gone"]);
    assert_eq!(absent.code, 2, "{}", absent.out);
}

#[test]
fn finds_what_evidence_lacks_in_a_store_of_endorsements() {
    let dir = snp(|_| ());
    policy(dir.path());
    for name in ["vcek.der", "ask.der", "crl.der"] {
        let import: &[&str] = &["endorsements", "import", name, "--store", "store"];
        let roots: &[&str] = &["--policy", "policy.toml"];
        let run = run(dir.path(), &[import, roots]);
        assert_eq!(run.code, 0, "{name}: {}{}", run.out, run.err);
    }
    let bare: &[&str] = &[
        "report.bin",
        "--kind",
        "snp",
        "--unbound",
        "--policy",
        "policy.toml",
        "--at",
        AT,
    ];
    let without = run(dir.path(), &[&["evidence", "verify"], bare]);
    assert_eq!(without.code, 1, "{}", without.err);
    let with: &[&str] = &["--endorsements", "store"];
    let verified = run(dir.path(), &[&["evidence", "verify"], bare, with]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let absent = run(
        dir.path(),
        &[&["evidence", "verify"], bare, &["--endorsements", "none"]],
    );
    assert_eq!(absent.code, 5, "{}", absent.out);
}
