//! Real boots: a Debian system behind an initramfs that dracut or initramfs-tools made, with the agent's package as it
//! ships. A data disk and the root file system itself are on encrypted volumes; nobody watches.
//!
//! The first boot starts from a disk in clear, provisions both volumes and copies the system onto one of them. The others
//! start from that copy. What a firmware measured and which image it was is the policy's business in each of them.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::image::Image;
use dawnkey_qemu_tests::lab::{Lab, ROOT_VOLUME, Scene};
use dawnkey_qemu_tests::machine::{Boot, Machine};
use serde_json::Value;

use crate::guest::{ended_without_a_shell, hammer};
use crate::story::failure;

/// Room for the system with its tags, and not much more: all of it is wiped.
const ROOT_BYTES: u64 = 224 << 20;
const MEMORY: u32 = 1024;
/// A whole system starts and ends in it.
const LIMIT: Duration = Duration::from_secs(400);

/// All boots, told once.
struct Story {
    /// Provisions, from a root file system in clear.
    install: Boot,
    /// Root file system on the volume, dracut's initramfs.
    dracut: Boot,
    /// The same with the initramfs of initramfs-tools.
    tools: Boot,
    /// Kernel arguments ask for shells: what the console showed until the power-off.
    refused: String,
    /// Both disks before and after the refused boot.
    digests: [(String, String); 2],
}

static STORY: LazyLock<Result<Story, String>> = LazyLock::new(|| {
    let lab = Lab::open().map_err(|e| e.to_string())?;
    tell(&lab).map_err(|e| e.to_string())
});

fn story() -> &'static Story {
    let told = STORY.as_ref();
    told.unwrap_or_else(|e| panic!("the boots of this story failed: {e}"))
}

fn tell(lab: &Lab) -> Result<Story, VmError> {
    let scene = lab.scene()?;
    let state = scene.volume()?;
    scene.operator.create_volume(ROOT_VOLUME)?;
    let root = scene.blank("root.disk", ROOT_BYTES)?;
    let system = scene.path("system.disk");
    fs::copy(&lab.debian.system, &system).expect("the test's directory takes a copy");
    let system = Disk::at(&system);
    let install = machine(&scene, &lab.debian.install, &state, &root)
        .disk(&system)
        .script(&format!("{LOOK}{INSTALL}{AFTER}"))
        .boot()?;
    // The others mean nothing without it.
    text(&install, "copy");
    let look = format!("{LOOK}{AFTER}");
    let boot = |image| machine(&scene, image, &state, &root).script(&look).boot();
    // What the host plants in the machine's tables is known to systemd, and measured nowhere.
    let dracut = machine(&scene, &lab.debian.dracut, &state, &root)
        .smbios("io.systemd.credential:dawnkey.endpoint=10.0.2.99:8443")
        .script(&format!("{LOOK}{PLANTED}{AFTER}"))
        .boot()?;
    let tools = boot(&lab.debian.initramfs_tools)?;
    let digests = || Ok::<_, VmError>([state.digest()?, root.digest()?]);
    let before = digests()?;
    let asked = machine(&scene, &lab.debian.shell_asked, &state, &root);
    let mut asked = asked.start()?;
    asked.wait_console("dawnkey-agent: started")?;
    hammer(&mut asked)?;
    let (_, refused) = asked.switched_off()?;
    let [state_before, root_before] = before;
    let [state_after, root_after] = digests()?;
    Ok(Story {
        install,
        dracut,
        tools,
        refused,
        digests: [(state_before, state_after), (root_before, root_after)],
    })
}

fn machine<'a>(scene: &'a Scene<'_>, image: &'a Image, state: &Disk, root: &Disk) -> Machine<'a> {
    let machine = scene.machine_with(image, &scene.tpm);
    let machine = machine.memory(MEMORY).limit(LIMIT);
    machine.disk(state).disk(root)
}

/// What booted, in the running system.
const LOOK: &str = r#"
step root findmnt -n -o SOURCE /
step state findmnt -n -o SOURCE,FSTYPE /state
step status dawnkey-agent --json status
step log journalctl -b -o cat -u dawnkey-unlock@agent.service
step pcr15 cat /sys/class/tpm/tpm0/pcr-sha256/15
# Records are separated by a byte that is no text.
step measured tr '\036' '#' </run/log/systemd/tpm2-measure.log
step uptime cat /proc/uptime
step failed systemctl --failed --no-legend --plain
step processes ps -e -o tty=,args=
"#;

const INSTALL: &str = r#"
write_file() { echo "written by the first boot" >/state/file; }
step write write_file
copy() { mount /dev/mapper/root /mnt && cp -ax /. /mnt && df -m / /mnt && umount /mnt; }
step copy copy
step copied cat /proc/uptime
"#;

const PLANTED: &str = r#"
step planted ls /run/credentials/@system
"#;

const AFTER: &str = r#"
step file cat /state/file
# Whoever owns the system closes the volume and asks for its key once more; `/` cannot be closed.
umount /state
step close dawnkey-agent close state
awk '/^\[\[volume\]\]/ && n++ { exit } { print }' /etc/dawnkey/agent.toml >/run/again.toml
step again dawnkey-agent --config /run/again.toml --json unlock
"#;

fn text<'a>(boot: &'a Boot, step: &str) -> &'a str {
    let step = boot.results.step(step).unwrap();
    assert_eq!(step.exit, 0, "{step:#?}\n{}", boot.serial);
    step.stdout.trim()
}

/// The volume's line of `dawnkey-agent status`.
fn volume(boot: &Boot, name: &str) -> Value {
    let status = boot.results.step("status").unwrap().json().unwrap();
    let volumes = status["volumes"].as_array().cloned().unwrap_or_default();
    let found = volumes.into_iter().find(|volume| volume["name"] == name);
    found.unwrap_or_else(|| panic!("no volume {name}: {status}"))
}

/// What holds for every boot that got its volumes.
fn unlocked(boot: &Boot, root: &str) {
    assert_eq!(text(boot, "root"), root);
    let state: Vec<&str> = text(boot, "state").split_whitespace().collect();
    assert_eq!(state, ["/dev/mapper/state", "ext4"]);
    assert_eq!(text(boot, "file"), "written by the first boot");
    for name in ["state", "root"] {
        let volume = volume(boot, name);
        assert_eq!(volume["mapped"], true, "{volume}");
    }
    replays(text(boot, "measured"), text(boot, "pcr15"));
    text(boot, "close");
    let (exit, reason, message) = failure(boot.results.step("again").unwrap());
    assert_eq!((exit, reason.as_str()), (21, "pcr-mismatch"), "{message}");
    assert_eq!(text(boot, "failed"), "", "units have failed");
    for process in text(boot, "processes").lines() {
        let at_a_terminal = !process.starts_with('?');
        let asks = ["getty", "sulogin", "ask-password-agent"]
            .iter()
            .any(|program| process.contains(program));
        assert!(!at_a_terminal && !asks, "{process}");
    }
}

/// The operator's tool gets PCR 15 out of the log of measurements, whichever of the boot's programs wrote to it.
fn replays(log: &str, pcr_15: &str) {
    assert_ne!(pcr_15, "0".repeat(64));
    let lab = Lab::open().unwrap();
    let mut measure = Command::new(&lab.binaries.dawnkey);
    measure.args(["measure", "log", "/dev/stdin", "--expect", pcr_15]);
    let mut child = measure
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let log = log.replace('#', "\u{1e}");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(log.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let proven = said.lines().filter(|line| line.contains("proven"));
    assert_eq!(proven.count(), 3, "{said}");
}

/// Events of the agent, in the order in which a boot must show them.
fn events(log: &str, expected: &[&str]) {
    let mut lines = log.lines().filter(|line| line.contains("dawnkey-agent"));
    for event in expected {
        let word = format!("dawnkey-agent: {event}");
        let found = lines.any(|line| line.contains(&word));
        assert!(found, "no `{event}` in its place:\n{log}");
    }
}

/// Each of the two volumes went through these events; then the boot was closed and both were confirmed.
fn both_volumes(boot: &Boot, once: &[&str]) {
    let end = ["boot-closed", "confirmed", "confirmed"];
    events(&boot.serial, &[once, once, &end].concat());
}

#[test]
fn dracut_initramfs_provisions_a_data_disk_before_the_system_mounts_it() {
    let boot = &story().install;
    unlocked(boot, "/dev/vdd");
    both_volumes(boot, &["disk-blank", "mapped"]);
}

#[test]
fn system_boots_from_the_volume_that_carries_its_root_file_system() {
    let boot = &story().dracut;
    unlocked(boot, "/dev/mapper/root");
    both_volumes(
        boot,
        &["disk-found", "connected", "evidence-collected", "mapped"],
    );
}

#[test]
fn credential_in_the_hosts_tables_reaches_systemd_and_changes_no_pin_and_no_address_that_answers() {
    let boot = &story().dracut;
    assert_eq!(text(boot, "planted"), "dawnkey.endpoint");
    let connected = boot.serial.matches("connected endpoint=").count();
    let to_the_service = boot.serial.matches("connected endpoint=10.0.2.100:8443");
    assert_eq!(to_the_service.count(), connected, "{}", boot.serial);
    assert!(connected > 0);
}

#[test]
fn initramfs_tools_boots_the_same_system() {
    let boot = &story().tools;
    unlocked(boot, "/dev/mapper/root");
    events(
        &boot.serial,
        &["disk-found", "mapped", "boot-closed", "confirmed"],
    );
}

#[test]
fn refusal_in_the_initramfs_is_named_and_ends_in_the_configured_action_without_a_shell() {
    let serial = &story().refused;
    events(
        serial,
        &["failed step=ask exit=21", "failure-action action=power-off"],
    );
    assert!(
        serial.contains("image-unknown") && serial.contains("PCR "),
        "{serial}"
    );
    ended_without_a_shell(serial);
    for (before, after) in &story().digests {
        assert_eq!(before, after, "the refused boot wrote to a disk");
    }
}

#[test]
fn boots_take_these_times() {
    let story = story();
    let seconds = |boot: &Boot, step: &str| -> f64 {
        let uptime = boot.results.step(step).unwrap();
        uptime.stdout.split(' ').next().unwrap().parse().unwrap()
    };
    for (name, boot) in [
        ("provisioning", &story.install),
        ("dracut, root on the volume", &story.dracut),
        ("initramfs-tools, root on the volume", &story.tools),
    ] {
        println!(
            "measured: Debian, {name}: kernel to running system {:.1} s, power-on to power-off {:.1} s",
            seconds(boot, "uptime"),
            boot.elapsed.as_secs_f64()
        );
    }
    let copied = seconds(&story.install, "copied") - seconds(&story.install, "uptime");
    println!("measured: Debian, the system copied onto its volume in {copied:.1} s");
}
