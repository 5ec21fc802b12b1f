//! What a boot costs with Dawnkey, beside clevis with tang, clevis with a TPM, systemd with a TPM, and no encryption.
//!
//! One Debian system, one TPM, one run. A first boot of the whole system makes the volumes, opens each of them many times in
//! turns, and waits for servers that are not there. Then the contestants boot in turns, each with its own initramfs and the
//! same small root file system on its volume. docs/testing.md says how to read the figures.

mod contestant;
mod counted;
mod guests;
mod report;
mod running;
mod sizes;
mod told;

use std::fs;
use std::path::Path;
use std::time::Duration;

use dawnkey_qemu_tests::disk::Disk;

use super::Options;
use crate::build::{self, Profile};
use crate::error::{XtaskError, io};
use crate::lab;
use crate::progress::Progress;
use crate::workspace::Workspace;
use contestant::Contestant;
use guests::Guests;
use report::Figures;
use told::Told;

/// From power-on to power-off; nothing is asserted but that it ends.
const LIMIT: Duration = Duration::from_secs(600);

/// `cargo xtask bench boot`.
///
/// # Errors
/// [`XtaskError::Vm`] when a boot failed.
pub fn run(
    workspace: &Workspace,
    options: &Options,
    progress: &Progress,
) -> Result<(), XtaskError> {
    let (profile, programs) = match options.dev {
        true => (Profile::Dev, "unoptimised"),
        false => (Profile::Release, "as they ship"),
    };
    let binaries = progress.step("build the programs", || build::programs(workspace, profile))?;
    let dir = lab::empty(&workspace.scratch("bench-boot"))?;
    let guests = progress.step("a Debian system and five initramfs", || {
        guests::prepare(workspace, &binaries, &dir)
    })?;
    let script = workspace.root.join("tests/qemu/debian/bench/measure.sh");
    let script = fs::read_to_string(&script).map_err(io(format!("read {}", script.display())))?;
    let rounds = usize::from(options.rounds);
    let (running, disks) = progress.step("one boot of the whole system", || {
        running::run(&guests, &script, rounds, &dir)
    })?;
    let mut boots: Vec<Vec<Told>> = vec![Vec::new(); disks.len()];
    let mut failed = None;
    for round in 1..=rounds {
        let what = format!("round {round} of {rounds}: {} boots", disks.len());
        // Nobody is always the first.
        let order: Vec<usize> = (0..disks.len())
            .map(|turn| (turn + round) % disks.len())
            .collect();
        let done = progress.step(&what, || {
            for place in order {
                let told = boot(&guests, place, &disks, &dir)?;
                if let Some(boots) = boots.get_mut(place) {
                    boots.push(told);
                }
            }
            Ok(())
        });
        // The figures of an hour are worth more than a boot: they are printed first.
        if let Err(error) = done {
            failed = Some(error);
            break;
        }
    }
    let figures = Figures {
        programs,
        rounds,
        boots: contestants(&guests).zip(boots).collect(),
        running,
        sizes: contestants(&guests).zip(guests.sizes.clone()).collect(),
    };
    progress.say(&figures.text());
    if let Some(path) = &options.json {
        fs::write(path, figures.json()).map_err(io(format!("write {}", path.display())))?;
    }
    match failed {
        // What is left of the boot stays for looking at it.
        Some(error) => Err(error),
        // Half a gigabyte that nobody needs any more.
        None => lab::empty(&dir).map(drop),
    }
}

fn contestants(guests: &Guests) -> impl Iterator<Item = Contestant> {
    guests.images.iter().map(|(contestant, _)| *contestant)
}

/// One boot of a contestant.
fn boot(guests: &Guests, place: usize, disks: &[Disk], dir: &Path) -> Result<Told, XtaskError> {
    let absent = || XtaskError::Usage(format!("no contestant {place}"));
    let (contestant, image) = guests.images.get(place).ok_or_else(absent)?;
    let disk = disks.get(place).ok_or_else(absent)?;
    let machine = guests.machine(&dir.join("boot"), image);
    let boot = machine.disk(disk).limit(LIMIT).boot()?;
    Ok(Told::by(*contestant, &boot)?)
}
