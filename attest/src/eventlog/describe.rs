//! One line about an event, for reports. The text is for people; no verdict may rest on it.

use super::{kind, parse::Event};
use crate::tpm::hash::Hash;

/// Longest description, in characters.
const MAX_TEXT: usize = 120;

/// A short printable text of what an event says it measured.
///
/// Control characters and anything outside printable ASCII are replaced, so a hostile log cannot write to a terminal.
pub fn describe(event: &Event<'_>) -> String {
    match event.kind {
        kind::SEPARATOR => format!("separator {}", hex::encode(head(event.data, 4))),
        kind::EVENT_TAG => tagged(event.data),
        kind::EFI_VARIABLE_BOOT | 0x8000_0001 | 0x8000_000c | 0x8000_00e0 => variable(event.data),
        kind::EFI_BOOT_SERVICES_APPLICATION => "loaded PE image".to_owned(),
        _ => text(event.data),
    }
}

/// Whether the digest of `bank` is the digest of the event's own bytes, so that its text is proven with it.
pub fn is_self_describing(event: &Event<'_>, bank: Hash) -> bool {
    event.digest(bank.id()) == Some(bank.digest(&[event.data]).as_slice())
}

fn head(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
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

/// `UEFI_VARIABLE_DATA`: GUID, name length, data length, UTF-16 name.
fn variable(data: &[u8]) -> String {
    let length = data.get(16..20).and_then(|bytes| bytes.try_into().ok());
    let length = length.map_or(0, u32::from_le_bytes);
    let bytes = usize::try_from(length)
        .unwrap_or(0)
        .saturating_mul(2)
        .min(256);
    let name = data.get(32..).map_or(&[][..], |rest| head(rest, bytes));
    format!("variable {}", text(name))
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
    let shown: String = data
        .iter()
        .step_by(step)
        .take(MAX_TEXT)
        .take_while(|byte| **byte != 0)
        .map(|byte| printable(*byte))
        .collect();
    shown.trim().to_owned()
}

fn printable(byte: u8) -> char {
    match byte {
        0x20..=0x7e => char::from(byte),
        _ => '.',
    }
}
