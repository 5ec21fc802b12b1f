//! Debian packages for guests: fetched by apt, unpacked into a cache, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::deps;
use crate::error::{XtaskError, io};
use crate::workspace::cache;

/// What the image is made of, beside our own binaries and this machine's libraries.
#[derive(Debug, Clone)]
pub struct GuestPackages {
    /// Unpacked kernel package.
    pub kernel: PathBuf,
    /// Statically linked busybox.
    pub busybox: PathBuf,
    /// systemd-stub.
    pub stub: PathBuf,
    /// Name of the kernel package.
    kernel_package: String,
}

/// Kernels with the drivers of every platform that we support; the 6.1 kernel lacks some.
const KERNEL: &str = "^linux-image-6\\.12\\..*-cloud-amd64-unsigned$";

/// Fetches what is missing and gives the places.
///
/// # Errors
/// [`XtaskError::Package`] when apt knows no such package.
pub fn guest() -> Result<GuestPackages, XtaskError> {
    let kernel = newest_kernel()?;
    Ok(GuestPackages {
        kernel: unpacked(&[&kernel])?,
        busybox: file(
            &unpacked(&["busybox-static"])?,
            &["bin/busybox", "usr/bin/busybox"],
        )?,
        stub: file(
            &unpacked(&["systemd-boot-efi"])?,
            &["usr/lib/systemd/boot/efi/linuxx64.efi.stub"],
        )?,
        kernel_package: kernel,
    })
}

/// What a module for the guest's kernel is built with: its headers and its build tools, in one tree.
///
/// # Errors
/// [`XtaskError::Package`] when apt no longer has those of this kernel.
pub fn headers(guest: &GuestPackages) -> Result<PathBuf, XtaskError> {
    let [own, common, kbuild] = header_packages(&guest.kernel_package);
    unpacked(&[&own, &common, &kbuild])
}

/// Names of the packages that belong to a kernel package.
fn header_packages(kernel: &str) -> [String; 3] {
    let flavoured = kernel
        .trim_start_matches("linux-image-")
        .trim_end_matches("-unsigned");
    let version = flavoured.trim_end_matches("-cloud-amd64");
    [
        format!("linux-headers-{flavoured}"),
        format!("linux-headers-{version}-common"),
        format!("linux-kbuild-{version}"),
    ]
}

fn file(root: &Path, candidates: &[&str]) -> Result<PathBuf, XtaskError> {
    candidates
        .iter()
        .map(|candidate| root.join(candidate))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            XtaskError::Package(format!(
                "{} holds none of {}",
                root.display(),
                candidates.join(", ")
            ))
        })
}

/// Versions leave the archive, so the name is looked up each time; a cached one serves when apt
/// knows none.
fn newest_kernel() -> Result<String, XtaskError> {
    let search =
        || command::run(Command::new("apt-cache").args(["search", "--names-only", KERNEL]));
    let mut names = search()?;
    if names.trim().is_empty() {
        deps::update()?;
        names = search()?;
    }
    let known = names
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned);
    let newest = known.max_by_key(|name| numbers(name));
    newest.ok_or_else(|| {
        XtaskError::Package(format!(
            "apt knows no package {KERNEL}; is the security suite enabled?"
        ))
    })
}

/// Numbers in a package name, for comparing versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The candidate versions of packages, unpacked over one another into a directory named after the first.
/// Complete or absent: the directory is renamed into place at the end.
fn unpacked(packages: &[&str]) -> Result<PathBuf, XtaskError> {
    let first = packages.first().copied().unwrap_or_default();
    let place = cache()?.join(format!("{first}_{}", candidate(first)?.replace(':', "_")));
    if place.is_dir() {
        return Ok(place);
    }
    let partial = place.with_extension(format!("partial-{}", std::process::id()));
    fs::create_dir_all(&partial).map_err(io(format!("create {}", partial.display())))?;
    for package in packages {
        unpack(package, &partial)?;
    }
    if fs::rename(&partial, &place).is_err() && !place.is_dir() {
        return Err(XtaskError::Package(format!(
            "cannot move {} to {}",
            partial.display(),
            place.display()
        )));
    }
    Ok(place)
}

fn unpack(package: &str, to: &Path) -> Result<(), XtaskError> {
    let version = candidate(package)?;
    let mut download = Command::new("apt-get");
    download.args([
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        &format!("{package}={version}"),
    ]);
    command::run(download.current_dir(to))?;
    let entries = fs::read_dir(to).map_err(io(format!("list {}", to.display())))?;
    let deb = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or_else(|| XtaskError::Package(format!("apt-get downloaded no file for {package}")))?;
    command::run(Command::new("dpkg").arg("-x").arg(&deb).arg(to))?;
    fs::remove_file(&deb).map_err(io(format!("remove {}", deb.display())))
}

fn candidate(package: &str) -> Result<String, XtaskError> {
    let policy = || {
        command::run(
            Command::new("apt-cache")
                .args(["policy", package])
                .env("LC_ALL", "C"),
        )
    };
    let parse = |text: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .filter(|version| *version != "(none)")
            .map(str::to_owned)
    };
    if let Some(version) = parse(&policy()?) {
        return Ok(version);
    }
    deps::update()?;
    parse(&policy()?).ok_or_else(|| XtaskError::Package(format!("apt knows no package {package}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_as_numbers() {
        let old = numbers("linux-image-6.12.9+deb12-cloud-amd64-unsigned");
        let new = numbers("linux-image-6.12.117+deb12-cloud-amd64-unsigned");
        assert!(new > old);
    }

    #[test]
    fn headers_are_those_of_the_kernel() {
        assert_eq!(
            header_packages("linux-image-6.12.117+deb12-cloud-amd64-unsigned"),
            [
                "linux-headers-6.12.117+deb12-cloud-amd64",
                "linux-headers-6.12.117+deb12-common",
                "linux-kbuild-6.12.117+deb12"
            ]
        );
    }
}
