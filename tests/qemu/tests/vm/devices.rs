//! Disks that come late, come twice, or are pulled out while the agent works, two ways to the service of which one leads
//! nowhere, and two agents at once. One boot; disks are plugged in and out by the host.

use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::layout::HEADER;
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::nbd::{Act, Backend, Cache, Kind, Rule, When};
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;

use crate::guest::FUNCTIONS;
use crate::story::failure;

const BYTES: u64 = 40 << 20;

/// `begin FILE NAME` runs the agent beside the script, `said NAME EVENT` waits for what it says, `ended NAME` for its end.
const SCRIPT: &str = r##"
wait_seconds() { sed "s/^name = \"state\"/&\nwait_seconds = $1/" /run/state.toml; }
begin() { dawnkey-agent --config "/run/$1.toml" --json unlock >"/run/$2.out" 2>"/run/$2.err" & agent=$!; }
said() { until grep -q "agent: $2" "/run/$1.err" || ! kill -0 $agent; do usleep 50000; done; }
ended() {
    wait "${2:-$agent}"
    code=$?
    cat "/run/$1.out"
    cat "/run/$1.err" >&2
    return $code
}
there() { until [ -b /dev/vda ]; do usleep 50000; done; }
gone() { until [ ! -b /dev/vda ]; do usleep 50000; done; }
tee_begin
configure /dev/vda $volume state
wait_seconds 300 >/run/patient.toml
wait_seconds 1 >/run/hasty.toml

# The disk comes while the agent waits for it.
tee_launch
begin patient late
said late disk-awaited
await_host plug
step late ended late
put state 2000 "as it was written"
close

# The disk is pulled out between header and mapping; then it is not there at all.
tee_launch
ip link set dev eth0 down
begin patient pulled
said pulled attempt-failed
await_host pull
gone
ip link set dev eth0 up
step pulled ended pulled
mapped mapped_pulled
tee_launch
unlock absent hasty

# It comes back, the first of two addresses is in a network where nothing is, and a twin comes while the agent works.
await_host again
there
sed 's/^endpoints = .*/endpoints = ["10.0.3.99:8443", "10.0.2.100:8443"]/' /run/patient.toml >/run/two.toml
tee_launch
ip link set dev eth0 down
begin two twin
said twin attempt-failed
await_host plug_twin
until [ -b /dev/vdb ]; do usleep 50000; done
ip link set dev eth1 up && ip addr add 10.0.3.15/24 dev eth1 && ip route add default via 10.0.3.2
ip link set dev eth0 up
step twin ended twin
get read_twin state 2000
close
tee_launch
unlock both hasty
mapped mapped_both
await_host pull_twin
until [ ! -b /dev/vdb ]; do usleep 50000; done

# Two agents for one volume, at once.
tee_launch
begin patient one && one=$agent
begin patient two && two=$agent
step one ended one $one
step two ended two $two
step mapped_two dmsetup ls
close
tee_launch
unlock after patient
get read_after state 2000
close

# The disk goes away for good while its header is written.
tee_launch
ip link set dev eth0 down
begin patient dies
said dies attempt-failed
await_host dying
ip link set dev eth0 up
step dies ended dies
mapped mapped_dies
"##;

static BOOT: LazyLock<Result<Boot, String>> = LazyLock::new(|| boot().map_err(|e| e.to_string()));

fn boot() -> Result<Boot, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    scene.operator.create_volume(VOLUME)?;
    let disk = scene.blank("state.disk", BYTES)?;
    let backend = Backend::serve(&disk, Cache::Through)?;
    // Filled by the host once there is something to copy.
    let twin = scene.blank("twin.disk", BYTES)?;
    let script = format!("volume={VOLUME}\n{FUNCTIONS}\n{SCRIPT}");
    let machine = scene.direct().second_card().script(&script);
    let machine = machine
        .backend_later("first", &backend)
        .backend_later("second", &backend)
        .later("twin", &twin);
    let mut running = machine.limit(Duration::from_secs(400)).start()?;
    running.wait_step("plug")?;
    running.plug("first")?;
    running.go()?;
    running.wait_step("pull")?;
    running.unplug("first")?;
    running.go()?;
    running.wait_step("again")?;
    running.plug("second")?;
    running.go()?;
    running.wait_step("plug_twin")?;
    twin.write_at(0, &disk.head(BYTES as usize)?)?;
    running.plug("twin")?;
    running.go()?;
    running.wait_step("pull_twin")?;
    running.unplug("twin")?;
    running.go()?;
    running.wait_step("dying")?;
    backend.rule(Rule::new(Kind::Write, When::Nth(1), Act::Vanish).touching(0..HEADER));
    running.go()?;
    running.finish()
}

fn step(name: &str) -> &'static Step {
    let boot = BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"));
    boot.results.step(name).unwrap()
}

fn nothing_mapped(name: &str) {
    assert_eq!(step(name).stdout.trim(), "control", "{name}");
}

#[test]
fn disk_that_is_plugged_in_late_is_waited_for_and_opened() {
    let late = step("late");
    assert_eq!(late.exit, 0, "{late:#?}");
    assert!(
        late.stderr.contains("disk-awaited seconds=300"),
        "{late:#?}"
    );
}

#[test]
fn disk_that_is_not_there_is_named_when_its_time_is_over() {
    let (exit, _, message) = failure(step("absent"));
    assert_eq!(exit, 30, "{message}");
    assert!(message.contains("/dev/vda: it does not exist"), "{message}");
    let said = &step("absent").stderr;
    assert!(said.contains("disk-awaited seconds=1"), "{said}");
}

#[test]
fn disk_that_is_pulled_out_before_it_is_mapped_is_named_and_opens_when_it_is_back() {
    let (exit, _, message) = failure(step("pulled"));
    assert_eq!(exit, 31, "{message}");
    assert!(message.contains("/dev/vda"), "{message}");
    nothing_mapped("mapped_pulled");
    assert_eq!(step("read_twin").stdout.trim(), "as it was written");
}

#[test]
fn disk_that_dies_while_its_header_is_written_is_named_and_nothing_stays_mapped() {
    let (exit, _, message) = failure(step("dies"));
    assert_eq!(exit, 31, "{message}");
    assert!(
        message.contains("write the header on /dev/vda"),
        "{message}"
    );
    nothing_mapped("mapped_dies");
}

#[test]
fn twin_that_comes_while_the_agent_works_changes_nothing_and_is_refused_at_the_next_unlock() {
    let twin = step("twin");
    assert_eq!(twin.exit, 0, "{twin:#?}");
    assert_eq!(
        twin.json().unwrap()["volumes"][0]["device"],
        "/dev/mapper/state"
    );
    let (exit, _, message) = failure(step("both"));
    assert_eq!(exit, 30, "{message}");
    assert!(
        message.contains("vda") && message.contains("vdb") && message.contains("exactly one"),
        "{message}"
    );
    nothing_mapped("mapped_both");
}

#[test]
fn service_is_found_with_a_second_card_and_an_address_that_lead_nowhere() {
    let said = &step("twin").stderr;
    assert!(
        said.contains("connected endpoint=10.0.2.100:8443"),
        "{said}"
    );
}

/// Both are the same machine to the service, so that either may have its generation overtaken by the other.
#[test]
fn of_two_agents_at_once_at_most_one_opens_the_volume_and_the_next_unlock_finds_it_whole() {
    let both = [step("one"), step("two")];
    assert!(both.iter().any(|agent| agent.exit != 0), "{both:#?}");
    for agent in both.iter().filter(|agent| agent.exit != 0) {
        let (exit, reason, message) = failure(agent);
        println!("refused: one of two agents: {exit} {reason}: {message}");
        assert!([21, 30, 31, 41].contains(&exit), "{agent:#?}");
    }
    let opened = both.iter().any(|agent| agent.exit == 0);
    let mappings = step("mapped_two").stdout.lines();
    let mapped = mappings.filter(|line| line.starts_with("state")).count();
    assert_eq!(opened, mapped > 0, "{both:#?}\n{:?}", step("mapped_two"));
    assert_eq!(step("after").exit, 0, "{:#?}", step("after"));
    assert_eq!(step("read_after").stdout.trim(), "as it was written");
}
