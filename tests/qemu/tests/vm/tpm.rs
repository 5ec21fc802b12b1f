//! A TPM that is slow, and one that dies; what a host plants in SMBIOS, fw_cfg and on the boot disk; keys that are typed
//! at the console through a whole boot.
//!
//! Four boots of a measured machine with one volume on a hostile disk.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::image::{Image, esp};
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab};
use dawnkey_qemu_tests::layout::HEADER;
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::nbd::{Act, Backend, Cache, Kind, Rule, When};
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;

use crate::guest::{ended_without_a_shell, hammer};
use crate::story::failure;

const LIMIT: Duration = Duration::from_secs(400);

const COMMON: &str = r##"
unlock() { step "$1" dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock; }
"##;

const SLOW: &str = r#"
await_host slow
unlock provision
await_host quick
"#;

const DIES: &str = r#"
await_host ready
unlock dies
step mapped ls /dev/mapper
unlock dead
"#;

/// What systemd would make of fw_cfg: one file for each credential of the host.
const PLANTED: &str = r##"
await_host typing
mkdir -p /run/address /run/pin
planted() { cp "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/$2/raw" "/run/$1/$2"; }
planted address dawnkey.endpoint
planted pin dawnkey.spki_sha256
with() { CREDENTIALS_DIRECTORY=/run/$1 dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock; }
step pin with pin
step address with address
step pcr12 cat /sys/class/tpm/tpm0/pcr-sha256/12
dmsetup remove_all
ip link set dev eth0 down
dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock >/run/out 2>/run/err &
agent=$!
until grep -q attempt-failed /run/err || ! kill -0 $agent; do usleep 50000; done
await_host die
ip link set dev eth0 up
ended() { wait $agent; code=$?; cat /run/out; return $code; }
step collect ended
"##;

struct Told {
    slow: Boot,
    dies: Boot,
    planted: Boot,
    esp: Boot,
    /// The disk before and after the boot with a credential on the ESP.
    digests: [String; 2],
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn told() -> &'static Told {
    TOLD.as_ref()
        .unwrap_or_else(|e| panic!("the boots of this story failed: {e}"))
}

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.scene()?;
    scene.operator.create_volume(VOLUME)?;
    let disk = scene.blank("state.disk", DISK_BYTES)?;
    let backend = Backend::serve(&disk, Cache::Through)?;
    let script = |text: &str| format!("{COMMON}{text}");
    let machine = || scene.machine().backend(&backend).limit(LIMIT);

    let mut running = machine().script(&script(SLOW)).start()?;
    running.wait_step("slow")?;
    let crawl = running.tpm_slow(50, 200)?;
    running.go()?;
    running.wait_step("quick")?;
    drop(crawl);
    running.go()?;
    let slow = running.finish()?;
    let made = slow.results.step("provision")?;
    assert_eq!(made.exit, 0, "{made:#?}");

    let mut running = machine().script(&script(DIES)).start()?;
    running.wait_step("ready")?;
    backend.rule(Rule::new(Kind::Write, When::Nth(1), Act::Hold).touching(0..HEADER));
    running.go()?;
    backend.wait_held(LIMIT)?;
    running.tpm_dies();
    backend.release();
    let dies = running.finish()?;

    let host = "io.systemd.credential:dawnkey";
    let planted = machine()
        .smbios(&format!("{host}.endpoint=10.0.2.99:8443"))
        .smbios(&format!("{host}.config=other"))
        .fw_cfg(
            "opt/io.systemd.credentials/dawnkey.endpoint",
            "10.0.2.99:8443",
        )
        .fw_cfg(
            "opt/io.systemd.credentials/dawnkey.spki_sha256",
            &"00".repeat(32),
        );
    let mut running = planted.script(&script(PLANTED)).start()?;
    // The firmware reads keys as well, and may be led anywhere by them: then it is another image that boots, or none.
    running.wait_step("typing")?;
    hammer(&mut running)?;
    running.go()?;
    running.wait_step("die")?;
    running.tpm_dies();
    running.go()?;
    let planted = running.finish()?;

    let image = with_credential(&lab.image, &scene.path("esp.disk"))?;
    let before = disk.digest()?;
    let machine = scene.machine_with(&image, &scene.tpm);
    let machine = machine.backend(&backend).limit(LIMIT);
    let esp = machine.script(&script("unlock esp\n")).boot()?;
    Ok(Told {
        slow,
        dies,
        planted,
        esp,
        digests: [before, disk.digest()?],
    })
}

/// A copy of an image's disk with a credential where systemd-stub looks for them.
fn with_credential(image: &Image, copy: &std::path::Path) -> Result<Image, VmError> {
    std::fs::copy(&image.disk, copy).unwrap();
    let file = copy.with_extension("cred");
    std::fs::write(&file, "10.0.2.99:8443").unwrap();
    let tool = |name: &str| {
        let mut tool = Command::new(name);
        tool.env("MTOOLS_SKIP_CHECK", "1");
        tool.arg("-i").arg(esp::partition(copy));
        tool
    };
    command::run(tool("mmd").args(["::/loader", "::/loader/credentials"]))?;
    let target = "::/loader/credentials/dawnkey.endpoint.cred";
    command::run(tool("mcopy").arg(&file).arg(target))?;
    Ok(Image {
        uki: image.uki.clone(),
        disk: copy.to_path_buf(),
    })
}

fn step<'a>(boot: &'a Boot, name: &str) -> &'a Step {
    boot.results.step(name).unwrap()
}

#[test]
fn slow_tpm_makes_the_unlock_slow_and_nothing_else() {
    let boot = &told().slow;
    let report = step(boot, "provision").json().unwrap();
    assert_eq!(report["outcome"], "provisioned", "{report}");
    println!(
        "measured: with a TPM that works a fifth of the time: {}",
        report["stages_ms"]
    );
}

#[test]
fn tpm_that_dies_before_the_boot_is_closed_leaves_nothing_mapped() {
    let boot = &told().dies;
    let (exit, _, message) = failure(step(boot, "dies"));
    println!("refused: TPM dead before the boot was closed: {exit}: {message}");
    assert_eq!(exit, 40, "{message}");
    assert!(message.contains("the mapping is closed again"), "{message}");
    assert_eq!(step(boot, "mapped").stdout.trim(), "control");
}

#[test]
fn dead_tpm_is_named_before_anything_else_is_tried() {
    let (exit, _, message) = failure(step(&told().dies, "dead"));
    println!("refused: TPM dead: {exit}: {message}");
    assert_eq!(exit, 10, "{message}");
    assert!(message.contains("TPM"), "{message}");
}

#[test]
fn tpm_that_dies_before_the_evidence_ends_the_attempts_at_once() {
    let (exit, _, message) = failure(step(&told().planted, "collect"));
    println!("refused: TPM dead at the evidence: {exit}: {message}");
    assert_eq!(exit, 10, "{message}");
}

#[test]
fn volume_of_the_boot_whose_tpm_died_is_there_at_the_next() {
    let report = step(&told().planted, "address").json().unwrap();
    assert_eq!(report["outcome"], "unlocked", "{report}");
}

#[test]
fn host_can_plant_an_address_and_no_pin() {
    let boot = &told().planted;
    let address = step(boot, "address");
    assert_eq!(address.exit, 0, "{address:#?}");
    let reached = "connected endpoint=10.0.2.100:8443";
    assert!(address.stderr.contains(reached), "{address:#?}");
    let (exit, _, message) = failure(step(boot, "pin"));
    assert_eq!(exit, 2, "{message}");
    assert!(message.contains("dawnkey.spki_sha256"), "{message}");
    // Nothing of it is measured: the policy would have seen it.
    assert_eq!(step(boot, "pcr12").stdout.trim(), "0".repeat(64));
}

#[test]
fn credential_on_the_boot_disk_is_measured_and_refused_by_policy() {
    let told = told();
    let (exit, reason, message) = failure(step(&told.esp, "esp"));
    println!("refused: credential on the ESP: {exit} {reason}: {message}");
    assert_eq!((exit, reason.as_str()), (21, "pcr-mismatch"), "{message}");
    assert!(message.contains("PCR 12"), "{message}");
    let [before, after] = &told.digests;
    assert_eq!(before, after, "the refused boot wrote to the disk");
}

#[test]
fn keys_typed_through_a_whole_boot_open_nothing_and_no_console_has_a_shell() {
    let told = told();
    for boot in [&told.slow, &told.dies, &told.planted, &told.esp] {
        ended_without_a_shell(&boot.serial);
    }
}
