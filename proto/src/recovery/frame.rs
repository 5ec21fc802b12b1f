//! How messages travel over a recovery connection: a byte that says which, its length as a 32-bit big-endian number, the
//! message. One exchange for each connection: *ask* and *request*, or *grant* and *answer*.

use super::GRANT_BYTES;
use crate::MAX_MESSAGE_BYTES;

/// Bytes before a message.
pub const HEAD_BYTES: usize = 5;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operator wants the node's request. Empty.
    Ask,
    /// The node's request with its evidence.
    Request,
    /// The operator's grant.
    Grant,
    /// What became of the grant.
    Answer,
}

/// The frame is none of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame begins with this byte.
    #[error("read a frame: no message has the number {0}")]
    Kind(u8),
    /// Longer than a message of its kind can be.
    #[error("read a frame: {found} bytes; a message of this kind has at most {most}")]
    TooLong {
        /// What it announces.
        found: usize,
        /// What would be read.
        most: usize,
    },
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ask => 1,
            Self::Request => 2,
            Self::Grant => 3,
            Self::Answer => 4,
        }
    }

    /// Most bytes of a message of this kind.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Ask => 0,
            Self::Request => MAX_MESSAGE_BYTES,
            Self::Grant => GRANT_BYTES,
            Self::Answer => 4096,
        }
    }

    /// Reads what stands before a message: which it is, and its length.
    pub fn head(head: [u8; HEAD_BYTES]) -> Result<(Self, usize), FrameError> {
        let [kind, length @ ..] = head;
        let kinds = [Self::Ask, Self::Request, Self::Grant, Self::Answer];
        let found = kinds.into_iter().find(|known| known.byte() == kind);
        let known = found.ok_or(FrameError::Kind(kind))?;
        let found = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let most = known.most();
        if found > most {
            return Err(FrameError::TooLong { found, most });
        }
        Ok((known, found))
    }

    /// The frame of a message.
    pub fn frame(self, message: &[u8]) -> Result<Vec<u8>, FrameError> {
        let (found, most) = (message.len(), self.most());
        let too_long = FrameError::TooLong { found, most };
        let length = u32::try_from(found).map_err(|_| too_long)?;
        if found > most {
            return Err(too_long);
        }
        let mut frame = vec![self.byte()];
        frame.extend(length.to_be_bytes());
        frame.extend(message);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_frame_reads_back_and_longer_ones_are_refused_before_they_are_read() {
        let frame = Kind::Grant.frame(&[7; GRANT_BYTES]).unwrap();
        let head = frame[..HEAD_BYTES].try_into().unwrap();
        assert_eq!(Kind::head(head), Ok((Kind::Grant, GRANT_BYTES)));
        assert!(Kind::Grant.frame(&[7; GRANT_BYTES + 1]).is_err());
        let found = 0xffff_ffff;
        assert_eq!(
            Kind::head([3, 0xff, 0xff, 0xff, 0xff]),
            Err(FrameError::TooLong {
                found,
                most: GRANT_BYTES
            })
        );
        assert_eq!(Kind::head([0; 5]), Err(FrameError::Kind(0)));
        assert_eq!(Kind::head([b'G'; 5]), Err(FrameError::Kind(b'G')));
    }
}
