//! Event types, as numbers and as names.

/// Recorded, not extended.
pub const NO_ACTION: u32 = 0x0000_0003;
/// Ends the pre-boot measurements of a PCR.
pub const SEPARATOR: u32 = 0x0000_0004;
/// Boot loader and kernel measurements with a vendor's text.
pub const IPL: u32 = 0x0000_000d;
/// Tagged measurement of an operating system or loader.
pub const EVENT_TAG: u32 = 0x0000_0006;
/// Boot variable.
pub const EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
/// A PE image that was loaded.
pub const EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
/// A named action.
pub const EFI_ACTION: u32 = 0x8000_0007;
/// Hardware core root of trust, measured before the first instruction of firmware.
pub const EFI_HCRTM_EVENT: u32 = 0x8000_0010;

/// Name of an event type as in the TCG's tables; unknown ones keep their number.
pub fn name(kind: u32) -> String {
    let known = match kind {
        0x0000_0000 => "EV_PREBOOT_CERT",
        0x0000_0001 => "EV_POST_CODE",
        0x0000_0002 => "EV_UNUSED",
        NO_ACTION => "EV_NO_ACTION",
        SEPARATOR => "EV_SEPARATOR",
        0x0000_0005 => "EV_ACTION",
        EVENT_TAG => "EV_EVENT_TAG",
        0x0000_0007 => "EV_S_CRTM_CONTENTS",
        0x0000_0008 => "EV_S_CRTM_VERSION",
        0x0000_0009 => "EV_CPU_MICROCODE",
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000b => "EV_TABLE_OF_DEVICES",
        0x0000_000c => "EV_COMPACT_HASH",
        IPL => "EV_IPL",
        0x0000_000e => "EV_IPL_PARTITION_DATA",
        0x0000_000f => "EV_NONHOST_CODE",
        0x0000_0010 => "EV_NONHOST_CONFIG",
        0x0000_0011 => "EV_NONHOST_INFO",
        0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        0x0000_0013 => "EV_POST_CODE2",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        EFI_VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
        EFI_BOOT_SERVICES_APPLICATION => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        EFI_ACTION => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
        0x8000_000d => "EV_EFI_GPT_EVENT2",
        EFI_HCRTM_EVENT => "EV_EFI_HCRTM_EVENT",
        0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        0x8000_00e2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
        _ => return format!("{kind:#010x}"),
    };
    known.to_owned()
}
