//! One volume's life over four boots.
//!
//! 1. provisioned by its machine, a file is written, the running system asks again;
//! 2. unlocked, the file is found, stock cryptsetup opens the volume with an exported key;
//! 3. a boot full of wrong disks: every one is refused and unchanged;
//! 4. a clone of the disk in another machine.

use std::process::Command;
use std::sync::LazyLock;

use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab, Scene};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;
use dawnkey_qemu_tests::{VmError, command};
use serde_json::Value;

/// Runs the agent as the image's configuration says.
pub const UNLOCK: &str = "dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock";

/// What the four boots reported.
pub struct Story {
    /// Provisioning, and the second request.
    pub first: Boot,
    /// Unlocking, and cryptsetup.
    pub second: Boot,
    /// Wrong disks.
    pub third: Boot,
    /// The clone in another machine.
    pub fourth: Boot,
    /// The exported volume key in hex.
    pub volume_key: String,
    /// The volume's record after the second boot, and after all refusals.
    pub records: (Value, Value),
    /// Digests of the wrong disks before and after the third boot, by name.
    pub wrong_disks: Vec<(&'static str, String, String)>,
    /// Digests of the cloned disk before and after the fourth boot.
    pub clone: (String, String),
    /// The end of the audit log's verification.
    pub audit: Result<String, String>,
}

static STORY: LazyLock<Result<Story, String>> =
    LazyLock::new(|| tell(&Lab::open().map_err(|e| e.to_string())?).map_err(|e| e.to_string()));

/// The story; told by whichever test asks first.
pub fn story() -> &'static Story {
    STORY
        .as_ref()
        .unwrap_or_else(|e| panic!("the boots of this story failed: {e}"))
}

fn tell(lab: &Lab) -> Result<Story, VmError> {
    let scene = lab.scene()?;
    let disk = scene.volume()?;
    let first = scene.boot(&disk, FIRST)?;
    succeeded(&first, "unlock", &scene);
    let old = disk.copy_to(&scene.path("old.disk"))?;
    let key = scene.export_key(VOLUME, &disk)?;
    let second = scene.boot(&disk, &second_script(&key))?;
    succeeded(&second, "unlock", &scene);
    let record = record(&scene)?;
    let wrong = WrongDisks::new(&scene, &disk, old)?;
    let before = wrong.digests()?;
    let third = wrong.boot(&scene)?;
    let after = wrong.digests()?;
    let clone = disk.copy_to(&scene.path("clone.disk"))?;
    let clone_before = clone.digest()?;
    let other = scene.another_tpm("other-tpm")?;
    let fourth = scene
        .machine_with(&lab.image, &other)
        .disk(&clone)
        .script(&format!("step unlock {UNLOCK}"))
        .boot()?;
    let log = scene.operator.audit_log().display().to_string();
    Ok(Story {
        first,
        second,
        third,
        fourth,
        volume_key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        records: (record, self::record(&scene)?),
        wrong_disks: before
            .into_iter()
            .zip(after)
            .map(|((name, b), (_, a))| (name, b, a))
            .collect(),
        clone: (clone_before, clone.digest()?),
        audit: scene
            .operator
            .dawnkey(&["audit", "verify", &log])
            .map_err(|e| e.to_string()),
    })
}

/// A later boot means nothing when this one failed: say why at once.
fn succeeded(boot: &Boot, step: &str, scene: &Scene<'_>) {
    let step = boot.results.step(step).unwrap();
    assert_eq!(
        step.exit,
        0,
        "{step:#?}\nkey service:\n{}",
        scene.service.log()
    );
}

/// The volume's record as the service shows it.
pub fn record(scene: &Scene<'_>) -> Result<Value, VmError> {
    let text = scene
        .operator
        .dawnkey(&["volume", "show", VOLUME, "--json"])?;
    serde_json::from_str(&text).map_err(|e| VmError::Report(format!("{e}: {text}")))
}

/// The agent's failure in a step: exit code, stable reason, message.
pub fn failure(step: &Step) -> (i32, String, String) {
    let report = step.json().unwrap();
    let error = &report["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (step.exit, text("reason"), text("message"))
}

const FIRST: &str = r#"
step pcr7 cat /sys/class/tpm/tpm0/pcr-sha256/7
step unlock dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock
step table dmsetup table --showkeys
step mount mount -t ext4 /dev/mapper/state /mnt
write_file() { echo "written by the first boot" >/mnt/file; sync; }
step write write_file
step umount umount /mnt
step close dmsetup remove_all
step again dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock
"#;

/// `/proc/uptime` around both ways to open the volume gives their times in the same guest.
fn second_script(key: &[u8]) -> String {
    let octal: String = key.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!(
        r#"
step start cat /proc/uptime
step unlock {UNLOCK}
step opened cat /proc/uptime
step mount mount -t ext4 /dev/mapper/state /mnt
step found cat /mnt/file
step umount umount /mnt
step close dmsetup remove_all
printf '{octal}' >/run/volume-key
step dump cryptsetup luksDump /dev/vdb
step stock_start cat /proc/uptime
step stock_open cryptsetup open --type luks2 --volume-key-file /run/volume-key --key-size 768 /dev/vdb stock
step stock_opened cat /proc/uptime
step stock_mount mount -t ext4 -o ro /dev/mapper/stock /mnt
step stock_found cat /mnt/file
umount /mnt
step stock_close cryptsetup close stock
"#
    )
}

/// Disks that must not be opened or formatted, in the order in which the guest sees them.
struct WrongDisks(Vec<(&'static str, Disk)>);

impl WrongDisks {
    fn new(scene: &Scene<'_>, current: &Disk, old: Disk) -> Result<Self, VmError> {
        let twin = old.copy_to(&scene.path("twin.disk"))?;
        let filesystem = scene.blank("ext4.disk", DISK_BYTES)?;
        let mke2fs = command::find("mke2fs").expect("mke2fs is installed");
        command::run(
            Command::new(mke2fs)
                .args(["-q", "-t", "ext4"])
                .arg(filesystem.path()),
        )?;
        let wiped = current.copy_to(&scene.path("wiped.disk"))?;
        wiped.write_at(0, &vec![0; 16 << 20])?;
        Ok(WrongDisks(vec![
            ("old", old),
            ("twin", twin),
            ("ext4", filesystem),
            ("small", scene.blank("small.disk", 1 << 20)?),
            ("read_only", scene.blank("read-only.disk", DISK_BYTES)?),
            ("wiped", wiped),
        ]))
    }

    fn digests(&self) -> Result<Vec<(&'static str, String)>, VmError> {
        self.0
            .iter()
            .map(|(name, disk)| Ok((*name, disk.digest()?)))
            .collect()
    }

    fn boot(&self, scene: &Scene<'_>) -> Result<Boot, VmError> {
        let mut machine = scene.machine();
        for (name, disk) in &self.0 {
            machine = if *name == "read_only" {
                machine.read_only_disk(disk)
            } else {
                machine.disk(disk)
            };
        }
        machine.script(WRONG_DISKS).boot()
    }
}

/// Disks are unplugged when they were seen, so that the next run meets the next condition.
const WRONG_DISKS: &str = r#"
unplug() { echo 1 >"$(readlink -f "/sys/block/$1/device")/../remove"; }
try() {
    sed "s#/dev/vdb#/dev/$2#" /etc/dawnkey/agent.toml >/run/agent.toml
    step "$1" dawnkey-agent --config /run/agent.toml --json unlock
}
try two_disks vdb
unplug vdc
try old vdb
sed -e 's#10.0.2.100:8443#10.0.2.100:9#' -e 's#budget_seconds = 60#budget_seconds = 8#' \
    -e 's#attempt_seconds = 20#attempt_seconds = 4#' /etc/dawnkey/agent.toml >/run/down.toml
step down_start cat /proc/uptime
step down dawnkey-agent --config /run/down.toml --json unlock
step down_end cat /proc/uptime
unplug vdb
try absent vdb
try ext4 vdd
try small vde
try read_only vdf
try wiped vdg
step mapped ls /dev/mapper
"#;
