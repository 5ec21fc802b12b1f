//! RTMR 1 and 2: what is booted.
//!
//! | boot | RTMR 1 | RTMR 2 |
//! |---|---|---|
//! | QEMU `-kernel` | the kernel, boot action, separator | load options, initrd |
//! | UKI from a disk | boot action, separator, partition table, the image, with Secure Boot off its kernel too | sections (systemd-stub 257), load options, initrd |
//! | UKI by `-kernel` | the image, boot action, separator, with Secure Boot off its kernel too | the same |
//!
//! Each ends with the two actions of leaving boot services in RTMR 1.

use super::{BootSeparator, TdError, gpt};
use crate::{
    eventlog::kind,
    measure::{
        pe::Pe,
        prediction::{Measured, Prediction},
        secure_boot::SEPARATOR,
        stub::Stub,
        uki::{CALLING, Image, initrd, load_options},
    },
    tpm::hash::Hash,
};

/// First kernel whose EFI stub measures into the registers of a TD.
const MEASURING_KERNEL: (u32, u32) = (6, 9);
/// What firmware does when the kernel takes over.
const EXIT: [&[u8]; 2] = [
    b"Exit Boot Services Invocation",
    b"Exit Boot Services Returned with Success",
];

/// What is booted.
#[derive(Debug, Clone, Copy)]
pub enum Boot<'a> {
    /// A kernel that QEMU hands to the firmware (`-kernel`, `-initrd`, `-append`).
    Kernel {
        /// The kernel as firmware gets it: QEMU up to 9.2 changes fields of its header.
        kernel: &'a [u8],
        /// The initrd.
        initrd: Option<&'a [u8]>,
        /// The command line.
        cmdline: &'a str,
    },
    /// A unified kernel image.
    Uki {
        /// The image.
        image: &'a [u8],
        /// From where.
        source: BootSource<'a>,
    },
}

/// From where firmware loads an image.
#[derive(Debug, Clone, Copy)]
pub enum BootSource<'a> {
    /// A disk with a partition table, of which the first MiB is given.
    Disk(&'a [u8]),
    /// Something without a GUID partition table: network, or a bare file system.
    Unpartitioned,
    /// QEMU (`-kernel`).
    Qemu,
}

impl<'a> Boot<'a> {
    /// The image firmware loads.
    pub(super) fn application(&self) -> Result<Pe<'a>, TdError> {
        Ok(match self {
            Self::Kernel { kernel, .. } => Pe::parse("the kernel", kernel)?,
            Self::Uki { image, .. } => Pe::parse("the image", image)?,
        })
    }

    /// Adds RTMR 1, and RTMR 2 where it is certain; otherwise a note says why not.
    pub(super) fn predict(
        &self,
        prediction: &mut Prediction,
        notes: &mut Vec<String>,
        separator: BootSeparator,
        secure_boot: bool,
    ) -> Result<(), TdError> {
        for event in self.rtmr1(separator, secure_boot)? {
            prediction.add(1, event);
        }
        match self.rtmr2()? {
            Ok(events) => {
                prediction.start(2);
                events
                    .into_iter()
                    .for_each(|event| prediction.add(2, event));
            }
            Err(why) => notes.push(format!("RTMR 2 is not predicted: {why}")),
        }
        Ok(())
    }

    fn rtmr1(&self, separator: BootSeparator, secure_boot: bool) -> Result<Vec<Measured>, TdError> {
        let action = |text: &[u8]| {
            let description = String::from_utf8_lossy(text).into_owned();
            Measured::bytes(kind::EFI_ACTION, text, description)
        };
        let mut calling = vec![action(CALLING)];
        if separator == BootSeparator::Rtmr1 {
            calling.push(Measured::bytes(kind::SEPARATOR, SEPARATOR, "separator"));
        }
        let mut events = Vec::new();
        match self {
            Self::Kernel { .. } => {
                let digest = self.application()?.authenticode(Hash::Sha384)?;
                let application = kind::EFI_BOOT_SERVICES_APPLICATION;
                events.push(Measured::digest(application, digest, "the kernel"));
                events.extend(calling);
            }
            Self::Uki { image, source } => {
                let (whole, kernel) = Image::parse(image)?.loaded(Hash::Sha384)?;
                match source {
                    BootSource::Qemu => {
                        events.push(whole);
                        events.extend(calling);
                    }
                    BootSource::Unpartitioned => {
                        events.extend(calling);
                        events.push(whole);
                    }
                    BootSource::Disk(start) => {
                        events.extend(calling);
                        let table = gpt::event_data(start)?;
                        events.push(Measured::bytes(
                            kind::EFI_GPT_EVENT,
                            table,
                            "partition table",
                        ));
                        events.push(whole);
                    }
                }
                // With Secure Boot on, the stub keeps firmware from judging, and so from measuring, the kernel.
                events.extend(Some(kernel).filter(|_| !secure_boot));
            }
        }
        events.extend(EXIT.into_iter().map(action));
        Ok(events)
    }

    /// Events of RTMR 2, or why they are not certain.
    fn rtmr2(&self) -> Result<Result<Vec<Measured>, String>, TdError> {
        match self {
            Self::Kernel {
                kernel,
                initrd,
                cmdline,
            } => Ok(measures(kernel).and_then(|()| direct(*initrd, cmdline))),
            Self::Uki { image, .. } => {
                let image = Image::parse(image)?;
                if let Err(why) = measures(image.linux()?) {
                    return Ok(Err(why));
                }
                // systemd-stub 252 measures into a TPM only.
                let mut events = match image.stub.major {
                    Stub::DEBIAN_12 => Vec::new(),
                    _ => image.stub_sections(),
                };
                Ok(image.kernel_stub().map(|kernel| {
                    events.extend(kernel);
                    events
                }))
            }
        }
    }
}

/// Load options as OVMF makes them of QEMU's command line, and the initrd.
fn direct(given: Option<&[u8]>, cmdline: &str) -> Result<Vec<Measured>, String> {
    if !cmdline.is_ascii() || cmdline.contains('\0') {
        return Err("the command line is not plain ASCII".to_owned());
    }
    let appended = if given.is_some() {
        " initrd=initrd"
    } else {
        ""
    };
    let line = format!("{cmdline}{appended}");
    if line.is_empty() {
        return Err(
            "with neither command line nor initrd the load options are not certain".to_owned(),
        );
    }
    let units = line.encode_utf16().chain([0]);
    let mut events = vec![load_options(units.flat_map(u16::to_le_bytes).collect())];
    events.extend(given.map(|bytes| initrd(bytes.to_vec())));
    Ok(events)
}

/// Whether the kernel's EFI stub measures into the registers of a TD.
fn measures(kernel: &[u8]) -> Result<(), String> {
    let version = version(kernel).ok_or("the kernel does not say its version")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|digits| digits.parse::<u32>().ok());
    let found = number().zip(number());
    match found {
        Some(found) if found >= MEASURING_KERNEL => Ok(()),
        _ => Err(format!(
            "Linux {version} does not measure command line and initrd of a TD, 6.9 and later do"
        )),
    }
}

/// Version text of a bzImage. Source: Linux, `Documentation/arch/x86/boot.rst`, field `kernel_version`.
fn version(kernel: &[u8]) -> Option<String> {
    if kernel.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let offset = u16::from_le_bytes(*kernel.get(0x20e..)?.first_chunk()?);
    let text = kernel.get(usize::from(offset) + 0x200..)?;
    let text: String = text
        .iter()
        .take(64)
        .take_while(|byte| byte.is_ascii_graphic())
        .map(|byte| char::from(*byte))
        .collect();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn kernel(version: &str) -> Vec<u8> {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        kernel[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
        kernel
    }

    #[test]
    fn only_kernels_that_measure_a_tds_boot_are_predicted() {
        for good in ["6.9.0", "6.12.117+deb12-cloud-amd64 (x)", "7.0-rc1"] {
            assert_eq!(measures(&kernel(good)), Ok(()), "{good}");
        }
        for bad in ["6.8.0", "5.15.0-1", "6", "x"] {
            assert!(measures(&kernel(bad)).unwrap_err().contains("6.9"), "{bad}");
        }
        assert!(measures(b"no kernel").unwrap_err().contains("does not say"));
    }
}
