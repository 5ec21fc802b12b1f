//! CUSE messages as bytes: numbers in the machine's order, which is little-endian on the only machine there is.

use super::{Answer, Ioctl};
use crate::error::DeviceError;

const OPEN: u32 = 14;
const RELEASE: u32 = 18;
const INTERRUPT: u32 = 36;
const IOCTL: u32 = 39;
const CUSE_INIT: u32 = 4096;

/// `struct fuse_in_header`
const IN_HEADER: usize = 40;
/// `struct fuse_ioctl_in`
const IOCTL_IN: usize = 32;
/// The protocol's version that these structures are of.
const VERSION: [u32; 2] = [7, 41];
const UNRESTRICTED: u32 = 1;
const RETRY: u32 = 1 << 2;
/// Most bytes of one read or write call; the devices have neither.
const MAX_TRANSFER: u32 = 64 << 10;

/// A request of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The first one.
    Init {
        /// To be repeated in the reply, as in all others.
        unique: u64,
    },
    /// A program opens the device.
    Open {
        /// See above.
        unique: u64,
    },
    /// The last user closes it.
    Release {
        /// See above.
        unique: u64,
    },
    /// An ioctl.
    Ioctl {
        /// See above.
        unique: u64,
        /// What is asked.
        ioctl: Ioctl<'a>,
    },
    /// A caller was interrupted; there is nothing to undo and no reply.
    Interrupt,
    /// Something that the devices do not have.
    Other {
        /// See above.
        unique: u64,
    },
}

/// Reads a request.
///
/// # Errors
/// [`DeviceError::Kernel`] for one that is cut short or disagrees with its own length.
pub fn parse(bytes: &[u8]) -> Result<Request<'_>, DeviceError> {
    let malformed = || DeviceError::Kernel {
        what: "CUSE request",
        problem: format!("{} bytes", bytes.len()),
    };
    let length = u32_at(bytes, 0).ok_or_else(malformed)? as usize;
    let opcode = u32_at(bytes, 4).ok_or_else(malformed)?;
    let unique = u64_at(bytes, 8).ok_or_else(malformed)?;
    if length != bytes.len() || length < IN_HEADER {
        return Err(malformed());
    }
    Ok(match opcode {
        CUSE_INIT => Request::Init { unique },
        OPEN => Request::Open { unique },
        RELEASE => Request::Release { unique },
        INTERRUPT => Request::Interrupt,
        IOCTL => Request::Ioctl {
            unique,
            ioctl: ioctl(bytes).ok_or_else(malformed)?,
        },
        _ => Request::Other { unique },
    })
}

fn ioctl(bytes: &[u8]) -> Option<Ioctl<'_>> {
    let input = bytes.get(IN_HEADER + IOCTL_IN..)?;
    let length = u32_at(bytes, IN_HEADER + 24)? as usize;
    Some(Ioctl {
        command: u32_at(bytes, IN_HEADER + 12)?,
        argument: u64_at(bytes, IN_HEADER + 16)?,
        input: input.get(..length)?,
        room: u32_at(bytes, IN_HEADER + 28)? as usize,
    })
}

/// A `u32` at an offset.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A `u64` at an offset.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Replies.
pub mod reply {
    use super::{Answer, MAX_TRANSFER, RETRY, UNRESTRICTED, VERSION};

    /// Makes the device `/dev/NAME`.
    #[must_use]
    pub fn init(unique: u64, name: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let [major, minor] = VERSION;
        let dynamic = 0;
        for word in [
            major,
            minor,
            0,
            UNRESTRICTED,
            MAX_TRANSFER,
            MAX_TRANSFER,
            dynamic,
            0,
        ] {
            body.extend(word.to_le_bytes());
        }
        body.extend([0; 40]);
        body.extend(format!("DEVNAME={name}\0").bytes());
        message(unique, 0, &body)
    }

    /// The device is open.
    #[must_use]
    pub fn open(unique: u64) -> Vec<u8> {
        message(unique, 0, &[0; 16])
    }

    /// Done, nothing to say.
    #[must_use]
    pub fn empty(unique: u64) -> Vec<u8> {
        message(unique, 0, &[])
    }

    /// A request that failed as a whole.
    #[must_use]
    pub fn error(unique: u64, errno: i32) -> Vec<u8> {
        message(unique, -errno, &[])
    }

    /// An ioctl's answer. A result of the device, good or bad, comes with output; an error in the message's
    /// header would drop it.
    #[must_use]
    pub fn ioctl(unique: u64, answer: &Answer) -> Vec<u8> {
        let mut body = Vec::new();
        match answer {
            Answer::Retry { read, write } => {
                let counts = [read.len(), write.len()].map(|n| u32::try_from(n).unwrap_or(0));
                for word in [0, RETRY, counts[0], counts[1]] {
                    body.extend(word.to_le_bytes());
                }
                for span in read.iter().chain(write) {
                    body.extend(span.base.to_le_bytes());
                    body.extend(span.length.to_le_bytes());
                }
            }
            Answer::Done { result, output } => {
                body.extend(result.to_le_bytes());
                body.extend([0; 12]);
                body.extend(output);
            }
        }
        message(unique, 0, &body)
    }

    fn message(unique: u64, error: i32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut out = length.to_le_bytes().to_vec();
        out.extend(error.to_le_bytes());
        out.extend(unique.to_le_bytes());
        out.extend(body);
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Span;
    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut out = ((IN_HEADER + body.len()) as u32).to_le_bytes().to_vec();
        out.extend(opcode.to_le_bytes());
        out.extend(9u64.to_le_bytes());
        out.extend([0; 24]);
        out.extend(body);
        out
    }

    fn ioctl_request(input: &[u8], claimed: u32) -> Vec<u8> {
        let mut body = vec![0; 8];
        body.extend(2u32.to_le_bytes());
        body.extend(0xc020_5300u32.to_le_bytes());
        body.extend(0x7fff_0000u64.to_le_bytes());
        body.extend(claimed.to_le_bytes());
        body.extend(4000u32.to_le_bytes());
        body.extend(input);
        request(IOCTL, &body)
    }

    #[test]
    fn reads_an_ioctl_with_its_input() {
        let bytes = ioctl_request(b"abc", 3);
        assert_eq!(
            parse(&bytes).unwrap(),
            Request::Ioctl {
                unique: 9,
                ioctl: Ioctl {
                    command: 0xc020_5300,
                    argument: 0x7fff_0000,
                    input: b"abc",
                    room: 4000
                }
            }
        );
    }

    #[test]
    fn refuses_every_request_that_is_cut_short() {
        let bytes = ioctl_request(b"abc", 3);
        for length in 0..bytes.len() {
            let cut = bytes.get(..length).unwrap();
            assert!(matches!(parse(cut), Err(DeviceError::Kernel { .. })));
        }
        assert!(matches!(
            parse(&ioctl_request(b"abc", 4)),
            Err(DeviceError::Kernel { .. })
        ));
    }

    #[test]
    fn a_retry_names_spans_and_a_result_keeps_its_output() {
        let retry = Answer::Retry {
            read: vec![Span { base: 1, length: 2 }],
            write: vec![Span { base: 3, length: 4 }],
        };
        let bytes = reply::ioctl(9, &retry);
        assert_eq!(bytes.len(), 16 + 16 + 32);
        assert_eq!(u32_at(&bytes, 0), Some(64));
        assert_eq!(u32_at(&bytes, 20), Some(RETRY));
        let failed = Answer::Done {
            result: -5,
            output: vec![7; 3],
        };
        let bytes = reply::ioctl(9, &failed);
        assert_eq!(u32_at(&bytes, 4), Some(0), "the header carries no error");
        assert_eq!(u32_at(&bytes, 16), Some((-5i32).cast_unsigned()));
        assert_eq!(bytes.get(32..), Some([7; 3].as_slice()));
    }

    #[test]
    fn the_first_reply_names_the_device() {
        let bytes = reply::init(1, "sev-guest");
        assert!(bytes.ends_with(b"DEVNAME=sev-guest\0"));
        assert_eq!(bytes.len(), 16 + 72 + 18);
    }
}
