//! `dawnkey measure snp`: the launch digest of an SEV-SNP guest.

use super::{MAX_FIRMWARE, MAX_IMAGE, fragment, optional};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields, note};
use clap::{Args, ValueEnum};
use dawnkey_attest::snp::launch::{
    GuestFeatures, KernelHashes, Launch, LaunchError, Ovmf, VcpuType, Vmm, launch_digest,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Compute the launch digest of an SEV-SNP guest
///
/// The digest is MEASUREMENT of the guest's attestation report. It covers the firmware and the state the virtual CPUs
/// start in; what the firmware boots it covers only where a kernel is given here and firmware checks its hashes (the AmdSev
/// build of OVMF, QEMU with `kernel-hashes=on`). The output says which.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey measure snp OVMF.amdsev.fd --vcpus 4 --vcpu-type EPYC-Milan --kernel node.efi
  dawnkey measure snp OVMF.amdsev.fd --vcpus 4 --vcpu-type EPYC-v4 --guest-features 0x21 \\
      --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0 quiet'
  dawnkey measure snp ovmf.fd --vcpus 2 --vmm ec2 --policy node-2026-11 >> policy.toml")]
pub(super) struct SnpArgs {
    /// The firmware, OVMF, as the monitor loads it
    firmware: PathBuf,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N")]
    vcpus: u32,
    /// Their type as QEMU names it: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin, or one with a version
    #[arg(long, value_name = "TYPE", value_parser = vcpu_type, conflicts_with = "vcpu_signature")]
    vcpu_type: Option<VcpuType>,
    /// Their type as CPUID leaf 1 gives it in EAX, for `-cpu host`; for example 0x00a00f11
    #[arg(long, value_name = "EAX", value_parser = vcpu_signature)]
    vcpu_signature: Option<VcpuType>,
    /// Who starts the guest
    #[arg(long, value_name = "MONITOR", default_value = "qemu")]
    vmm: Monitor,
    /// SEV features of the virtual CPUs: bit 0 is SNP, bit 5 debug-register swapping (KVM of Linux 6.11 and later)
    #[arg(long, value_name = "BITS", default_value = "0x1", value_parser = features)]
    guest_features: u64,
    /// Kernel or unified kernel image that QEMU hands to the firmware
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initrd for the kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Command line for the kernel
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    cmdline: Option<String>,
    /// Print the digest as an `[[image]]` of a policy file, with this name
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Monitor {
    /// QEMU with KVM
    Qemu,
    /// Amazon EC2
    Ec2,
    /// Google Compute Engine
    Gce,
}

fn vcpu_type(text: &str) -> Result<VcpuType, String> {
    VcpuType::from_name(text).ok_or_else(|| {
        "expected EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa or EPYC-Turin, with or without a version such as -v2"
            .to_owned()
    })
}

fn hex_number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn vcpu_signature(text: &str) -> Result<VcpuType, String> {
    let eax = hex_number(text).and_then(|eax| u32::try_from(eax).ok());
    let parsed = eax.and_then(VcpuType::from_signature);
    parsed.ok_or_else(|| "expected EAX of CPUID leaf 1 in hex, such as 0x00a00f11".to_owned())
}

fn features(text: &str) -> Result<u64, String> {
    let bits = hex_number(text).filter(|bits| bits & 1 == 1);
    bits.ok_or_else(|| "expected bits in hex with bit 0 (SNP) set, such as 0x1 or 0x21".to_owned())
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Measured {
    firmware: String,
    vmm: &'static str,
    vcpus: u32,
    /// CPUID signature, hex; nothing where the monitor measures none.
    vcpu_signature: Option<String>,
    guest_features: String,
    /// Whether the digest stands for what is booted, and not for the firmware alone.
    covers_image: bool,
    covers: &'static str,
    snp: Digest,
}

#[derive(Debug, Serialize)]
struct Digest {
    measurement: String,
}

const IMAGE: &str = "firmware, kernel, initrd and command line";
const FIRMWARE: &str = "firmware only: whatever it boots has the same digest";

impl SnpArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let firmware = files::read(&self.firmware, "the firmware", MAX_FIRMWARE)?;
        let ovmf = Ovmf::parse(&firmware).map_err(|error| {
            let right = "OVMF built for SEV-SNP, code and variables in one file";
            Failure::local(error, self.firmware.display(), right)
        })?;
        let launch = Launch {
            ovmf: &ovmf,
            vcpus: self.vcpus,
            vcpu_type: self.processor()?,
            vmm: match self.vmm {
                Monitor::Qemu => Vmm::Qemu,
                Monitor::Ec2 => Vmm::Ec2,
                Monitor::Gce => Vmm::Gce,
            },
            features: GuestFeatures(self.guest_features),
            kernel: self.hashes()?,
        };
        let digest = launch_digest(&launch).map_err(|error| self.refused(&error))?;
        let measured = self.measured(&launch, hex::encode(digest));
        if !measured.covers_image {
            note(&format!("note: the digest covers {FIRMWARE}"));
        }
        output.show(&measured, || match &self.policy {
            Some(name) => {
                let values = BTreeMap::from([("measurement", measured.snp.measurement.clone())]);
                fragment::image(name, "snp", &values)
            }
            None => measured.text(),
        })?;
        Ok(Exit::Done)
    }

    /// The type of the virtual CPUs. EC2 measures none, so any would do there.
    fn processor(&self) -> Result<VcpuType, Failure> {
        let given = self.vcpu_type.or(self.vcpu_signature);
        let unmeasured = Some(VcpuType::Epyc).filter(|_| matches!(self.vmm, Monitor::Ec2));
        given.or(unmeasured).ok_or_else(|| {
            Failure::usage(
                "compute a launch digest: the type of the virtual CPUs is part of it and not given",
                "--vcpu-type",
                "--vcpu-type as QEMU's -cpu, or --vcpu-signature",
            )
        })
    }

    fn hashes(&self) -> Result<Option<KernelHashes>, Failure> {
        let Some(kernel) = optional(self.kernel.as_ref(), "the kernel", MAX_IMAGE)? else {
            return Ok(None);
        };
        let initrd = optional(self.initrd.as_ref(), "the initrd", MAX_IMAGE)?.unwrap_or_default();
        let cmdline = self.cmdline.as_deref().unwrap_or_default();
        Ok(Some(KernelHashes::new(&kernel, &initrd, cmdline)))
    }

    fn refused(&self, error: &LaunchError) -> Failure {
        match error {
            LaunchError::Vcpus { .. } => {
                Failure::usage(error, "--vcpus", "the number the guest is started with")
            }
            LaunchError::GceProcessor => {
                Failure::usage(error, "--vcpu-type", "--vcpu-type EPYC-Milan or EPYC-Genoa")
            }
            LaunchError::NoKernelHashes => Failure::local(
                error,
                self.firmware.display(),
                "firmware that checks a kernel's hashes, or no --kernel",
            ),
            LaunchError::NoResetVector => Failure::local(
                error,
                self.firmware.display(),
                "OVMF built with SEV-ES support, or --vcpus 1",
            ),
        }
    }

    fn measured(&self, launch: &Launch<'_>, measurement: String) -> Measured {
        let covers_image = launch.kernel.is_some();
        let (vmm, signature) = match self.vmm {
            Monitor::Qemu => (
                "qemu",
                Some(format!("{:#010x}", launch.vcpu_type.signature())),
            ),
            Monitor::Ec2 => ("ec2", None),
            Monitor::Gce => ("gce", None),
        };
        Measured {
            firmware: self.firmware.display().to_string(),
            vmm,
            vcpus: self.vcpus,
            vcpu_signature: signature,
            guest_features: format!("{:#x}", self.guest_features),
            covers_image,
            covers: if covers_image { IMAGE } else { FIRMWARE },
            snp: Digest { measurement },
        }
    }
}

impl Measured {
    fn text(&self) -> String {
        fields(&[
            ("firmware", self.firmware.clone()),
            ("monitor", self.vmm.to_owned()),
            ("virtual CPUs", self.vcpus.to_string()),
            (
                "CPUID signature",
                self.vcpu_signature.clone().unwrap_or_default(),
            ),
            ("guest features", self.guest_features.clone()),
            ("covers", self.covers.to_owned()),
            ("measurement", self.snp.measurement.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_as_cpuid_gives_them() {
        for eax in [0x0080_0f12_u32, 0x00a0_0f11, 0x00a1_0f10, 0x00b0_0f00] {
            let parsed = vcpu_signature(&format!("{eax:#010x}")).unwrap();
            assert_eq!(parsed.signature(), eax);
        }
        for text in ["a00f11", "0x", "0x100000000", "0xf0000000"] {
            assert!(vcpu_signature(text).is_err(), "{text}");
        }
        assert!(features("0x20").is_err() && features("33").is_err());
        assert_eq!(features("0x21"), Ok(0x21));
    }
}
