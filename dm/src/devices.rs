//! Creating and removing single device-mapper devices, and their nodes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use devicemapper::errors::Error as CoreError;
use devicemapper::{DM, DevId, DmError, DmFlags, DmName, DmOptions, DmUuid};

use crate::error::MapError;
use crate::tables::{DeviceNumber, Table};
use crate::taken::Loaded;
use zeroize::Zeroizing;

/// The kernel's `ENXIO`: no device of this name.
const NO_SUCH_DEVICE: i32 = libc::ENXIO;

/// Who is to look at a new device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Nobody: udev makes its node and nothing else.
    Us,
    /// The system: udev probes it and makes its links.
    System,
}

impl Audience {
    fn options(self) -> DmOptions {
        match self {
            Self::Us => DmOptions::private(),
            Self::System => DmOptions::default(),
        }
    }
}

/// The one target of a device that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) number: DeviceNumber,
    /// Device-mapper UUID.
    pub(crate) uuid: String,
    pub(crate) sectors: u64,
    pub(crate) target: String,
}

/// Judges what the kernel made of a table before it is started.
pub(crate) type Inspect<'a> = dyn Fn(&Loaded) -> Result<(), MapError> + 'a;

/// An open `/dev/mapper/control`, and the names of the devices that were made through it.
pub(crate) struct Devices(DM, RefCell<BTreeSet<String>>);

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Devices")
    }
}

impl Devices {
    pub(crate) fn open() -> Result<Self, MapError> {
        let opened = DM::new().map(|control| Self(control, RefCell::default()));
        opened.map_err(|error| failed("open", "/dev/mapper/control", &error))
    }

    /// Whether a device of this name was made through this value and not removed through it.
    pub(crate) fn has_made(&self, name: &str) -> bool {
        self.1.borrow().contains(name)
    }

    /// Whether a device of this name exists.
    pub(crate) fn exists(&self, name: &str) -> Result<bool, MapError> {
        let id = dm_name(name)?;
        match self.0.device_info(&DevId::Name(id)) {
            Ok(_) => Ok(true),
            Err(error) if errno(&error) == Some(NO_SUCH_DEVICE) => Ok(false),
            Err(error) => Err(failed("look for", name, &error)),
        }
    }

    /// How often a device is open; `None` if there is no device of this name.
    pub(crate) fn opened(&self, name: &str) -> Result<Option<i32>, MapError> {
        let id = dm_name(name)?;
        match self.0.device_info(&DevId::Name(id)) {
            Ok(info) => Ok(Some(info.open_count())),
            Err(error) if errno(&error) == Some(NO_SUCH_DEVICE) => Ok(None),
            Err(error) => Err(failed("look for", name, &error)),
        }
    }

    /// Suspends a device for good: nothing is flushed and no filesystem is frozen.
    pub(crate) fn stop(&self, name: &str) -> Result<(), MapError> {
        let device = DevId::Name(dm_name(name)?);
        let suspended = DmFlags::DM_SUSPEND | DmFlags::DM_NOFLUSH | DmFlags::DM_SKIP_LOCKFS;
        self.0
            .device_suspend(&device, DmOptions::default().set_flags(suspended))
            .map(drop)
            .map_err(|error| failed("suspend", name, &error))
    }

    /// Creates a device, loads its table with the kernel wiping its copy of the buffer, lets `inspect` judge what the
    /// kernel made of it, and starts it. On failure it is removed again.
    pub(crate) fn create(
        &self,
        name: &str,
        uuid: &str,
        table: &Table,
        audience: Audience,
        inspect: Option<&Inspect<'_>>,
    ) -> Result<DeviceNumber, MapError> {
        let id = dm_name(name)?;
        let uuid = DmUuid::new(uuid).map_err(|error| failed("name", name, &error))?;
        let info = self
            .0
            .device_create(id, Some(uuid), DmOptions::default())
            .map_err(|error| failed("create", name, &error))?;
        let secure = DmOptions::default().set_flags(DmFlags::DM_SECURE_DATA);
        let device = DevId::Name(id);
        let started = self
            .0
            .table_load(&device, std::slice::from_ref(table), secure)
            .map_err(|error| self.explain(name, table, &error))
            .and_then(|_| match inspect {
                Some(inspect) => inspect(&self.loaded(name)?),
                None => Ok(()),
            })
            .and_then(|()| {
                self.0
                    .device_suspend(&device, audience.options())
                    .map_err(|error| failed("start", name, &error))
            });
        if let Err(error) = started {
            // The first error is the one to report.
            let _ = self.0.device_remove(&device, DmOptions::default());
            return Err(error);
        }
        self.1.borrow_mut().insert(name.to_owned());
        Ok(DeviceNumber {
            major: info.device().major,
            minor: info.device().minor,
        })
    }

    /// The table of a device that is started; `None` if there is no device of this name.
    pub(crate) fn active(&self, name: &str) -> Result<Option<Active>, MapError> {
        let id = dm_name(name)?;
        let options = DmOptions::default().set_flags(DmFlags::DM_STATUS_TABLE);
        match self.0.table_status(&DevId::Name(id), options) {
            Err(error) if errno(&error) == Some(NO_SUCH_DEVICE) => Ok(None),
            Err(error) => Err(failed("ask for the table of", name, &error)),
            Ok((info, targets)) => {
                let number = DeviceNumber {
                    major: info.device().major,
                    minor: info.device().minor,
                };
                let mut targets = targets.into_iter();
                let one = targets.next().filter(|_| targets.next().is_none());
                let uuid = info.uuid().map(ToString::to_string).unwrap_or_default();
                Ok(one.map(|(_, sectors, target, _)| Active {
                    number,
                    uuid,
                    sectors,
                    target,
                }))
            }
        }
    }

    /// Puts a longer table under a device in use. Nothing is flushed and no filesystem is frozen: what is there stays
    /// where it is.
    pub(crate) fn lengthen(&self, name: &str, table: &Table) -> Result<(), MapError> {
        let device = DevId::Name(dm_name(name)?);
        let suspended = DmFlags::DM_SUSPEND | DmFlags::DM_NOFLUSH | DmFlags::DM_SKIP_LOCKFS;
        self.0
            .table_load(&device, std::slice::from_ref(table), DmOptions::default())
            .map_err(|error| failed("load the longer table of", name, &error))?;
        let suspended = DmOptions::default().set_flags(suspended);
        let paused = self.0.device_suspend(&device, suspended);
        // Started again whatever came of it: a device that stays suspended stops everybody who uses it.
        let resumed = self.0.device_suspend(&device, Audience::System.options());
        paused
            .and(resumed)
            .map(drop)
            .map_err(|error| failed("lengthen", name, &error))
    }

    /// What the kernel says of a table that is loaded and not started.
    fn loaded(&self, name: &str) -> Result<Loaded, MapError> {
        self.words(name, DmFlags::DM_QUERY_INACTIVE_TABLE)
    }

    /// What the kernel says of the table of a device that is started.
    pub(crate) fn running(&self, name: &str) -> Result<Loaded, MapError> {
        self.words(name, DmFlags::empty())
    }

    fn words(&self, name: &str, which: DmFlags) -> Result<Loaded, MapError> {
        let id = dm_name(name)?;
        let words = |flags: DmFlags| {
            let options = DmOptions::default().set_flags(which | flags);
            let (_, targets) = self
                .0
                .table_status(&DevId::Name(id), options)
                .map_err(|error| failed("ask for the loaded table of", name, &error))?;
            let words = targets.into_iter().map(|(.., words)| Zeroizing::new(words));
            let mut joined = Zeroizing::new(String::with_capacity(512));
            for words in words {
                joined.push_str(&words);
            }
            Ok::<_, MapError>(joined)
        };
        Ok(Loaded {
            table: words(DmFlags::DM_STATUS_TABLE)?,
            status: words(DmFlags::empty())?.to_string(),
        })
    }

    /// The kernel says "invalid argument" for a table of a kind it does not know; that is worth its own error.
    fn explain(&self, name: &str, table: &Table, error: &DmError) -> MapError {
        let known = self.0.list_versions();
        match known {
            Ok(known) if known.iter().all(|(target, ..)| *target != table.2) => {
                MapError::TargetMissing {
                    target: table.2.clone(),
                }
            }
            _ => failed("load the table of", name, error),
        }
    }

    /// Removes a device and the link that [`Devices::node`] made for it.
    pub(crate) fn remove(&self, name: &str) -> Result<(), MapError> {
        let id = dm_name(name)?;
        self.0
            .device_remove(&DevId::Name(id), DmOptions::default())
            .map_err(|error| failed("remove", name, &error))?;
        self.1.borrow_mut().remove(name);
        let node = node_path(name);
        match std::fs::symlink_metadata(&node) {
            Ok(metadata) if metadata.is_symlink() => match std::fs::remove_file(&node) {
                // udev was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.map_err(|source| MapError::Node { node, source }),
            },
            _ => Ok(()),
        }
    }

    /// The node `/dev/mapper/NAME`. udev makes it where udev runs; otherwise it is made here, as the same link to
    /// `../dm-N`, whose own node the kernel makes in devtmpfs.
    pub(crate) fn node(&self, name: &str, number: DeviceNumber) -> Result<PathBuf, MapError> {
        let node = node_path(name);
        let made = match std::fs::symlink_metadata(&node) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                symlink(format!("../dm-{}", number.minor), &node)
            }
            other => other.map(drop),
        };
        made.and_then(|()| leads_to(&node, number))
            .map(|()| node.clone())
            .map_err(|source| MapError::Node { node, source })
    }
}

fn node_path(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

/// A stale node of the same name must not send the caller to another device.
fn leads_to(node: &Path, number: DeviceNumber) -> io::Result<()> {
    let metadata = std::fs::metadata(node)?;
    let rdev = metadata.rdev();
    let major = nix::sys::stat::major(rdev);
    let minor = nix::sys::stat::minor(rdev);
    let same = (major, minor) == (u64::from(number.major), u64::from(number.minor));
    if metadata.file_type().is_block_device() && same {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "it is {major}:{minor}, must be the block device {number}"
        )))
    }
}

fn dm_name(name: &str) -> Result<&DmName, MapError> {
    DmName::new(name).map_err(|error| failed("name", name, &error))
}

fn errno(error: &DmError) -> Option<i32> {
    match error {
        DmError::Core(CoreError::Ioctl(_, _, _, errno)) => Some(**errno as i32),
        _ => None,
    }
}

/// The crate's own text holds whole ioctl headers; the kernel's answer is what matters.
fn failed(doing: &'static str, device: &str, error: &DmError) -> MapError {
    let detail = match errno(error) {
        Some(errno) => io::Error::from_raw_os_error(errno).to_string(),
        None => error.to_string(),
    };
    MapError::DeviceMapper {
        doing,
        device: device.to_owned(),
        detail,
    }
}
