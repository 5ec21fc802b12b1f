//! Judging evidence of TEEs: every rule refuses by its own key, with what was found and what is wanted.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::policy::testing::mock::{now, snp_claims, tdx_claims};
use crate::policy::testing::{FILE, azure_claims, claims, parse, tee_file};
use dawnkey_attest::snp::fake::ReportSpec;
use dawnkey_attest::tdx::TcbStatus;
use dawnkey_attest::tdx::fake::Spec;

fn judge(text: &str, claims: &Claims) -> Decision {
    parse(text)
        .unwrap()
        .judge("state", claims, Freshness::Demanded, now())
}

/// Reason, deciding key and detail.
fn denied(text: &str, claims: &Claims) -> (Reason, String, String) {
    let decision = judge(text, claims);
    let rule = decision.rule().to_owned();
    match decision.verdict {
        Verdict::Deny { reason, detail, .. } => (reason, rule, detail),
        Verdict::Approve { image, .. } => panic!("approved as {image}"),
    }
}

#[test]
fn approves_snp_and_tdx_guests_of_one_image_on_their_platforms() {
    for (claims, platform) in [(snp_claims(|_| ()), "milan"), (tdx_claims(|_| ()), "xeon")] {
        let decision = judge(&tee_file(), &claims);
        let expected = Verdict::Approve {
            image: "node".into(),
            platform: Some(platform.into()),
        };
        assert_eq!(decision.verdict, expected, "{:#?}", decision.trace);
    }
}

/// A rule in the file, a report that breaks it, and what the refusal must say.
type SnpCase = (
    &'static str,
    fn(&mut ReportSpec),
    Reason,
    &'static str,
    [&'static str; 2],
);

#[test]
fn every_rule_of_an_snp_platform_refuses_by_its_own_key() {
    use Reason::{GuestNotAllowed as Guest, PlatformNotAllowed as Platform, TcbTooOld as Tcb};
    let cases: [SnpCase; 17] = [
        (
            "",
            |r| r.policy |= 1 << 19,
            Guest,
            "allow_debug",
            ["debug_enabled", "off"],
        ),
        (
            "",
            |r| r.policy |= 1 << 18,
            Guest,
            "allow_migration_agent",
            ["migration", "off"],
        ),
        (
            "",
            |r| r.vmpl = 2,
            Guest,
            "max_vmpl",
            ["VMPL 2", "0 at most"],
        ),
        (
            "",
            |r| r.vmpl = u32::MAX,
            Guest,
            "max_vmpl",
            ["0xffffffff", "guest"],
        ),
        (
            "guest_policy_forbidden = [\"smt\"]",
            |_| (),
            Guest,
            "guest_policy_forbidden",
            ["0x10000", "none of smt"],
        ),
        (
            "guest_policy_required = [\"page_swap_disable\"]",
            |_| (),
            Guest,
            "guest_policy_required",
            ["0x2000000", "wants page_swap_disable"],
        ),
        (
            "require_single_socket = true",
            |_| (),
            Guest,
            "require_single_socket",
            ["several", "one"],
        ),
        (
            "signing_keys = [\"vlek\"]",
            |_| (),
            Platform,
            "signing_keys",
            ["VCEK", "wants VLEK"],
        ),
        (
            "chips = [\"0102030405060708\"]",
            |_| (),
            Platform,
            "chips",
            ["c5c4", "0102030405060708"],
        ),
        (
            "",
            |r| r.chip_id = [0; 64],
            Platform,
            "allow_masked_chip_id",
            ["masked", "a chip id"],
        ),
        (
            "min_report_version = 5",
            |r| r.version = 3,
            Platform,
            "min_report_version",
            ["version 3", "5 at"],
        ),
        (
            "",
            |r| r.platform_info = 1,
            Platform,
            "platform_info_required",
            ["0x20", "alias_check_complete"],
        ),
        (
            "require_smt_off = true",
            |_| (),
            Platform,
            "require_smt_off",
            ["multithreading", "off"],
        ),
        (
            "launch_mitigations = 16",
            |_| (),
            Tcb,
            "launch_mitigations",
            ["lacks bits 0x10", "0x10"],
        ),
        (
            "min_firmware = \"1.56.0\"",
            |_| (),
            Tcb,
            "min_firmware",
            ["1.55.43", "1.56.0 at least"],
        ),
        (
            "",
            |r| r.launch_tcb[6] = 23,
            Tcb,
            "tcb.Milan.launch",
            ["launch TCB's snp is Some(23)", "24 at least"],
        ),
        (
            "",
            |r| r.committed_version = [40, 55, 1],
            Tcb,
            "allow_provisional_firmware",
            ["1.55.43 runs", "1.55.40 is committed"],
        ),
    ];
    for (rule, bend, reason, key, shown) in cases {
        let text = tee_file().replacen("products =", &format!("{rule}\nproducts ="), 1);
        let (found, decided, detail) = denied(&text, &snp_claims(bend));
        assert_eq!(
            (found, &*decided),
            (reason, &*format!("platform.milan.snp.{key}")),
            "{detail}"
        );
        for words in shown {
            assert!(detail.contains(words), "{key}: {detail}");
        }
    }
}

type TdxCase = (
    &'static str,
    fn(&mut Spec),
    Reason,
    &'static str,
    [&'static str; 2],
);

#[test]
fn every_rule_of_a_tdx_platform_refuses_by_its_own_key() {
    use Reason::{GuestNotAllowed as Guest, PlatformNotAllowed as Platform, TcbTooOld as Tcb};
    let cases: [TdxCase; 9] = [
        (
            "",
            |s| s.td_attributes |= 1,
            Guest,
            "allow_debug",
            ["debug_enabled", "off"],
        ),
        (
            "",
            |s| s.td_attributes = 0,
            Guest,
            "require_sept_ve_disable",
            ["SEPT_VE", "it on"],
        ),
        (
            "",
            |s| s.td_attributes |= 1 << 29,
            Guest,
            "migratable",
            ["MIGRATABLE is true", "false"],
        ),
        (
            "pks = \"required\"",
            |_| (),
            Guest,
            "pks",
            ["PKS is false", "wants true"],
        ),
        (
            "",
            |s| {
                s.body_type = Some(3);
                s.mr_service_td = [9; 48];
            },
            Guest,
            "allow_service_td",
            ["0909", "none"],
        ),
        (
            "",
            |s| s.component_svn = 4,
            Tcb,
            "allowed_tcb_status",
            ["OutOfDate", "wants UpToDate"],
        ),
        (
            "accepted_advisories = [\"INTEL-SA-1\"]",
            |s| s.advisories = vec!["INTEL-SA-2"],
            Tcb,
            "accepted_advisories",
            ["INTEL-SA-2 is open", "wants INTEL-SA-1"],
        ),
        (
            "",
            |s| s.evaluation_number = 19,
            Tcb,
            "min_tcb_evaluation_data_number",
            ["19", "20 at least"],
        ),
        (
            "ppids = [\"00112233445566778899aabbccddeeff\"]",
            |_| (),
            Platform,
            "ppids",
            ["PPID", "00112233445566778899aabbccddeeff"],
        ),
    ];
    for (rule, bend, reason, key, shown) in cases {
        let text = tee_file().replacen(
            "[platform.xeon.tdx]",
            &format!("[platform.xeon.tdx]\n{rule}"),
            1,
        );
        let (found, decided, detail) = denied(&text, &tdx_claims(bend));
        assert_eq!(
            (found, &*decided),
            (reason, &*format!("platform.xeon.tdx.{key}")),
            "{detail}"
        );
        for words in shown {
            assert!(detail.contains(words), "{key}: {detail}");
        }
    }
}

#[test]
fn an_out_of_date_tcb_passes_for_its_days_of_grace_only() {
    let old = tdx_claims(|s| {
        s.component_svn = 4;
        s.lower_status = TcbStatus::OutOfDate;
    });
    let date = old.tdx.as_ref().unwrap().tcb.tcb_date;
    let age = now().duration_since(date).as_hours() / 24;
    let with = |days: i64| {
        let rule = format!("[platform.xeon.tdx]\nout_of_date_grace_days = {days}");
        tee_file().replacen("[platform.xeon.tdx]", &rule, 1)
    };
    let passed = judge(&with(age + 1), &old).verdict;
    assert!(matches!(passed, Verdict::Approve { .. }), "{passed:?}");
    let (reason, _, detail) = denied(&with(age - 1), &old);
    assert_eq!(reason, Reason::TcbTooOld);
    assert!(
        detail.contains(&format!("out of date for {} days", age - 1)),
        "{detail}"
    );
}

#[test]
fn refuses_another_measurement_register_or_owner_with_both_values() {
    let (reason, rule, detail) = denied(&tee_file(), &snp_claims(|r| r.measurement = [0xaa; 48]));
    assert_eq!(
        (reason, &*rule),
        (Reason::ImageUnknown, "volume-policy.state.images")
    );
    assert!(
        detail.contains(&"aa".repeat(48)) && detail.contains(&"3d".repeat(48)),
        "{detail}"
    );
    let (reason, _, detail) = denied(&tee_file(), &tdx_claims(|s| s.rtmr[2] = [0xbb; 48]));
    assert_eq!(reason, Reason::MeasurementMismatch);
    assert!(
        detail.contains("RTMR 2 is bbbb") && detail.contains("expected 2222"),
        "{detail}"
    );
    let host = "[image.snp]\nhost_data = \"";
    let text = tee_file().replacen(
        "[image.snp]\n",
        &format!("{host}{}\"\n", "77".repeat(32)),
        1,
    );
    let (reason, _, detail) = denied(&text, &snp_claims(|_| ()));
    assert_eq!(reason, Reason::MeasurementMismatch);
    assert!(
        detail.contains("host data is 0000") && detail.contains("expected 7777"),
        "{detail}"
    );
    let text = tee_file().replacen("[image.snp]", "[image.snp]\nmin_guest_svn = 4", 1);
    let (reason, _, detail) = denied(&text, &snp_claims(|r| r.guest_svn = 3));
    assert_eq!(reason, Reason::MeasurementMismatch);
    assert!(detail.contains("is 3, expected at least 4"), "{detail}");
}

#[test]
fn an_author_key_counts_only_where_the_launch_had_one() {
    let key = "66".repeat(48);
    let text = tee_file().replacen(
        "[image.snp]",
        &format!("[image.snp]\nauthor_key_digests = [\"{key}\"]"),
        1,
    );
    let (reason, _, detail) = denied(&text, &snp_claims(|r| r.author_key_digest = [0x66; 48]));
    assert_eq!(reason, Reason::MeasurementMismatch);
    assert!(detail.contains("author key is 0000"), "{detail}");
    let with = snp_claims(|r| {
        r.author_key_digest = [0x66; 48];
        r.key_info |= 1;
    });
    assert!(matches!(
        judge(&text, &with).verdict,
        Verdict::Approve { .. }
    ));
}

#[test]
fn refuses_a_td_whose_boot_was_closed() {
    let (reason, rule, detail) = denied(&tee_file(), &tdx_claims(|s| s.rtmr[3] = [5; 48]));
    assert_eq!(
        (reason, &*rule),
        (
            Reason::MeasurementMismatch,
            "volume-policy.state.rtmrs_pre_cap"
        )
    );
    assert!(detail.starts_with("RTMR 3 is 0505"), "{detail}");
}

#[test]
fn refuses_a_product_that_is_not_listed_and_names_what_is() {
    let text = tee_file()
        .replace(
            "products = [\"Milan\"]",
            "products = [\"Genoa\", \"Turin\"]",
        )
        .replace("tcb.Milan", "tcb.Genoa");
    let (reason, rule, detail) = denied(&text, &snp_claims(|_| ()));
    assert_eq!(
        (reason, &*rule),
        (Reason::PlatformNotAllowed, "platform.milan.snp.products")
    );
    assert!(
        detail.contains("line Milan") && detail.contains("Genoa or Turin"),
        "{detail}"
    );
}

#[test]
fn refuses_every_tee_while_no_platform_is_listed() {
    let none = tee_file().replacen("platforms = [\"milan\", \"xeon\"]", "platforms = []", 1);
    let (reason, rule, _) = denied(&none, &snp_claims(|_| ()));
    assert_eq!(
        (reason, &*rule),
        (Reason::PlatformNotAllowed, "volume-policy.state.platforms")
    );
    let other = tee_file().replacen(
        "platforms = [\"milan\", \"xeon\"]",
        "platforms = [\"xeon\"]",
        1,
    );
    let (reason, rule, detail) = denied(&other, &snp_claims(|_| ()));
    assert_eq!(
        (reason, &*rule),
        (Reason::PlatformNotAllowed, "platform.xeon.tdx")
    );
    assert!(detail.contains("kind snp"), "{detail}");
}

#[test]
fn a_software_tpm_never_passes_as_a_tee() {
    let mut dressed = claims(1);
    for class in ["tee", "tee-vtpm"] {
        let text = FILE.replacen("\"hypervisor\"", &format!("\"{class}\""), 1);
        assert_eq!(denied(&text, &dressed).0, Reason::TrustClass);
    }
    // Even a verifier that named the wrong class would get no further.
    dressed.trust_class = Some(TrustClass::TeeVtpm);
    let text = FILE.replacen("\"hypervisor\"", "\"tee-vtpm\"", 1);
    assert_eq!(denied(&text, &dressed).0, Reason::PlatformNotAllowed);
}

fn azure_file() -> String {
    let (_, tables) = FILE.split_once("[[image]]").unwrap();
    let (_, platforms) = tee_file()
        .split_once("[platform.milan.snp]")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (platforms, _) = platforms.split_once("[[image]]").unwrap();
    let policy = tables
        .replacen("\"hypervisor\"", "\"tee-vtpm\"\nplatforms = [\"milan\"]", 1)
        .replacen("enrol = \"endorsed\"\n", "", 1);
    format!(
        "version = 1\n[roots]\namd = [\"amd.pem\"]\n[platform.milan.snp]{platforms}[[image]]{policy}"
    )
}

#[test]
fn a_vtpm_under_a_tee_is_judged_by_its_pcrs_and_its_platform() {
    let text = azure_file();
    let decision = judge(&text, &azure_claims(1));
    let expected = Verdict::Approve {
        image: "node-2026-11".into(),
        platform: Some("milan".into()),
    };
    assert_eq!(decision.verdict, expected, "{:#?}", decision.trace);
    let mut capped = azure_claims(1);
    capped.pcrs.insert(15, vec![1; 32]);
    assert_eq!(denied(&text, &capped).0, Reason::PcrMismatch);
    let mut changed = azure_claims(1);
    changed.pcrs.insert(12, vec![1; 32]);
    assert_eq!(denied(&text, &changed).0, Reason::PcrMismatch);
    let paravisor = text.replacen(
        "[image.pcrs.sha256]",
        &format!(
            "[image.snp]\nmeasurement = \"{}\"\n[image.pcrs.sha256]",
            "ee".repeat(48)
        ),
        1,
    );
    assert_eq!(
        denied(&paravisor, &azure_claims(1)).0,
        Reason::MeasurementMismatch
    );
}

#[test]
fn refuses_an_image_without_values_for_such_evidence() {
    let (head, tail) = (tee_file(), "");
    let start = head.find("[image.snp]").unwrap();
    let end = head.find("[image.tdx]").unwrap();
    let text = format!("{}{}{tail}", &head[..start], &head[end..]);
    let (reason, _, detail) = denied(&text, &snp_claims(|_| ()));
    assert_eq!(reason, Reason::ImageUnknown);
    assert!(detail.contains("no [image.snp]"), "{detail}");
}
