//! `[[volume]]`, `[[swap]]` and `[hold]`: what is mapped, in which order, and what goes on with it afterwards.

use super::{ConfigError, Outside, absolute, reader::Section};
use dawnkey_dm::{Filesystem, Integrity, MappedName, Opener, Wanted, Wipe};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// Most volumes, and most swap devices, of one node.
const MAX_MAPPINGS: usize = 32;
/// Suffixes of the layers below a mapping. The mapping itself has none.
const LAYERS: [&str; 3] = ["", "_dif", "_whole"];
/// What a mapping's name takes.
const NAME: &str = "1 to 64 letters, digits, `_`, `.`, `+` or `-`, the first a letter or digit";

/// What a volume's name takes if nobody gives it.
const NAME_OR: &str =
    "a name under /dev/mapper; or give rd.luks.name=UUID=NAME on the kernel command line";

/// One volume of the node.
#[derive(Debug, Clone)]
pub struct VolumeConfig {
    /// Which one, where it may be, and as what it is mapped.
    pub wanted: Wanted,
    /// Whether the node is of no use without it: then its failure fails the unlock of all.
    pub required: bool,
    /// Whether it is a LUKS2 volume that another tool made and the key service has adopted.
    pub adopted: bool,
    /// How long its disk may take to appear.
    pub wait: Duration,
}

/// A device that is swapped to under a key that lives as long as the boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapConfig {
    /// The device. It must be blank or have been ours before.
    pub device: PathBuf,
    /// The mapping's name.
    pub name: MappedName,
}

/// What goes on after the unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldConfig {
    /// Whether this node runs the holder for volumes whose policy asks for one.
    pub enabled: bool,
    /// Bytes per second of the wipe behind a volume in use; `None`: as fast as the disk takes them.
    pub wipe_rate: Option<u64>,
}

/// The volumes in the file's order.
///
/// A node that only has a secret needs none.
pub(super) fn volumes(
    root: &mut Section<'_>,
    has_secret: bool,
    outside: &Outside,
) -> Result<Vec<VolumeConfig>, ConfigError> {
    let least = usize::from(!has_secret);
    let right = "1 to 32 `[[volume]]` sections";
    let sections = root.list("volume", least..=MAX_MAPPINGS, right)?;
    sections
        .into_iter()
        .map(|section| volume(section, outside))
        .collect()
}

/// The swap devices in the file's order.
pub(super) fn swaps(root: &mut Section<'_>) -> Result<Vec<SwapConfig>, ConfigError> {
    let sections = root.list("swap", 0..=MAX_MAPPINGS, "at most 32 `[[swap]]` sections")?;
    sections.into_iter().map(swap).collect()
}

fn volume(mut section: Section<'_>, outside: &Outside) -> Result<VolumeConfig, ConfigError> {
    let volume = section.parsed("id", "the volume's UUID, not the nil one", |text| {
        Uuid::parse_str(text).ok().filter(|id| !id.is_nil())
    })?;
    let name = section.optional("name", NAME, |text| MappedName::new(text).ok())?;
    let name = outside.luks.name(volume, name)?;
    let name = name.ok_or_else(|| section.missing("name", NAME_OR))?;
    let device = section.optional("device", "an absolute path", absolute)?;
    let kinds = "\"hmac-sha256\", \"aes-gcm\", \"aegis128\" or \"none\"";
    let integrity = section.optional("integrity", kinds, Integrity::from_name)?;
    let journal_mac = section.flag("journal_mac", false)?;
    let filesystem = section.optional("filesystem", "\"ext4\"", |text| {
        (text == "ext4").then_some(Filesystem::Ext4)
    })?;
    let opener = section.optional("open", "\"agent\" or \"crypttab\"", |text| match text {
        "agent" => Some(Opener::Ours),
        "crypttab" => Some(Opener::System),
        _ => None,
    })?;
    let opener = opener.unwrap_or_default();
    let wipe = wipe(&mut section, opener)?;
    let grow = section.flag("grow", false)?;
    let required = section.flag("required", true)?;
    let adopted = section.flag("adopted", false)?;
    if opener == Opener::System {
        refuse_beside_crypttab(
            &section,
            [
                ("grow", grow),
                ("journal_mac", journal_mac),
                ("adopted", adopted),
            ],
        )?;
    }
    let seconds = "a whole number of seconds from 1 to 86400";
    let wait = section.seconds("wait_seconds", 10, seconds)?;
    section.end()?;
    let wanted = Wanted {
        volume,
        name,
        device,
        integrity: integrity.unwrap_or(Integrity::HmacSha256),
        journal_mac,
        filesystem,
        wipe,
        grow,
        opener,
    };
    Ok(VolumeConfig {
        wanted,
        required,
        adopted,
        wait,
    })
}

/// The system's tools know whole volumes of a fixed size without keys of their own for the journal.
fn refuse_beside_crypttab(
    section: &Section<'_>,
    flags: [(&str, bool); 3],
) -> Result<(), ConfigError> {
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((key, _)) => Err(section.invalid(key, "true", "`false` beside `open = \"crypttab\"`")),
    }
}

fn wipe(section: &mut Section<'_>, opener: Opener) -> Result<Wipe, ConfigError> {
    let behind = section.optional("wipe", "\"behind\" or \"up-front\"", |text| match text {
        "behind" => Some(true),
        "up-front" => Some(false),
        _ => None,
    })?;
    let range = Wipe::LEAST_PREFIX_BYTES..=1 << 40;
    let right = "a size from 16 MiB to 1 TiB such as \"128 MiB\"";
    let prefix = section.size("wipe_prefix", range, right)?;
    if opener == Opener::System && (behind == Some(true) || prefix.is_some()) {
        let right = "`wipe = \"up-front\"` or nothing beside `open = \"crypttab\"`";
        return Err(section.invalid("wipe", "\"behind\"", right));
    }
    match (behind, prefix) {
        (None, None) if opener == Opener::System => Ok(Wipe::UpFront),
        (Some(false), Some(_)) => Err(section.invalid(
            "wipe_prefix",
            "given",
            "nothing beside `wipe = \"up-front\"`",
        )),
        (Some(false), None) => Ok(Wipe::UpFront),
        (_, prefix) => Ok(Wipe::Behind {
            prefix_bytes: prefix.unwrap_or(Wipe::DEFAULT_PREFIX_BYTES),
        }),
    }
}

fn swap(mut section: Section<'_>) -> Result<SwapConfig, ConfigError> {
    let device = section.parsed("device", "an absolute path", absolute)?;
    let name = section.parsed("name", NAME, |text| MappedName::new(text).ok())?;
    section.end()?;
    Ok(SwapConfig { device, name })
}

/// The section's values, all of which have defaults.
pub(super) fn hold(mut section: Section<'_>) -> Result<HoldConfig, ConfigError> {
    let enabled = section.flag("enabled", true)?;
    let right = "bytes per second from \"1 MiB\" to \"1 TiB\"";
    let wipe_rate = section.size("wipe_rate", 1 << 20..=1 << 40, right)?;
    section.end()?;
    Ok(HoldConfig { enabled, wipe_rate })
}

/// Refuses an id, a device or a mapping's name that is given twice; each would be found out only half way otherwise.
pub(super) fn refuse_twice(
    file: &Path,
    volumes: &[VolumeConfig],
    swaps: &[SwapConfig],
) -> Result<(), ConfigError> {
    let mut seen = Seen {
        file,
        taken: Vec::new(),
    };
    for (volume, number) in volumes.iter().zip(1..) {
        let wanted = &volume.wanted;
        let key = |field| format!("volume[{number}].{field}");
        seen.add(key("id"), wanted.volume.to_string())?;
        seen.mapping(&key("name"), &wanted.name)?;
        if let Some(device) = &wanted.device {
            seen.add(key("device"), device.display().to_string())?;
        }
    }
    for (swap, number) in swaps.iter().zip(1..) {
        let key = |field| format!("swap[{number}].{field}");
        seen.mapping(&key("name"), &swap.name)?;
        seen.add(key("device"), swap.device.display().to_string())?;
    }
    Ok(())
}

/// Values that may be given once, with the key of each. Ids, names and devices never look alike.
struct Seen<'a> {
    file: &'a Path,
    taken: Vec<(String, String)>,
}

impl Seen<'_> {
    /// A mapping takes its own name and those of the layers below it.
    fn mapping(&mut self, key: &str, name: &MappedName) -> Result<(), ConfigError> {
        LAYERS
            .iter()
            .try_for_each(|layer| self.add(key.to_owned(), format!("{name}{layer}")))
    }

    fn add(&mut self, key: String, value: String) -> Result<(), ConfigError> {
        if let Some((_, first)) = self.taken.iter().find(|(taken, _)| *taken == value) {
            return Err(ConfigError::Twice {
                file: self.file.into(),
                first: first.clone(),
                key,
                value,
            });
        }
        self.taken.push((value, key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("agent.toml"), &Outside::default())
    }

    #[test]
    fn a_volume_of_crypttab_is_wiped_up_front_and_has_nothing_that_the_system_does_not_know() {
        let text = |more: &str| {
            format!(
                r#"
node_name = "n"
[service]
endpoints = ["10.0.0.1:1"]
name = "k.test"
spki_sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
[attestation]
kind = "tdx"
[[volume]]
id = "5b1d1f0e-33b6-4d6e-8f2a-000000000001"
name = "state"
open = "crypttab"
{more}
"#
            )
        };
        for more in ["", "wipe = \"up-front\""] {
            let config = parse(&text(more)).unwrap();
            let wanted = &config.volumes.first().unwrap().wanted;
            assert_eq!(wanted.opener, Opener::System);
            assert_eq!(wanted.wipe, Wipe::UpFront);
        }
        for (more, key) in [
            ("wipe = \"behind\"", "wipe"),
            ("wipe_prefix = \"64 MiB\"", "wipe"),
            ("grow = true", "grow"),
            ("journal_mac = true", "journal_mac"),
            ("adopted = true", "adopted"),
        ] {
            let refused = parse(&text(more));
            let Err(ConfigError::Invalid { key: named, .. }) = refused else {
                panic!("{more}: {refused:?}");
            };
            assert_eq!(named, format!("volume[1].{key}"));
        }
    }
}
