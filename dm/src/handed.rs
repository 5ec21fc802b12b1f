//! What the system has opened, asked of the kernel and compared with the sealed header.
//!
//! The header that the system was given is ours; dm-integrity reads its superblock from the disk all the same, and the
//! crypttab line may carry options. So the tables that run are compared with those that would have been loaded here.
//! The key is not compared: the kernel does not show it. That it is the volume's follows from the header that was given.

use uuid::Uuid;

use crate::devices::{Active, Devices};
use crate::error::MapError;
use crate::geometry::Layout;
use crate::tables::{self, DeviceNumber, Writing};
use crate::taken::{self, Loaded};
use crate::volumes::{Activated, Plan};

/// The system has opened nothing, or something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandedError {
    /// Nothing of this name is mapped.
    #[error("{name} is not mapped: whoever took the key has ended without opening the volume")]
    Absent {
        /// The missing device.
        name: String,
    },
    /// A part of a mapping is not the volume's.
    #[error("{what} of {name} is {found:?}, the sealed header demands {wanted:?}")]
    Differs {
        /// The device.
        name: String,
        /// Which part.
        what: &'static str,
        /// What is there.
        found: String,
        /// What the header demands.
        wanted: String,
    },
    /// dm-crypt works with an option that is neither the volume's nor one that only decides over speed.
    #[error("{name} works with the option {found:?}, which the sealed header does not have")]
    Option {
        /// The device.
        name: String,
        /// The option.
        found: String,
    },
}

/// Options of dm-crypt that a crypttab line may add: they change when and where work is done, not what.
const SPEED: &[&str] = &[
    "allow_discards",
    "same_cpu_crypt",
    "submit_from_crypt_cpus",
    "no_read_workqueue",
    "no_write_workqueue",
    "high_priority",
];

/// Judges the mapping that the system has made of a plan.
pub(crate) fn check(
    devices: &Devices,
    plan: &Plan<'_>,
    disk: DeviceNumber,
) -> Result<Activated, MapError> {
    let layout = &plan.layout;
    let handed = |source| MapError::Handed {
        name: plan.name.clone(),
        source,
    };
    let below = if layout.integrity().has_tags() {
        lower(devices, plan, disk)?
    } else {
        disk
    };
    let name = plan.name.as_str();
    let uuid = tables::crypt_uuid(plan.volume, plan.name);
    let active = devices.active(name)?;
    let number = identity(active, name, &uuid, tables::CRYPT, layout).map_err(handed)?;
    let running = devices.running(name)?;
    crypt(&running, name, layout, below).map_err(handed)?;
    Ok(Activated {
        device: devices.node(name, number)?,
        ready_sectors: layout.ready_sectors(),
    })
}

/// The integrity layer; gives its number.
fn lower(devices: &Devices, plan: &Plan<'_>, disk: DeviceNumber) -> Result<DeviceNumber, MapError> {
    let layer = plan.name.integrity_layer();
    let active = devices.active(&layer)?;
    let uuid = lower_uuid(active.as_ref(), plan.volume, &layer);
    let number = identity(active, &layer, &uuid, tables::INTEGRITY, &plan.layout);
    let number = number.map_err(|source| MapError::Handed {
        name: plan.name.clone(),
        source,
    })?;
    let running = devices.running(&layer)?;
    taken::check(&running, disk, &plan.layout, Writing::Journal, None).map_err(|source| {
        MapError::Taken {
            device: layer,
            source,
        }
    })?;
    Ok(number)
}

/// Device-mapper UUID of an integrity layer: cryptsetup's since 2.7, or the one before, whichever of them is there.
fn lower_uuid(active: Option<&Active>, volume: Uuid, layer: &str) -> String {
    let older = format!("CRYPT-INTEGRITY-{}-{layer}", volume.simple());
    match active {
        Some(active) if active.uuid == older => older,
        _ => tables::layer_uuid(volume, layer),
    }
}

/// A started device of this identity, target and size; gives its number.
fn identity(
    active: Option<Active>,
    name: &str,
    uuid: &str,
    target: &str,
    layout: &Layout,
) -> Result<DeviceNumber, HandedError> {
    let absent = || HandedError::Absent { name: name.into() };
    let active = active.ok_or_else(absent)?;
    same(name, "the UUID", &active.uuid, uuid)?;
    same(name, "the target", &active.target, target)?;
    let (found, wanted) = (active.sectors, layout.data_sectors());
    same(name, "the size", &found.to_string(), &wanted.to_string())?;
    Ok(active.number)
}

/// Compares a dm-crypt table: `CIPHER KEY IV-OFFSET DEVICE OFFSET COUNT OPTION…`.
fn crypt(
    running: &Loaded,
    name: &str,
    layout: &Layout,
    below: DeviceNumber,
) -> Result<(), HandedError> {
    // The table that would be loaded here. Only its key has another description.
    let (.., ours) = tables::crypt(below, layout, Uuid::nil());
    let ours: Vec<&str> = ours.split(' ').collect();
    let found: Vec<&str> = running.table.split(' ').collect();
    let parts = [
        (0, "the cipher"),
        (2, "the offset of the tweak"),
        (3, "the device below"),
        (4, "the offset on it"),
    ];
    for (at, what) in parts {
        let word = |words: &[&str]| words.get(at).copied().unwrap_or_default().to_owned();
        same(name, what, &word(&found), &word(&ours))?;
    }
    let options = |words: &[&'_ str]| -> Vec<String> {
        words.iter().skip(6).map(ToString::to_string).collect()
    };
    let (found, wanted) = (options(&found), options(&ours));
    if let Some(missing) = wanted.iter().find(|option| !found.contains(option)) {
        return Err(HandedError::Differs {
            name: name.into(),
            what: "the list of options",
            found: found.join(" "),
            wanted: missing.clone(),
        });
    }
    let added = |option: &&String| !wanted.contains(option) && !SPEED.contains(&option.as_str());
    match found.iter().find(added) {
        None => Ok(()),
        Some(option) => Err(HandedError::Option {
            name: name.into(),
            found: option.clone(),
        }),
    }
}

fn same(name: &str, what: &'static str, found: &str, wanted: &str) -> Result<(), HandedError> {
    if found == wanted {
        Ok(())
    } else {
        Err(HandedError::Differs {
            name: name.into(),
            what,
            found: found.into(),
            wanted: wanted.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::geometry::Integrity;

    const BELOW: DeviceNumber = DeviceNumber {
        major: 254,
        minor: 0,
    };

    fn judged(table: &str, integrity: Integrity) -> Result<(), HandedError> {
        let layout = Layout::for_disk(integrity, 256 << 20).unwrap();
        let running = Loaded {
            table: table.to_owned().into(),
            status: String::new(),
        };
        crypt(&running, "state", &layout, BELOW)
    }

    const WITH_TAGS: &str = "capi:authenc(hmac(sha256),xts(aes))-plain64 \
        :96:logon:cryptsetup:0f0e0d0c-0b0a-4908-8706-050403020100-d0 0 254:0 0 2 integrity:32:aead sector_size:4096";
    const PLAIN: &str = "aes-xts-plain64 :64:logon:cryptsetup:0f0e-d0 0 254:0 32768 3 allow_discards \
        no_read_workqueue sector_size:4096";

    #[test]
    fn takes_what_systemd_cryptsetup_loads_for_such_a_header() {
        judged(WITH_TAGS, Integrity::HmacSha256).unwrap();
        judged(PLAIN, Integrity::None).unwrap();
    }

    #[test]
    fn refuses_another_cipher_place_and_missing_integrity_by_name() {
        for (from, to, what) in [
            (
                "capi:authenc(hmac(sha256),xts(aes))-plain64",
                "capi:cipher_null-ecb",
                "the cipher",
            ),
            (" 0 254:0 ", " 8 254:0 ", "the offset of the tweak"),
            ("254:0 0 2", "254:16 0 2", "the device below"),
            ("254:0 0 2", "254:0 8 2", "the offset on it"),
            ("integrity:32:aead ", "", "the list of options"),
        ] {
            let refused = judged(&WITH_TAGS.replace(from, to), Integrity::HmacSha256);
            match refused.unwrap_err() {
                HandedError::Differs { what: named, .. } => assert_eq!(named, what),
                other => assert_eq!(other.to_string(), what),
            }
        }
    }

    #[test]
    fn refuses_a_mapping_of_another_volume_target_or_size_and_none_at_all() {
        let layout = Layout::for_disk(Integrity::HmacSha256, 256 << 20).unwrap();
        let judged = |active: Option<Active>| {
            identity(active, "state", "CRYPT-LUKS2-5-state", "crypt", &layout)
        };
        let right = || Active {
            number: BELOW,
            uuid: "CRYPT-LUKS2-5-state".into(),
            sectors: layout.data_sectors(),
            target: "crypt".into(),
        };
        assert_eq!(judged(Some(right())), Ok(BELOW));
        let name = || "state".to_owned();
        assert_eq!(judged(None), Err(HandedError::Absent { name: name() }));
        let others = [
            (
                "the UUID",
                Active {
                    uuid: "CRYPT-PLAIN-state".into(),
                    ..right()
                },
            ),
            (
                "the target",
                Active {
                    target: "linear".into(),
                    ..right()
                },
            ),
            (
                "the size",
                Active {
                    sectors: 8,
                    ..right()
                },
            ),
        ];
        for (part, active) in others {
            let refused = judged(Some(active)).unwrap_err();
            assert!(matches!(refused, HandedError::Differs { what, .. } if what == part));
        }
    }

    #[test]
    fn the_layer_below_has_one_of_the_two_uuids_that_cryptsetup_gives() {
        let volume = Uuid::from_u128(5);
        let active = |uuid: &str| Active {
            number: BELOW,
            uuid: uuid.into(),
            sectors: 8,
            target: "integrity".into(),
        };
        let of = |uuid: &str| lower_uuid(Some(&active(uuid)), volume, "state_dif");
        let (older, newer) = ["INTEGRITY", "SUBDEV"]
            .map(|kind| format!("CRYPT-{kind}-{}-state_dif", volume.simple()))
            .into();
        assert_eq!(of(&older), older);
        assert_eq!(of(&newer), newer);
        assert_eq!(of("CRYPT-INTEGRITY-other-state_dif"), newer);
    }

    #[test]
    fn refuses_an_option_that_changes_what_is_decrypted() {
        let table = PLAIN.replace("allow_discards", "iv_large_sectors");
        assert_eq!(
            judged(&table, Integrity::None),
            Err(HandedError::Option {
                name: "state".into(),
                found: "iv_large_sectors".into()
            })
        );
    }
}
