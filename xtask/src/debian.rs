//! Debian systems for test guests: made by debootstrap once for each set of package versions, kept in the cache, and
//! booted from an initramfs that dracut or initramfs-tools makes in them.

mod base;

use std::fs;
use std::path::Path;
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::image::{Builder, COMMAND_LINE, Image};
use dawnkey_qemu_tests::lab::{Debian, ROOT_VOLUME};
use dawnkey_qemu_tests::operator::{Binaries, Operator};

use crate::error::{XtaskError, io};
use crate::packages::GuestPackages;
use crate::workspace::Workspace;
use crate::{deb, deps};

pub use base::system;

/// What the guest is made of, with what needs it.
const PACKAGES: &[(&str, &str)] = &[
    ("systemd", "first process, of initramfs and system"),
    ("systemd-sysv", "poweroff"),
    ("udev", "names disks"),
    ("dbus", "dracut's module for systemd-networkd wants it"),
    ("dracut-core", "makes an initramfs"),
    ("dracut-network", "its modules for the network"),
    ("initramfs-tools", "makes another"),
    ("zstd", "compresses both"),
    ("kmod", "loads modules"),
    ("iproute2", "dracut's module for the network wants it"),
    ("procps", "dracut's module for the network wants it"),
    ("cpio", "reads an initramfs"),
    ("e2fsprogs", "the root file system's"),
    ("dmsetup", "the agent's package depends on it"),
    ("libtss2-esys-3.0.2-0", "the agent's package depends on it"),
    ("libtss2-tctildr0", "the agent's package depends on it"),
    ("libtss2-tcti-device0", "the agent's package depends on it"),
];

/// The second volume of [`Operator::agent_config`]'s node carries the root file system.
fn volumes() -> String {
    let state = "name = \"state\"\ndevice = \"/dev/vdb\"\nfilesystem = \"ext4\"";
    let root = "name = \"root\"\ndevice = \"/dev/vdc\"\nfilesystem = \"ext4\"";
    let failure = "[failure]\naction = \"power-off\"\ndelay_seconds = 2";
    format!("{state}\n[[volume]]\nid = \"{ROOT_VOLUME}\"\n{root}\nwipe = \"up-front\"\n{failure}")
}

/// The same node with its data volume in `/etc/crypttab` and its root file system elsewhere, in `DIR/crypttab`.
fn write_crypttab(dir: &Path) -> Result<(), XtaskError> {
    let dir = dir.join("crypttab");
    fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    let volume =
        "name = \"state\"\ndevice = \"/dev/vdb\"\nfilesystem = \"ext4\"\nopen = \"crypttab\"";
    let failure = "[failure]\naction = \"power-off\"\ndelay_seconds = 2";
    let config = Operator::agent_config(&format!("{volume}\n{failure}"));
    let line = "state /dev/vdb - header=/run/dawnkey/state.header,headless=1\n";
    for (name, text) in [("agent.toml", config.as_str()), ("crypttab", line)] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// Makes what the tests about real boots share, in `DIR/debian`, and allows its images.
///
/// # Errors
/// [`XtaskError::Vm`] with the failing tool's words.
pub fn prepare(
    workspace: &Workspace,
    binaries: &Binaries,
    packages: &GuestPackages,
    builder: &Builder,
    operator: &Operator,
    dir: &Path,
) -> Result<Debian, XtaskError> {
    let sources = workspace.root.join("tests/qemu/debian");
    let base = system(&sources, PACKAGES)?;
    let dir = dir.join("debian");
    let write = |name: &str, text: String| {
        let path = dir.join("etc").join(name);
        fs::write(&path, text).map_err(io(format!("write {}", path.display())))
    };
    fs::create_dir_all(dir.join("etc")).map_err(io(format!("create {}", dir.display())))?;
    write("agent.toml", Operator::agent_config(&volumes()))?;
    write("ca.pem", operator.service_ca()?)?;
    write_crypttab(&dir)?;
    let guest = dir.join("guest");
    command::run(
        Command::new("cp")
            .arg("-r")
            .arg(sources.join("guest"))
            .arg(&guest),
    )?;
    let results = workspace.root.join("initramfs/results.sh");
    command::run(Command::new("cp").arg(results).arg(&guest))?;
    let package = deb::agent(workspace, binaries, &dir)?;
    let mut images = deps::as_root("sh")?;
    images.arg(sources.join("images.sh"));
    images.args([
        &base,
        &packages.kernel,
        &package,
        &dir.join("etc"),
        &guest,
        &dir,
    ]);
    command::run(&mut images)?;
    let image = |name: &str, initrd: &str, arguments: &str| -> Result<Image, XtaskError> {
        let path = dir.join(initrd);
        let bytes = fs::read(&path).map_err(io(format!("read {}", path.display())))?;
        Ok(builder.write(&dir, name, &bytes, &format!("{COMMAND_LINE} {arguments}"))?)
    };
    let on_volume = "root=/dev/mapper/root rw";
    let debian = Debian {
        install: image("install", "dracut.initrd", "root=LABEL=source rw")?,
        dracut: image("dracut", "dracut.initrd", on_volume)?,
        initramfs_tools: image("initramfs-tools", "initramfs-tools.initrd", on_volume)?,
        shell_asked: image(
            "shell-asked",
            "dracut.initrd",
            &format!("{on_volume} rd.shell=1 rd.break=pre-mount systemd.debug_shell=1"),
        )?,
        crypttab: image("crypttab", "crypttab.initrd", "root=LABEL=source rw")?,
        system: dir.join("system.disk"),
        dir: dir.clone(),
    };
    for (name, image) in [
        ("debian-install", &debian.install),
        ("debian-dracut", &debian.dracut),
        ("debian-initramfs-tools", &debian.initramfs_tools),
        ("debian-crypttab", &debian.crypttab),
    ] {
        operator.allow_image(name, &image.uki)?;
    }
    Ok(debian)
}
