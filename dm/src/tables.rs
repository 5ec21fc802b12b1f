//! Device-mapper tables, built from typed values only.
//!
//! The parameters are those that cryptsetup itself loads for such a volume (`dmsetup table` shows the same for both but
//! the key's description), so that either tool can open what the other one left. The key is a keyring reference, never
//! a value.

use std::fmt;

use dawnkey_secret::JournalKey;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::geometry::{BLOCK_BYTES, DATA_OFFSET_SECTORS, INTERLEAVE_SECTORS, Layout};
use crate::keyring;

/// Most characters of a mapping's name. The kernel takes 127, of which the integrity layer's suffix and udev's link
/// names want some.
const MAX_NAME: usize = 64;

/// The name of a mapping: the last part of `/dev/mapper/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MappedName(String);

/// The text cannot be a mapping's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "name a mapping {given:?}: must be 1 to 64 letters, digits, `_`, `.`, `+` or `-`, begin with a letter or digit, and not be `control`"
)]
pub struct BadName {
    /// The text.
    pub given: String,
}

impl MappedName {
    /// Takes a name.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins_well && name.len() <= MAX_NAME && name.chars().all(plain) && name != "control" {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadName {
                given: name.chars().take(2 * MAX_NAME).collect(),
            })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the dm-crypt layer below a volume that is not ready yet.
    pub(crate) fn whole_layer(&self) -> String {
        format!("{}_whole", self.0)
    }

    /// Every device that a volume may have, the upper ones first.
    pub(crate) fn layers(&self) -> [String; 3] {
        [self.0.clone(), self.whole_layer(), self.integrity_layer()]
    }

    /// Name of the dm-integrity layer below, as cryptsetup names it.
    pub(crate) fn integrity_layer(&self) -> String {
        format!("{}_dif", self.0)
    }
}

impl fmt::Display for MappedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A block device as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One target over a whole device: start (always 0), sectors, target type, parameters.
pub(crate) type Table = (u64, u64, String, String);

/// The journal MAC's option without its key.
pub(crate) const JOURNAL_MAC: &str = "journal_mac:hmac(sha256):";
/// Target type of the device of a volume that is not ready yet.
pub(crate) const LINEAR: &str = "linear";
/// Target type of the layer that carries the tags.
pub(crate) const INTEGRITY: &str = "integrity";
/// Target type of the encrypting layer.
pub(crate) const CRYPT: &str = "crypt";

/// How dm-integrity writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Through the journal: data and tags change together or not at all.
    Journal,
    /// Directly: only while a volume is being wiped, whose header is not there yet.
    Direct,
}

impl Writing {
    /// The mode in a table.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Journal => 'J',
            Self::Direct => 'D',
        }
    }
}

/// The option that gives the journal a MAC. Dm-integrity takes this key in no other form than in its table.
pub(crate) fn journal_mac(key: &JournalKey) -> Zeroizing<String> {
    let mut option = Zeroizing::new(String::with_capacity(JOURNAL_MAC.len() + 64));
    option.push_str(JOURNAL_MAC);
    for byte in key.expose() {
        for digit in [byte >> 4, byte & 15] {
            option.extend(char::from_digit(digit.into(), 16));
        }
    }
    option
}

/// The dm-integrity layer: carries a tag for each block and checks none of them; dm-crypt does.
///
/// `journal_sectors` and what follows matter only when the kernel writes the superblock; they are always given so that
/// it can write no other. With a key the table holds a secret: the caller wipes it.
pub(crate) fn integrity(
    disk: DeviceNumber,
    layout: &Layout,
    sectors: u64,
    writing: Writing,
    journal: Option<&JournalKey>,
) -> Table {
    let mode = writing.letter();
    let journal_sectors = layout.journal_sectors();
    let tag = layout.integrity().tag_bytes();
    let options = if journal.is_some() { 6 } else { 4 };
    // Never grows, so that no copy of the key stays behind.
    let mut parameters = String::with_capacity(512);
    parameters.push_str(&format!(
        "{disk} {DATA_OFFSET_SECTORS} {tag} {mode} {options} journal_sectors:{journal_sectors} \
         interleave_sectors:{INTERLEAVE_SECTORS} block_size:{BLOCK_BYTES} fix_padding"
    ));
    if let Some(key) = journal {
        parameters.push_str(" fix_hmac ");
        parameters.push_str(&journal_mac(key));
    }
    (0, sectors, INTEGRITY.into(), parameters)
}

/// The dm-crypt layer, over the dm-integrity layer or over the disk itself.
pub(crate) fn crypt(below: DeviceNumber, layout: &Layout, volume: Uuid) -> Table {
    let key_bytes = layout.integrity().volume_key_bytes();
    let key = format!(":{key_bytes}:logon:{}", keyring::description(volume));
    let (cipher, tag) = (
        layout.integrity().crypt_cipher(),
        layout.integrity().tag_bytes(),
    );
    let parameters = if layout.integrity().has_tags() {
        format!("{cipher} {key} 0 {below} 0 2 integrity:{tag}:aead sector_size:{BLOCK_BYTES}")
    } else {
        format!("{cipher} {key} 0 {below} {DATA_OFFSET_SECTORS} 1 sector_size:{BLOCK_BYTES}")
    };
    (0, layout.data_sectors(), CRYPT.into(), parameters)
}

/// The begin of the dm-crypt layer, of a volume that is not ready yet.
pub(crate) fn linear(below: DeviceNumber, sectors: u64) -> Table {
    (0, sectors, LINEAR.into(), format!("{below} 0"))
}

/// Device-mapper UUID of the volume's device, by which udev and lsblk know it.
pub(crate) fn crypt_uuid(volume: Uuid, name: &MappedName) -> String {
    format!("CRYPT-LUKS2-{}-{name}", volume.simple())
}

/// Device-mapper UUID of a layer below the volume's device. `cryptsetup close` takes away what has one.
pub(crate) fn layer_uuid(volume: Uuid, layer: &str) -> String {
    format!("CRYPT-SUBDEV-{}-{layer}", volume.simple())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::geometry::Integrity;

    const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
    const DISK: DeviceNumber = DeviceNumber {
        major: 254,
        minor: 16,
    };

    fn layout(integrity: Integrity) -> Layout {
        Layout::for_disk(integrity, 256 << 20).unwrap()
    }

    #[test]
    fn integrity_table_is_pinned() {
        let layout = layout(Integrity::HmacSha256);
        let (start, sectors, target, parameters) =
            integrity(DISK, &layout, layout.data_sectors(), Writing::Journal, None);
        assert_eq!((start, sectors, target.as_str()), (0, 483_712, "integrity"));
        assert_eq!(
            parameters,
            "254:16 32768 32 J 4 journal_sectors:3960 interleave_sectors:32768 block_size:4096 fix_padding"
        );
        let (_, sectors, _, parameters) = integrity(DISK, &layout, 8, Writing::Direct, None);
        assert_eq!(sectors, 8);
        assert!(parameters.starts_with("254:16 32768 32 D 4 "));
    }

    #[test]
    fn crypt_table_with_integrity_is_pinned() {
        let table = crypt(DISK, &layout(Integrity::HmacSha256), VOLUME);
        assert_eq!((table.0, table.1, table.2.as_str()), (0, 483_712, "crypt"));
        assert_eq!(
            table.3,
            "capi:authenc(hmac(sha256),xts(aes))-plain64 \
             :96:logon:dawnkey:0f0e0d0c-0b0a-4908-8706-050403020100 0 254:16 0 2 \
             integrity:32:aead sector_size:4096"
        );
    }

    #[test]
    fn table_with_a_journal_mac_is_pinned() {
        let layout = layout(Integrity::HmacSha256).with_journal_mac(true);
        let key = JournalKey::take(&mut [0x5a; 32]).unwrap();
        let (.., parameters) = integrity(DISK, &layout, 8, Writing::Journal, Some(&key));
        let hex = "5a".repeat(32);
        assert_eq!(
            parameters,
            format!(
                "254:16 32768 32 J 6 journal_sectors:3960 interleave_sectors:32768 block_size:4096 fix_padding \
                 fix_hmac journal_mac:hmac(sha256):{hex}"
            )
        );
    }

    /// `dmsetup table` of what cryptsetup 2.6 opens after `luksFormat --cipher aes-gcm-random --integrity aead` and
    /// `--cipher aegis128-random --key-size 128 --integrity aead`.
    #[test]
    fn tables_of_the_other_ciphers_are_pinned() {
        let table = |kind| {
            let layout = layout(kind);
            let integrity = integrity(DISK, &layout, layout.data_sectors(), Writing::Journal, None);
            (integrity.3, crypt(DISK, &layout, VOLUME).3)
        };
        let (integrity, crypt) = table(Integrity::AesGcm);
        assert_eq!(
            integrity,
            "254:16 32768 28 J 4 journal_sectors:3960 interleave_sectors:32768 block_size:4096 fix_padding"
        );
        assert_eq!(
            crypt,
            "capi:gcm(aes)-random :32:logon:dawnkey:0f0e0d0c-0b0a-4908-8706-050403020100 0 254:16 0 2 \
             integrity:28:aead sector_size:4096"
        );
        let (_, crypt) = table(Integrity::Aegis128);
        assert_eq!(
            crypt,
            "capi:aegis128-random :16:logon:dawnkey:0f0e0d0c-0b0a-4908-8706-050403020100 0 254:16 0 2 \
             integrity:32:aead sector_size:4096"
        );
    }

    #[test]
    fn crypt_table_without_integrity_is_pinned() {
        let table = crypt(DISK, &layout(Integrity::None), VOLUME);
        assert_eq!((table.0, table.1, table.2.as_str()), (0, 491_520, "crypt"));
        assert_eq!(
            table.3,
            "aes-xts-plain64 :64:logon:dawnkey:0f0e0d0c-0b0a-4908-8706-050403020100 0 254:16 32768 1 \
             sector_size:4096"
        );
    }

    #[test]
    fn device_mapper_uuids_are_those_of_cryptsetup() {
        let name = MappedName::new("state").unwrap();
        assert_eq!(
            crypt_uuid(VOLUME, &name),
            "CRYPT-LUKS2-0f0e0d0c0b0a49088706050403020100-state"
        );
        assert_eq!(
            layer_uuid(VOLUME, &name.integrity_layer()),
            "CRYPT-SUBDEV-0f0e0d0c0b0a49088706050403020100-state_dif"
        );
        assert_eq!(name.layers(), ["state", "state_whole", "state_dif"]);
        let (.., parameters) = linear(DISK, 8);
        assert_eq!(parameters, "254:16 0");
    }

    #[test]
    fn refuses_names_that_leave_dev_mapper_or_hide() {
        let long = "a".repeat(65);
        for bad in [
            "", ".", "..", "a/b", "control", "-a", "a b", "ä", &long, "a\0",
        ] {
            assert_eq!(
                MappedName::new(bad),
                Err(BadName { given: bad.into() }),
                "{bad:?}"
            );
        }
        assert!(MappedName::new("luks-0.a_b+c").is_ok());
    }
}
