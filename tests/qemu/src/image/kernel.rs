//! The guest kernel: an unpacked Debian package with its modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{IoContext, VmError};
use crate::image::cpio::Tree;

/// What a node needs to reach the service and open its disk. Names of modules or of parts that may
/// be built in.
pub const NODE_MODULES: &[&str] = &[
    "virtio_blk",
    "virtio_net",
    "dm-mod",
    "dm-crypt",
    "dm-integrity",
    "xts",
    "authenc",
    "aesni-intel",
    "sha256-ssse3",
];

/// Modules a plain node without an encrypted disk would have: the base of size comparisons.
pub const PLAIN_MODULES: &[&str] = &["virtio_blk", "virtio_net"];

/// An unpacked kernel package.
#[derive(Debug, Clone)]
pub struct Kernel {
    root: PathBuf,
    /// `uname -r` of the guest.
    pub version: String,
}

impl Kernel {
    /// Opens a directory made by `dpkg -x`.
    ///
    /// # Errors
    /// [`VmError::Missing`] when it holds no kernel.
    pub fn open(root: &Path) -> Result<Self, VmError> {
        let missing = || VmError::Missing {
            what: "a kernel with modules".to_owned(),
            looked: root.display().to_string(),
            package: "linux-image-6.12.*-cloud-amd64-unsigned (fetched by `cargo xtask image`)",
        };
        let entries = fs::read_dir(root.join("boot")).map_err(|_| missing())?;
        let version = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
            .ok_or_else(missing)?;
        Ok(Kernel {
            root: root.to_path_buf(),
            version,
        })
    }

    /// The kernel's own PE image.
    pub fn vmlinuz(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.version))
    }

    /// Adds the named modules, decompressed, and gives their paths in the guest in an order in which
    /// `insmod` can take them: every module after those it depends on.
    ///
    /// # Errors
    /// [`VmError::Missing`] for a name that is neither a module nor built in.
    pub fn add_modules(&self, tree: &mut Tree, names: &[&str]) -> Result<Vec<String>, VmError> {
        let base = self.module_dir()?;
        let read = |name: &str| {
            let path = base.join(name);
            fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
        };
        if !base.join("modules.dep").exists() {
            command::run(
                Command::new(command::find("depmod").unwrap_or_else(|| "depmod".into()))
                    .arg("-b")
                    .arg(self.link_root()?)
                    .arg(&self.version),
            )?;
        }
        let order = insertion_order(&read("modules.dep")?, &read("modules.builtin")?, names)
            .map_err(|name| VmError::Missing {
                what: format!("kernel module {name}"),
                looked: base.display().to_string(),
                package: "another guest kernel",
            })?;
        let mut guest_paths = Vec::new();
        for module in order {
            let name = module.rsplit('/').next().unwrap_or(&module);
            let plain = name.trim_end_matches(".xz").trim_end_matches(".zst");
            let path = format!("lib/modules/{plain}");
            tree.file(&path, 0o644, decompressed(&base.join(&module))?);
            guest_paths.push(format!("/{path}"));
        }
        Ok(guest_paths)
    }

    fn module_dir(&self) -> Result<PathBuf, VmError> {
        Ok(self.link_root()?.join("lib/modules").join(&self.version))
    }

    /// Debian 13 packages have `usr/lib/modules` only; depmod wants `lib/modules`.
    fn link_root(&self) -> Result<&Path, VmError> {
        let lib = self.root.join("lib");
        if !lib.join("modules").exists() && self.root.join("usr/lib/modules").exists() {
            std::os::unix::fs::symlink("usr/lib", &lib)
                .doing(|| format!("link {}", lib.display()))?;
        }
        Ok(&self.root)
    }
}

fn decompressed(path: &Path) -> Result<Vec<u8>, VmError> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).doing(|| format!("read {}", path.display())),
    };
    let output = Command::new(tool)
        .arg("-dc")
        .arg(path)
        .output()
        .doing(|| format!("{tool} -dc {}", path.display()))?;
    if !output.status.success() {
        return Err(VmError::Tool {
            command: format!("{tool} -dc {}", path.display()),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(output.stdout)
}

/// `modules.dep` has `path: dependency dependency…`, the nearest dependency first. Gives paths in
/// insertion order; `Err` with the name that is unknown.
fn insertion_order(dep: &str, builtin: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let canonical = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split(".ko").next().unwrap_or(file).replace('-', "_")
    };
    let modules: BTreeMap<String, (&str, Vec<&str>)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (canonical(path), (path, needs.split_whitespace().collect())))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in names {
        let key = name.replace('-', "_");
        match modules.get(&key) {
            // Each module's list is complete (depmod closes it transitively), farthest last.
            Some((path, needs)) => {
                for module in needs.iter().rev().chain([path]) {
                    if !order.iter().any(|have| have == module) {
                        order.push((*module).to_owned());
                    }
                }
            }
            None if builtin.lines().any(|line| canonical(line) == key) => {}
            None => return Err((*name).to_owned()),
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DEP: &str = "k/dm-integrity.ko.xz: k/async.ko.xz k/dm-bufio.ko.xz k/dm-mod.ko.xz\nk/dm-crypt.ko.xz: k/dm-mod.ko.xz\nk/async.ko.xz:\nk/dm-bufio.ko.xz: k/dm-mod.ko.xz\nk/dm-mod.ko.xz:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = insertion_order(DEP, "", &["dm_crypt", "dm-integrity"]).unwrap();
        assert_eq!(
            order,
            [
                "k/dm-mod.ko.xz",
                "k/dm-crypt.ko.xz",
                "k/dm-bufio.ko.xz",
                "k/async.ko.xz",
                "k/dm-integrity.ko.xz"
            ]
        );
    }

    #[test]
    fn built_in_parts_need_no_module_and_unknown_names_are_refused() {
        assert_eq!(
            insertion_order(DEP, "kernel/crypto/aes_generic.ko\n", &["aes-generic"]).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(insertion_order(DEP, "", &["nope"]), Err("nope".to_owned()));
    }
}
