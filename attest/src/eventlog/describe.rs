//! One line about an event, for reports. The text is for people; how much of it is proven says
//! [`proof`](super::proof::proof).

use super::{kind, parse::Event, uefi};

/// Longest description, in characters.
const MAX_TEXT: usize = 120;

/// A short printable text of what an event says it measured.
///
/// Control characters and anything outside printable ASCII are replaced, so a hostile log cannot write to a terminal.
pub fn describe(event: &Event<'_>) -> String {
    let data = event.data;
    match event.kind {
        kind::NO_ACTION => no_action(data),
        kind::SEPARATOR => format!("separator {}", hex::encode(head(data, 4))),
        kind::EVENT_TAG => tagged(data),
        kind::COMPACT_HASH if data.len() <= 8 => hex::encode(data),
        kind::EFI_VARIABLE_DRIVER_CONFIG
        | kind::EFI_VARIABLE_BOOT
        | kind::EFI_VARIABLE_BOOT2
        | kind::EFI_VARIABLE_AUTHORITY => variable(data),
        kind::EFI_BOOT_SERVICES_APPLICATION
        | kind::EFI_BOOT_SERVICES_DRIVER
        | kind::EFI_RUNTIME_SERVICES_DRIVER => uefi::image_path(data).map_or_else(
            || "loaded PE image".to_owned(),
            |path| format!("loaded PE image {}", clean(path.chars())),
        ),
        kind::EFI_GPT_EVENT | kind::EFI_GPT_EVENT2 => "GUID partition table".to_owned(),
        kind::EFI_PLATFORM_FIRMWARE_BLOB | kind::POST_CODE if data.len() == 16 => region(data),
        kind::EFI_PLATFORM_FIRMWARE_BLOB2 | kind::EFI_HANDOFF_TABLES2 | kind::POST_CODE2 => {
            counted(data)
        }
        _ => text(data),
    }
}

fn head(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Informational events begin with a signature of 16 bytes.
fn no_action(data: &[u8]) -> String {
    let name = text(head(data, 16));
    match (name.as_str(), data.get(16)) {
        ("StartupLocality", Some(locality)) => format!("startup locality {locality}"),
        _ => name,
    }
}

/// Tag number (little-endian), then the tagged text.
fn tagged(data: &[u8]) -> String {
    match (data.first_chunk::<4>(), data.get(8..)) {
        (Some(tag), Some(rest)) => {
            format!("tag {:#010x} {}", u32::from_le_bytes(*tag), text(rest))
        }
        _ => text(data),
    }
}

fn variable(data: &[u8]) -> String {
    uefi::Variable::read(data).map_or_else(
        || "malformed variable".to_owned(),
        |variable| {
            format!(
                "variable {} of {}, {} bytes",
                clean(variable.name.chars()),
                uefi::guid(&variable.guid),
                variable.value.len()
            )
        },
    )
}

/// Base and length of a firmware region, 64 bits each.
fn region(data: &[u8]) -> String {
    let number = |at: usize| {
        let bytes = data.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    format!("firmware at {:#x}, {:#x} bytes", number(0), number(8))
}

/// Text behind its length in one byte.
fn counted(data: &[u8]) -> String {
    let length = data.first().map_or(0, |length| usize::from(*length));
    match data.get(1..=length) {
        Some(name) => text(name),
        None => text(data),
    }
}

/// ASCII, or UTF-16 of ASCII, cut and cleaned.
fn text(data: &[u8]) -> String {
    let wide = data.len() >= 2
        && data
            .iter()
            .skip(1)
            .step_by(2)
            .take(MAX_TEXT)
            .all(|b| *b == 0);
    let step = if wide { 2 } else { 1 };
    let bytes = data.iter().step_by(step).take_while(|byte| **byte != 0);
    clean(bytes.map(|byte| char::from(*byte)))
}

fn clean(text: impl Iterator<Item = char>) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '.' };
    let shown: String = text.take(MAX_TEXT).map(printable).collect();
    shown.trim().to_owned()
}
