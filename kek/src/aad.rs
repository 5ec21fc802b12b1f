//! What a wrapped DEK is for.

use uuid::Uuid;

/// Volume (or other owner of a key) and epoch: authenticated with every wrapped DEK, by the KMS itself where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aad {
    /// The volume.
    pub volume: Uuid,
    /// The epoch, from 1.
    pub epoch: u32,
}

impl Aad {
    /// For a volume and epoch.
    #[must_use]
    pub const fn new(volume: Uuid, epoch: u32) -> Self {
        Self { volume, epoch }
    }

    /// 20 bytes: the id as RFC 9562 lays it out, then the epoch in 32 bits, most significant byte first.
    #[must_use]
    pub fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (id, epoch) = bytes.split_at_mut(16);
        id.copy_from_slice(self.volume.as_bytes());
        epoch.copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_id_and_the_epoch_in_network_order() {
        let aad = Aad::new(Uuid::from_u128(0x0102), 0x0a0b);
        let mut expected = [0; 20];
        expected[14..].copy_from_slice(&[1, 2, 0, 0, 0x0a, 0x0b]);
        assert_eq!(aad.bytes(), expected);
    }
}
