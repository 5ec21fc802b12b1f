//! A volume that is mapped already, known by the mapping's name only: whether it is in use, closing it, stopping it.

use crate::devices::Devices;
use crate::error::MapError;
use crate::stack;
use crate::tables::MappedName;

/// Whether anything has the volume open, such as a mounted filesystem. `None` if nothing of this name is mapped.
pub fn in_use(name: &MappedName) -> Result<Option<bool>, MapError> {
    let opened = Devices::open()?.opened(name.as_str())?;
    Ok(opened.map(|times| times > 0))
}

/// Takes every layer of the mapping away, and with it the key that the kernel holds.
///
/// # Errors
/// Nothing of this name is mapped; it is in use.
pub fn close(name: &MappedName) -> Result<(), MapError> {
    let devices = Devices::open()?;
    match devices.opened(name.as_str())? {
        None => Err(MapError::NotMapped { name: name.clone() }),
        Some(0) => stack::unmap(&devices, name),
        Some(_) => Err(MapError::StillOpen { name: name.clone() }),
    }
}

/// Stops the volume where it is: nothing is read or written any more, what is not on the disk yet stays in memory, and
/// whoever touches the volume waits. Nothing is flushed and no filesystem is told: another machine may run the volume.
///
/// The encrypting layer below is stopped as well, where there is one: a wipe behind the volume writes to it, and starts
/// the volume's own device again whenever that becomes longer.
///
/// # Errors
/// Nothing of this name is mapped; the kernel refuses.
pub fn suspend(name: &MappedName) -> Result<(), MapError> {
    let devices = Devices::open()?;
    if !devices.exists(name.as_str())? {
        return Err(MapError::NotMapped { name: name.clone() });
    }
    let stopped = devices.stop(name.as_str());
    let whole = name.whole_layer();
    if devices.exists(&whole)? {
        devices.stop(&whole)?;
    }
    stopped
}
