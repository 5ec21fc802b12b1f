//! Reports through the kernel's own interface for them, judged on the host by the production verifier: what the
//! other tests' stand-ins sign is what real hardware would, as far as the verifier can tell.

use std::process::Command;
use std::sync::LazyLock;

use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::results::Step;
use dawnkey_qemu_tests::{VmError, command};
use serde_json::Value;

/// 64 bytes of report data.
const DATA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const SCRIPT: &str = r#"
data=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
tsm=/sys/kernel/config/tsm/report
tee_platform snp
tee_configfs_without_provider
step no_provider mkdir $tsm/early
step provider tee_configfs sev_guest
step snp tee_report snp $data
mkdir $tsm/attributes
step attributes ls $tsm/attributes
rmdir $tsm/attributes
step level tee_report level $data 3
for platform in snp-debug snp-vmpl snp-revoked; do
    tee_platform $platform
    step $platform tee_report $platform $data
done
step short tee_report short too-short
step removed tee_remove_provider
tee_platform tdx
step again tee_configfs tdx_guest
step tdx tee_report tdx $data
mkdir $tsm/attributes
step attributes_tdx ls $tsm/attributes
rmdir $tsm/attributes
tee_platform tdx-debug
step tdx-debug tee_report tdx-debug $data
"#;

static BOOT: LazyLock<Result<Boot, String>> = LazyLock::new(|| boot().map_err(|e| e.to_string()));

fn boot() -> Result<Boot, VmError> {
    let dir = tempfile::tempdir().expect("a scratch directory");
    Lab::open()?.direct(dir.path()).script(SCRIPT).boot()
}

fn told() -> &'static Boot {
    BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

fn step(name: &str) -> &'static Step {
    told().results.step(name).unwrap()
}

/// What `tee_report` printed.
struct Collected {
    provider: &'static str,
    generation: u64,
    report: Vec<u8>,
    certificates: Vec<u8>,
}

fn collected(name: &str) -> Collected {
    let step = step(name);
    assert_eq!(step.exit, 0, "{step:#?}");
    let mut lines = step.stdout.lines();
    let provider = lines.next().unwrap();
    let generation = lines.next().unwrap().parse().unwrap();
    let mut blob = || unhex(lines.next().unwrap_or_default());
    Collected {
        provider,
        generation,
        report: blob(),
        certificates: blob(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The production verifier's claims, or its refusal.
fn verified(collected: &Collected) -> Result<Value, String> {
    let lab = Lab::open().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data: String = DATA.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut verify = Command::new(&lab.test_pki);
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let report = file("report", &collected.report);
    if collected.provider == "sev_guest" {
        verify.arg("verify-snp").arg(&lab.platforms).arg(report);
        verify.arg(file("certificates", &collected.certificates));
    } else {
        verify.arg("verify-tdx").arg(&lab.platforms).arg(report);
    }
    let claims = command::run(verify.arg(data)).map_err(|e| e.to_string())?;
    Ok(serde_json::from_str(&claims).unwrap())
}

#[test]
fn without_a_provider_no_entry_can_be_made() {
    println!(
        "measured: reports of both kinds by configfs {:.1} s",
        told().elapsed.as_secs_f64()
    );
    let step = step("no_provider");
    assert_ne!(step.exit, 0);
    assert!(
        step.stderr.contains("No such device or address"),
        "{step:?}"
    );
}

#[test]
fn snp_report_of_configfs_verifies_with_its_certificates() {
    let collected = collected("snp");
    assert_eq!(collected.provider, "sev_guest");
    assert_eq!(
        collected.generation, 1,
        "one write since the entry was made"
    );
    assert_eq!(collected.report.len(), 1184);
    assert_eq!(collected.certificates.len() % 4096, 0);
    let claims = verified(&collected).unwrap();
    assert_eq!(claims["kind"], "snp", "{claims}");
    assert_eq!(claims["snp"]["report"]["vmpl"], 0, "{claims}");
}

#[test]
fn td_quote_of_configfs_verifies_with_collateral_of_the_host() {
    let collected = collected("tdx");
    assert_eq!(collected.provider, "tdx_guest");
    let claims = verified(&collected).unwrap();
    assert_eq!(claims["kind"], "tdx", "{claims}");
}

#[test]
fn providers_show_the_attributes_of_the_real_ones() {
    assert_eq!(step("removed").exit, 0, "{:?}", step("removed"));
    assert_eq!(step("again").exit, 0, "{:?}", step("again"));
    let snp = &step("attributes").stdout;
    let tdx = &step("attributes_tdx").stdout;
    let names = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(tdx), ["generation", "inblob", "outblob", "provider"]);
    for name in ["auxblob", "privlevel", "privlevel_floor"] {
        assert!(names(snp).contains(&name.to_owned()), "{snp}");
    }
}

#[test]
fn privilege_level_reaches_the_report_and_counts_as_a_write() {
    let collected = collected("level");
    assert_eq!(collected.generation, 2);
    assert_eq!(collected.report[48..52], [3, 0, 0, 0]);
}

#[test]
fn report_data_of_another_length_gives_no_report() {
    assert_ne!(step("short").exit, 0);
}

#[test]
fn report_of_a_revoked_endorsement_key_does_not_verify() {
    let refusal = verified(&collected("snp-revoked")).unwrap_err();
    assert!(refusal.contains("revoked"), "{refusal}");
}

#[test]
fn debug_and_vmpl_of_a_report_come_out_as_claims() {
    let debug = verified(&collected("snp-debug")).unwrap();
    assert_eq!(
        debug["snp"]["report"]["policy_flags"]["debug"], true,
        "{debug}"
    );
    let vmpl = verified(&collected("snp-vmpl")).unwrap();
    assert_eq!(vmpl["snp"]["report"]["vmpl"], 2, "{vmpl}");
    let td = verified(&collected("tdx-debug")).unwrap();
    assert_eq!(td["tdx"]["td"]["td_attributes"]["debug"], true, "{td}");
}
