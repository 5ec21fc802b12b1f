//! Volumes beside cryptsetup's, in one boot: opening, reading and writing, wiping, and the first boot by disk size.
//!
//! Both sides run in turns on the same machine, over disks of the same size. Emulated machines say little about real
//! ones: docs/testing.md says how to read the figures.

use std::time::Duration;

use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::{VmError, results::Step};
use serde_json::Value;

use super::table::{self, Row};
use crate::error::XtaskError;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{build, lab};

/// Bytes of the disks that are wiped whole.
const WIPED: u64 = 144 << 20;
/// Blank disks for first boots, with what they are called.
const FIRST_BOOTS: [(&str, u64); 3] =
    [("1 GiB", 1 << 30), ("64 GiB", 64 << 30), ("1 TiB", 1 << 40)];
/// How often each side opens, wipes, and reads or writes.
const OPENS: usize = 10;
const WIPES: usize = 3;
const TRANSFERS: usize = 5;
/// Names of transfers with their arguments for `dawnkey-test-io`, and mebibytes in each.
const TRANSFER: [(&str, &str, f64); 4] = [
    (
        "sequential write",
        "write sequential --count 48 --span 48",
        48.0,
    ),
    (
        "sequential read",
        "read sequential --count 48 --span 48",
        48.0,
    ),
    (
        "random 4 KiB write",
        "write random --block 4096 --count 1024 --span 12288",
        4.0,
    ),
    (
        "random 4 KiB read",
        "read random --block 4096 --count 1024 --span 12288",
        4.0,
    ),
];
/// Emulation is slow, and nothing is asserted.
const LIMIT: Duration = Duration::from_secs(1800);

/// `ours1` … are volumes wiped up front, the disk behind them is cryptsetup's; `first1` … are wiped behind.
const SCRIPT: &str = r##"
tee_begin() { tee_configfs_without_provider && tee_launch && tee_configfs sev_guest; }
configure() {
    {
        sed -e "s#/dev/vdb#$1#" -e "s#^id = .*#id = \"$2\"#" -e "s#^name = \"state\"#name = \"$3\"#" \
            -e "s#^filesystem = .*#&\nwipe = \"$4\"#" /etc/dawnkey/agent.toml
        printf '[attestation]\nkind = "snp"\nwithout_runtime_register = "report"\n'
    } >"/run/$3.toml"
}
unlock() { step "$1" dawnkey-agent --config "/run/$2.toml" --json unlock; }
run() { name=$1; shift; step "$name" dawnkey-test-io run "$@"; }
luks_format() {
    run "$1" cryptsetup luksFormat -q --type luks2 --cipher aes-xts-plain64 --integrity hmac-sha256 --sector-size 4096 \
        --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $2 "$theirs" /run/passphrase
}
printf 'a passphrase' >/run/passphrase
configs
tee_begin
for number in $wipes; do
    unlock "wipe_ours_$number" "ours$number"
    dmsetup remove_all
    luks_format "unwiped_$number" --integrity-no-wipe
    luks_format "wiped_$number"
done
await_host export
printf "$said" >/run/volume-key
for number in $opens; do
    tee_launch
    unlock "open_ours_$number" ours1
    dmsetup remove_all
    run "open_theirs_$number" cryptsetup open --type luks2 --volume-key-file /run/volume-key --key-size 768 "$ours" stock
    cryptsetup close stock
    run "start_theirs_$number" cryptsetup --version
done
tee_launch
unlock open_io ours1
step open_plain cryptsetup open --key-file /run/passphrase "$theirs" theirs
for number in $transfers; do io ours1 ours $number; io theirs plain $number; done
cryptsetup close theirs
step open_tuned cryptsetup open --key-file /run/passphrase --perf-no_read_workqueue --perf-no_write_workqueue "$theirs" theirs
for number in $transfers; do io theirs tuned $number; done
cryptsetup close theirs
dmsetup remove_all
for number in 1 2 3; do unlock "first_$number" "first$number"; dmsetup remove_all; done
"##;

/// `cargo xtask bench volume`.
///
/// # Errors
/// [`XtaskError::Vm`] when the boot or a step of it failed.
pub fn run(workspace: &Workspace, progress: &Progress) -> Result<(), XtaskError> {
    let binaries = progress.step("build release binaries", || build::release(workspace))?;
    let dir = progress.step("images for the machine", || {
        lab::prepare(workspace, &binaries)
    })?;
    let boot = progress.step("one boot", || Ok(boot(&Lab::read(&dir)?)?))?;
    progress.say(table::HEADING);
    for row in rows(&boot)? {
        progress.say(&row.line());
    }
    Ok(())
}

/// Id of the volume on the disk of this number.
fn id(number: usize) -> String {
    format!("7b1e2f04-55aa-4c1e-9f00-{number:012x}")
}

fn boot(lab: &Lab) -> Result<Boot, VmError> {
    let scene = lab.tee_scene()?;
    let mut disks = Vec::new();
    let sizes = [WIPED; WIPES + 1]
        .into_iter()
        .chain(FIRST_BOOTS.map(|(_, bytes)| bytes));
    for (number, bytes) in sizes.enumerate() {
        disks.push(scene.blank(&format!("{number}.disk"), bytes)?);
        scene.operator.create_volume(&id(number))?;
    }
    let machine = disks
        .iter()
        .fold(scene.with_tools(), |machine, d| machine.disk(d));
    let machine = machine.memory(1024).limit(LIMIT).script(&script());
    let mut running = machine.start()?;
    running.wait_step("export")?;
    let first = disks
        .first()
        .ok_or_else(|| VmError::Lab("no disk".to_owned()))?;
    running.say(&exported(&scene, first)?)?;
    running.finish()
}

/// The volume key as `printf` of a shell takes it.
fn exported(scene: &Scene<'_>, disk: &dawnkey_qemu_tests::disk::Disk) -> Result<String, VmError> {
    let key = scene.export_key(&id(0), disk)?;
    // The line goes through `read -r`, the shell's printf reads the escapes.
    Ok(key.iter().map(|byte| format!("\\{byte:03o}")).collect())
}

fn script() -> String {
    let numbers = |count: usize| (1..=count).map(|n| format!("{n} ")).collect::<String>();
    let device = |number: usize| format!("/dev/vd{}", char::from(b'a' + number as u8));
    let mut script = format!(
        "wipes='{}'\nopens='{}'\ntransfers='{}'\nours={}\ntheirs={}\n",
        numbers(WIPES),
        numbers(OPENS),
        numbers(TRANSFERS),
        device(0),
        device(WIPES)
    );
    script += "configs() {\n";
    for number in 0..WIPES {
        let (device, id) = (device(number), id(number));
        script += &format!("configure {device} {id} ours{} up-front\n", number + 1);
    }
    for number in 0..FIRST_BOOTS.len() {
        let disk = WIPES + 1 + number;
        let (device, id) = (device(disk), id(disk));
        script += &format!("configure {device} {id} first{} behind\n", number + 1);
    }
    script += "}\nio() {\n";
    for (name, arguments, _) in TRANSFER {
        let (action, rest) = arguments.split_once(" --").unwrap_or((arguments, ""));
        let step = name.replace(' ', "_");
        script += &format!(
            "step \"{step}_$2_$3\" dawnkey-test-io transfer {action} \"/dev/mapper/$1\" --{rest}\n"
        );
    }
    script + "}\n" + SCRIPT
}

/// A step that must have worked.
fn step<'a>(boot: &'a Boot, name: &str) -> Result<&'a Step, VmError> {
    let step = boot.results.step(name)?;
    if step.exit == 0 {
        return Ok(step);
    }
    Err(VmError::Report(format!("step `{name}` failed: {step:#?}")))
}

/// What `dawnkey-test-io` printed in steps NAME_1 …, seconds.
fn seconds(boot: &Boot, name: &str, count: usize) -> Result<Vec<f64>, VmError> {
    (1..=count)
        .map(|number| {
            let step = step(boot, &format!("{name}_{number}"))?;
            let text = step.stdout.trim();
            text.parse()
                .map_err(|_| VmError::Report(format!("`{text}` is no number of seconds")))
        })
        .collect()
}

/// Milliseconds of some times in the agent's reports of steps NAME_1 …, added up.
fn reported(boot: &Boot, name: &str, times: &[&str], count: usize) -> Result<Vec<f64>, VmError> {
    (1..=count)
        .map(|number| {
            let report = step(boot, &format!("{name}_{number}"))?.json()?;
            let time = |pointer: &&str| {
                let value = report.pointer(pointer).and_then(Value::as_f64);
                value.ok_or_else(|| VmError::Report(format!("no {pointer} in {report}")))
            };
            times.iter().map(time).sum()
        })
        .collect()
}

fn rows(boot: &Boot) -> Result<Vec<Row>, VmError> {
    let mut rows = opening(boot)?;
    for (name, _, mebibytes) in TRANSFER {
        rows.push(transfer(boot, name, mebibytes)?);
    }
    rows.push(wiping(boot)?);
    for (number, (size, _)) in (1..).zip(FIRST_BOOTS) {
        let report = step(boot, &format!("first_{number}"))?.json()?;
        let format = report.pointer("/stages_ms/format").and_then(Value::as_f64);
        rows.push(Row {
            what: format!("blank disk of {size} to filesystem"),
            unit: "ms",
            ours: format.into_iter().collect(),
            theirs: Vec::new(),
            goal: "the same for all",
        });
    }
    Ok(rows)
}

/// Ours writes and flushes the next generation at the end, which cryptsetup has not: with it and without. Theirs
/// contains the start of a program, ours not: that alone is a line too.
fn opening(boot: &Boot) -> Result<Vec<Row>, VmError> {
    let whole = reported(
        boot,
        "open_ours",
        &["/stages_ms/find", "/stages_ms/open"],
        OPENS,
    )?;
    let commit = reported(boot, "open_ours", &["/volumes/0/mapping_ms/commit"], OPENS)?;
    let mapped = whole
        .iter()
        .zip(&commit)
        .map(|(all, end)| all - end)
        .collect();
    let theirs = scaled(&seconds(boot, "open_theirs", OPENS)?, 1000.0);
    let starting = scaled(&seconds(boot, "start_theirs", OPENS)?, 1000.0);
    let row = |what: &str, ours, theirs, goal| Row {
        what: what.to_owned(),
        unit: "ms",
        ours,
        theirs,
        goal,
    };
    Ok(vec![
        row(
            "open, headers read to mapped",
            mapped,
            theirs.clone(),
            "at most 0.5",
        ),
        row("and the next generation on the disk", whole, theirs, ""),
        row("starting the program", Vec::new(), starting, ""),
    ])
}

/// Beside the better of cryptsetup's two ways to open.
fn transfer(boot: &Boot, name: &str, mebibytes: f64) -> Result<Row, VmError> {
    let step = name.replace(' ', "_");
    let rate = |side: &str| {
        let seconds = seconds(boot, &format!("{step}_{side}"), TRANSFERS)?;
        Ok::<_, VmError>(seconds.iter().map(|s| mebibytes / s).collect::<Vec<_>>())
    };
    let (plain, tuned) = (rate("plain")?, rate("tuned")?);
    let theirs = if table::median(&tuned) > table::median(&plain) {
        tuned
    } else {
        plain
    };
    Ok(Row {
        what: name.to_owned(),
        unit: "MiB/s",
        ours: rate("ours")?,
        theirs,
        goal: "at least 1.0",
    })
}

/// cryptsetup does not say how long its wipe took: that is what a format without it takes less.
fn wiping(boot: &Boot) -> Result<Row, VmError> {
    let mebibytes = (WIPED >> 20) as f64 - 16.0;
    let times = ["/volumes/0/mapping_ms/wipe"];
    let ours = reported(boot, "wipe_ours", &times, WIPES)?;
    let with = seconds(boot, "wiped", WIPES)?;
    let without = table::median(&seconds(boot, "unwiped", WIPES)?).unwrap_or_default();
    Ok(Row {
        what: "wipe at format".to_owned(),
        unit: "MiB/s",
        ours: ours.iter().map(|ms| mebibytes / ms * 1000.0).collect(),
        theirs: with.iter().map(|s| mebibytes / (s - without)).collect(),
        goal: "at least 1.0",
    })
}

fn scaled(figures: &[f64], by: f64) -> Vec<f64> {
    figures.iter().map(|figure| figure * by).collect()
}
