//! Real boots of a Debian system whose data volume stands in `/etc/crypttab`: its own systemd-cryptsetup opens it, with
//! the header and the key that the agent hands over. Nobody watches.
//!
//! The first boot provisions the volume, the second opens it, and before the third the host has put a header of its own
//! on the disk.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab, Scene};
use dawnkey_qemu_tests::machine::{Boot, Machine};
use dawnkey_qemu_tests::operator::VOLUME;

use crate::story::failure;

const MEMORY: u32 = 1024;
const LIMIT: Duration = Duration::from_secs(400);

/// All boots, told once.
struct Story {
    provisioned: Boot,
    opened: Boot,
    /// With the host's header on the disk: what the console showed until the power-off.
    refused: String,
    /// The disk before and after that boot.
    digests: [String; 2],
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
    let system = system(lab, &scene);
    let boot = |script: &str| machine(&scene, &state, &system).script(script).boot();
    let provisioned = boot(&format!("{WRITE}{LOOK}"))?;
    let opened = boot(LOOK)?;
    plant(&scene, &state);
    let before = state.digest()?;
    let (_, refused) = machine(&scene, &state, &system).start()?.switched_off()?;
    Ok(Story {
        provisioned,
        opened,
        refused,
        digests: [before, state.digest()?],
    })
}

fn machine<'a>(scene: &'a Scene<'_>, state: &Disk, system: &Disk) -> Machine<'a> {
    let machine = scene.machine_with(&scene.lab().debian.crypttab, &scene.tpm);
    let machine = machine.memory(MEMORY).limit(LIMIT);
    machine.disk(state).disk(system)
}

/// A copy of the system with the node's two files in it, as in its initramfs.
fn system(lab: &Lab, scene: &Scene<'_>) -> Disk {
    let disk = scene.path("system.disk");
    fs::copy(&lab.debian.system, &disk).expect("the test's directory takes a copy");
    let from = lab.debian.dir.join("crypttab");
    for request in [
        "rm /etc/dawnkey/agent.toml".to_owned(),
        format!(
            "write {}/agent.toml /etc/dawnkey/agent.toml",
            from.display()
        ),
        format!("write {}/crypttab /etc/crypttab", from.display()),
    ] {
        tool(
            Command::new("debugfs")
                .args(["-w", "-R", &request])
                .arg(&disk),
        );
    }
    Disk::at(&disk)
}

/// Puts a LUKS2 header of the host's own on the disk, with the volume's id and a passphrase that the host knows.
fn plant(scene: &Scene<'_>, state: &Disk) {
    let made = scene.path("planted.disk");
    let passphrase = scene.path("passphrase");
    fs::write(&passphrase, "known to the host").unwrap();
    let file = fs::File::create(&made).unwrap();
    file.set_len(DISK_BYTES).unwrap();
    let words =
        "luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid";
    let mut format = Command::new("cryptsetup");
    format.args(words.split(' ')).args([VOLUME, "--key-file"]);
    tool(format.args([&passphrase, &made]));
    let header = Disk::at(&made).head(16 << 20).unwrap();
    state.write_at(0, &header).unwrap();
}

fn tool(command: &mut Command) {
    let command = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

const WRITE: &str = r#"
write_file() { echo "written by the first boot" >/state/file; sync; }
step write write_file
"#;

const LOOK: &str = r#"
step state findmnt -n -o SOURCE,FSTYPE /state
step file cat /state/file
step table dmsetup table state
step below dmsetup table state_dif
step unit systemctl show -P ActiveState systemd-cryptsetup@state.service
step log journalctl -b -o cat -u dawnkey-unlock@agent.service -u systemd-cryptsetup@state.service
step failed systemctl --failed --no-legend --plain
step run ls -A /run/dawnkey /run/cryptsetup-keys.d
step progress cat /run/dawnkey/state.crypttab
step again dawnkey-agent --json unlock
umount /state
step close dawnkey-agent close state
step ask-again dawnkey-agent --json unlock
"#;

fn text<'a>(boot: &'a Boot, step: &str) -> &'a str {
    let step = boot.results.step(step).unwrap();
    assert_eq!(step.exit, 0, "{step:#?}\n{}", boot.serial);
    step.stdout.trim()
}

/// Words that the console must show, in this order.
fn in_order(serial: &str, words: &[&str]) {
    let mut rest = serial;
    for word in words {
        let Some((_, behind)) = rest.split_once(word) else {
            panic!("no `{word}` in its place:\n{serial}");
        };
        rest = behind;
    }
}

fn opened_by_the_system(boot: &Boot) {
    let state: Vec<&str> = text(boot, "state").split_whitespace().collect();
    assert_eq!(state, ["/dev/mapper/state", "ext4"]);
    assert_eq!(text(boot, "file"), "written by the first boot");
    // The key that runs was put there by systemd-cryptsetup, out of the header that it was given.
    let table = text(boot, "table");
    assert!(
        table.contains("capi:authenc(hmac(sha256),xts(aes))-plain64"),
        "{table}"
    );
    assert!(
        table.contains(&format!(":cryptsetup:{VOLUME}-d0 ")),
        "{table}"
    );
    let below = text(boot, "below");
    assert!(
        below.contains(" integrity ") && below.contains(" 32 J "),
        "{below}"
    );
    assert_eq!(text(boot, "unit"), "active");
    assert_eq!(text(boot, "failed"), "", "units have failed");
    assert_eq!(text(boot, "progress"), "open");
    let left = text(boot, "run");
    assert!(!left.contains("header") && !left.contains(".key"), "{left}");
    in_order(
        &boot.serial,
        &[
            "key-offered name=state",
            "key-handed name=state",
            "mapped device=/dev/mapper/state",
            "boot-closed",
            "confirmed",
        ],
    );
    // Neither while it is open nor afterwards is there a key for anybody else.
    let (exit, ..) = failure(boot.results.step("again").unwrap());
    assert_eq!(exit, 30);
    text(boot, "close");
    let (exit, reason, message) = failure(boot.results.step("ask-again").unwrap());
    assert_eq!((exit, reason.as_str()), (21, "pcr-mismatch"), "{message}");
}

#[test]
fn crypttab_line_opens_a_new_volume_with_nobody_watching() {
    let boot = &story().provisioned;
    in_order(&boot.serial, &["disk-blank", "formatting"]);
    opened_by_the_system(boot);
}

#[test]
fn crypttab_line_opens_the_existing_volume_with_nobody_watching() {
    let boot = &story().opened;
    in_order(&boot.serial, &["disk-found", "key-offered"]);
    opened_by_the_system(boot);
}

#[test]
fn header_that_the_host_has_put_on_the_disk_gets_no_key() {
    let serial = &story().refused;
    in_order(
        serial,
        &[
            "failed step=find exit=30",
            "failure-action action=power-off",
            "reboot: Power down",
        ],
    );
    for word in [
        "key-offered",
        "key-handed",
        "dawnkey-agent: connected",
        "enter passphrase",
        "sulogin",
    ] {
        assert!(!serial.contains(word), "`{word}` in\n{serial}");
    }
    let [before, after] = &story().digests;
    assert_eq!(before, after, "the refused boot wrote to the disk");
}
