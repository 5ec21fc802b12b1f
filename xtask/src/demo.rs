//! `cargo xtask demo`: one machine, three boots.
//!
//! 1. evidence, provisioning grant, format, file system, a file is written;
//! 2. unlock with nobody watching, the file is there;
//! 3. the same image with one more kernel argument: refused, naming the PCR and both values.

mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::image::initramfs::Scenario;
use dawnkey_qemu_tests::image::{COMMAND_LINE, Contents, Image, Sizes};
use dawnkey_qemu_tests::machine::{Boot, Machine};
use dawnkey_qemu_tests::operator::{Binaries, Operator, Service, VOLUME};
use dawnkey_qemu_tests::swtpm::{Tpm, TpmMaker};

use crate::build::{self, Profile};
use crate::deps;
use crate::error::{XtaskError, io};
use crate::lab::{self, STATE_VOLUME};
use crate::packages::{self, GuestPackages};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The kernel argument that the third boot adds.
const CHANGE: &str = "rd.debug=1";
/// Size of the demo's state disk.
const DISK_BYTES: u64 = 128 << 20;
/// The agent's exit code for a refusal.
const REFUSED: i32 = 21;

/// Everything that stands before the first boot.
struct Stage {
    dir: PathBuf,
    operator: Operator,
    service: Service,
    packages: GuestPackages,
    binaries: Binaries,
    image: Image,
    changed: Image,
    sizes: Sizes,
    tpm: Tpm,
    disk: Disk,
}

/// Runs the demo and prints its table.
///
/// # Errors
/// [`XtaskError::Demo`] when a boot does not show what it must.
pub fn run(workspace: &Workspace, dev: bool, progress: &Progress) -> Result<(), XtaskError> {
    deps::install(deps::Purpose::Machine, progress)?;
    let (profile, what) = match dev {
        false => (Profile::Release, "build release binaries"),
        true => (Profile::Dev, "build unoptimised binaries"),
    };
    let binaries = progress.step(what, || build::programs(workspace, profile))?;
    let packages = progress.step("fetch guest packages", packages::guest)?;
    let start = Instant::now();
    let stage = progress.step(
        "image, expected measurements, policy, key service, volume",
        || set_up(workspace, binaries, packages),
    )?;
    let first = progress.step("boot 1: provision", || boot(&stage, "boot-1", &stage.image))?;
    expect(&first, "written", 0, "")?;
    let second = progress.step("boot 2: unlock", || boot(&stage, "boot-2", &stage.image))?;
    expect(&second, "found", 0, "written by the first boot")?;
    let before = stage.disk.digest()?;
    let third = progress.step(
        &format!("boot 3: one more kernel argument, {CHANGE}"),
        || boot(&stage, "boot-3", &stage.changed),
    )?;
    expect(&third, "unlock", REFUSED, "")?;
    let refusal = refusal(&stage, &third)?;
    if stage.disk.digest()? != before {
        return Err(XtaskError::Demo(
            "the refused boot changed the disk".to_owned(),
        ));
    }
    let boots = [first, second, third];
    progress.say(&table::stages(&boots)?);
    progress.say(&table::sizes(&stage.sizes, &stage.binaries)?);
    progress.say(&format!("boot 3 was refused: {refusal}\n"));
    audit(&stage, progress)?;
    stage.service.stop()?;
    progress.say(&format!(
        "three boots in {:.0} s; files in {}",
        start.elapsed().as_secs_f64(),
        stage.dir.display()
    ));
    Ok(())
}

fn set_up(
    workspace: &Workspace,
    binaries: Binaries,
    packages: GuestPackages,
) -> Result<Stage, XtaskError> {
    let dir = lab::empty(&workspace.scratch("demo"))?;
    let operator = Operator::init(&binaries, &dir.join("service"))?;
    let maker = TpmMaker::new(&dir.join("tpm-maker"))?;
    let tpm = maker.make(&dir.join("tpm"))?;
    operator.trust_tpm_maker(&maker.root())?;
    let scenario = workspace.root.join("initramfs/demo.sh");
    let contents = Contents {
        agent: binaries.agent.clone(),
        agent_config: Operator::agent_config(STATE_VOLUME),
        service_ca: operator.service_ca()?,
        scenario: Scenario::Fixed(
            std::fs::read_to_string(&scenario)
                .map_err(io(format!("read {}", scenario.display())))?,
        ),
    };
    let builder = lab::builder(workspace, &packages)?;
    let initrd = builder.initramfs(&contents)?;
    let image = builder.write(&dir, "node", &initrd, COMMAND_LINE)?;
    let changed = builder.write(
        &dir,
        "changed",
        &initrd,
        &format!("{COMMAND_LINE} {CHANGE}"),
    )?;
    operator.allow_image("node", &image.uki)?;
    let service = operator.start()?;
    operator.create_volume(VOLUME)?;
    let disk = Disk::blank(&dir.join("state.disk"), DISK_BYTES)?;
    let sizes = builder.sizes(&contents)?;
    Ok(Stage {
        dir,
        operator,
        service,
        packages,
        binaries,
        image,
        changed,
        sizes,
        tpm,
        disk,
    })
}

fn boot(stage: &Stage, name: &str, image: &Image) -> Result<Boot, XtaskError> {
    let machine = Machine::new(&stage.dir.join(name), image, &stage.tpm).disk(&stage.disk);
    Ok(machine
        .service(stage.service.address(), &stage.packages.busybox)
        .boot()?)
}

fn expect(boot: &Boot, step: &str, exit: i32, stdout: &str) -> Result<(), XtaskError> {
    let found = boot
        .results
        .step(step)
        .map_err(|e| XtaskError::Demo(format!("{e}\n{:#?}", boot.results.steps())))?;
    if found.exit == exit && found.stdout.contains(stdout) {
        return Ok(());
    }
    Err(XtaskError::Demo(format!(
        "expected step `{step}` to exit with {exit} and print {stdout:?}, found {found:#?}"
    )))
}

/// The agent's words about the refusal; they must name a PCR with the value that the allowed image
/// gives and the one that the changed image gives, both as computed from the files.
fn refusal(stage: &Stage, third: &Boot) -> Result<String, XtaskError> {
    let step = third.results.step("unlock")?;
    let said = format!("{}\n{}", step.stdout, step.stderr);
    let computed = |image: &Image| -> Result<BTreeSet<String>, XtaskError> {
        let json = stage.operator.dawnkey(&[
            "measure",
            "uki",
            &image.uki.display().to_string(),
            "--json",
        ])?;
        Ok(digests(&json))
    };
    let (expected, found) = (computed(&stage.image)?, computed(&stage.changed)?);
    let named = digests(&said);
    let names_both = named
        .iter()
        .any(|d| expected.contains(d) && !found.contains(d))
        && named
            .iter()
            .any(|d| found.contains(d) && !expected.contains(d));
    if names_both && said.contains("PCR") {
        return Ok(step.stderr.trim().to_owned());
    }
    Err(XtaskError::Demo(format!(
        "the refusal names no PCR with both values: {said}"
    )))
}

/// SHA-256 values in hex within a text.
fn digests(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .map(str::to_lowercase)
        .collect()
}

fn audit(stage: &Stage, progress: &Progress) -> Result<(), XtaskError> {
    let log = stage.operator.audit_log().display().to_string();
    progress.say(
        stage
            .operator
            .dawnkey(&["audit", "verify", &log])?
            .trim_end(),
    );
    progress.say(&stage.operator.dawnkey(&["audit", "show", &log])?);
    let lines = command::run(Command::new("wc").args(["-l", &log]))?;
    progress.say(&format!(
        "audit records: {}",
        lines.split_whitespace().next().unwrap_or_default()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_digests_only() {
        let digest = "aB".repeat(32);
        assert_eq!(
            digests(&format!("PCR 11 is {digest}, not abcd")),
            BTreeSet::from([digest.to_lowercase()])
        );
        assert!(digests(&"ab".repeat(33)).is_empty());
    }
}
