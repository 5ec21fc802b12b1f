//! Prepares images and the directory that the VM tests use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::image::devices::Devices;
use dawnkey_qemu_tests::image::initramfs::Scenario;
use dawnkey_qemu_tests::image::{Builder, COMMAND_LINE, Contents, Parts};
use dawnkey_qemu_tests::lab::{self, Lab};
use dawnkey_qemu_tests::machine::Direct;
use dawnkey_qemu_tests::operator::{Binaries, Operator};
use dawnkey_qemu_tests::swtpm::TpmMaker;

use crate::build::Profile;
use crate::error::{XtaskError, io};
use crate::packages::GuestPackages;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{build, debian, deps, packages};

/// Lines of `[[volume]]` for a disk that may be formatted.
pub const STATE_VOLUME: &str =
    "name = \"state\"\ndevice = \"/dev/vdb\"\nintegrity = \"hmac-sha256\"\nfilesystem = \"ext4\"";

/// A builder over fetched packages.
///
/// # Errors
/// [`XtaskError::Vm`] when a part is missing.
pub fn builder(workspace: &Workspace, packages: &GuestPackages) -> Result<Builder, XtaskError> {
    Ok(Builder::new(Parts {
        kernel: packages.kernel.clone(),
        busybox: packages.busybox.clone(),
        stub: packages.stub.clone(),
        sources: workspace.root.join("initramfs"),
    })?)
}

/// `cargo xtask lab`.
///
/// # Errors
/// [`XtaskError::Vm`] with the failing tool's words.
pub fn run(workspace: &Workspace, dev: bool, progress: &Progress) -> Result<(), XtaskError> {
    deps::install(deps::Purpose::Test, progress)?;
    let profile = if dev { Profile::Dev } else { Profile::Release };
    let binaries = progress.step("build the programs", || build::programs(workspace, profile))?;
    let dir = progress.step("images for the VM tests", || prepare(workspace, &binaries))?;
    progress.say(&format!(
        "{}={} cargo test -p dawnkey-qemu-tests --features vm --locked --test vm FILTER",
        lab::VARIABLE,
        dir.display()
    ));
    Ok(())
}

/// Makes everything that the VM tests share and gives the directory.
///
/// # Errors
/// [`XtaskError::Vm`] with the failing tool's words.
pub fn prepare(workspace: &Workspace, binaries: &Binaries) -> Result<PathBuf, XtaskError> {
    let packages = packages::guest()?;
    let dir = empty(&workspace.scratch("lab"))?;
    let operator = Operator::init(binaries, &dir.join("service"))?;
    let maker = TpmMaker::new(&dir.join("tpm-maker"))?;
    maker.make(&dir.join("first-tpm"))?;
    operator.trust_tpm_maker(&maker.root())?;
    let builder = builder(workspace, &packages)?;
    let stand_ins = build::stand_ins(workspace)?;
    let devices = Devices::build(
        &workspace.root.join("tests/devices"),
        &packages::headers(&packages)?,
        builder.kernel_version(),
        &stand_ins.tee,
        &dir,
    )?;
    let platforms = dir.join("platforms");
    command::run(Command::new(&stand_ins.pki).arg("make").arg(&platforms))?;
    let initrd = builder.initramfs(&Contents {
        agent: binaries.agent.clone(),
        agent_config: Operator::agent_config(STATE_VOLUME),
        service_ca: operator.service_ca()?,
        scenario: Scenario::FromHost(devices),
    })?;
    let image = builder.write(&dir, "test", &initrd, COMMAND_LINE)?;
    let changed = builder.write(
        &dir,
        "changed",
        &initrd,
        &format!("{COMMAND_LINE} init=/bin/sh"),
    )?;
    operator.allow_image("test-image", &image.uki)?;
    let debian = debian::prepare(workspace, binaries, &packages, &builder, &operator, &dir)?;
    let direct = Direct {
        kernel: builder.kernel(),
        initrd: dir.join("test.initrd"),
        command_line: COMMAND_LINE.to_owned(),
    };
    fs::write(&direct.initrd, &initrd).map_err(io(format!("write {}", direct.initrd.display())))?;
    let tools = Direct {
        initrd: dir.join("tools.initrd"),
        ..direct.clone()
    };
    let with_tools = builder.with_tools(
        &initrd,
        &[
            (&stand_ins.io, "usr/bin/dawnkey-test-io"),
            (&stand_ins.adopting, "usr/bin/dawnkey-agent-adopted"),
            (&binaries.dawnkey, "usr/bin/dawnkey"),
        ],
    )?;
    fs::write(&tools.initrd, with_tools)
        .map_err(io(format!("write {}", tools.initrd.display())))?;
    let lab = Lab {
        binaries: binaries.clone(),
        busybox: packages.busybox,
        image,
        changed,
        debian,
        direct,
        tools,
        test_pki: stand_ins.pki,
        test_proxy: stand_ins.proxy,
        platforms,
        operator: dir.join("service"),
        tpm_maker: dir.join("tpm-maker"),
    };
    lab.save(&dir)?;
    Ok(dir)
}

/// `cargo xtask image`.
///
/// # Errors
/// [`XtaskError::Vm`] when a part is missing.
pub fn image(
    workspace: &Workspace,
    config: &Path,
    ca: &Path,
    out: &Path,
    append: &str,
    progress: &Progress,
) -> Result<(), XtaskError> {
    deps::install(deps::Purpose::Machine, progress)?;
    let binaries = progress.step("build release binaries", || build::release(workspace))?;
    let read =
        |path: &Path| fs::read_to_string(path).map_err(io(format!("read {}", path.display())));
    let scenario = read(&workspace.root.join("initramfs/demo.sh"))?;
    let contents = Contents {
        agent: binaries.agent,
        agent_config: read(config)?,
        service_ca: read(ca)?,
        scenario: Scenario::Fixed(scenario),
    };
    let image = progress.step("build the image", || {
        let builder = builder(workspace, &packages::guest()?)?;
        let command_line = format!("{COMMAND_LINE} {append}");
        Ok(builder.write(
            out,
            "node",
            &builder.initramfs(&contents)?,
            command_line.trim(),
        )?)
    })?;
    progress.say(&format!(
        "{}\n{}",
        image.uki.display(),
        image.disk.display()
    ));
    Ok(())
}

/// A directory with nothing in it.
///
/// # Errors
/// [`XtaskError::Io`] when an old one cannot be removed.
pub fn empty(dir: &Path) -> Result<PathBuf, XtaskError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(io(format!("remove {}", dir.display())))?;
    }
    fs::create_dir_all(dir).map_err(io(format!("create {}", dir.display())))?;
    Ok(dir.to_path_buf())
}
