//! A volume with integrity is there at once, however large its disk is; the wipe goes on behind the mounted filesystem,
//! which grows; the power may go meanwhile.
//!
//! Two boots. In the first, volumes are made on sparse disks of three sizes and one of them is wiped until the power is
//! cut; in the second that one goes on, and the small one comes to its end and is opened again.

use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::results::Step;
use serde_json::Value;

use crate::guest::FUNCTIONS;

/// Name, id and size of each disk.
const DISKS: [(&str, &str, u64); 3] = [
    ("small", "5b0f3c2e-0a6d-4f7b-9c11-2f4f6a7b8c01", 200 << 20),
    ("middle", "5b0f3c2e-0a6d-4f7b-9c11-2f4f6a7b8c02", 1 << 30),
    ("large", "5b0f3c2e-0a6d-4f7b-9c11-2f4f6a7b8c03", 1 << 40),
];
/// What is there from the begin, unless configured otherwise.
const PREFIX: u64 = 128 << 20;
/// Most that a disk 1024 times as large may take: its journal is larger, and other machines are busy.
const MOST_TIMES: u32 = 2;

const COMMON: &str = r##"
wipe() { dawnkey-agent --config "/run/$1.toml" wipe "$1"; }
size() { step "$1" blockdev --getsize64 "/dev/mapper/$2"; }
mounted() { mkdir -p "/mnt/$1" && mount -t ext4 "/dev/mapper/$1" "/mnt/$1"; }
first() { unlock "unlock_$1" "$1"; step "mount_$1" mounted "$1"; size "size_$1" "$1"; }
blocks() { step "$1" df -k "/mnt/$2"; }
tee_begin
"##;

const FIRST: &str = r#"
first small
first middle
first large
for name in small middle large; do echo "on $name" >/mnt/$name/file; done
sync
blocks before middle
wipe middle >/dev/null 2>&1 &
while test "$(blockdev --getsize64 /dev/mapper/middle)" -lt 234881024; do usleep 100000; done
blocks behind middle
size cut_at middle
await_host cut
read -r _ <"$control"
"#;

const SECOND: &str = r#"
first middle
step file_middle cat /mnt/middle/file
first large
step file_large cat /mnt/large/file
first small
step tables_before dmsetup table
step wipe_small wipe small
size wiped_small small
blocks wiped_blocks small
step file_small cat /mnt/small/file
umount /mnt/small
step stock_close cryptsetup close small
step left ls /dev/mapper
tee_launch
unlock again_small small
step tables_after dmsetup table
step wipe_again wipe small
step stock_close_again cryptsetup close small
tee_launch
unlock third_small small
step tables_third dmsetup table
"#;

struct Told {
    first: Vec<Step>,
    second: Vec<Step>,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let mut prelude = format!("{FUNCTIONS}{COMMON}");
    let mut disks = Vec::new();
    for ((name, id, bytes), letter) in DISKS.into_iter().zip('a'..) {
        scene.operator.create_volume(id)?;
        disks.push(scene.blank(&format!("{name}.disk"), bytes)?);
        prelude += &format!("configure /dev/vd{letter} {id} {name}\n");
    }
    let machine = |script: &str| {
        let machine = scene
            .direct()
            .memory(768)
            .limit(Duration::from_secs(400))
            .script(&(prelude.clone() + script));
        disks
            .iter()
            .fold(machine, |machine, disk| machine.disk(disk))
    };
    let mut running = machine(FIRST).start()?;
    running.wait_step("cut")?;
    let first = running.cut()?;
    let second = machine(SECOND).boot()?;
    Ok(Told {
        first,
        second: second.results.steps().to_vec(),
    })
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// A step that must have worked.
fn step<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    let step = steps.iter().find(|step| step.name == name);
    let step = step.unwrap_or_else(|| panic!("no step {name} in {steps:#?}"));
    assert_eq!(step.exit, 0, "{step:#?}");
    step
}

fn bytes(steps: &[Step], name: &str) -> u64 {
    let text = &step(steps, name).stdout;
    text.trim().parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Size of a mounted filesystem in KiB, as `df` tells it.
fn filesystem_kib(steps: &[Step], name: &str) -> u64 {
    let text = &step(steps, name).stdout;
    let line = text.lines().last().unwrap_or_default();
    let size = line.split_ascii_whitespace().nth(1);
    size.and_then(|size| size.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

/// Milliseconds of all that a mapping took.
fn mapping(report: &Value) -> Duration {
    let parts = report["volumes"][0]["mapping_ms"].as_object().unwrap();
    let total: f64 = parts.values().filter_map(Value::as_f64).sum();
    Duration::from_secs_f64(total / 1000.0)
}

#[test]
fn first_boot_takes_the_same_time_on_a_disk_of_a_gibibyte_and_of_a_tebibyte() {
    let times = DISKS.map(|(name, ..)| {
        let first = &told().first;
        let report = step(first, &format!("unlock_{name}")).json().unwrap();
        assert_eq!(report["outcome"], "provisioned", "{report}");
        step(first, &format!("mount_{name}"));
        assert_eq!(bytes(first, &format!("size_{name}")), PREFIX, "{name}");
        mapping(&report)
    });
    for ((name, _, bytes), time) in DISKS.into_iter().zip(times) {
        println!(
            "measured: first boot, disk of {} MiB ({name}): {:.1} s to a filesystem of {} MiB",
            bytes >> 20,
            time.as_secs_f64(),
            PREFIX >> 20
        );
    }
    assert!(times[2] < times[1] * MOST_TIMES, "{times:?}");
}

#[test]
fn mounted_filesystem_grows_while_the_rest_is_wiped_behind_it() {
    let (before, behind) = (
        filesystem_kib(&told().first, "before"),
        filesystem_kib(&told().first, "behind"),
    );
    assert!(
        before < PREFIX >> 10 && behind > before + (48 << 10),
        "{before} {behind}"
    );
    let second = &told().second;
    step(second, "wipe_small");
    let whole = bytes(second, "wiped_small");
    assert!(whole > 180 << 20, "{whole}");
    let filesystem = filesystem_kib(second, "wiped_blocks") << 10;
    assert!(filesystem > whole - (24 << 20), "{filesystem} of {whole}");
}

#[test]
fn boot_after_a_cut_finds_how_far_the_wipe_came_and_the_files() {
    let second = &told().second;
    for (name, ..) in DISKS {
        let report = step(second, &format!("unlock_{name}")).json().unwrap();
        assert_eq!(report["outcome"], "unlocked", "{report}");
        let file = &step(second, &format!("file_{name}")).stdout;
        assert_eq!(file, &format!("on {name}\n"));
    }
    let (cut_at, found) = (bytes(&told().first, "cut_at"), bytes(second, "size_middle"));
    assert!(found >= cut_at, "{found}, {cut_at} could be seen before");
    assert_eq!(bytes(second, "size_large"), PREFIX);
    println!(
        "measured: cut when {} MiB could be seen, {} MiB at the next boot",
        cut_at >> 20,
        found >> 20
    );
}

#[test]
fn only_the_ready_part_can_be_reached_until_all_is_ready() {
    let second = &told().second;
    let before = &step(second, "tables_before").stdout;
    let line = |text: &str, device: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(device));
        line.map(str::to_owned)
            .unwrap_or_else(|| panic!("no {device} in {text}"))
    };
    let ready = PREFIX / 512;
    assert!(line(before, "small: ").starts_with(&format!("0 {ready} linear ")));
    assert!(line(before, "small_whole: ").contains(" crypt "));
    assert!(line(before, "small_dif: ").contains(" integrity "));

    // Stock cryptsetup takes all three away.
    step(second, "stock_close");
    let left = &step(second, "left").stdout;
    assert!(!left.contains("small"), "{left}");

    let report = step(second, "again_small").json().unwrap();
    assert_eq!(report["outcome"], "unlocked", "{report}");
    let after = &step(second, "tables_after").stdout;
    assert!(line(after, "small: ").contains("linear") && after.contains("small_whole"));
    step(second, "wipe_again");
    step(second, "stock_close_again");
    // That all is ready is sealed now.
    let third = &step(second, "tables_third").stdout;
    assert!(line(third, "small: ").contains(" crypt ") && !third.contains("small_whole"));
}
