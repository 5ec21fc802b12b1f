//! The whole unlock of a machine in the shape of an Azure confidential VM: the TPM quotes the measured boot, with a
//! key that an SNP report in the TPM vouches for; the report's certificates come from the metadata service.

use dawnkey_qemu_tests::lab::Lab;

use crate::story::{failure, record};

const SCRIPT: &str = r#"
config() { cat /etc/dawnkey/agent.toml; printf '[attestation]\nkind = "%s"\n' "$1"; }
agent() { dawnkey-agent --config /run/agent.toml --json unlock; }
config vtpm >/run/agent.toml
step vtpm agent
tee_platform snp
step imds tee_imds
config auto >/run/agent.toml
step unlock agent
dmsetup remove_all
step again agent
"#;

#[test]
fn azure_tpm_with_an_snp_report_behind_it_gets_the_key_and_a_plain_tpm_does_not() {
    let lab = Lab::open().unwrap();
    let scene = lab.azure_scene().unwrap();
    let disk = scene.volume().unwrap();
    let machine = scene.machine_with_platforms().disk(&disk);
    let boot = machine.script(SCRIPT).boot().unwrap();
    println!("measured: Azure unlock {:.1} s", boot.elapsed.as_secs_f64());
    let step = |name: &str| boot.results.step(name).unwrap();
    let (exit, reason, message) = failure(step("vtpm"));
    assert_eq!(exit, 21, "{message}");
    assert_eq!(reason, "key-not-enrolled", "{message}");
    let unlock = step("unlock");
    assert_eq!(unlock.exit, 0, "{unlock:#?}\n{}", scene.service.log());
    let report = unlock.json().unwrap();
    assert_eq!(report["evidence"], "azure", "{report}");
    assert_eq!(report["outcome"], "provisioned", "{report}");
    let (exit, reason, message) = failure(step("again"));
    assert_eq!((exit, reason.as_str()), (21, "pcr-mismatch"), "{message}");
    assert_eq!(record(&scene).unwrap()["generation"], 1);
}
