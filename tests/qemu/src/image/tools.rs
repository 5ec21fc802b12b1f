//! A second archive for test guests, unpacked over the first: what a running system has and a node's image has not.
//! udev, what people look at disks with, ciphers that volumes can have by choice, the operator's tool, an agent for
//! adopted volumes, and a program that times reads and writes.

use std::path::{Path, PathBuf};

use crate::error::VmError;
use crate::image::cpio::Tree;
use crate::image::initramfs::installed;
use crate::image::kernel::Kernel;
use crate::image::libraries::{add_file, add_program};

/// Modules that scenarios insert with `more_modules`.
const MODULES: &[&str] = &[
    "gcm",
    "ghash-clmulni-intel",
    "aegis128",
    "aegis128-aesni",
    "dm-zero",
    "loop",
];

/// udev's rules for disks and mappings. The rest is about devices that no test guest has.
const RULES: &[&str] = &[
    "50-udev-default.rules",
    "55-dm.rules",
    "60-block.rules",
    "60-persistent-storage.rules",
    "60-persistent-storage-dm.rules",
    "95-dm-notify.rules",
];

/// Programs with their places in the guest and the Debian packages that have them.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("udevadm", "bin/udevadm", "udev"),
    ("blkid", "sbin/blkid", "util-linux"),
    ("lsblk", "bin/lsblk", "util-linux"),
    ("e2fsck", "sbin/e2fsck", "e2fsprogs"),
];

/// The archive; `programs` are ours, with their places in the guest.
///
/// # Errors
/// [`VmError::Missing`] for each piece that is not installed.
pub fn tree(kernel: &Kernel, programs: &[(&Path, &str)]) -> Result<Tree, VmError> {
    let mut tree = Tree::new();
    for (program, target, package) in PROGRAMS {
        add_program(&mut tree, &installed(program, package)?, target)?;
    }
    // The daemon is the same program under another name.
    tree.link("sbin/systemd-udevd", "/bin/udevadm");
    let rules = PathBuf::from("/usr/lib/udev/rules.d");
    for rule in RULES {
        let target = format!("usr/lib/udev/rules.d/{rule}");
        add_file(&mut tree, &rules.join(rule), &target, 0o644)?;
    }
    for (program, target) in programs {
        add_program(&mut tree, program, target)?;
    }
    let order = kernel.add_modules(&mut tree, MODULES)?;
    tree.file("etc/more-modules", 0o644, order.join("\n") + "\n");
    Ok(tree)
}
