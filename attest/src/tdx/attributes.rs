//! TD attributes (Intel TDX Module ABI specification, "ATTRIBUTES").
//!
//! Bits 0 to 7 put the TD under debug: any of them means that the TD is not to be trusted. Bits 8 to 31 bear on
//! security, 32 to 63 do not. Bits without a meaning must be zero.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct as _};

use crate::bytes::Bytes;

/// Attributes of a TD: 64 bits, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(pub Bytes<8>);

/// Bits that have a meaning: debug and profiling (0, 4 to 6), ICSSD (16), SERVTD_EXT (17), 18 to 22 assigned since
/// the 1.5 ABI, LASS (27), SEPT_VE_DISABLE (28), MIGRATABLE (29), PKS (30), KL (31), TPA (62), PERFMON (63).
const DEFINED: u64 = 0xc000_0000_f87f_0071;

impl TdAttributes {
    /// The attributes as a number.
    pub fn bits(&self) -> u64 {
        u64::from_le_bytes(self.0.0)
    }

    fn bit(&self, bit: u32) -> bool {
        self.bits() >> bit & 1 == 1
    }

    /// The host may read and change the TD's memory and registers.
    pub fn debug(&self) -> bool {
        self.bit(0)
    }

    /// Any bit of the group that makes a TD untrusted: debug, or one of the profilers.
    pub fn under_debug(&self) -> bool {
        self.bits() & 0xff != 0
    }

    /// The TD reports the service TDs bound to it in the extended structure.
    pub fn servtd_ext(&self) -> bool {
        self.bit(17)
    }

    /// Accesses to pending pages end the TD instead of raising #VE.
    pub fn sept_ve_disable(&self) -> bool {
        self.bit(28)
    }

    /// A migration TD may move the TD to another platform.
    pub fn migratable(&self) -> bool {
        self.bit(29)
    }

    /// The TD may use supervisor protection keys.
    pub fn pks(&self) -> bool {
        self.bit(30)
    }

    /// The TD may use Key Locker.
    pub fn kl(&self) -> bool {
        self.bit(31)
    }

    /// The TD may use performance counters.
    pub fn perfmon(&self) -> bool {
        self.bit(63)
    }

    /// Bits without a meaning that are set.
    pub fn reserved(&self) -> u64 {
        self.bits() & !DEFINED
    }
}

impl Serialize for TdAttributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("TdAttributes", 7)?;
        out.serialize_field("raw", &self.0)?;
        out.serialize_field("debug", &self.debug())?;
        out.serialize_field("sept_ve_disable", &self.sept_ve_disable())?;
        out.serialize_field("migratable", &self.migratable())?;
        out.serialize_field("pks", &self.pks())?;
        out.serialize_field("kl", &self.kl())?;
        out.serialize_field("perfmon", &self.perfmon())?;
        out.end()
    }
}

impl<'de> Deserialize<'de> for TdAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            raw: Bytes<8>,
        }
        Raw::deserialize(deserializer).map(|found| Self(found.raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_bit_of_the_abi_and_calls_the_rest_reserved() {
        let defined = [
            0u32, 4, 5, 6, 16, 17, 18, 19, 20, 21, 22, 27, 28, 29, 30, 31, 62, 63,
        ];
        for bit in 0..64 {
            let attributes = TdAttributes(Bytes((1u64 << bit).to_le_bytes()));
            assert_eq!(
                attributes.reserved() == 0,
                defined.contains(&bit),
                "bit {bit}"
            );
            assert_eq!(attributes.under_debug(), bit < 8, "bit {bit}");
        }
    }
}
