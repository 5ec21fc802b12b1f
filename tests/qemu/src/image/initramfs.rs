//! The initramfs: busybox, the agent with its libraries, the modules it needs, and `/init`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command;
use crate::error::{IoContext, VmError};
use crate::image::cpio::Tree;
use crate::image::devices::Devices;
use crate::image::kernel::{Kernel, NODE_MODULES, PLAIN_MODULES};
use crate::image::libraries::{add_file, add_named_library, add_program};
use crate::image::{Contents, Parts};

/// Busybox applets that `/init` and the scenarios use.
const APPLETS: &[&str] = &[
    "sh",
    "mount",
    "umount",
    "insmod",
    "ip",
    "cat",
    "wc",
    "poweroff",
    "mkdir",
    "ls",
    "dd",
    "grep",
    "sync",
    "echo",
    "date",
    "blockdev",
    "rm",
    "head",
    "tr",
    "printf",
    "env",
    "sed",
    "cut",
    "ln",
    "mv",
    "sha256sum",
    "hexdump",
    "test",
    "true",
    "cp",
    "readlink",
    "rmdir",
    "rmmod",
    "kill",
    "usleep",
    "unshare",
    "df",
];

/// What `/init` ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// A script baked into the image: measured like everything else in it.
    Fixed(String),
    /// **Test images only**: runs whatever script the host passes by fw_cfg, and carries cryptsetup
    /// and dmsetup for comparison, and stand-ins for TEE devices. Such an image proves nothing about
    /// what runs in it.
    FromHost(Devices),
}

/// An initramfs of a node that has no encrypted disk: the base of size comparisons.
///
/// # Errors
/// [`VmError::Io`] when a part cannot be read.
pub fn plain(kernel: &Kernel, parts: &Parts) -> Result<Tree, VmError> {
    base(kernel, parts, PLAIN_MODULES)
}

/// The initramfs with the agent.
///
/// # Errors
/// [`VmError::Missing`] for each piece that is not installed.
pub fn node(kernel: &Kernel, parts: &Parts, contents: &Contents) -> Result<Tree, VmError> {
    let mut modules = NODE_MODULES.to_vec();
    if matches!(contents.scenario, Scenario::FromHost(_)) {
        modules.extend(["qemu_fw_cfg", "algif_skcipher", "algif_hash"]);
    }
    let mut tree = base(kernel, parts, &modules)?;
    add_program(&mut tree, &contents.agent, "usr/bin/dawnkey-agent")?;
    // The TSS opens its device driver by name when it is told `device:…`.
    add_named_library(
        &mut tree,
        "libtss2-tcti-device.so.0",
        "libtss2-tcti-device0",
    )?;
    add_program(&mut tree, &installed("mke2fs", "e2fsprogs")?, "sbin/mke2fs")?;
    add_file(
        &mut tree,
        Path::new("/etc/mke2fs.conf"),
        "etc/mke2fs.conf",
        0o644,
    )?;
    tree.file(
        "etc/dawnkey/agent.toml",
        0o644,
        contents.agent_config.as_bytes(),
    );
    tree.file("etc/dawnkey/ca.pem", 0o644, contents.service_ca.as_bytes());
    match &contents.scenario {
        Scenario::Fixed(script) => {
            tree.file("etc/scenario", 0o644, script.as_bytes());
        }
        Scenario::FromHost(devices) => {
            devices.add(&mut tree, kernel)?;
            add_file(
                &mut tree,
                &parts.sources.join("scenario-from-host.sh"),
                "etc/scenario",
                0o644,
            )?;
            add_program(
                &mut tree,
                &installed("cryptsetup", "cryptsetup-bin")?,
                "sbin/cryptsetup",
            )?;
            add_program(&mut tree, &installed("dmsetup", "dmsetup")?, "sbin/dmsetup")?;
        }
    }
    Ok(tree)
}

/// zstd, as the kernel takes it; one thread, so that the bytes do not depend on the machine.
///
/// # Errors
/// [`VmError::Tool`] when zstd fails.
pub fn compress(archive: &[u8]) -> Result<Vec<u8>, VmError> {
    let fail = |status: String| VmError::Tool {
        command: "zstd".to_owned(),
        status,
        output: String::new(),
    };
    let mut child = Command::new("zstd")
        .args([
            "-q",
            "-c",
            "-12",
            "--single-thread",
            "--no-progress",
            "--check",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| fail(e.to_string()))?;
    let mut input = child
        .stdin
        .take()
        .ok_or_else(|| fail("no standard input".to_owned()))?;
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(archive));
        let output = child.wait_with_output();
        writer
            .join()
            .map_err(|_| fail("the writer ended".to_owned()))?
            .doing(|| "feed zstd".to_owned())?;
        output.doing(|| "read from zstd".to_owned())
    })?;
    if !output.status.success() {
        return Err(fail(output.status.to_string()));
    }
    Ok(output.stdout)
}

fn base(kernel: &Kernel, parts: &Parts, modules: &[&str]) -> Result<Tree, VmError> {
    let mut tree = Tree::new();
    for dir in [
        "dev", "proc", "sys", "run", "tmp", "mnt", "etc", "sbin", "usr/bin",
    ] {
        tree.directory(dir);
    }
    add_file(&mut tree, &parts.busybox, "bin/busybox", 0o755)?;
    for applet in APPLETS {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    for script in ["init", "results.sh"] {
        let path = parts.sources.join(script);
        let target = if script == "init" {
            "init"
        } else {
            "etc/results.sh"
        };
        add_file(&mut tree, &path, target, 0o755)?;
    }
    let order = kernel.add_modules(&mut tree, modules)?;
    tree.file("etc/modules", 0o644, order.join("\n") + "\n");
    Ok(tree)
}

pub(super) fn installed(program: &str, package: &'static str) -> Result<PathBuf, VmError> {
    let found = command::find(program).ok_or_else(|| VmError::Missing {
        what: program.to_owned(),
        looked: "PATH".to_owned(),
        package,
    })?;
    fs::canonicalize(&found).doing(|| format!("resolve {}", found.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn compression_gives_the_same_bytes_twice() {
        let archive: Vec<u8> = (0..100_000u32)
            .flat_map(|n| (n % 977).to_le_bytes())
            .collect();
        let once = compress(&archive).unwrap();
        assert!(once.len() < archive.len());
        assert_eq!(compress(&archive).unwrap(), once);
    }
}
