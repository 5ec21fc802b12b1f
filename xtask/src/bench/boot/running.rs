//! One boot of the whole system: makes the others' volumes, and takes the figures that need no boot of their own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::results::Step;
use serde::Serialize;

use super::contestant::ALL;
use super::counted::Counts;
use super::guests::{Guests, TANG_URL};
use crate::error::{XtaskError, io};

/// Room for a small file system behind the largest header, with its tags.
const DISK_BYTES: u64 = 64 << 20;
/// Emulation is slow, and curl's patience with a silent address takes minutes.
const LIMIT: Duration = Duration::from_secs(1800);
/// Those that open a volume in a running system, as the script calls them.
const OPENERS: [&str; 5] = ["dawnkey", "tang", "clevis_tpm2", "systemd_tpm2", "keyfile"];

/// Opening in a running system, by one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Opening {
    /// Who.
    pub name: String,
    /// Milliseconds of the first time.
    pub first: f64,
    /// Of the others.
    pub others: Vec<f64>,
    /// Peak memory of its largest process, KiB.
    pub peak: u64,
    /// On the wire, where it asks somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<Counts>,
}

/// How long somebody tried in vain.
#[derive(Debug, Clone, Serialize)]
pub struct GivingUp {
    /// Who.
    pub name: String,
    /// What was wrong.
    pub world: &'static str,
    /// Until the program ended.
    pub seconds: f64,
    /// What it exited with.
    pub exit: i32,
}

/// The figures of this boot.
#[derive(Debug, Clone, Serialize)]
pub struct Running {
    /// One per contestant that opens something.
    pub openings: Vec<Opening>,
    /// Nobody answers, or the TPM does not give the key.
    pub giving_up: Vec<GivingUp>,
}

/// Boots, and gives the figures with the disks in the order of [`ALL`].
///
/// # Errors
/// [`XtaskError::Vm`] when the boot or a step of it failed.
pub fn run(
    guests: &Guests,
    script: &str,
    rounds: usize,
    dir: &Path,
) -> Result<(Running, Vec<Disk>), XtaskError> {
    let disk = |name: &str| Disk::blank(&dir.join(format!("{name}.disk")), DISK_BYTES);
    // Ours is the first, as its configuration says.
    let mut order = ALL;
    order.sort_by_key(|contestant| contestant.key != "dawnkey");
    let mut machine = guests.machine(&dir.join("setup"), &guests.setup);
    let mut disks = Vec::new();
    let mut begin = format!("rounds={rounds}\ntang_url={TANG_URL}\n");
    for (contestant, letter) in order.iter().zip('b'..) {
        let disk = disk(contestant.name)?;
        let (key, uuid) = (contestant.key, contestant.uuid);
        begin += &format!("{key}=/dev/vd{letter}\n{key}_uuid={uuid}\n");
        machine = machine.disk(&disk);
        disks.push((contestant.key, disk));
    }
    let system = dir.join("system.disk");
    fs::copy(&guests.system, &system).map_err(io(format!("write {}", system.display())))?;
    let machine = machine.disk(&Disk::at(&system)).limit(LIMIT);
    let mut running = machine.script(&format!("{begin}{script}")).start()?;
    let mut wire = Vec::new();
    for (name, server) in [("dawnkey", &guests.service), ("tang", &guests.tang)] {
        running.wait_step(&format!("before_{name}"))?;
        let before = server.counts();
        running.go()?;
        running.wait_step(&format!("after_{name}"))?;
        wire.push((name, server.counts().since(before)));
        running.go()?;
    }
    let boot = running.finish()?;
    fs::remove_file(&system).map_err(io(format!("remove {}", system.display())))?;
    let figures = figures(&boot, rounds, &wire)?;
    let mut sorted = Vec::new();
    for contestant in ALL {
        let place = disks.iter().position(|(key, _)| *key == contestant.key);
        sorted.extend(place.map(|place| disks.swap_remove(place).1));
    }
    Ok((figures, sorted))
}

fn figures(boot: &Boot, rounds: usize, wire: &[(&str, Counts)]) -> Result<Running, VmError> {
    for step in boot.results.steps() {
        let may_fail = ["refused_", "silent_", "denied_"];
        if step.exit != 0 && !may_fail.iter().any(|name| step.name.starts_with(name)) {
            let console = &boot.serial;
            return Err(VmError::Report(format!("{step:#?}\n{console}")));
        }
    }
    let mut openings = Vec::new();
    for name in OPENERS {
        let mut times = Vec::new();
        for round in 0..=rounds {
            let step = boot.results.step(&format!("open_{name}_{round}"))?;
            times.push(number(step, step.stdout.trim())? * 1000.0);
        }
        let others = times.split_off(1);
        let memory = boot.results.step(&format!("memory_{name}"))?;
        openings.push(Opening {
            name: name.replace('_', "-"),
            first: times.first().copied().unwrap_or_default(),
            others,
            peak: number(memory, memory.stdout.trim())? as u64,
            wire: wire.iter().find(|(w, _)| *w == name).map(|(_, c)| *c),
        });
    }
    let mut giving_up = Vec::new();
    for (world, step, names) in [
        (
            "service refuses connections",
            "refused",
            ["dawnkey", "tang"],
        ),
        ("service's address is silent", "silent", ["dawnkey", "tang"]),
        (
            "TPM's PCR 7 is another",
            "denied",
            ["clevis_tpm2", "systemd_tpm2"],
        ),
    ] {
        for name in names {
            let step = boot.results.step(&format!("{step}_{name}"))?;
            giving_up.push(gave_up(world, name, step)?);
        }
    }
    Ok(Running {
        openings,
        giving_up,
    })
}

/// The first line of the step: uptime before, uptime after, exit code.
fn gave_up(world: &'static str, name: &str, step: &Step) -> Result<GivingUp, VmError> {
    let line = step.stdout.lines().next().unwrap_or_default();
    let numbers: Vec<&str> = line.split(' ').collect();
    let &[before, after, exit] = numbers.as_slice() else {
        return Err(VmError::Report(format!("no times in {step:#?}")));
    };
    let exit = number(step, exit)? as i32;
    if exit == 0 {
        return Err(VmError::Report(format!("it did not fail: {step:#?}")));
    }
    Ok(GivingUp {
        name: name.replace('_', "-"),
        world,
        seconds: number(step, after)? - number(step, before)?,
        exit,
    })
}

fn number(step: &Step, text: &str) -> Result<f64, VmError> {
    let number = text.parse();
    number.map_err(|_| VmError::Report(format!("`{text}` is no number: {step:#?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn step(stdout: &str, stderr: &str) -> Step {
        Step {
            name: "silent_tang".to_owned(),
            exit: 0,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn giving_up_takes_the_time_between_two_readings() {
        let gave = gave_up(
            "silent",
            "clevis_tpm2",
            &step("10.50 75.75 20\nwords\n", ""),
        )
        .unwrap();
        assert_eq!((gave.seconds, gave.exit), (65.25, 20));
        assert_eq!(gave.name, "clevis-tpm2");
    }

    #[test]
    fn success_is_no_giving_up() {
        let said = gave_up("silent", "tang", &step("10.50 75.75 0\n", ""));
        assert!(matches!(said, Err(VmError::Report(_))));
    }
}
