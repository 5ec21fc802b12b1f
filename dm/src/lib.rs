//! The volume: a LUKS2 template header with a sealed volume key, mapped by dm-crypt over dm-integrity.
//!
//! Disk and key in, mapped device out. This crate knows no network, no evidence and no policy.
//!
//! - [`header`]: the 32 KiB at a disk's begin, pure bytes in and out; the key comes out only of a header that is the
//!   one that was written. `docs/volume-format.md` gives it byte by byte.
//! - [`geometry`] and [`superblock`]: where data, tags and journal are.
//! - [`mapper`]: the port [`Mapper`]: find, open, format, close. [`KernelMapper`] is its implementation.
//! - [`disk`] and [`commit`]: reading, writing, flushing; the order of a header's writes.
//! - [`adopt`]: headers of volumes that something else formatted.
//! - [`swap`]: swap space under a key of the boot.
//! - [`running`]: closing and stopping what is mapped.
//! - [`blank`]: what is on a disk that is not a volume. [`erase`]: making one that is a volume into such.
//! - [`handing`]: letting the system's own tools open a volume with what was validated.
//! - [`behind`]: wiping the rest of a volume that is in use already.
//!
//! Opening: the header is read once, into memory. Its seal must open under the DEK before anything is mapped; the
//! tables are built from the values that were parsed, never from the disk again; what dm-integrity takes from its own
//! superblock is asked of the kernel and compared before the mapping starts; the key goes into the kernel as a
//! `logon` key that is unlinked at once. Of a volume that is not ready only the ready part becomes visible. The new
//! generation is written last, and with it what else has changed: progress, epoch, size.
//!
//! Formatting: the header is written last, so an interrupted format leaves a disk that is still blank.

pub mod adopt;
pub mod behind;
pub mod blank;
pub mod commit;
#[cfg(test)]
mod crash;
mod devices;
pub mod disk;
pub mod erase;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fickle;
mod find;
pub mod geometry;
mod handed;
pub mod handing;
pub mod header;
mod integrity;
mod kernel;
mod keyring;
pub mod mapper;
mod mkfs;
pub mod running;
mod stack;
mod steps;
pub mod superblock;
pub mod swap;
mod syscalls;
mod tables;
mod taken;
#[cfg(test)]
mod testing;
mod volumes;
mod wipe;

pub use error::{MapError, Unreadable};
pub use geometry::{Integrity, Layout};
pub use handed::HandedError;
pub use header::{Condition, HeaderError, HeaderSeen, Next, SealError, SealedHeader};
pub use kernel::KernelMapper;
pub use keyring::KeyringError;
pub use mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Opener, Progress, Ready, Rotation,
    SealedVolume, Timings, Wanted, Wipe,
};
pub use tables::{BadName, DeviceNumber, MappedName};
pub use taken::TakenError;
