//! Every kind of volume that can be chosen at format: made, wiped, unlocked again in the next launch with its data, and
//! not taken for another kind. One boot.

use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::machine::Boot;

use crate::guest::FUNCTIONS;

/// Name, id, what the configuration says, and what must stand in the tables.
const KINDS: [(&str, &str, &str, &[&str]); 4] = [
    (
        "gcm",
        "7e1d2c3b-4a59-4688-9776-655443322101",
        "integrity = \"aes-gcm\"",
        &["capi:gcm(aes)-random", "integrity:28:aead"],
    ),
    (
        "aegis",
        "7e1d2c3b-4a59-4688-9776-655443322102",
        "integrity = \"aegis128\"",
        &["capi:aegis128-random", "integrity:32:aead"],
    ),
    (
        "mac",
        "7e1d2c3b-4a59-4688-9776-655443322103",
        "integrity = \"hmac-sha256\"\njournal_mac = true",
        &[
            "capi:authenc(hmac(sha256),xts(aes))-plain64",
            "journal_mac:hmac(sha256):",
        ],
    ),
    (
        "none",
        "7e1d2c3b-4a59-4688-9776-655443322104",
        "integrity = \"none\"",
        &["aes-xts-plain64"],
    ),
];

/// `life NAME` formats a volume, writes, wipes, closes, and opens it in another launch.
const SCRIPT: &str = r##"
kind() { sed -i "s#^integrity = .*#$2#" "/run/$1.toml"; }
wipe() { dawnkey-agent --config "/run/$1.toml" wipe "$1"; }
life() {
    unlock "format_$1" "$1"
    put "$1" 1000 "data of $1"
    step "wipe_$1" wipe "$1"
    close
    tee_launch
    unlock "open_$1" "$1"
    get "read_$1" "$1" 1000
    step "tables_$1" dmsetup table
    close
    tee_launch
}
more_modules
tee_begin
"##;

static BOOT: LazyLock<Result<Boot, String>> = LazyLock::new(|| boot().map_err(|e| e.to_string()));

fn boot() -> Result<Boot, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let mut script = format!("{FUNCTIONS}{SCRIPT}");
    let mut machine = scene.with_tools().memory(1024);
    for (disk, (name, id, kind, _)) in ["vda", "vdb", "vdc", "vdd"].iter().zip(KINDS) {
        scene.operator.create_volume(id)?;
        machine = machine.disk(&scene.blank(&format!("{name}.disk"), 40 << 20)?);
        let kind = kind.replace('\n', "\\n");
        script +=
            &format!("configure /dev/{disk} {id} {name}; kind {name} '{kind}'; life {name}\n");
    }
    // The journal's MAC is chosen at format: a configuration without it does not open the volume.
    let (_, id, ..) = KINDS[2];
    script += &format!("configure /dev/vdc {id} other; unlock other other\n");
    machine.script(&script).boot()
}

fn said(step: &str) -> &'static str {
    let boot = BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"));
    let step = boot.results.step(step).unwrap();
    assert_eq!(step.exit, 0, "{step:#?}");
    step.stdout.trim()
}

#[test]
fn every_kind_of_volume_opens_again_with_its_data() {
    for (name, _, _, tables) in KINDS {
        for step in ["format", "wipe", "open"] {
            said(&format!("{step}_{name}"));
        }
        assert_eq!(said(&format!("read_{name}")), format!("data of {name}"));
        let table = said(&format!("tables_{name}"));
        for wanted in tables {
            assert!(table.contains(wanted), "{name}: {wanted} in {table}");
        }
    }
}

#[test]
fn volume_with_a_journal_mac_is_not_opened_as_one_without() {
    let boot = BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"));
    let other = boot.results.step("other").unwrap();
    assert_eq!(other.exit, 30, "{other:#?}");
    assert!(other.stdout.contains("journal"), "{other:#?}");
}
