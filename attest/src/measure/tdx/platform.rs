//! RTMR 0: what the machine and its firmware are, apart from the code in MRTD.

use sha2::{Digest as _, Sha384};

use super::{BootSeparator, TdError, tdvf::Tdvf};
use crate::{
    eventlog::kind,
    measure::{
        MeasureError, SecureBoot, SecureBootMode,
        pe::Pe,
        prediction::{Content, Measured},
        secure_boot::SEPARATOR,
    },
    tdx::ccel::{RtmrEvent, RtmrLog},
};

/// `EV_PLATFORM_CONFIG_FLAGS`
const PLATFORM_CONFIG_FLAGS: u32 = 0x0000_000a;

/// Where RTMR 0 comes from.
#[derive(Debug, Clone)]
pub enum Platform<'a> {
    /// Each measured blob.
    Blobs(Blobs<'a>),
    /// The log of a TD on the same kind of machine, of which only RTMR 0's events are taken.
    Recorded(&'a RtmrLog),
}

/// What firmware measures into RTMR 0.
#[derive(Debug, Clone)]
pub struct Blobs<'a> {
    /// The TD HOB without its closing element.
    pub td_hob: Vec<u8>,
    /// Secure Boot's state and keys.
    pub secure_boot: SecureBoot,
    /// Name and content of what follows, in the firmware's order: with QEMU `etc/table-loader`, `etc/acpi/rsdp`,
    /// `etc/acpi/tables`, `BootOrder`, then each boot option in it.
    pub others: Vec<(String, &'a [u8])>,
}

impl Platform<'_> {
    /// Whether firmware enforces signatures.
    pub(super) fn secure_boot_is_on(&self) -> bool {
        match self {
            Self::Blobs(blobs) => blobs.secure_boot.is_on(),
            Self::Recorded(log) => {
                let on = SecureBoot::without_keys(SecureBootMode::On).before_boot();
                let on = on.into_iter().next().map(|event| sha384(&event.content));
                rtmr0(log).any(|event| on == Some(event.digest.0))
            }
        }
    }

    /// Where a recorded log has the boot separator.
    pub(super) fn separator(&self) -> Option<BootSeparator> {
        let Self::Recorded(log) = self else {
            return None;
        };
        let mut separators = log
            .events
            .iter()
            .filter(|event| event.kind == kind::SEPARATOR);
        match separators.nth(1)?.rtmr {
            0 => Some(BootSeparator::Rtmr0),
            1 => Some(BootSeparator::Rtmr1),
            _ => None,
        }
    }

    /// All events of RTMR 0. `image` is what firmware loads, for the entry of db that lets it run.
    pub(super) fn events(
        &self,
        firmware: &Tdvf<'_>,
        separator: BootSeparator,
        image: Option<&Pe<'_>>,
    ) -> Result<Vec<Measured>, TdError> {
        match self {
            Self::Blobs(blobs) => blobs.events(firmware, separator, image),
            Self::Recorded(log) => recorded(log, firmware),
        }
    }
}

impl Blobs<'_> {
    fn events(
        &self,
        firmware: &Tdvf<'_>,
        separator: BootSeparator,
        image: Option<&Pe<'_>>,
    ) -> Result<Vec<Measured>, TdError> {
        self.secure_boot.check()?;
        let mut events = vec![Measured::bytes(
            kind::EFI_HANDOFF_TABLES2,
            self.td_hob.as_slice(),
            "TD HOB",
        )];
        events.extend(variables(firmware));
        events.extend(self.secure_boot.before_boot());
        for (name, content) in &self.others {
            let kind = match name.starts_with("Boot") {
                true => kind::EFI_VARIABLE_BOOT,
                false => PLATFORM_CONFIG_FLAGS,
            };
            events.push(Measured::bytes(kind, *content, name.as_str()));
        }
        if separator == BootSeparator::Rtmr0 {
            events.push(Measured::bytes(kind::SEPARATOR, SEPARATOR, "separator"));
        }
        if self.secure_boot.is_on() {
            let image = image.ok_or_else(|| MeasureError::NotAuthenticated {
                problem: "no image is given".to_owned(),
            })?;
            events.extend(self.secure_boot.authority(image)?);
        }
        Ok(events)
    }
}

/// The firmware's own variables, where it has any.
fn variables(firmware: &Tdvf<'_>) -> Option<Measured> {
    let content = firmware.variables()?;
    Some(Measured::bytes(
        kind::EFI_PLATFORM_FIRMWARE_BLOB2,
        content,
        "firmware variables (CFV)",
    ))
}

/// The recorded events; those of the firmware must be of this firmware.
fn recorded(log: &RtmrLog, firmware: &Tdvf<'_>) -> Result<Vec<Measured>, TdError> {
    let mut first = rtmr0(log);
    let hob = first
        .next()
        .filter(|event| event.kind == kind::EFI_HANDOFF_TABLES2);
    if hob.is_none() {
        return Err(TdError::NotFirmwareLog {
            problem: "the first of RTMR 0 is not EV_EFI_HANDOFF_TABLES2",
        });
    }
    if let Some(own) = variables(firmware) {
        let recorded = first.next().filter(|event| event.kind == own.kind);
        let recorded = recorded.ok_or(TdError::NotFirmwareLog {
            problem: "the second of RTMR 0 is not EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        })?;
        let computed = sha384(&own.content);
        if recorded.digest.0 != computed {
            return Err(TdError::OtherFirmware {
                recorded: hex::encode(recorded.digest.0),
                computed: hex::encode(computed),
            });
        }
    }
    let events = rtmr0(log).map(|event| {
        let description = format!("recorded: {}", event.description);
        Measured::digest(event.kind, event.digest.0.to_vec(), description)
    });
    Ok(events.collect())
}

fn rtmr0(log: &RtmrLog) -> impl Iterator<Item = &RtmrEvent> {
    log.events.iter().filter(|event| event.rtmr == 0)
}

fn sha384(content: &Content) -> [u8; 48] {
    match content {
        Content::Bytes(bytes) => Sha384::digest(bytes).into(),
        Content::Digest(digest) => digest.as_slice().try_into().unwrap_or([0; 48]),
    }
}
