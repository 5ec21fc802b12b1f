//! A DEK as a TPM sealed it: version byte 1 ‖ mask of the PCRs of its policy, 24 bits ‖ Name of the primary key, 34 bytes
//! ‖ 16-bit length and TPM2B_PUBLIC's content ‖ 16-bit length and TPM2B_PRIVATE's content. Numbers are big-endian.

const VERSION: u8 = 1;
/// A Name with SHA-256: the algorithm's number and the digest.
pub(super) const NAME: usize = 34;
/// Longest public and private part: far above what a sealed object has.
const MOST: usize = 1024;

/// A wrapped DEK, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// Bit N: PCR N is in the policy.
    pub pcrs: u32,
    pub parent: [u8; NAME],
    pub public: Vec<u8>,
    pub private: Vec<u8>,
}

impl Blob {
    /// `None` when a part is longer than it can be.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let [_, pcrs @ ..] = self.pcrs.to_be_bytes();
        let mut out = [&[VERSION], &pcrs[..], &self.parent].concat();
        for part in [&self.public, &self.private] {
            let length = u16::try_from(part.len()).ok()?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(part);
        }
        (self.public.len() <= MOST && self.private.len() <= MOST).then_some(out)
    }

    /// `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, a, b, c], rest) = bytes.split_first_chunk::<4>()? else {
            return None;
        };
        let (parent, rest) = rest.split_first_chunk()?;
        let (public, rest) = part(rest)?;
        let (private, rest) = part(rest)?;
        rest.is_empty().then(|| Self {
            pcrs: u32::from_be_bytes([0, *a, *b, *c]),
            parent: *parent,
            public: public.to_vec(),
            private: private.to_vec(),
        })
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    rest.split_at_checked(length).filter(|_| length <= MOST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decodes_what_it_encoded_and_no_other_length() {
        let blob = Blob {
            pcrs: 0x80_0081,
            parent: [7; NAME],
            public: vec![1; 40],
            private: vec![2; 200],
        };
        let bytes = blob.encode().unwrap();
        assert_eq!(Blob::decode(&bytes).unwrap(), blob);
        for cut in 0..bytes.len() {
            assert_eq!(Blob::decode(&bytes[..cut]), None);
        }
        assert_eq!(Blob::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
