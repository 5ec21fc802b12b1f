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
/// Firmware code, by a name or where it lies.
pub const POST_CODE: u32 = 0x0000_0001;
/// A small value.
pub const COMPACT_HASH: u32 = 0x0000_000c;
/// Firmware code, by name and where it lies.
pub const POST_CODE2: u32 = 0x0000_0013;
/// Variable of the platform, such as Secure Boot keys.
pub const EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
/// A driver that was loaded, for boot services.
pub const EFI_BOOT_SERVICES_DRIVER: u32 = 0x8000_0004;
/// A driver that was loaded, for runtime services.
pub const EFI_RUNTIME_SERVICES_DRIVER: u32 = 0x8000_0005;
/// Partition table.
pub const EFI_GPT_EVENT: u32 = 0x8000_0006;
/// Firmware, by where it lies.
pub const EFI_PLATFORM_FIRMWARE_BLOB: u32 = 0x8000_0008;
/// Firmware, by name and where it lies.
pub const EFI_PLATFORM_FIRMWARE_BLOB2: u32 = 0x8000_000a;
/// Tables handed to the operating system, by name.
pub const EFI_HANDOFF_TABLES2: u32 = 0x8000_000b;
/// Boot variable.
pub const EFI_VARIABLE_BOOT2: u32 = 0x8000_000c;
/// Partition table.
pub const EFI_GPT_EVENT2: u32 = 0x8000_000d;
/// The key or digest that allowed an image, and shim's variables.
pub const EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// Name of an event type as in the TCG's tables; unknown ones keep their number.
pub fn name(kind: u32) -> String {
    let known = match kind {
        0x0000_0000 => "EV_PREBOOT_CERT",
        POST_CODE => "EV_POST_CODE",
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
        COMPACT_HASH => "EV_COMPACT_HASH",
        IPL => "EV_IPL",
        0x0000_000e => "EV_IPL_PARTITION_DATA",
        0x0000_000f => "EV_NONHOST_CODE",
        0x0000_0010 => "EV_NONHOST_CONFIG",
        0x0000_0011 => "EV_NONHOST_INFO",
        0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        POST_CODE2 => "EV_POST_CODE2",
        EFI_VARIABLE_DRIVER_CONFIG => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        EFI_VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
        EFI_BOOT_SERVICES_APPLICATION => "EV_EFI_BOOT_SERVICES_APPLICATION",
        EFI_BOOT_SERVICES_DRIVER => "EV_EFI_BOOT_SERVICES_DRIVER",
        EFI_RUNTIME_SERVICES_DRIVER => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        EFI_GPT_EVENT => "EV_EFI_GPT_EVENT",
        EFI_ACTION => "EV_EFI_ACTION",
        EFI_PLATFORM_FIRMWARE_BLOB => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        EFI_PLATFORM_FIRMWARE_BLOB2 => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        EFI_HANDOFF_TABLES2 => "EV_EFI_HANDOFF_TABLES2",
        EFI_VARIABLE_BOOT2 => "EV_EFI_VARIABLE_BOOT2",
        EFI_GPT_EVENT2 => "EV_EFI_GPT_EVENT2",
        EFI_HCRTM_EVENT => "EV_EFI_HCRTM_EVENT",
        EFI_VARIABLE_AUTHORITY => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        0x8000_00e2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
        _ => return format!("{kind:#010x}"),
    };
    known.to_owned()
}
