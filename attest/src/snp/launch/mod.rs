//! The launch digest of an SNP guest, from its firmware, kernel and shape: what `MEASUREMENT` of a report will be.
//!
//! The secure processor chains one SHA-384 over everything the host loads before the guest runs: the firmware's
//! pages, the pages its metadata asks for, and one save area for each virtual CPU. Source: 56860 §8.17.2
//! "PAGE_INFO structure", and the order in which QEMU and KVM load pages.
//!
//! Written here rather than taken from the `sev` crate: it is 300 lines over bytes in memory, while the crate
//! brings a second implementation of X.509, RSA and ECDSA into the build, opens files by itself and asserts on
//! unusual firmware. Its published results are test vectors here.

mod hashes;
mod ovmf;
mod vmsa;

use sha2::{Digest, Sha384};

pub use hashes::KernelHashes;
pub(crate) use ovmf::table as guid_table;
pub use ovmf::{FirmwareError, Ovmf, SectionKind};
pub use vmsa::{GuestFeatures, VcpuType, Vmm};

/// Size of a page, bytes.
const PAGE: usize = 4096;
/// Where save areas are measured: the last page of the 48-bit address space of Milan, whatever the processor, with
/// QEMU and EC2.
const VMSA_GPA: u64 = 0xffff_ffff_f000;
/// The same for 52 bits: GCE takes the processor's own width.
const VMSA_GPA_52: u64 = 0x000f_ffff_ffff_f000;
/// Most virtual CPUs computed for: KVM's own limit is 4096.
pub const MAX_VCPUS: u32 = 4096;

/// Everything that decides about a launch digest.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The firmware, OVMF, as loaded.
    pub ovmf: &'a Ovmf<'a>,
    /// Number of virtual CPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Their type.
    pub vcpu_type: VcpuType,
    /// Who starts the guest: monitors differ in the registers they set.
    pub vmm: Vmm,
    /// SEV features of the save areas.
    pub features: GuestFeatures,
    /// Hashes of kernel, initrd and command line, for direct boot with `kernel-hashes=on`.
    pub kernel: Option<KernelHashes>,
}

/// Why a launch digest cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// No or too many virtual CPUs.
    #[error("compute a launch digest for {found} virtual CPUs, 1 to {MAX_VCPUS} are possible")]
    Vcpus {
        /// Number given.
        found: u32,
    },
    /// The firmware has no place for kernel hashes, so it would not check them.
    #[error(
        "a kernel is given but the firmware has no SNP_KERNEL_HASHES section: use the AmdSev build of OVMF"
    )]
    NoKernelHashes,
    /// GCE takes the processor's address width, which is known for two of them.
    #[error("for GCE the processor must be known: EPYC-Milan or EPYC-Genoa")]
    GceProcessor,
    /// Several virtual CPUs, but the firmware names no start for the others.
    #[error("several virtual CPUs are given but the firmware has no SEV-ES reset block")]
    NoResetVector,
}

/// Computes the launch digest.
///
/// # Errors
/// [`LaunchError`] when firmware and shape do not fit.
pub fn launch_digest(launch: &Launch<'_>) -> Result<[u8; 48], LaunchError> {
    if !(1..=MAX_VCPUS).contains(&launch.vcpus) {
        return Err(LaunchError::Vcpus {
            found: launch.vcpus,
        });
    }
    let save_area = match (launch.vmm, launch.vcpu_type) {
        (Vmm::Gce, VcpuType::Genoa) => VMSA_GPA_52,
        (Vmm::Gce, VcpuType::Milan) | (Vmm::Qemu | Vmm::Ec2, _) => VMSA_GPA,
        (Vmm::Gce, _) => return Err(LaunchError::GceProcessor),
    };
    let mut digest = LaunchDigest::new();
    digest.normal(launch.ovmf.gpa(), launch.ovmf.bytes());
    sections(&mut digest, launch)?;
    let reset = launch.ovmf.reset_eip();
    if launch.vcpus > 1 && reset.is_none() {
        return Err(LaunchError::NoResetVector);
    }
    let bsp = vmsa::page(vmsa::BSP_EIP, launch.vcpu_type, launch.vmm, launch.features);
    digest.page(PageType::Vmsa, save_area, Some(&bsp));
    let ap = vmsa::page(
        reset.unwrap_or_default(),
        launch.vcpu_type,
        launch.vmm,
        launch.features,
    );
    for _ in 1..launch.vcpus {
        digest.page(PageType::Vmsa, save_area, Some(&ap));
    }
    Ok(digest.value)
}

/// The pages the firmware's metadata asks for, in its order. EC2 loads the CPUID page last.
fn sections(digest: &mut LaunchDigest, launch: &Launch<'_>) -> Result<(), LaunchError> {
    let mut has_hashes = false;
    let mut last = Vec::new();
    for section in launch.ovmf.sections() {
        let gpa = u64::from(section.gpa);
        match section.kind {
            // GCE leaves it to the guest to clear this memory.
            SectionKind::SecMemory if launch.vmm == Vmm::Gce => {
                digest.empty(PageType::Unmeasured, gpa, section.size);
            }
            SectionKind::SecMemory | SectionKind::SvsmCaa => digest.zeros(gpa, section.size),
            SectionKind::Secrets => digest.page(PageType::Secrets, gpa, None),
            SectionKind::Cpuid if launch.vmm == Vmm::Ec2 => last.push(gpa),
            SectionKind::Cpuid => digest.page(PageType::Cpuid, gpa, None),
            SectionKind::KernelHashes => {
                has_hashes = true;
                match (&launch.kernel, launch.ovmf.hash_table_gpa()) {
                    (Some(kernel), Some(table)) => {
                        digest.page(
                            PageType::Normal,
                            gpa,
                            Some(&kernel.page(table as usize % PAGE)),
                        );
                    }
                    (Some(_), None) => return Err(LaunchError::NoKernelHashes),
                    (None, _) => digest.zeros(gpa, section.size),
                }
            }
        }
    }
    last.into_iter()
        .for_each(|gpa| digest.page(PageType::Cpuid, gpa, None));
    if launch.kernel.is_some() && !has_hashes {
        return Err(LaunchError::NoKernelHashes);
    }
    Ok(())
}

/// Types of measured pages, as the firmware numbers them.
#[derive(Clone, Copy)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// The chained digest of a guest context.
struct LaunchDigest {
    value: [u8; 48],
}

impl LaunchDigest {
    fn new() -> Self {
        Self { value: [0; 48] }
    }

    /// Adds one page; pages without measured content count as a digest of zeros.
    fn page(&mut self, kind: PageType, gpa: u64, content: Option<&[u8]>) {
        let content: [u8; 48] = content.map_or([0; 48], |bytes| Sha384::digest(bytes).into());
        // PAGE_INFO, 0x70 bytes: digest, content, length, page type, is_imi, permissions of VMPL 3 to 1, reserved, GPA.
        let info = Sha384::new()
            .chain_update(self.value)
            .chain_update(content)
            .chain_update(0x70u16.to_le_bytes())
            .chain_update([kind as u8, 0, 0, 0, 0, 0])
            .chain_update(gpa.to_le_bytes());
        self.value = info.finalize().into();
    }

    fn normal(&mut self, gpa: u64, bytes: &[u8]) {
        for (at, page) in (0u64..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            self.page(PageType::Normal, gpa + at, Some(page));
        }
    }

    fn zeros(&mut self, gpa: u64, size: u32) {
        self.empty(PageType::Zero, gpa, size);
    }

    /// Pages without measured content.
    fn empty(&mut self, kind: PageType, gpa: u64, size: u32) {
        for at in (0..u64::from(size)).step_by(PAGE) {
            self.page(kind, gpa + at, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD_SEV: &[u8] = include_bytes!("../../../tests/data/ovmf/amdsev_tail.bin");
    const OVMF_X64: &[u8] = include_bytes!("../../../tests/data/ovmf/ovmfx64_tail.bin");

    fn digest(
        ovmf: &[u8],
        vcpus: u32,
        vmm: Vmm,
        features: u64,
        kernel: Option<&str>,
    ) -> Result<String, LaunchError> {
        let ovmf = Ovmf::parse(ovmf).unwrap();
        let kernel = kernel.map(|cmdline| KernelHashes::new(b"", b"", cmdline));
        let features = GuestFeatures(features);
        let launch = Launch {
            ovmf: &ovmf,
            vcpus,
            vcpu_type: VcpuType::Epyc,
            vmm,
            features,
            kernel,
        };
        launch_digest(&launch).map(hex::encode)
    }

    /// Values published with the `sev` crate 8.0 (`tests/measurement.rs`) for the same firmware.
    #[test]
    fn agrees_with_published_digests() {
        let boot = "console=ttyS0 loglevel=7";
        for (ovmf, vcpus, vmm, features, kernel, expected) in [
            (
                AMD_SEV,
                1,
                Vmm::Qemu,
                0x1,
                Some(boot),
                "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Qemu,
                0x21,
                Some(boot),
                "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Qemu,
                0x1,
                Some(""),
                "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5",
            ),
            (
                AMD_SEV,
                4,
                Vmm::Qemu,
                0x1,
                Some(""),
                "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5",
            ),
            (
                AMD_SEV,
                4,
                Vmm::Qemu,
                0x21,
                Some(""),
                "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Qemu,
                0x1,
                None,
                "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Qemu,
                0x21,
                None,
                "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Ec2,
                0x1,
                Some(""),
                "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be",
            ),
            (
                AMD_SEV,
                1,
                Vmm::Ec2,
                0x21,
                Some(""),
                "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6",
            ),
            (
                OVMF_X64,
                1,
                Vmm::Qemu,
                0x1,
                None,
                "da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005",
            ),
            (
                OVMF_X64,
                1,
                Vmm::Qemu,
                0x21,
                None,
                "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385",
            ),
        ] {
            let found = digest(ovmf, vcpus, vmm, features, kernel);
            assert_eq!(
                found.as_deref(),
                Ok(expected),
                "{vcpus} {vmm:?} {features:#x} {kernel:?}"
            );
        }
    }

    #[test]
    fn refuses_a_kernel_that_the_firmware_would_not_check() {
        assert_eq!(
            digest(OVMF_X64, 1, Vmm::Qemu, 1, Some("")),
            Err(LaunchError::NoKernelHashes)
        );
    }

    #[test]
    fn refuses_a_gce_processor_whose_address_width_is_not_known() {
        assert_eq!(
            digest(AMD_SEV, 1, Vmm::Gce, 1, None),
            Err(LaunchError::GceProcessor)
        );
    }

    #[test]
    fn refuses_impossible_numbers_of_cpus() {
        assert_eq!(
            digest(AMD_SEV, 0, Vmm::Qemu, 1, None),
            Err(LaunchError::Vcpus { found: 0 })
        );
        assert_eq!(
            digest(AMD_SEV, u32::MAX, Vmm::Qemu, 1, None),
            Err(LaunchError::Vcpus { found: u32::MAX })
        );
    }
}
