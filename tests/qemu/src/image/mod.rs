//! The measured image: what a node boots, and the only thing its key depends on.
//!
//! [`Builder`] takes an unpacked kernel, the agent's binary, its configuration and a *scenario*: the
//! shell fragment that `/init` ends with. Building twice from the same inputs gives the same bytes,
//! so expected measurements can be computed from the file before anything boots.

pub mod cpio;
pub mod devices;
pub mod esp;
pub mod initramfs;
pub mod kernel;
pub mod libraries;
pub mod tools;
pub mod uki;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, VmError};
use kernel::Kernel;

/// Kernel arguments of every image: no shell on failure, no randomness credited to the bootloader,
/// a panic ends the machine, the console carries allow-listed events only. The kernel's trial of its timer counts ticks,
/// which an emulated machine on a busy host misses, and panics.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check rd.shell=0 rd.emergency=poweroff random.trust_bootloader=off";

/// Everything an initramfs is made of.
#[derive(Debug, Clone)]
pub struct Contents {
    /// `dawnkey-agent`, release build.
    pub agent: PathBuf,
    /// `/etc/dawnkey/agent.toml`.
    pub agent_config: String,
    /// `/etc/dawnkey/ca.pem`, the pin.
    pub service_ca: String,
    /// What `/init` does after the machine is set up.
    pub scenario: initramfs::Scenario,
}

/// Builds images from one kernel.
#[derive(Debug, Clone)]
pub struct Builder {
    kernel: Kernel,
    parts: Parts,
}

/// Files that images are made of, beside our own and this machine's libraries.
#[derive(Debug, Clone)]
pub struct Parts {
    /// An unpacked kernel package.
    pub kernel: PathBuf,
    /// A statically linked busybox.
    pub busybox: PathBuf,
    /// systemd-stub, `linuxx64.efi.stub`.
    pub stub: PathBuf,
    /// The project's `initramfs/` directory.
    pub sources: PathBuf,
}

/// Sizes in bytes, for the demo's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Compressed initramfs of a node without Dawnkey.
    pub plain: u64,
    /// Compressed initramfs with it.
    pub full: u64,
    /// The agent's binary.
    pub agent: u64,
}

impl Builder {
    /// Builds from these parts.
    ///
    /// # Errors
    /// [`VmError::Missing`] when there is no kernel.
    pub fn new(parts: Parts) -> Result<Self, VmError> {
        Ok(Builder {
            kernel: Kernel::open(&parts.kernel)?,
            parts,
        })
    }

    /// The compressed initramfs with the agent in it.
    ///
    /// # Errors
    /// [`VmError::Missing`] for each piece that is not installed.
    pub fn initramfs(&self, contents: &Contents) -> Result<Vec<u8>, VmError> {
        initramfs::compress(&initramfs::node(&self.kernel, &self.parts, contents)?.archive())
    }

    /// An initramfs with a second archive behind it: the kernel unpacks one over the other. `programs` are ours, with
    /// their places in the guest.
    ///
    /// # Errors
    /// As [`Builder::initramfs`].
    pub fn with_tools(
        &self,
        initrd: &[u8],
        programs: &[(&Path, &str)],
    ) -> Result<Vec<u8>, VmError> {
        let mut both = initrd.to_vec();
        // The kernel looks for the next archive at a multiple of four bytes and passes over zeros.
        both.resize(both.len().next_multiple_of(4), 0);
        both.extend(initramfs::compress(
            &tools::tree(&self.kernel, programs)?.archive(),
        )?);
        Ok(both)
    }

    /// The kernel in its own PE file, for machines that start it without firmware.
    pub fn kernel(&self) -> PathBuf {
        self.kernel.vmlinuz()
    }

    /// `uname -r` of the guest.
    pub fn kernel_version(&self) -> &str {
        &self.kernel.version
    }

    /// What Dawnkey adds to an initramfs.
    ///
    /// # Errors
    /// As [`Builder::initramfs`].
    pub fn sizes(&self, contents: &Contents) -> Result<Sizes, VmError> {
        let plain = initramfs::compress(&initramfs::plain(&self.kernel, &self.parts)?.archive())?;
        let agent = fs::metadata(&contents.agent)
            .doing(|| format!("size of {}", contents.agent.display()))?;
        Ok(Sizes {
            plain: plain.len() as u64,
            full: self.initramfs(contents)?.len() as u64,
            agent: agent.len(),
        })
    }

    /// Writes `NAME.efi`, the unified kernel image, and `NAME.disk`, a disk that boots it.
    ///
    /// # Errors
    /// As [`Builder::initramfs`]; [`VmError::Pe`] for a stub that cannot be used.
    pub fn write(
        &self,
        dir: &Path,
        name: &str,
        initrd: &[u8],
        command_line: &str,
    ) -> Result<Image, VmError> {
        let read = |path: &Path| fs::read(path).doing(|| format!("read {}", path.display()));
        let stub = read(&self.parts.stub)?;
        let sections = uki::Sections {
            os_release: "ID=dawnkey-test\nNAME=\"Dawnkey test image\"\nVERSION_ID=1\n",
            command_line,
            uname: &self.kernel.version,
            initrd,
            linux: &read(&self.kernel.vmlinuz())?,
        };
        let image = Image {
            uki: dir.join(format!("{name}.efi")),
            disk: dir.join(format!("{name}.disk")),
        };
        fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
        let bytes = uki::build(&self.parts.stub, &stub, sections)?;
        fs::write(&image.uki, bytes).doing(|| format!("write {}", image.uki.display()))?;
        esp::write(&image.disk, &image.uki)?;
        Ok(image)
    }
}

/// A finished image on the host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// The unified kernel image; `dawnkey measure uki` reads it.
    pub uki: PathBuf,
    /// The disk that boots it.
    pub disk: PathBuf,
}
