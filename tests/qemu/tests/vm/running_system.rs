//! A volume in a running system: what people's tools say of it, and where its keys are.
//!
//! One boot with udev. The host searches the machine's whole memory for the DEK and for the volume key, once while the
//! volume is open and once after it was closed, and looks through everything else that the guest left.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::memory::{self, SCHEDULE};
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;

use crate::guest::FUNCTIONS;

/// Megabytes of the machine's memory.
const MEMORY: u32 = 512;

const SCRIPT: &str = r#"
mkdir -p /run/udev
step udevd systemd-udevd --daemon
udevadm trigger --action=add && udevadm settle
tee_begin
configure /dev/vda $first state
unlock format state
step settle udevadm settle
step mount mount -t ext4 /dev/mapper/state /mnt
echo "in the file" >/mnt/file && sync
step links sh -c 'for link in /dev/mapper/* /dev/disk/by-*/*; do echo "$link $(readlink -f $link)"; done'
step lsblk lsblk -n -l -o NAME,TYPE,FSTYPE,MOUNTPOINT
step blkid_disk blkid -p -o export /dev/vda
step blkid_mapped blkid -p -o export /dev/mapper/state
step dump cryptsetup luksDump /dev/vda
step status cryptsetup status state
step table dmsetup table --showkeys
step keys cat /proc/keys
step swaps cat /proc/swaps
step processes sh -c 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | hexdump -v -e "1/1 \"%02x\""'
await_host open
umount /mnt
step close cryptsetup close state
step mapped_after ls /dev/mapper
await_host closed
"#;

/// What the host knows and nobody else may have.
struct Secrets {
    dek: Vec<u8>,
    /// AES-256-XTS in two halves, then HMAC.
    volume_key: Vec<u8>,
}

/// Places of secrets in a dump.
#[derive(Debug, Clone, Default)]
struct Hits {
    dek: Vec<usize>,
    hmac: Vec<usize>,
    /// Halves of the cipher's key: the place, and whether the rest of the key schedule follows.
    cipher: Vec<(usize, bool)>,
    /// Any of them as hexadecimal text.
    text: Vec<usize>,
}

struct Told {
    boot: Boot,
    open: Hits,
    closed: Hits,
    secrets: Secrets,
    disk: Vec<u8>,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let disk = scene.volume()?;
    let script = format!("first={VOLUME}\n{FUNCTIONS}{SCRIPT}");
    let machine = scene.with_tools().memory(MEMORY).disk(&disk);
    let mut running = machine.script(&script).start()?;
    let dump = scene.path("memory");
    running.wait_step("open")?;
    let secrets = Secrets {
        dek: dek(&scene)?,
        volume_key: scene.export_key(VOLUME, &disk)?,
    };
    let mut search = |step: &str| {
        running.wait_step(step)?;
        running.dump_memory(MEMORY, &dump)?;
        running.go()?;
        Ok::<_, VmError>(secrets.search(&std::fs::read(&dump).unwrap()))
    };
    let (open, closed) = (search("open")?, search("closed")?);
    let boot = running.finish()?;
    Ok(Told {
        boot,
        open,
        closed,
        secrets,
        disk: std::fs::read(disk.path()).unwrap(),
    })
}

/// The volume's DEK, derived on the host.
fn dek(scene: &Scene<'_>) -> Result<Vec<u8>, VmError> {
    let mut derive = Command::new(&scene.lab().test_pki);
    derive.args(["dek", VOLUME]).stdin(Stdio::piped());
    let text = scene.operator.with_master_secret(&mut derive)?;
    Ok(unhex(text.trim()))
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Secrets {
    /// Each part of 32 bytes that is a secret by itself.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.volume_key.chunks(32).chain([self.dek.as_slice()])
    }

    fn search(&self, memory: &[u8]) -> Hits {
        let mut cipher = Vec::new();
        for half in self.volume_key.chunks(32).take(2) {
            let schedule = memory::aes256_schedule(half.try_into().unwrap());
            for place in memory::find(memory, half) {
                let follows = memory.get(place..place + SCHEDULE) == Some(&schedule);
                cipher.push((place, follows));
            }
        }
        let text = self
            .parts()
            .flat_map(|part| memory::find(memory, hex(part).as_bytes()));
        Hits {
            // A part of it would be one too many.
            dek: memory::find(memory, &self.dek[..16]),
            hmac: memory::find(memory, &self.volume_key[64..]),
            cipher,
            text: text.collect(),
        }
    }
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

fn step(name: &str) -> &'static Step {
    told().boot.results.step(name).unwrap()
}

fn said(name: &str) -> &'static str {
    let step = step(name);
    assert_eq!(step.exit, 0, "{step:#?}");
    step.stdout.trim()
}

#[test]
fn dek_is_nowhere_in_the_memory_of_the_machine() {
    let Told { open, closed, .. } = told();
    assert_eq!(open.dek, [0; 0], "while open");
    assert_eq!(closed.dek, [0; 0], "after closing");
    println!("measured: DEK in {MEMORY} MiB of memory: 0 places while open, 0 after closing");
}

#[test]
fn volume_key_is_in_memory_as_the_cipher_s_state_only() {
    let Hits {
        cipher, hmac, text, ..
    } = &told().open;
    assert!(!cipher.is_empty(), "the search finds what must be there");
    for (place, schedule_follows) in cipher {
        assert!(
            schedule_follows,
            "a key without its schedule at {place:#x} in {cipher:x?}"
        );
    }
    assert_eq!(hmac, &[0; 0], "the HMAC key is kept as two hashed states");
    assert_eq!(text, &[0; 0]);
    let places: Vec<String> = cipher
        .iter()
        .map(|(place, _)| format!("{place:#x}"))
        .collect();
    println!(
        "measured: halves of the volume key in {MEMORY} MiB of memory: {} places, each the first 32 of 240 bytes of an AES-256 key schedule, at {}",
        places.len(),
        places.join(", ")
    );
}

#[test]
fn closed_volume_leaves_no_key_in_memory() {
    let closed = &told().closed;
    assert_eq!(step("close").exit, 0, "{:?}", step("close"));
    assert_eq!(step("mapped_after").stdout.trim(), "control");
    assert!(closed.cipher.is_empty(), "{:x?}", closed.cipher);
    assert!(
        closed.hmac.is_empty() && closed.text.is_empty(),
        "{closed:x?}"
    );
}

#[test]
fn no_secret_is_on_the_console_the_disk_or_in_any_process_s_environment() {
    let Told {
        boot,
        secrets,
        disk,
        ..
    } = told();
    let reported: String = boot
        .results
        .steps()
        .iter()
        .map(|s| s.stdout.clone() + &s.stderr)
        .collect();
    for part in secrets.parts() {
        assert_eq!(memory::find(disk, part), [0; 0]);
        for text in [&boot.serial, &reported] {
            assert!(!text.contains(&hex(part)));
            assert_eq!(memory::find(text.as_bytes(), part), [0; 0]);
        }
    }
    // Environments and command lines of all processes are among the reports, as hexadecimal text.
    assert!(said("processes").len() > 200);
    assert_eq!(said("swaps").lines().count(), 1, "a heading only");
}

#[test]
fn table_shows_a_reference_and_the_keyring_has_no_key() {
    let table = said("table");
    assert!(table.contains(":96:logon:"), "{table}");
    for part in told().secrets.parts() {
        assert!(!table.contains(&hex(part)), "{table}");
    }
    assert!(!said("keys").contains("logon"), "{}", said("keys"));
}

#[test]
fn cryptsetup_and_blkid_know_the_volume() {
    let dump = said("dump");
    for sign in [VOLUME, "aes-xts-plain64", "hmac(sha256)", "dawnkey"] {
        assert!(dump.contains(sign), "no {sign} in {dump}");
    }
    let status = said("status");
    for sign in ["is active", "LUKS2", "hmac(sha256)", "keyring"] {
        assert!(status.contains(sign), "no {sign} in {status}");
    }
    let disk = said("blkid_disk");
    assert!(
        disk.contains("TYPE=crypto_LUKS") && disk.contains(&format!("UUID={VOLUME}")),
        "{disk}"
    );
    assert!(
        said("blkid_mapped").contains("TYPE=ext4"),
        "{}",
        said("blkid_mapped")
    );
}

#[test]
fn lsblk_shows_disk_layers_and_mountpoint() {
    let listed = said("lsblk");
    let has = |words: &[&str]| {
        listed.lines().any(|line| {
            let found: Vec<&str> = line.split_whitespace().collect();
            found == words
        })
    };
    assert!(has(&["vda", "disk", "crypto_LUKS"]), "{listed}");
    assert!(has(&["state", "crypt", "ext4", "/mnt"]), "{listed}");
}

#[test]
fn udev_links_are_where_people_look_for_them() {
    let links = said("links");
    let target = |link: &str| {
        let line = links
            .lines()
            .find_map(|line| line.strip_prefix(link)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {link} in {links}"))
    };
    let mapped = target("/dev/mapper/state");
    assert!(mapped.starts_with("/dev/dm-"), "{mapped}");
    let id = VOLUME.replace('-', "");
    let filesystem = said("blkid_mapped")
        .lines()
        .find_map(|line| line.strip_prefix("UUID="));
    for link in [
        format!("/dev/disk/by-id/dm-uuid-CRYPT-LUKS2-{id}-state"),
        "/dev/disk/by-id/dm-name-state".to_owned(),
        format!("/dev/disk/by-uuid/{}", filesystem.unwrap()),
    ] {
        assert_eq!(target(&link), mapped, "{link}");
    }
    assert_eq!(target(&format!("/dev/disk/by-uuid/{VOLUME}")), "/dev/vda");
}
