//! Predicts the measurement registers of a TD from its firmware and what it boots.
//!
//! | register | from | is |
//! |---|---|---|
//! | MRTD | the firmware alone | pages the host adds and measures before the TD runs ([`Tdvf::mr_td`]) |
//! | RTMR 0 | firmware, machine, keys | TD HOB, firmware variables, Secure Boot, ACPI tables, boot variables |
//! | RTMR 1 | what is booted | boot actions, partition table, images firmware loads |
//! | RTMR 2 | what is booted | command line and initrd; sections of a UKI |
//! | RTMR 3 | the running system | nothing is predicted |
//!
//! What depends on the machine is given as blobs or taken from a recorded log, never guessed.
//!
//! Sources: UEFI 2.10, 38.4.1 (PCR 1 and 7 are RTMR 0; 2 to 6 are RTMR 1; 8 to 15 are RTMR 2); EDK2
//! `OvmfPkg/IntelTdx` and `OvmfPkg/Tcg/TdTcg2Dxe`; Linux `drivers/firmware/efi/libstub`.

mod boot;
mod gpt;
mod hob;
mod mrtd;
mod platform;
mod tdvf;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use boot::{Boot, BootSource};
pub use gpt::DISK_START;
pub use hob::{Machine, td_hob};
pub use mrtd::PageOrder;
pub use platform::{Blobs, Platform};
pub use tdvf::{Tdvf, TdvfError, TdvfSection, TdvfSectionKind};

use super::{MeasureError, PredictedEvent, prediction::Prediction};
use crate::{tdx::ccel::CcelError, tpm::hash::Hash};

/// Register of the separator firmware measures when it begins to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootSeparator {
    /// RTMR 0, as EDK2 did up to 2023.
    Rtmr0,
    /// RTMR 1, as EDK2 does now.
    Rtmr1,
}

/// What is measured of a TD.
#[derive(Debug, Clone)]
pub struct Td<'a> {
    /// The firmware, as loaded.
    pub firmware: &'a Tdvf<'a>,
    /// In which order the host adds and measures pages.
    pub order: PageOrder,
    /// Where the boot separator goes; `None` where the recorded log of `platform` shows it, and otherwise RTMR 1.
    pub separator: Option<BootSeparator>,
    /// What RTMR 0 is made of besides; without it, RTMR 0 is not predicted.
    pub platform: Option<Platform<'a>>,
    /// What is booted; without it, RTMR 1 and 2 are not predicted.
    pub boot: Option<Boot<'a>>,
}

/// Registers of a TD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TdMeasurements {
    /// MRTD, hex.
    pub mr_td: String,
    /// RTMRs by number, hex. One that cannot be predicted is absent.
    pub rtmr: BTreeMap<u8, String>,
    /// Events behind the RTMRs, in the order they are extended; `pcr` is the number of the RTMR.
    pub events: Vec<PredictedEvent>,
    /// Why a register is absent, and what was taken for granted.
    pub notes: Vec<String>,
}

/// Why a TD cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdError {
    /// The firmware is not usable.
    #[error(transparent)]
    Firmware(#[from] TdvfError),
    /// An image is not usable.
    #[error(transparent)]
    Image(#[from] MeasureError),
    /// The recorded log is not usable.
    #[error("the recorded log: {0}")]
    Log(#[from] CcelError),
    /// The recorded log is of other firmware.
    #[error(
        "the recorded log is of other firmware: it has the variables {recorded}, the file {computed}"
    )]
    OtherFirmware {
        /// Digest in the log, hex.
        recorded: String,
        /// Digest of the file's variables, hex.
        computed: String,
    },
    /// The recorded log does not begin as firmware for TDs measures.
    #[error("the recorded log does not begin with the events of a TD's firmware: {problem}")]
    NotFirmwareLog {
        /// What is missing.
        problem: &'static str,
    },
    /// The disk has no usable partition table.
    #[error("the disk has no GUID partition table that firmware would measure: {problem}")]
    Disk {
        /// What is wrong.
        problem: &'static str,
    },
    /// The machine's memory cannot be laid out.
    #[error("lay out {mib} MiB of memory: {problem}")]
    Memory {
        /// Memory given.
        mib: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Predicts the registers of a TD.
///
/// # Errors
/// [`TdError`] when a file is not what it should be, or two of them contradict each other.
pub fn td(td: &Td<'_>) -> Result<TdMeasurements, TdError> {
    let mut prediction = Prediction::new(Hash::Sha384);
    let mut notes = Vec::new();
    let separator = td
        .separator
        .or_else(|| td.platform.as_ref().and_then(Platform::separator))
        .unwrap_or(BootSeparator::Rtmr1);
    match &td.platform {
        Some(platform) => {
            let image = td.boot.as_ref().map(Boot::application).transpose()?;
            for event in platform.events(td.firmware, separator, image.as_ref())? {
                prediction.add(0, event);
            }
        }
        None => notes.push(
            "RTMR 0 is not predicted: it needs the machine's TD HOB, ACPI tables and boot variables"
                .to_owned(),
        ),
    }
    match &td.boot {
        Some(boot) => {
            let secure_boot = td
                .platform
                .as_ref()
                .is_some_and(Platform::secure_boot_is_on);
            boot.predict(&mut prediction, &mut notes, separator, secure_boot)?;
        }
        None => notes.push("RTMR 1 and 2 are not predicted: nothing to boot is given".to_owned()),
    }
    let (rtmr, events) = prediction.finish();
    Ok(TdMeasurements {
        mr_td: hex::encode(td.firmware.mr_td(td.order)),
        rtmr,
        events,
        notes,
    })
}
