//! A volume without its node, and volumes that something else formatted.
//!
//! One boot. A volume is made and written to; then `dawnkey volume rescue` opens it with stock cryptsetup and a DEK that
//! was handed over before. Stock cryptsetup formats a disk as Constellation does, with integrity, and a plain LUKS2
//! disk; the host migrates the one and adopts the other, and the agent opens both.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab, Scene};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;

use crate::guest::FUNCTIONS;

/// LUKS UUID of Constellation's disk: of a published vector, whose DEK is known.
const OLD: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
/// Constellation's master secret and salt of that vector, in hex.
const OLD_SECRET: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
/// The DEK of that vector, in hex.
const OLD_DEK: &str = "1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be";
/// LUKS UUID of the plain disk.
const DATA: &str = "7c1d2e3f-4a5b-4c6d-8e7f-90a1b2c3d4e5";
/// Its passphrase.
const PASSPHRASE: &str = "a passphrase";

const SCRIPT: &str = r#"
export dek own
file() { step "mount_$1" mount -t ext4 $3 "/dev/mapper/$2" /mnt; step "file_$1" cat /mnt/file; }
fill() {
    step "mkfs_$1" /sbin/mke2fs -q -t ext4 "/dev/mapper/$1"
    step "mount_new_$1" mount -t ext4 "/dev/mapper/$1" /mnt
    echo "$1 file" >/mnt/file
    step "umount_$1" umount /mnt
    step "close_$1" cryptsetup close "$1"
}
tee_begin
configure /dev/vda $own own
unlock format own
mount -t ext4 /dev/mapper/own /mnt && echo "own file" >/mnt/file && umount /mnt
close
step rescue sh -c 'echo "$dek" | dawnkey volume rescue "$own" --disk /dev/vda --name rescued --dek-fd 0 --json'
step rescue_table dmsetup table
file rescued rescued "-o ro,noload"
step rescue_write sh -c 'echo x >/mnt/x'
umount /mnt
step rescue_close cryptsetup close rescued

printf "$old_key" >/run/old-key
step luks_old cryptsetup luksFormat -q --type luks2 --uuid $old --integrity hmac-sha256 --sector-size 4096 \
    --pbkdf argon2id --pbkdf-memory 32 --pbkdf-force-iterations 4 --pbkdf-parallel 1 /dev/vdb /run/old-key
echo '{"type":"constellation-state-disk","keyslots":[]}' >/run/token
step token cryptsetup token import --json-file /run/token /dev/vdb
step open_luks_old cryptsetup open --key-file /run/old-key /dev/vdb old
fill old
printf '%s' "$passphrase" >/run/passphrase
step luks_data cryptsetup luksFormat -q --type luks2 --uuid $data --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
    /dev/vdc /run/passphrase
step open_luks_data cryptsetup open --key-file /run/passphrase /dev/vdc data
fill data
sync
await_host taken

configure /dev/vdb $old old
tee_launch
unlock unlock_old old
file old old "-o ro"
umount /mnt
close
configure /dev/vdc $data data
sed -i -e '/^integrity/d' -e '/^name = "data"/a adopted = true' -e '/^name = "data"/a integrity = "none"' /run/data.toml
tee_launch
unlock refused data
tee_launch
step unlock_data dawnkey-agent-adopted --config /run/data.toml --json unlock
step table_data dmsetup table
file data data "-o ro"
umount /mnt
close
"#;

static BOOT: LazyLock<Result<Boot, String>> = LazyLock::new(|| boot().map_err(|e| e.to_string()));

fn boot() -> Result<Boot, VmError> {
    let lab = Lab::open()?;
    let allowed = "[volume-policy.state]\nadopted = true";
    let scene = lab.tee_scene_with("[volume-policy.state]", allowed)?;
    let own = scene.volume()?;
    let old = scene.blank("old.disk", DISK_BYTES)?;
    let data = scene.blank("data.disk", DISK_BYTES)?;
    let dek = handed_over(&scene)?;
    // As `printf` of a shell takes bytes.
    let key: String = (0..OLD_DEK.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&OLD_DEK[at..at + 2], 16).expect("hex"))
        .map(|byte| format!("\\{byte:03o}"))
        .collect();
    let script = format!(
        "own={VOLUME}\nold={OLD}\ndata={DATA}\ndek={dek}\nold_key='{key}'\npassphrase='{PASSPHRASE}'\n{FUNCTIONS}{SCRIPT}"
    );
    let machine = scene
        .with_tools()
        .memory(768)
        .limit(Duration::from_secs(300))
        .disk(&own)
        .disk(&old)
        .disk(&data)
        .script(&script);
    let mut running = machine.start()?;
    running.wait_step("taken")?;
    migrate(&scene, &old.path().display().to_string())?;
    adopt(&scene, &data.path().display().to_string())?;
    running.go()?;
    running.finish()
}

/// The DEK of the volume in hex, from the service.
fn handed_over(scene: &Scene<'_>) -> Result<String, VmError> {
    let file = scene.path("dek");
    let out = file.display().to_string();
    let words = ["volume", "export-key", VOLUME, "--dek", "--out", &out];
    scene.operator.dawnkey(&[&words[..], &["--yes"]].concat())?;
    Ok(fs::read_to_string(&file).expect("a DEK").trim().to_owned())
}

fn migrate(scene: &Scene<'_>, disk: &str) -> Result<(), VmError> {
    let secret = scene.path("secret");
    fs::write(&secret, OLD_SECRET).expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
    let secret = secret.display().to_string();
    let backup = scene.path("old.luks").display().to_string();
    let words = ["volume", "migrate", "--disk", disk, "--policy", "state"];
    let files = ["--master-secret", &secret, "--salt", &secret];
    let rest = ["--old-header", &backup, "--yes"];
    scene
        .operator
        .dawnkey(&[&words[..], &files, &rest].concat())
        .map(drop)
}

/// The passphrase goes through standard input.
fn adopt(scene: &Scene<'_>, disk: &str) -> Result<(), VmError> {
    use std::io::Write;
    let mut child = Command::new(&scene.lab().binaries.dawnkey)
        .args([
            "volume", "adopt", "--disk", disk, "--policy", "state", "--yes",
        ])
        .args(["--passphrase-fd", "0", "--old-header"])
        .arg(scene.path("data.luks"))
        .arg("--profile")
        .arg(scene.path("service").join("admin.toml"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("dawnkey");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(PASSPHRASE.as_bytes()).expect("a pipe");
    drop(input);
    let status = child.wait().expect("its end");
    assert!(status.success(), "dawnkey volume adopt: {status}");
    Ok(())
}

fn told() -> &'static [Step] {
    let boot = BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"));
    boot.results.steps()
}

fn named(name: &str) -> &'static Step {
    let step = told().iter().find(|step| step.name == name);
    step.unwrap_or_else(|| panic!("no step {name} in {:#?}", told()))
}

/// What a step that must have worked said.
fn said(name: &str) -> &'static str {
    let step = named(name);
    assert_eq!(step.exit, 0, "{step:#?}");
    &step.stdout
}

/// Stock cryptsetup has formatted, opened, filled and closed a disk.
fn made(name: &str) {
    for step in ["luks", "open_luks", "mkfs", "mount_new", "umount", "close"] {
        said(&format!("{step}_{name}"));
    }
}

#[test]
fn rescue_opens_a_volume_with_stock_cryptsetup_read_only_and_the_file_is_there() {
    let report = named("rescue").json().unwrap();
    assert_eq!(report["device"], "/dev/mapper/rescued", "{report}");
    assert_eq!(said("file_rescued"), "own file\n");
    assert_ne!(named("rescue_write").exit, 0);
    said("rescue_close");
    let table = said("rescue_table");
    assert!(
        table.contains("capi:authenc(hmac(sha256),xts(aes))-plain64"),
        "{table}"
    );
}

#[test]
fn migrated_state_disk_of_constellation_is_opened_by_the_agent_with_its_file() {
    made("old");
    let report = named("unlock_old").json().unwrap();
    assert_eq!(report["outcome"], "unlocked", "{report}");
    assert_eq!(report["volumes"][0]["generation"], 2, "{report}");
    said("mount_old");
    assert_eq!(said("file_old"), "old file\n");
}

#[test]
fn adopted_volume_is_opened_from_its_header_in_memory_with_its_file() {
    made("data");
    let report = named("unlock_data").json().unwrap();
    assert_eq!(report["outcome"], "unlocked", "{report}");
    assert_eq!(report["volumes"][0]["generation"], 1, "{report}");
    said("mount_data");
    assert_eq!(said("file_data"), "data file\n");
    let table = said("table_data");
    assert!(table.contains(":logon:"), "{table}");
}

#[test]
fn agent_without_the_feature_refuses_an_adopted_volume_by_name() {
    let step = named("refused");
    assert_ne!(step.exit, 0);
    let text = format!("{}{}", step.stdout, step.stderr);
    assert!(text.contains("built without libcryptsetup"), "{text}");
}
