//! A secret: a volume without a disk, of which only the DEK is wanted. It goes by the rules of an adopted volume, whose
//! header never changes; this is the header that it has by agreement.

use crate::message::SeenHeader;
use sha2::{Digest, Sha256};

/// What the digest of a secret's header is the SHA-256 of.
const LABEL: &[u8] = b"dawnkey/v1/secret";

/// The header of every secret: generation and epoch 1, and a digest that no header on a disk has.
#[must_use]
pub fn header() -> SeenHeader {
    SeenHeader {
        generation: 1,
        epoch: 1,
        digest: Sha256::digest(LABEL).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_of_the_label() {
        let digest: [u8; 32] = Sha256::digest(b"dawnkey/v1/secret").into();
        assert_eq!(header().digest, digest);
        assert_eq!((header().generation, header().epoch), (1, 1));
    }
}
