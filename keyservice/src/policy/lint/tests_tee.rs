//! What lint finds in policies for TEEs.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::policy::testing::mock::now;
use crate::policy::testing::{FILE, parse, tee_file};

fn found(text: &str) -> Vec<(Severity, String)> {
    let findings = lint_at(&parse(text).unwrap(), now());
    findings.into_iter().map(|f| (f.severity, f.key)).collect()
}

fn has(text: &str, severity: Severity, key: &str) -> bool {
    found(text).contains(&(severity, key.to_owned()))
}

#[test]
fn a_good_policy_for_tees_gets_no_finding() {
    assert_eq!(found(&tee_file()), []);
}

#[test]
fn finds_images_without_the_values_that_the_class_is_judged_by() {
    let tee = FILE
        .replacen("\"hypervisor\"", "\"tee\"\nplatforms = [\"milan\"]", 1)
        .replacen(
            "[[image]]",
            "[platform.milan.snp]\nproducts = [\"Milan\"]\n[[image]]",
            1,
        );
    assert!(has(&tee, Severity::Error, "image.node-2026-11"));
    assert!(has(&tee, Severity::Error, "roots.amd"));
    let vtpm = tee_file().replacen("\"tee\"", "\"tee-vtpm\"\npcrs_pre_cap = [15]", 1);
    assert!(has(&vtpm, Severity::Error, "image.node"));
}

#[test]
fn finds_missing_platforms_and_platforms_without_use() {
    let none = tee_file().replacen("platforms = [\"milan\", \"xeon\"]", "platforms = []", 1);
    assert!(has(&none, Severity::Error, "volume-policy.state.platforms"));
    assert!(has(&none, Severity::Note, "platform.milan"));
    let idle = FILE.replacen("\"hypervisor\"", "\"hypervisor\"\nplatforms = [\"m\"]", 1)
        + "\n[platform.m.snp]\nproducts = [\"Milan\"]\n";
    assert!(has(
        &idle,
        Severity::Warning,
        "volume-policy.state.platforms"
    ));
}

#[test]
fn finds_everything_that_a_platform_allows_and_should_not() {
    for rule in [
        "allow_debug = true",
        "allow_migration_agent = true",
        "allow_provisional_firmware = true",
        "max_vmpl = 1",
        "allow_reserved = true",
        "allow_unknown_cpu = true",
    ] {
        let text = tee_file().replacen("products =", &format!("{rule}\nproducts ="), 1);
        let field = rule.split(' ').next().unwrap();
        let key = format!("platform.milan.snp.{field}");
        assert!(has(&text, Severity::Warning, &key), "{rule}");
    }
    for rule in [
        "allow_debug = true",
        "allow_service_td = true",
        "migratable = \"any\"",
        "require_sept_ve_disable = false",
        "allowed_tcb_status = [\"UpToDate\", \"OutOfDate\"]",
        "allowed_tcb_status = [\"Revoked\"]",
    ] {
        let with = format!("[platform.xeon.tdx]\n{rule}");
        let text = tee_file().replacen("[platform.xeon.tdx]", &with, 1);
        let field = rule.split(' ').next().unwrap();
        let key = format!("platform.xeon.tdx.{field}");
        assert!(has(&text, Severity::Warning, &key), "{rule}");
    }
}

#[test]
fn finds_missing_floors_registers_and_lists() {
    let text = tee_file();
    let no_launch = text.replacen("launch = { snp = 24 }\n", "", 1);
    assert!(has(
        &no_launch,
        Severity::Warning,
        "platform.milan.snp.tcb.Milan"
    ));
    let two = text.replacen("[\"Milan\"]", "[\"Milan\", \"Genoa\"]", 1);
    assert!(has(&two, Severity::Warning, "platform.milan.snp.tcb.Genoa"));
    let free = text.replacen("\nrtmr2 =", "\nrtmr3 =", 1);
    assert!(has(&free, Severity::Warning, "image.node.tdx.rtmr2"));
    let again = text.replacen("rtmrs_pre_cap = [3]", "rtmrs_pre_cap = []", 1);
    assert!(has(
        &again,
        Severity::Warning,
        "volume-policy.state.rtmrs_pre_cap"
    ));
    let lists = text.replacen("[roots]", "[roots]\nrequire_crl = false", 1);
    assert!(has(&lists, Severity::Warning, "roots.require_crl"));
    let number = text.replacen("min_tcb_evaluation_data_number = 20", "", 1);
    let key = "platform.xeon.tdx.min_tcb_evaluation_data_number";
    assert!(has(&number, Severity::Note, key));
}

#[test]
fn tells_what_an_owner_means() {
    let any = tee_file().replacen("rollback", "owner = \"any\"\nrollback", 1);
    assert!(has(&any, Severity::Note, "volume-policy.state.owner"));
    let vlek = tee_file().replacen("products =", "signing_keys = [\"vlek\"]\nproducts =", 1);
    assert!(has(&vlek, Severity::Note, "volume-policy.state.owner"));
    let anyone = FILE.replacen("rollback", "owner = \"any\"\nrollback", 1);
    assert!(has(&anyone, Severity::Warning, "volume-policy.state.owner"));
    let future = tee_file().replacen(
        "name = \"node\"",
        "name = \"node\"\nvalid_from = \"2027-01-01T00:00:00Z\"",
        1,
    );
    assert!(has(&future, Severity::Note, "image.node.valid_from"));
}
