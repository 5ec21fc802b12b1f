//! A character device served by a program: CUSE, spoken directly over `/dev/cuse`.
//!
//! The device asks for *unrestricted* ioctls: the program says which of the caller's memory it wants, the
//! kernel asks again with that memory's contents, and copies the answer back. Source: `linux/fuse.h`,
//! `fs/fuse/cuse.c`, `fs/fuse/ioctl.c` of Linux 6.12.

pub mod wire;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};

use crate::error::{DeviceError, IoContext as _};
use wire::{Request, reply};

/// Room for one request: the kernel wants at least 8 KiB, and sends at most 32 pages of data.
const BUFFER: usize = 160 << 10;
/// `ENOSYS`
const ENOSYS: i32 = 38;

/// A span of the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Address in the caller.
    pub base: u64,
    /// Bytes.
    pub length: u64,
}

/// An ioctl as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioctl<'a> {
    /// Command number.
    pub command: u32,
    /// The third argument.
    pub argument: u64,
    /// Contents of the spans that the last [`Answer::Retry`] named for reading; empty the first time.
    pub input: &'a [u8],
    /// Bytes that the last [`Answer::Retry`] named for writing; 0 the first time.
    pub room: usize,
}

/// What a device answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask again, with the contents of `read` and room for `write`.
    Retry {
        /// What to bring.
        read: Vec<Span>,
        /// What may be written.
        write: Vec<Span>,
    },
    /// The call's result (0 or a negative errno) and what goes into the `write` spans, one after the other.
    Done {
        /// Result.
        result: i32,
        /// Bytes to copy out.
        output: Vec<u8>,
    },
}

impl Answer {
    /// A failure without output.
    #[must_use]
    pub fn error(errno: i32) -> Self {
        Answer::Done {
            result: -errno,
            output: Vec::new(),
        }
    }
}

/// A device that answers ioctls.
pub trait Device {
    /// Name in `/dev`.
    const NAME: &'static str;

    /// Answers one step of one ioctl.
    fn ioctl(&mut self, ioctl: Ioctl<'_>) -> Answer;
}

/// Makes the device, calls `ready` once it is there, and serves it until the kernel lets go.
///
/// # Errors
/// [`DeviceError::Io`] when `/dev/cuse` cannot be used, [`DeviceError::Kernel`] for requests that are malformed.
pub fn serve<D: Device>(
    mut device: D,
    ready: impl FnOnce() -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let mut cuse = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/cuse")
        .doing(|| "open /dev/cuse".to_owned())?;
    let mut buffer = vec![0; BUFFER];
    let first = next(&mut cuse, &mut buffer)?;
    let Request::Init { unique } = wire::parse(first)? else {
        return Err(DeviceError::Kernel {
            what: "first CUSE request",
            problem: "it is not CUSE_INIT".to_owned(),
        });
    };
    // The node is in /dev when this write returns.
    send(&mut cuse, &reply::init(unique, D::NAME))?;
    ready()?;
    loop {
        let bytes = next(&mut cuse, &mut buffer)?;
        let answer = match wire::parse(bytes)? {
            Request::Open { unique } => reply::open(unique),
            Request::Release { unique } => reply::empty(unique),
            Request::Ioctl { unique, ioctl } => reply::ioctl(unique, &device.ioctl(ioctl)),
            Request::Interrupt => continue,
            Request::Init { unique } | Request::Other { unique } => reply::error(unique, ENOSYS),
        };
        send(&mut cuse, &answer)?;
    }
}

fn next<'a>(cuse: &mut File, buffer: &'a mut [u8]) -> Result<&'a [u8], DeviceError> {
    let length = cuse
        .read(buffer)
        .doing(|| "read a request from /dev/cuse".to_owned())?;
    Ok(buffer.get(..length).unwrap_or_default())
}

fn send(cuse: &mut File, reply: &[u8]) -> Result<(), DeviceError> {
    // A reply is one write; the kernel takes it whole or not at all.
    match cuse.write(reply) {
        // The caller was killed meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other
            .map(|_| ())
            .doing(|| "write a reply to /dev/cuse".to_owned()),
    }
}
