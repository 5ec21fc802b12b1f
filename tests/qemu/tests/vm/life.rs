//! Several volumes and swap in a running system: leases that are held and lost, closing and opening again.
//!
//! Two boots of a measured machine. In the first, three volumes are made and swap is used; the lease of one is broken
//! while it is held, and its mapping is suspended; another is closed and stays so, since policy does not let it be
//! opened again; the third is closed, opened again and held, until its lease is broken too, which switches the machine
//! off. In the second, all are opened, one holder ends in order, and another is cut off from the service until its lease
//! has ended.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab, Scene};
use dawnkey_qemu_tests::memory;
use dawnkey_qemu_tests::operator::{Operator, VOLUME};
use dawnkey_qemu_tests::results::Step;
use serde_json::Value;

use crate::story::failure;

/// Name, id and policy of each volume, in the configuration's order. The first has the policy of the lab's image.
const VOLUMES: [(&str, &str, &str); 3] = [
    ("state", VOLUME, "hold = true\non_loss = \"suspend\"\n"),
    (
        "logs",
        "2d7a4c10-93b5-4e0f-8c61-5a0e7d1b3f02",
        "hold = true\non_loss = \"power-off\"\nreopen = \"allow\"\n",
    ),
    ("cache", "2d7a4c10-93b5-4e0f-8c61-5a0e7d1b3f03", ""),
];
/// So long a lease lives: a broken one is noticed after a third of it.
const LEASE_SECONDS: u32 = 30;
/// What is in every page that is swapped out.
const PAGE: &str = "this page was in memory";
/// Megabytes that must be swapped out at least.
const SWAPPED: u64 = 8;

const COMMON: &str = r##"
agent() { dawnkey-agent --config /run/agent.toml "$@"; }
services() { sed '/^\[\[volume\]\]/,$d' /etc/dawnkey/agent.toml; }
volume() {
    printf '[[volume]]\nid = "%s"\nname = "%s"\ndevice = "%s"\nfilesystem = "ext4"\nwipe_prefix = "16 MiB"\n' "$@"
}
on() { mkdir -p "/mnt/$1" && step "mount_$1$2" mount -t ext4 "/dev/mapper/$1" "/mnt/$1"; }
# hold NAME FILE: a holder in the background; returns when it holds the lease or has ended.
hold() {
    dawnkey-agent --config /run/agent.toml hold "$1" 2>"$2" &
    holder=$!
    until agent --json status | grep -q '"state":"held"' || ! kill -0 $holder; do usleep 100000; done
}
ended() {
    wait "$holder"
    code=$?
    cat /run/hold
    return $code
}
"##;

const FIRST: &str = r#"
step unlock dawnkey-agent --config /run/agent.toml --json unlock
step table dmsetup table --showkeys
step swaps cat /proc/swaps
for name in state logs cache; do on $name; echo "on $name" >/mnt/$name/file; done
sync
swap_out() {
    mkdir -p /cgroup /pages && mount -t cgroup2 cgroup2 /cgroup && mount -t tmpfs pages /pages &&
        echo +memory >/cgroup/cgroup.subtree_control && mkdir /cgroup/pages &&
        sh -c 'echo 0 >/cgroup/pages/cgroup.procs; busybox yes "$page" | head -c 16777216 >/pages/file' || return
    echo 14M >/cgroup/pages/memory.reclaim
    cat /cgroup/pages/memory.swap.current
}
step swap_out swap_out
step swap_in sh -c 'busybox uniq /pages/file'
hold state /run/hold
step status dawnkey-agent --config /run/agent.toml --json status
step status_text agent status
step second_holder agent hold state
step close_held agent close state
agent wipe state 2>/run/wipe &
until grep -q wiping /run/wipe; do usleep 100000; done
await_host holding
step lost ended
step info dmsetup info state
step table_lost dmsetup table state
step info_whole dmsetup info state_whole
step hold_again agent hold state

step close_used agent close cache
step umount_cache umount /mnt/cache
step close_cache agent close cache
step reopen_cache dawnkey-agent --config /run/agent.toml --json reopen cache
step again dawnkey-agent --config /run/cache.toml --json unlock
step umount_logs umount /mnt/logs
step close_logs agent close logs
step mapped ls /dev/mapper
step reopen_logs agent reopen logs
on logs _again
step file_logs cat /mnt/logs/file
hold logs /dev/console
step wiped cat /run/wipe
step info_later dmsetup info state
step table_later dmsetup table state
await_host reopened
wait $holder
"#;

const SECOND: &str = r#"
step unlock dawnkey-agent --config /run/agent.toml --json unlock
step swaps cat /proc/swaps
for name in state logs cache; do on $name; step file_$name cat /mnt/$name/file; done
hold state /run/hold
kill -TERM $holder
step kept ended
hold logs /run/hold
umount /mnt/logs
kill -TERM $holder
step ended ended
step close agent close logs
umount /mnt/state
hold state /run/hold
ip link set dev eth0 down
step alone ended
step info dmsetup info state
step close_suspended agent close state
step status agent status
"#;

struct Told {
    first: Vec<Step>,
    /// The console of the first boot.
    console: String,
    second: Vec<Step>,
    /// The records of the first two volumes while their leases were held.
    held: [Value; 2],
    /// That of the second after its holder has ended in order.
    end: Value,
    /// What was on the swap device after the first boot.
    swap: Vec<u8>,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.scene_with(policies)?;
    let mut disks = Vec::new();
    let mut configuration = "services >/run/agent.toml\n".to_owned();
    for ((name, id, _), letter) in VOLUMES.into_iter().zip('b'..) {
        let create = ["volume", "create", "--policy", name, "--id", id];
        scene.operator.dawnkey(&create)?;
        // The wipe behind the first is still going on when its lease is lost.
        let bytes = if id == VOLUME { 4 } else { 1 } * DISK_BYTES;
        disks.push(scene.blank(&format!("{name}.disk"), bytes)?);
        configuration += &format!("volume {id} {name} /dev/vd{letter} >>/run/agent.toml\n");
        configuration +=
            &format!("{{ services; volume {id} {name} /dev/vd{letter}; }} >/run/{name}.toml\n");
    }
    disks.push(scene.blank("swap.disk", DISK_BYTES)?);
    configuration += "printf '[[swap]]\\ndevice = \"/dev/vde\"\\nname = \"swap\"\\n[hold]\\nwipe_rate = \"1 MiB\"\\n' >>/run/agent.toml\n";
    let prelude = format!("export page='{PAGE}'\n{COMMON}{configuration}");
    let machine = |script: &str| {
        let machine = scene.machine().limit(Duration::from_secs(400));
        let machine = machine.script(&(prelude.clone() + script));
        disks
            .iter()
            .fold(machine, |machine, disk: &Disk| machine.disk(disk))
    };
    let mut running = machine(FIRST).start()?;
    let mut broken = |at: &str, volume: usize| {
        running.wait_step(at)?;
        let id = VOLUMES[volume].1;
        let held = record(&scene, id)?;
        scene.operator.dawnkey(&["volume", "break-lease", id])?;
        running.go()?;
        Ok::<_, VmError>(held)
    };
    let held = [broken("holding", 0)?, broken("reopened", 1)?];
    let (first, console) = running.switched_off()?;
    let swap = fs::read(disks[3].path()).unwrap();
    let second = machine(SECOND).boot()?;
    Ok(Told {
        first,
        console,
        second: second.results.steps().to_vec(),
        held,
        end: record(&scene, VOLUMES[1].1)?,
        swap,
    })
}

/// A policy for each volume, and short leases.
fn policies(operator: &Operator) -> Result<(), VmError> {
    let path = operator.policy();
    let text = fs::read_to_string(&path).unwrap();
    let begin = text.find("[volume-policy.state]").unwrap();
    let end = text.find("[[image]]\nname").unwrap();
    let template = &text[begin..end];
    let mut all = text[..begin].to_owned();
    for (name, _, rules) in VOLUMES {
        let heading = format!("[volume-policy.{name}]");
        all += &template.replacen("[volume-policy.state]", &heading, 1);
        // An empty line ended the template.
        all = format!("{}\n{rules}\n", all.trim_end());
    }
    all += &text[end..];
    fs::write(&path, all).unwrap();
    let config = path.with_file_name("keyservice.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        format!("{text}\n[limits]\nlease_seconds = {LEASE_SECONDS}\n"),
    )
    .unwrap();
    Ok(())
}

fn record(scene: &Scene<'_>, id: &str) -> Result<Value, VmError> {
    let text = scene.operator.dawnkey(&["volume", "show", id, "--json"])?;
    serde_json::from_str(&text).map_err(|e| VmError::Report(format!("{e}: {text}")))
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

fn named<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    let step = steps.iter().find(|step| step.name == name);
    step.unwrap_or_else(|| panic!("no step {name} in {steps:#?}"))
}

/// What a step that must have worked said.
fn said<'a>(steps: &'a [Step], name: &str) -> &'a str {
    let step = named(steps, name);
    assert_eq!(step.exit, 0, "{step:#?}");
    step.stdout.trim()
}

/// What a command that was refused with this exit code said.
fn refused<'a>(name: &str, exit: i32) -> &'a str {
    let step = named(&told().first, name);
    assert_eq!(step.exit, exit, "{step:#?}");
    &step.stderr
}

/// The targets of a mapping's table.
fn table(name: &str) -> &'static str {
    let tables = said(&told().first, "table");
    let line = tables
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {tables}"))
}

#[test]
fn every_volume_is_unlocked_in_one_boot_and_again_in_the_next_with_its_file() {
    let Told { first, second, .. } = told();
    for (steps, outcome) in [(first, "provisioned"), (second, "unlocked")] {
        said(steps, "unlock");
        let report = named(steps, "unlock").json().unwrap();
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(report["boot_closed_in"], "pcr-15", "{report}");
        for (at, (name, id, _)) in VOLUMES.into_iter().enumerate() {
            assert_eq!(report["volumes"][at]["id"], id, "{report}");
            said(steps, &format!("mount_{name}"));
        }
    }
    for (name, ..) in VOLUMES {
        let file = said(second, &format!("file_{name}"));
        assert_eq!(file, format!("on {name}"));
    }
}

#[test]
fn swap_is_mapped_with_integrity_under_a_key_that_the_table_does_not_show() {
    let Told { first, second, .. } = told();
    for steps in [first, second] {
        let swaps = said(steps, "swaps");
        assert!(swaps.contains("partition"), "{swaps}");
        let events = &named(steps, "unlock").stderr;
        assert!(events.contains("swap-on"), "{events}");
    }
    let crypt = table("swap");
    for sign in [
        "capi:authenc(hmac(sha256),xts(aes))-plain64",
        ":96:logon:",
        "integrity:",
    ] {
        assert!(crypt.contains(sign), "no {sign} in {crypt}");
    }
    // Direct writes: without dm-integrity's journal.
    let integrity = table("swap_dif");
    assert!(integrity.contains(" D "), "{integrity}");
}

#[test]
fn pages_go_out_to_swap_and_come_back_and_are_on_no_disk_as_they_were() {
    let Told { first, swap, .. } = told();
    let out: u64 = said(first, "swap_out").parse().unwrap();
    assert!(out >= SWAPPED << 20, "{out} bytes were swapped out");
    let lines: Vec<&str> = said(first, "swap_in").lines().collect();
    // The last one is cut off.
    assert_eq!(lines[0], PAGE);
    assert!(lines.len() <= 2, "{lines:?}");
    assert_eq!(memory::find(swap, PAGE.as_bytes()), [0; 0]);
    let written = swap
        .chunks(4096)
        .filter(|block| block.iter().any(|b| *b != 0));
    assert!(written.count() as u64 >= (SWAPPED << 20) / 4096);
}

#[test]
fn status_tells_volumes_and_holder() {
    let first = &told().first;
    said(first, "status");
    let status = named(first, "status").json().unwrap();
    for (at, (name, id, _)) in VOLUMES.into_iter().enumerate() {
        let volume = &status["volumes"][at];
        assert_eq!(volume["name"], name, "{status}");
        assert_eq!(volume["id"], id, "{status}");
        assert_eq!(
            (&volume["mapped"], &volume["in_use"]),
            (&true.into(), &true.into())
        );
        assert_eq!(volume["ready_bytes"], 16 << 20, "{status}");
        assert!(volume["total_bytes"].as_u64() > Some(32 << 20), "{status}");
        assert_eq!(volume["holder"].is_object(), at == 0, "{status}");
    }
    let holder = &status["volumes"][0]["holder"];
    assert_eq!(
        (&holder["state"], &holder["on_loss"]),
        (&"held".into(), &"suspend".into())
    );
    let text = said(first, "status_text");
    assert!(text.contains("state: in use, 16 of "), "{text}");
    assert!(text.contains(" held"), "{text}");
}

#[test]
fn held_volume_is_neither_closed_nor_held_twice() {
    let problem = refused("close_held", 31);
    assert!(problem.contains("its lease is held"), "{problem}");
    let problem = refused("second_holder", 61);
    assert!(problem.contains("another holder has it"), "{problem}");
    for held in &told().held {
        assert_eq!(held["lease"]["held"], true, "{held}");
    }
}

#[test]
fn mapping_is_suspended_when_its_held_lease_is_broken() {
    let lost = named(&told().first, "lost");
    assert_eq!(lost.exit, 60, "{lost:#?}");
    assert!(
        lost.stdout.contains("lease-lost action=suspend"),
        "{lost:#?}"
    );
    assert!(!lost.stdout.contains("loss-not-acted-on"), "{lost:#?}");
    // The wipe behind it neither goes on nor starts the mapping again.
    for step in ["info", "info_whole", "info_later"] {
        let info = said(&told().first, step);
        assert!(info.contains("SUSPENDED"), "{info}");
    }
    let wiped = said(&told().first, "wiped");
    assert!(wiped.contains("wiping"), "{wiped}");
    assert!(!wiped.contains("wiped name"), "{wiped}");
    let lengths = ["table_lost", "table_later"].map(|step| said(&told().first, step));
    assert_eq!(lengths[0], lengths[1]);
    let problem = refused("hold_again", 61);
    assert!(problem.contains("left none"), "{problem}");
}

#[test]
fn closed_volume_is_opened_again_only_where_policy_allows_it() {
    let first = &told().first;
    let problem = refused("close_used", 31);
    assert!(problem.contains("cache"), "{problem}");
    said(first, "close_cache");
    let (exit, reason, message) = failure(named(first, "reopen_cache"));
    assert_eq!(
        (exit, reason.as_str()),
        (21, "reopen-not-allowed"),
        "{message}"
    );
    said(first, "close_logs");
    let mapped = said(first, "mapped");
    assert!(
        !mapped.contains("logs") && !mapped.contains("cache"),
        "{mapped}"
    );
    said(first, "reopen_logs");
    said(first, "mount_logs_again");
    assert_eq!(said(first, "file_logs"), "on logs");
}

#[test]
fn second_unlock_of_a_closed_volume_is_refused() {
    let (exit, reason, message) = failure(named(&told().first, "again"));
    assert_eq!((exit, reason.as_str()), (21, "pcr-mismatch"), "{message}");
}

#[test]
fn machine_is_switched_off_when_a_lease_with_that_action_is_broken() {
    let console = &told().console;
    for sign in ["lease-held", "lease-lost action=power-off"] {
        assert!(console.contains(sign), "no {sign} in {console}");
    }
    assert!(!console.contains("loss-not-acted-on"), "{console}");
    assert!(!console.contains("panic"), "{console}");
}

#[test]
fn holder_that_is_asked_to_end_keeps_the_lease_of_a_volume_in_use_and_ends_it_otherwise() {
    let Told { second, end, .. } = told();
    let kept = said(second, "kept");
    assert!(kept.contains("lease-kept"), "{kept}");
    let ended = said(second, "ended");
    assert!(ended.contains("lease-ended"), "{ended}");
    said(second, "close");
    assert!(end["lease"].is_null(), "{end}");
}

#[test]
fn mapping_is_suspended_when_the_service_was_not_reached_until_the_end_of_the_lease() {
    let second = &told().second;
    let alone = named(second, "alone");
    assert_eq!(alone.exit, 60, "{alone:#?}");
    for sign in [
        "renewal-failed",
        "lease-lost action=suspend",
        "until its end",
    ] {
        assert!(alone.stdout.contains(sign), "no {sign} in {alone:#?}");
    }
    let info = said(second, "info");
    assert!(info.contains("SUSPENDED"), "{info}");
    // A suspended mapping that nothing has open can be taken away like any other.
    said(second, "close_suspended");
    let status = said(second, "status");
    assert!(status.contains("state: not mapped"), "{status}");
}
