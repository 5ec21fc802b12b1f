//! How far an event's digest proves its text.
//!
//! What firmware, loaders and kernels hash differs from what they log: the TCG has some event types log exactly what
//! is hashed, variables of the boot manager have only their value hashed, GRUB and systemd's stub log a text in
//! another encoding or behind a prefix. Whatever is hashed is proven by the quote; the rest of the text is the
//! log writer's word.

use super::{kind, parse::Event, uefi};
use crate::tpm::hash::Hash;

/// What of an event's bytes its digest covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// All of them.
    Whole,
    /// The text, but not the prefix that says what kind of text it is.
    Text,
    /// A variable's value, but not its name.
    Value,
    /// None: the digest is of something that is not in the log, such as an image.
    Nothing,
}

impl Proof {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Text => "text",
            Self::Value => "value",
            Self::Nothing => "nothing",
        }
    }
}

/// Words that GRUB puts before a text it hashes (upstream with a colon, Red Hat's older ones without).
const PREFIXES: [&[u8]; 5] = [
    b"grub_cmd: ",
    b"kernel_cmdline: ",
    b"module_cmdline: ",
    b"grub_cmd ",
    b"grub_kernel_cmdline ",
];

/// What the digest of `bank` covers of the event.
pub fn proof(event: &Event<'_>, bank: Hash) -> Proof {
    let Some(digest) = event.digest(bank.id()) else {
        return Proof::Nothing;
    };
    let is = |bytes: &[u8]| bank.digest(&[bytes]) == digest;
    if covers_whole(event, bank) {
        return Proof::Whole;
    }
    match event.kind {
        kind::IPL => {
            let behind = |prefix: &&[u8]| event.data.strip_prefix(*prefix);
            let covered = PREFIXES.iter().filter_map(behind);
            let mut covered = covered.map(|text| is(text) || is(without_nul(text)));
            if covered.any(|held| held) || narrowed(event.data).is_some_and(|text| is(&text)) {
                return Proof::Text;
            }
        }
        kind::EVENT_TAG if event.data.get(8..).is_some_and(is) => return Proof::Text,
        kind::EFI_VARIABLE_BOOT | kind::EFI_VARIABLE_BOOT2
            if uefi::Variable::read(event.data).is_some_and(|variable| is(variable.value)) =>
        {
            return Proof::Value;
        }
        _ => {}
    }
    Proof::Nothing
}

/// Whether the digest of `bank` is that of all of the event's bytes, a NUL at their end not counted.
pub fn covers_whole(event: &Event<'_>, bank: Hash) -> bool {
    let is = |bytes: &[u8]| event.digest(bank.id()) == Some(bank.digest(&[bytes]).as_slice());
    is(event.data) || event.data.strip_suffix(&[0]).is_some_and(is)
}

fn without_nul(data: &[u8]) -> &[u8] {
    data.strip_suffix(&[0]).unwrap_or(data)
}

/// ASCII of UTF-16 text: systemd's stub hashes a section's name as the one and logs it as the other.
fn narrowed(data: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = data.as_chunks::<2>();
    let narrow = |pair: &[u8; 2]| (pair[1] == 0).then_some(pair[0]);
    rest.is_empty()
        .then(|| pairs.iter().map(narrow).collect())
        .flatten()
}
