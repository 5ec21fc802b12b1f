//! Stand-ins for the devices of confidential VMs, for test images: a program, and a kernel module that is
//! built against the guest kernel's headers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{IoContext, VmError};
use crate::image::cpio::Tree;
use crate::image::kernel::Kernel;
use crate::image::libraries::{add_file, add_program};

/// The module's name.
const MODULE: &str = "dawnkey_test_tsm";
/// Modules that scenarios insert themselves when they want devices to appear.
const MODULES: &[&str] = &["configfs", "tsm", "cuse", "vsock_loopback"];

/// What a test image carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// `dawnkey-test-tee`
    pub program: PathBuf,
    /// The finished kernel module.
    pub module: PathBuf,
    /// Shell functions for scenarios.
    pub functions: PathBuf,
}

impl Devices {
    /// Builds the module from `sources` (the crate's directory) in `dir`. `headers` are unpacked header and
    /// build packages of the kernel `version`.
    ///
    /// # Errors
    /// [`VmError::Tool`] with the compiler's words.
    pub fn build(
        sources: &Path,
        headers: &Path,
        version: &str,
        program: &Path,
        dir: &Path,
    ) -> Result<Self, VmError> {
        let dir = dir.join("tsm-module");
        fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        for file in ["Kbuild", &format!("{MODULE}.c")] {
            let from = sources.join("tsm").join(file);
            fs::copy(&from, dir.join(file)).doing(|| format!("copy {}", from.display()))?;
        }
        let common = version.trim_end_matches("-cloud-amd64");
        let tree = headers.join("usr/src");
        // The headers' own Makefile names the common one by the path of an installed package.
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(tree.join(format!("linux-headers-{version}")))
            .arg("-f")
            .arg(tree.join(format!("linux-headers-{common}-common/Makefile")))
            .arg(format!("M={}", dir.display()))
            // Debian builds each release's kernel with that release's compiler; type information would need
            // the kernel's own.
            .args(["CC=gcc", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
        command::run(&mut make)?;
        let module = dir.join(format!("{MODULE}.ko"));
        command::run(Command::new("strip").arg("-g").arg(&module))?;
        Ok(Devices {
            program: program.to_path_buf(),
            module,
            functions: sources.join("guest.sh"),
        })
    }

    /// Adds them to an image. No module is inserted by `/init`.
    ///
    /// # Errors
    /// [`VmError::Missing`] when the kernel lacks a module.
    pub(super) fn add(&self, tree: &mut Tree, kernel: &Kernel) -> Result<(), VmError> {
        kernel.add_modules(tree, MODULES)?;
        add_file(
            tree,
            &self.module,
            &format!("lib/modules/{MODULE}.ko"),
            0o644,
        )?;
        add_program(tree, &self.program, "usr/bin/dawnkey-test-tee")?;
        add_file(tree, &self.functions, "etc/tee.sh", 0o644)
    }
}
