//! TCB versions: eight bytes whose meaning depends on the product line.
//!
//! | byte | Milan, Genoa | Turin and later |
//! |---|---|---|
//! | 0 | boot loader | FMC |
//! | 1 | TEE | boot loader |
//! | 2 | reserved | TEE |
//! | 3 | reserved | SNP firmware |
//! | 4, 5 | reserved | reserved |
//! | 6 | SNP firmware | reserved |
//! | 7 | microcode | microcode |
//!
//! Components are compared one by one: a TCB is at a floor only if every component is. Source: 56860 §2.2.

use serde::{Deserialize, Serialize};

use super::product::Product;
use crate::bytes::Bytes;

/// How the eight bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan and Genoa: no FMC.
    Legacy,
    /// Turin and later: FMC first.
    Fmc,
}

impl TcbLayout {
    /// The layout of a product line. Lines this version does not know came after Turin.
    #[must_use]
    pub fn of(product: &Product) -> Self {
        match product {
            Product::Milan | Product::Genoa => Self::Legacy,
            Product::Turin | Product::Other(_) => Self::Fmc,
        }
    }
}

/// A TCB version, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcb {
    /// The bytes as reported.
    pub raw: Bytes<8>,
    /// Security version of the first mutable code, Turin and later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Security version of the secure processor's boot loader.
    pub boot_loader: u8,
    /// Security version of the secure processor's operating system.
    pub tee: u8,
    /// Security version of the SNP firmware.
    pub snp: u8,
    /// Lowest microcode patch level of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// Decodes `raw` in the given layout. Reserved bytes are not looked at; see [`Self::reserved_is_zero`].
    #[must_use]
    pub fn decode(raw: [u8; 8], layout: TcbLayout) -> Self {
        let [b0, b1, b2, b3, _, _, b6, b7] = raw;
        match layout {
            TcbLayout::Legacy => Self {
                raw: Bytes(raw),
                fmc: None,
                boot_loader: b0,
                tee: b1,
                snp: b6,
                microcode: b7,
            },
            TcbLayout::Fmc => Self {
                raw: Bytes(raw),
                fmc: Some(b0),
                boot_loader: b1,
                tee: b2,
                snp: b3,
                microcode: b7,
            },
        }
    }

    /// Whether the reserved bytes are zero, as they must be.
    #[must_use]
    pub fn reserved_is_zero(&self) -> bool {
        let [_, _, b2, b3, b4, b5, b6, _] = self.raw.0;
        match self.fmc {
            None => [b2, b3, b4, b5] == [0; 4],
            Some(_) => [b4, b5, b6] == [0; 3],
        }
    }

    /// The first component below `floor`, as `(name, found, wanted)`; `None` if every component suffices.
    #[must_use]
    pub fn below(&self, floor: &TcbFloor) -> Option<(&'static str, Option<u8>, u8)> {
        let components = [
            ("fmc", self.fmc, floor.fmc),
            ("boot_loader", Some(self.boot_loader), floor.boot_loader),
            ("tee", Some(self.tee), floor.tee),
            ("snp", Some(self.snp), floor.snp),
            ("microcode", Some(self.microcode), floor.microcode),
        ];
        components
            .into_iter()
            .find_map(|(name, found, wanted)| match wanted {
                Some(wanted) if found.is_none_or(|found| found < wanted) => {
                    Some((name, found, wanted))
                }
                _ => None,
            })
    }
}

/// The least TCB a policy accepts; components left out are not compared. A floor on `fmc` is never met by a
/// product that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcbFloor {
    /// First mutable code.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub boot_loader: Option<u8>,
    /// Secure processor's operating system.
    pub tee: Option<u8>,
    /// SNP firmware.
    pub snp: Option<u8>,
    /// Microcode.
    pub microcode: Option<u8>,
}

impl From<&Tcb> for TcbFloor {
    fn from(tcb: &Tcb) -> Self {
        Self {
            fmc: tcb.fmc,
            boot_loader: Some(tcb.boot_loader),
            tee: Some(tcb.tee),
            snp: Some(tcb.snp),
            microcode: Some(tcb.microcode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: [u8; 8] = [1, 2, 3, 4, 0, 0, 7, 8];

    #[test]
    fn decodes_both_layouts() {
        let milan = Tcb::decode(RAW, TcbLayout::Legacy);
        assert_eq!(
            (
                milan.fmc,
                milan.boot_loader,
                milan.tee,
                milan.snp,
                milan.microcode
            ),
            (None, 1, 2, 7, 8)
        );
        assert!(!milan.reserved_is_zero());
        let turin = Tcb::decode(RAW, TcbLayout::Fmc);
        assert_eq!(
            (
                turin.fmc,
                turin.boot_loader,
                turin.tee,
                turin.snp,
                turin.microcode
            ),
            (Some(1), 2, 3, 4, 8)
        );
        assert!(!turin.reserved_is_zero());
    }

    #[test]
    fn compares_each_component_on_its_own() {
        let tcb = Tcb::decode([4, 0, 0, 0, 0, 0, 23, 213], TcbLayout::Legacy);
        let floor = TcbFloor {
            snp: Some(24),
            microcode: Some(1),
            ..TcbFloor::default()
        };
        assert_eq!(tcb.below(&floor), Some(("snp", Some(23), 24)));
        assert_eq!(
            tcb.below(&TcbFloor {
                microcode: Some(213),
                ..TcbFloor::default()
            }),
            None
        );
    }

    #[test]
    fn a_floor_on_fmc_is_not_met_without_fmc() {
        let tcb = Tcb::decode([255; 8], TcbLayout::Legacy);
        assert_eq!(
            tcb.below(&TcbFloor {
                fmc: Some(0),
                ..TcbFloor::default()
            }),
            Some(("fmc", None, 0))
        );
    }
}
