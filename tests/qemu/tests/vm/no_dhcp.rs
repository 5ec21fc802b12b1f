//! A Debian guest whose network gives it no address: DHCP is asked and never answers.
//!
//! One boot by OVMF from the image that would open its volumes, with systemd-networkd in the initramfs as it ships.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{Lab, ROOT_VOLUME};
use dawnkey_qemu_tests::net::{Did, Network, Weather};

use crate::guest::ended_without_a_shell;

/// The wait for the network (30 s), the budget (60 s), the diagnosis (10 s), and the boot of a machine that is emulated on a
/// busy one.
const LIMIT: Duration = Duration::from_secs(900);

struct Told {
    serial: String,
    elapsed: Duration,
    /// Questions for an address that vanished.
    asked: u64,
    /// Both disks before and after.
    digests: [(String, String); 2],
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.scene()?;
    let state = scene.volume()?;
    scene.operator.create_volume(ROOT_VOLUME)?;
    let root = scene.blank("root.disk", 64 << 20)?;
    let before = [state.digest()?, root.digest()?];
    let network = Network::new(&scene.path("network"))?;
    network.weather(Weather {
        only_ipv4: true,
        vanish: Some(|packet| packet.udp && [67, 68].contains(&packet.to.port())),
        ..Weather::default()
    });
    let machine = scene.machine_with(&lab.debian.dracut, &scene.tpm);
    let machine = machine.memory(1024).limit(LIMIT).network(&network);
    let began = Instant::now();
    let running = machine.disk(&state).disk(&root).start()?;
    let (_, serial) = running.switched_off()?;
    let after = [state.digest()?, root.digest()?];
    let [state, root] = before;
    let [state_after, root_after] = after;
    Ok(Told {
        serial,
        elapsed: began.elapsed(),
        asked: network.did(Did::Vanished),
        digests: [(state, state_after), (root, root_after)],
    })
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// The line of an event of the agent that has all of these words.
fn line(words: &[&str]) -> &'static str {
    let serial = &told().serial;
    let mut lines = serial
        .lines()
        .filter(|line| line.contains("dawnkey-agent: "));
    let found = lines.find(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line with {words:?} in\n{serial}"))
}

#[test]
fn node_without_an_address_says_to_check_dhcp_and_switches_itself_off() {
    assert!(told().asked > 0, "nobody asked for an address");
    // Only what the node gives itself.
    line(&["diagnosis", "about=link", " up, fe80::"]);
    line(&[
        "diagnosis",
        "about=advice",
        "no link has an address: check DHCP",
    ]);
    line(&["failed", "exit=20", "Network is unreachable", "remedy="]);
    line(&["failure-action", "action=power-off"]);
    assert!(
        told().serial.contains("reboot: Power down"),
        "{}",
        told().serial
    );
    let seconds = told().elapsed.as_secs_f64();
    println!(
        "measured: no DHCP: power-on to power-off {seconds:.1} s, {} questions",
        told().asked
    );
}

#[test]
fn node_without_an_address_has_no_shell_and_writes_nothing() {
    ended_without_a_shell(&told().serial);
    for (before, after) in &told().digests {
        assert_eq!(before, after, "a disk was written to");
    }
}
