//! What building and testing need beyond Rust, and why; installs what is missing and nothing else.

use std::collections::BTreeSet;
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::error::XtaskError;
use crate::progress::Progress;

/// What the dependencies are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Compiling the workspace.
    Build,
    /// Building images and booting them.
    Machine,
    /// All checks and tests, but for those against servers.
    Test,
    /// Tests against servers.
    Servers,
    /// Counting instructions.
    Bench,
}

impl Purpose {
    /// Whether what is for `other` is needed for this. Servers and benches need not each other's.
    fn needs(self, other: Purpose) -> bool {
        other == self || other <= self.min(Purpose::Test)
    }
}

/// A Debian package, the same name in releases 12 and 13.
struct Package {
    name: &'static str,
    purpose: Purpose,
    reason: &'static str,
}

const fn package(name: &'static str, purpose: Purpose, reason: &'static str) -> Package {
    Package {
        name,
        purpose,
        reason,
    }
}

const PACKAGES: &[Package] = &[
    package(
        "gcc",
        Purpose::Build,
        "the linker driver, and the C parts of aws-lc",
    ),
    package(
        "libc6-dev",
        Purpose::Build,
        "headers and start files of C programs",
    ),
    package(
        "pkg-config",
        Purpose::Build,
        "finds the TPM and device-mapper libraries",
    ),
    package(
        "libtss2-dev",
        Purpose::Build,
        "the agent talks to the TPM through the TSS",
    ),
    package(
        "libdevmapper-dev",
        Purpose::Build,
        "headers of the device-mapper interface",
    ),
    package(
        "libcryptsetup-dev",
        Purpose::Build,
        "the operator's tool, and agents with adopted volumes, open keyslots with libcryptsetup",
    ),
    package(
        "libclang-dev",
        Purpose::Build,
        "bindgen reads the device-mapper header",
    ),
    package("qemu-system-x86", Purpose::Machine, "the machine"),
    package(
        "ovmf",
        Purpose::Machine,
        "its UEFI firmware, which makes the measurements",
    ),
    package("swtpm", Purpose::Machine, "its TPM"),
    package(
        "swtpm-tools",
        Purpose::Machine,
        "makes TPMs with endorsement certificates",
    ),
    package(
        "mtools",
        Purpose::Machine,
        "writes the boot disk's FAT file system without root",
    ),
    package("zstd", Purpose::Machine, "compresses the initramfs"),
    package("xz-utils", Purpose::Machine, "unpacks kernel modules"),
    package("kmod", Purpose::Machine, "depmod: which module needs which"),
    package(
        "e2fsprogs",
        Purpose::Machine,
        "mke2fs, carried in the image",
    ),
    package(
        "cryptsetup-bin",
        Purpose::Test,
        "opens our volumes independently, in test images",
    ),
    package(
        "systemd",
        Purpose::Test,
        "systemd-cryptsetup, which asks the agent for a key",
    ),
    package(
        "clevis",
        Purpose::Test,
        "runs the agent's pin; brings jose with it",
    ),
    package(
        "dmsetup",
        Purpose::Test,
        "shows device-mapper tables, in test images",
    ),
    package(
        "udev",
        Purpose::Test,
        "names our mappings as on a running system, in test images",
    ),
    package(
        "make",
        Purpose::Test,
        "builds the module behind which test guests have a TEE",
    ),
    package("cpio", Purpose::Test, "reads our archives back"),
    package(
        "debootstrap",
        Purpose::Test,
        "makes the Debian systems that test guests boot",
    ),
    package("softhsm2", Purpose::Servers, "a PKCS#11 token in software"),
    package("postgresql", Purpose::Servers, "a store of records"),
    package("valgrind", Purpose::Bench, "counts instructions"),
    package("g++", Purpose::Test, "libFuzzer is C++"),
    package("git", Purpose::Test, "lists the files that tidy checks"),
];

/// Cargo's helpers, with the versions that the checks are written for.
const CARGO_TOOLS: &[(&str, &str)] = &[("cargo-deny", "0.20.2"), ("cargo-fuzz", "0.13.2")];

/// Installs what is missing for a purpose.
///
/// # Errors
/// [`XtaskError::Package`] when this is no Debian or a package cannot be installed.
pub fn install(purpose: Purpose, progress: &Progress) -> Result<(), XtaskError> {
    let missing = missing(purpose)?;
    if !missing.is_empty() {
        for package in PACKAGES
            .iter()
            .filter(|package| missing.contains(package.name))
        {
            progress.say(&format!(
                "        needs {}: {}",
                package.name, package.reason
            ));
        }
        let names: Vec<&str> = missing.into_iter().collect();
        progress.step(
            &format!("install {} Debian package(s)", names.len()),
            || {
                update()?;
                command::run(
                    apt()?
                        .args(["install", "-y", "-q", "--no-install-recommends"])
                        .args(&names),
                )?;
                Ok(())
            },
        )?;
    }
    if purpose >= Purpose::Test {
        for (tool, version) in CARGO_TOOLS {
            cargo_tool(tool, version, progress)?;
        }
    }
    Ok(())
}

/// Refreshes apt's lists.
///
/// # Errors
/// [`XtaskError::Vm`] with apt's words.
pub fn update() -> Result<(), XtaskError> {
    command::run(apt()?.args(["update", "-q"]))?;
    Ok(())
}

fn missing(purpose: Purpose) -> Result<BTreeSet<&'static str>, XtaskError> {
    if command::find("dpkg-query").is_none() {
        return Err(XtaskError::Package(
            "dpkg-query is not here: these tasks run on Debian 12 and 13".to_owned(),
        ));
    }
    let wanted = PACKAGES
        .iter()
        .filter(|package| purpose.needs(package.purpose))
        .map(|package| package.name);
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f", "${db:Status-Status} ${Package}\\n"])
        .args(wanted.clone());
    // It exits with 1 when it does not know one of them: that is what we ask.
    let output = query.output().map_err(crate::error::io("run dpkg-query"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    Ok(wanted.filter(|name| !installed.contains(name)).collect())
}

fn apt() -> Result<Command, XtaskError> {
    let mut command = as_root("apt-get")?;
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// A program as root, by sudo where this is another user.
///
/// # Errors
/// [`XtaskError::Package`] where there is no sudo.
pub fn as_root(program: &str) -> Result<Command, XtaskError> {
    if command::run(Command::new("id").arg("-u"))?.trim() == "0" {
        return Ok(Command::new(program));
    }
    if command::find("sudo").is_none() {
        return Err(XtaskError::Package(format!("{program} needs root or sudo")));
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--preserve-env=DEBIAN_FRONTEND", program]);
    Ok(sudo)
}

fn cargo_tool(tool: &str, version: &str, progress: &Progress) -> Result<(), XtaskError> {
    let subcommand = tool.trim_start_matches("cargo-");
    let present = Command::new("cargo")
        .args([subcommand, "--version"])
        .output();
    if present.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(version)
    }) {
        return Ok(());
    }
    progress.step(&format!("install {tool} {version}"), || {
        command::run(Command::new("cargo").args([
            "install",
            "--quiet",
            "--locked",
            tool,
            "--version",
            version,
        ]))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_reason_and_is_listed_once() {
        let names: BTreeSet<&str> = PACKAGES.iter().map(|package| package.name).collect();
        assert_eq!(names.len(), PACKAGES.len());
        assert!(PACKAGES.iter().all(|package| package.reason.len() > 5));
    }

    #[test]
    fn testing_needs_what_building_needs() {
        assert!(Purpose::Build < Purpose::Machine && Purpose::Machine < Purpose::Test);
        assert!(Purpose::Servers.needs(Purpose::Test) && Purpose::Bench.needs(Purpose::Test));
    }

    #[test]
    fn servers_and_benches_need_nothing_of_each_other() {
        assert!(!Purpose::Bench.needs(Purpose::Servers));
        assert!(!Purpose::Servers.needs(Purpose::Bench));
        assert!(!Purpose::Test.needs(Purpose::Servers));
    }
}
