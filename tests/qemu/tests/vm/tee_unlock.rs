//! The whole unlock with reports of TEEs: collected through the kernel's interfaces, judged by the key service.
//!
//! One boot, since a TEE's report says nothing about what happened after the launch on this kernel: a volume is
//! provisioned by a report of configfs, refused to platforms that are not in order, and unlocked by a report of
//! `/dev/sev-guest`. A second volume is provisioned by a TD quote of configfs, and unlocked by one that the quote
//! generation service made from a report of `/dev/tdx_guest`.

use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::operator::VOLUME;
use serde_json::Value;

use crate::story::{failure, record};

/// The TD's volume.
const SECOND: &str = "0c1f6c0b-6a0d-4f5c-9a55-5b8f6b0c7d22";

/// `tee NAME KIND` runs the agent as step NAME on the first disk, `td` on the second.
const SCRIPT: &str = r##"
config() {
    sed -e "s#/dev/vdb#$2#" -e "s#^id = .*#id = \"$3\"#" /etc/dawnkey/agent.toml
    printf '[attestation]\nkind = "%s"\nwithout_runtime_register = "report"\n' "$1"
    echo 'quote_service = "vsock:1:4050"'
}
agent() { dawnkey-agent --config /run/agent.toml --json unlock; }
tee() { config "$2" /dev/vda "$first" >/run/agent.toml; step "$1" agent; }
td() { config "$2" /dev/vdb "$second" >/run/agent.toml; step "$1" agent; }
write_file() { mount -t ext4 /dev/mapper/state /mnt && echo "written by a TEE" >/mnt/file && umount /mnt; }
read_file() { mount -t ext4 /dev/mapper/state /mnt && cat /mnt/file && umount /mnt; }

tee no_interface auto
tee_configfs_without_provider
tee no_provider auto
tee no_snp snp

tee_platform snp
step provider tee_configfs sev_guest
tee provision auto
step write write_file
dmsetup remove_all
for platform in snp-debug snp-vmpl snp-revoked; do
    tee_platform $platform
    tee $platform snp
done
tee_platform snp
tee same_launch snp
step mapped ls /dev/mapper

umount /sys/kernel/config
tee_platform snp-relaunched
step device tee_device sev-guest
tee unlock_by_ioctl auto
step read read_file
dmsetup remove_all
step device_removed tee_remove_device sev-guest

mount -t configfs configfs /sys/kernel/config
step removed tee_remove_provider
tee_platform tdx-debug
step provider_tdx tee_configfs tdx_guest
td tdx-debug tdx
tee_platform tdx
td provision_td auto
step write_td write_file
dmsetup remove_all

step configfs_removed tee_remove_configfs
step interface ls /sys/kernel/config
step device_tdx tee_device tdx-guest
td no_quote_service auto
step quote_service tee_quote_service
td unlock_td auto
step read_td read_file
"##;

/// What the boot showed, and what the store held after it.
struct Told {
    boot: Boot,
    record: Value,
    service: String,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let disk = scene.volume()?;
    scene.operator.create_volume(SECOND)?;
    let second = scene.blank("second.disk", DISK_BYTES)?;
    let script = format!("first={VOLUME}\nsecond={SECOND}\n{SCRIPT}");
    let machine = scene.direct().disk(&disk).disk(&second);
    let boot = machine.script(&script).boot()?;
    Ok(Told {
        boot,
        record: record(&scene)?,
        service: scene.service.log(),
    })
}

fn told() -> &'static Told {
    TOLD.as_ref()
        .unwrap_or_else(|e| panic!("the boot failed: {e}"))
}

/// The agent's report of a run that must have worked.
fn succeeded(name: &str) -> Value {
    let step = told().boot.results.step(name).unwrap();
    assert_eq!(step.exit, 0, "{step:#?}\n{}", told().service);
    step.json().unwrap()
}

fn refused(name: &str) -> (i32, String, String) {
    failure(told().boot.results.step(name).unwrap())
}

#[test]
fn machine_without_a_tee_is_told_so_and_gets_nothing() {
    for (step, sign) in [
        ("no_interface", "/dev/sev-guest"),
        ("no_provider", "/dev/tdx_guest"),
    ] {
        let (exit, _, message) = refused(step);
        assert_eq!(exit, 10, "{message}");
        assert!(message.contains("no TEE was found"), "{message}");
        assert!(message.contains(sign), "{message}");
    }
    let (exit, _, message) = refused("no_snp");
    assert_eq!(exit, 10, "{message}");
    assert!(message.contains("sev-guest"), "{message}");
}

#[test]
fn snp_report_of_configfs_gets_the_key() {
    println!(
        "measured: TEE unlocks {:.1} s",
        told().boot.elapsed.as_secs_f64()
    );
    let report = succeeded("provision");
    assert_eq!(report["outcome"], "provisioned", "{report}");
    assert_eq!(report["evidence"], "snp", "{report}");
}

#[test]
fn snp_report_of_the_device_gets_the_key() {
    let report = succeeded("unlock_by_ioctl");
    assert_eq!(report["outcome"], "unlocked", "{report}");
    assert_eq!(report["evidence"], "snp", "{report}");
    let read = told().boot.results.step("read").unwrap();
    assert_eq!(read.stdout, "written by a TEE\n", "{read:?}");
}

#[test]
fn td_quote_of_configfs_gets_the_key() {
    let report = succeeded("provision_td");
    assert_eq!(report["outcome"], "provisioned", "{report}");
    assert_eq!(report["evidence"], "tdx", "{report}");
}

#[test]
fn td_without_configfs_unlocks_through_its_device_and_the_quote_service() {
    for name in ["configfs_removed", "device_tdx", "quote_service"] {
        let step = told().boot.results.step(name).unwrap();
        assert_eq!(step.exit, 0, "{step:#?}");
    }
    let interface = told().boot.results.step("interface").unwrap();
    assert_eq!((interface.exit, interface.stdout.trim()), (0, ""));
    let report = succeeded("unlock_td");
    assert_eq!(report["outcome"], "unlocked", "{report}");
    assert_eq!(report["evidence"], "tdx", "{report}");
    let read = told().boot.results.step("read_td").unwrap();
    assert_eq!(read.stdout, "written by a TEE\n", "{read:?}");
}

#[test]
fn td_whose_quote_service_does_not_answer_gets_nothing() {
    let (exit, _, message) = refused("no_quote_service");
    assert_eq!(exit, 10, "{message}");
    assert!(message.contains("vsock 1:4050"), "{message}");
}

#[test]
fn guest_that_can_be_debugged_is_refused() {
    for step in ["snp-debug", "tdx-debug"] {
        let (exit, reason, message) = refused(step);
        assert_eq!(exit, 21, "{message}");
        assert_eq!(reason, "guest-not-allowed", "{message}");
        assert!(message.contains("debug"), "{message}");
    }
}

#[test]
fn report_of_a_less_privileged_level_is_refused() {
    let (exit, reason, message) = refused("snp-vmpl");
    assert_eq!(
        (exit, reason.as_str()),
        (21, "guest-not-allowed"),
        "{message}"
    );
    assert!(message.contains("VMPL 2"), "{message}");
}

#[test]
fn revoked_endorsement_key_is_refused() {
    let (exit, reason, message) = refused("snp-revoked");
    assert_eq!(
        (exit, reason.as_str()),
        (21, "endorsement-untrusted"),
        "{message}"
    );
    assert!(message.contains("revoked"), "{message}");
}

#[test]
fn launch_that_has_had_its_key_gets_it_no_second_time() {
    let (exit, reason, message) = refused("same_launch");
    assert_eq!((exit, reason.as_str()), (21, "boot-closed"), "{message}");
}

#[test]
fn refused_platforms_leave_nothing_mapped_and_the_record_as_it_was() {
    let mapped = told().boot.results.step("mapped").unwrap();
    assert_eq!(mapped.stdout.trim(), "control");
    assert_eq!(told().record["generation"], 2, "{}", told().record);
}
