//! Debian systems for test guests: made by debootstrap once for each set of package versions, kept in the cache, and
//! booted from an initramfs that dracut or initramfs-tools makes in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::image::{Builder, COMMAND_LINE, Image};
use dawnkey_qemu_tests::lab::{Debian, ROOT_VOLUME};
use dawnkey_qemu_tests::operator::{Binaries, Operator};

use crate::error::{XtaskError, io};
use crate::packages::GuestPackages;
use crate::workspace::{Workspace, cache};
use crate::{deb, deps};

const MIRROR: &str = "http://deb.debian.org/debian";

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
    let base = base(&sources)?;
    let dir = dir.join("debian");
    let write = |name: &str, text: String| {
        let path = dir.join("etc").join(name);
        fs::write(&path, text).map_err(io(format!("write {}", path.display())))
    };
    fs::create_dir_all(dir.join("etc")).map_err(io(format!("create {}", dir.display())))?;
    write("agent.toml", Operator::agent_config(&volumes()))?;
    write("ca.pem", operator.service_ca()?)?;
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
        system: dir.join("system.disk"),
        dir: dir.clone(),
    };
    for (name, image) in [
        ("debian-install", &debian.install),
        ("debian-dracut", &debian.dracut),
        ("debian-initramfs-tools", &debian.initramfs_tools),
    ] {
        operator.allow_image(name, &image.uki)?;
    }
    Ok(debian)
}

/// The system as debootstrap made it, for the versions that the archive has now.
fn base(sources: &Path) -> Result<PathBuf, XtaskError> {
    let suite = suite()?;
    let names = names(&suite);
    let mut policy = Command::new("apt-cache");
    let versions = command::run(policy.arg("policy").args(&names).env("LC_ALL", "C"))?;
    let script = sources.join("root.sh");
    let text = fs::read_to_string(&script).map_err(io(format!("read {}", script.display())))?;
    let candidates = versions.lines().filter(|line| line.contains("Candidate:"));
    let key: String = candidates.chain([text.as_str()]).collect();
    let place = cache()?.join(format!("debian-{suite}-{:016x}", fnv(key.as_bytes())));
    if place.is_dir() {
        return Ok(place);
    }
    let partial = place.with_extension(format!("partial-{}", std::process::id()));
    let mut make = deps::as_root("sh")?;
    make.arg(script)
        .arg(&partial)
        .args([&suite, MIRROR, &names.join(",")]);
    command::run(&mut make)?;
    command::run(deps::as_root("mv")?.arg("-T").arg(&partial).arg(&place))?;
    Ok(place)
}

/// The packages as a release calls them: since Debian 13 those of libraries with 64-bit times say so.
fn names(suite: &str) -> Vec<String> {
    let names = PACKAGES.iter().map(|(name, _)| *name);
    names
        .map(
            |name| match name.starts_with("libtss2-") && suite != "bookworm" {
                true => format!("{name}t64"),
                false => name.to_owned(),
            },
        )
        .collect()
}

/// The release of this machine: the programs are linked against its libraries.
fn suite() -> Result<String, XtaskError> {
    let path = "/etc/os-release";
    let text = fs::read_to_string(path).map_err(io(format!("read {path}")))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| XtaskError::Package(format!("{path} names no release")))
}

/// FNV-1a: tells versions apart, nothing more.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_called_as_their_release_does() {
        let has = |suite, name: &str| names(suite).iter().any(|found| found == name);
        assert!(has("bookworm", "libtss2-tcti-device0"));
        assert!(has("trixie", "libtss2-tcti-device0t64") && has("trixie", "systemd"));
    }

    #[test]
    fn keys_match_the_published_check_values() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
