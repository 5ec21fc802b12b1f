//! What the VM tests share: images, binaries, one operator's certificates and policy.
//!
//! `cargo xtask test` prepares a directory and names it in `DAWNKEY_VM_DIR`. Each test takes its own
//! [`Scene`]: a new store, a new TPM, new disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{IoContext, VmError};
use crate::image::Image;
use crate::machine::{Boot, Direct, Machine};
use crate::operator::{Binaries, Operator, Service, VOLUME};
use crate::swtpm::{Tpm, TpmMaker};

/// Environment variable with the prepared directory.
pub const VARIABLE: &str = "DAWNKEY_VM_DIR";
/// Size of a scene's state disk in bytes: small, since formatting wipes all of it.
pub const DISK_BYTES: u64 = 64 << 20;

/// Platforms of the mock manufacturers, as `dawnkey-test-pki` names them.
pub const PLATFORMS: &[&str] = &[
    "snp",
    "snp-relaunched",
    "snp-debug",
    "snp-vmpl",
    "snp-revoked",
    "tdx",
    "tdx-debug",
];

/// The second volume of Debian guests: their root file system is on it.
pub const ROOT_VOLUME: &str = "2d9c8a54-7b1e-4f0a-8e2d-64c1f0b7a3e5";

/// What the tests about real boots share: a Debian system, and initramfs that its own tools made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Debian {
    /// dracut's initramfs, root file system on a disk in clear.
    pub install: Image,
    /// The same initramfs, root file system on [`ROOT_VOLUME`].
    pub dracut: Image,
    /// initramfs-tools' initramfs, root file system on [`ROOT_VOLUME`].
    pub initramfs_tools: Image,
    /// The same as `dracut` with kernel arguments that ask for shells; unknown to the policy.
    pub shell_asked: Image,
    /// dracut's initramfs with the data volume in `/etc/crypttab`, root file system on a disk in clear.
    pub crypttab: Image,
    /// The system, an ext4 file system.
    pub system: PathBuf,
    /// Where each `NAME.initrd` lies with the list of its files, `NAME.list`; without Dawnkey `NAME.plain.initrd`.
    pub dir: PathBuf,
}

/// The description of a prepared directory, `lab.json` in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lab {
    /// The finished programs.
    pub binaries: Binaries,
    /// busybox on the host; carries connections of guests.
    pub busybox: PathBuf,
    /// The image that runs scripts of the host, allowed by the policy.
    pub image: Image,
    /// The same with one more kernel argument, unknown to the policy.
    pub changed: Image,
    /// Debian systems.
    pub debian: Debian,
    /// The initramfs of `image` with its kernel.
    pub direct: Direct,
    /// The same with the programs of a running system.
    pub tools: Direct,
    /// `dawnkey-test-pki`
    pub test_pki: PathBuf,
    /// `dawnkey-test-proxy`
    pub test_proxy: PathBuf,
    /// Roots, collateral and platforms of the mock manufacturers.
    pub platforms: PathBuf,
    /// Directory of `dawnkey init` with the policy.
    pub operator: PathBuf,
    /// The TPM manufacturer's directory.
    pub tpm_maker: PathBuf,
}

impl Lab {
    /// A machine without firmware and TPM, with the platforms of the mock manufacturers at hand as files.
    #[must_use]
    pub fn direct(&self, dir: &Path) -> Machine<'_> {
        self.with_platforms(Machine::direct(dir, &self.direct))
    }

    fn with_platforms<'a>(&self, machine: Machine<'a>) -> Machine<'a> {
        PLATFORMS.iter().fold(machine, |machine, name| {
            machine.file(name, &self.platforms.join(format!("{name}.json")))
        })
    }

    /// Opens the directory that `DAWNKEY_VM_DIR` names.
    ///
    /// # Errors
    /// [`VmError::Lab`] saying how to prepare one.
    pub fn open() -> Result<Self, VmError> {
        let dir = std::env::var_os(VARIABLE).ok_or_else(|| {
            VmError::Lab(format!(
                "{VARIABLE} is not set: run `cargo xtask test --only vm`"
            ))
        })?;
        Self::read(Path::new(&dir))
    }

    /// Opens a prepared directory.
    ///
    /// # Errors
    /// [`VmError::Lab`] when `lab.json` in it is not of this version.
    pub fn read(dir: &Path) -> Result<Self, VmError> {
        let path = dir.join("lab.json");
        let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| VmError::Lab(format!("{}: {e}", path.display())))
    }

    /// Writes `lab.json`.
    ///
    /// # Errors
    /// [`VmError::Io`] when it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), VmError> {
        let path = dir.join("lab.json");
        let text = serde_json::to_string_pretty(self).map_err(|e| VmError::Lab(e.to_string()))?;
        fs::write(&path, text).doing(|| format!("write {}", path.display()))
    }

    /// A scene of its own for one test.
    ///
    /// # Errors
    /// What making its parts gives.
    pub fn scene(&self) -> Result<Scene<'_>, VmError> {
        self.scene_with(|_| Ok(()))
    }

    /// A scene whose key service trusts the mock manufacturers and accepts their good platforms, and no TPM.
    ///
    /// # Errors
    /// What making its parts gives.
    pub fn tee_scene(&self) -> Result<Scene<'_>, VmError> {
        self.scene_with(|operator| {
            operator.adopt_endorsements(&self.platforms)?;
            operator.adopt_policy(&self.platforms)
        })
    }

    /// The same, with one text of the policy replaced.
    ///
    /// # Errors
    /// What making its parts gives; [`VmError::Lab`] when the policy has no such text.
    pub fn tee_scene_with(&self, from: &str, to: &str) -> Result<Scene<'_>, VmError> {
        self.scene_with(|operator| {
            operator.adopt_endorsements(&self.platforms)?;
            operator.adopt_policy(&self.platforms)?;
            operator.edit_policy(from, to)
        })
    }

    /// A scene with a TPM as Azure's confidential VMs have it, and a policy that demands the SNP report behind it.
    ///
    /// # Errors
    /// What making its parts gives.
    pub fn azure_scene(&self) -> Result<Scene<'_>, VmError> {
        let scene = self.scene_with(|operator| {
            operator.adopt_endorsements(&self.platforms)?;
            operator.demand_snp_behind_the_tpm(&self.platforms)
        })?;
        let platform = self.platforms.join("snp.json");
        scene.tpm.with_program(|tcti| {
            let mut provision = Command::new(&self.test_pki);
            provision.arg("provision-azure").arg(&platform).arg(tcti);
            provision
        })?;
        Ok(scene)
    }

    /// A scene whose operator has prepared something else before the key service started.
    ///
    /// # Errors
    /// What making its parts gives.
    pub fn scene_with(
        &self,
        prepare: impl FnOnce(&Operator) -> Result<(), VmError>,
    ) -> Result<Scene<'_>, VmError> {
        let dir = tempfile::Builder::new()
            .prefix("dawnkey-vm-")
            .tempdir()
            .doing(|| "make a directory".to_owned())?;
        let maker = TpmMaker::new(&self.tpm_maker)?;
        let operator =
            Operator::copy_to(&self.binaries, &self.operator, &dir.path().join("service"))?;
        prepare(&operator)?;
        let tpm = maker.make(&dir.path().join("tpm"))?;
        let service = operator.start()?;
        Ok(Scene {
            lab: self,
            maker,
            operator,
            service,
            tpm,
            boots: std::cell::Cell::new(0),
            dir,
        })
    }
}

/// One test's machine, TPM and key service.
pub struct Scene<'a> {
    lab: &'a Lab,
    maker: TpmMaker,
    /// The operator's commands.
    pub operator: Operator,
    /// The running key service.
    pub service: Service,
    /// The machine's TPM.
    pub tpm: Tpm,
    boots: std::cell::Cell<u32>,
    dir: tempfile::TempDir,
}

impl Scene<'_> {
    /// The prepared parts.
    pub fn lab(&self) -> &Lab {
        self.lab
    }

    /// A path in the test's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Creates [`VOLUME`] at the service and a blank disk for it.
    ///
    /// # Errors
    /// [`VmError::Tool`] when the service refuses.
    pub fn volume(&self) -> Result<Disk, VmError> {
        self.operator.create_volume(VOLUME)?;
        self.blank("state.disk", DISK_BYTES)
    }

    /// A volume's key, as `dawnkey volume export-key` gives it for the header on a disk.
    ///
    /// # Errors
    /// [`VmError::Tool`] when it does not open the header.
    pub fn export_key(&self, volume: &str, disk: &Disk) -> Result<Vec<u8>, VmError> {
        let (header, out) = (disk.path().display().to_string(), self.path("volume-key"));
        let place = out.display().to_string();
        let words = ["volume", "export-key", volume, "--header", &header];
        let words = [&words[..], &["--out", &place, "--yes"]].concat();
        self.operator.dawnkey(&words)?;
        fs::read(&out).doing(|| format!("read {place}"))
    }

    /// A blank disk.
    ///
    /// # Errors
    /// [`VmError::Io`] when it exists already.
    pub fn blank(&self, name: &str, bytes: u64) -> Result<Disk, VmError> {
        Disk::blank(&self.path(name), bytes)
    }

    /// Another TPM of the same manufacturer.
    ///
    /// # Errors
    /// [`VmError::Tool`] when it cannot be made.
    pub fn another_tpm(&self, name: &str) -> Result<Tpm, VmError> {
        self.maker.make(&self.path(name))
    }

    /// A machine without firmware and TPM, with the platforms of the mock manufacturers, its network leading to
    /// the service.
    pub fn direct(&self) -> Machine<'_> {
        self.lab
            .direct(&self.next_boot())
            .service(self.service.address(), &self.lab.busybox)
    }

    /// The machine of [`Scene::direct`] with udev and the programs of a running system.
    pub fn with_tools(&self) -> Machine<'_> {
        let machine = Machine::direct(&self.next_boot(), &self.lab.tools);
        self.lab
            .with_platforms(machine)
            .service(self.service.address(), &self.lab.busybox)
    }

    /// The machine of [`Scene::machine`], with the platforms of the mock manufacturers.
    pub fn machine_with_platforms(&self) -> Machine<'_> {
        self.lab.with_platforms(self.machine())
    }

    fn next_boot(&self) -> PathBuf {
        let number = self.boots.get() + 1;
        self.boots.set(number);
        self.path(&format!("boot-{number}"))
    }

    /// A machine with this scene's TPM and the allowed image, its network leading to the service.
    pub fn machine(&self) -> Machine<'_> {
        self.machine_with(&self.lab.image, &self.tpm)
    }

    /// A machine with another image or TPM.
    pub fn machine_with<'b>(&'b self, image: &'b Image, tpm: &'b Tpm) -> Machine<'b> {
        Machine::new(&self.next_boot(), image, tpm)
            .service(self.service.address(), &self.lab.busybox)
    }

    /// Boots the allowed image with the disk and a script.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn boot(&self, disk: &Disk, script: &str) -> Result<Boot, VmError> {
        self.machine().disk(disk).script(script).boot()
    }

    /// The test's directory, kept on the host for looking at it.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}
