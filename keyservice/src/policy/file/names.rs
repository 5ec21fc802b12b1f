//! Names of bits in the policy file, and back.

use serde::Deserialize;

/// A bit of an SNP guest's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GuestBit {
    Smt,
    SingleSocket,
    CxlAllow,
    #[serde(rename = "mem_aes_256_xts")]
    MemAes256Xts,
    RaplDis,
    CiphertextHiding,
    PageSwapDisable,
}

const GUEST: [(GuestBit, u32, &str); 7] = [
    (GuestBit::Smt, 16, "smt"),
    (GuestBit::SingleSocket, 20, "single_socket"),
    (GuestBit::CxlAllow, 21, "cxl_allow"),
    (GuestBit::MemAes256Xts, 22, "mem_aes_256_xts"),
    (GuestBit::RaplDis, 23, "rapl_dis"),
    (GuestBit::CiphertextHiding, 24, "ciphertext_hiding"),
    (GuestBit::PageSwapDisable, 25, "page_swap_disable"),
];

/// A bit of what an SNP platform says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlatformBit {
    SmtEnabled,
    TsmeEnabled,
    EccEnabled,
    RaplDisabled,
    CiphertextHiding,
    AliasCheckComplete,
    TioEnabled,
}

const PLATFORM: [(PlatformBit, u32, &str); 7] = [
    (PlatformBit::SmtEnabled, 0, "smt_enabled"),
    (PlatformBit::TsmeEnabled, 1, "tsme_enabled"),
    (PlatformBit::EccEnabled, 2, "ecc_enabled"),
    (PlatformBit::RaplDisabled, 3, "rapl_disabled"),
    (PlatformBit::CiphertextHiding, 4, "ciphertext_hiding"),
    (PlatformBit::AliasCheckComplete, 5, "alias_check_complete"),
    (PlatformBit::TioEnabled, 7, "tio_enabled"),
];

fn mask<B: PartialEq>(table: &[(B, u32, &str)], bits: &[B]) -> u64 {
    let set = table.iter().filter(|(bit, ..)| bits.contains(bit));
    set.fold(0, |mask, (_, at, _)| mask | 1 << at)
}

fn words<B>(table: &[(B, u32, &'static str)], mask: u64) -> String {
    let set = table.iter().filter(|(_, at, _)| mask & (1 << at) != 0);
    let names: Vec<&str> = set.map(|(.., name)| *name).collect();
    names.join(", ")
}

/// The guest policy bits of these names.
pub(super) fn guest_mask(bits: &[GuestBit]) -> u64 {
    mask(&GUEST, bits)
}

/// The platform information bits of these names.
pub(super) fn platform_mask(bits: &[PlatformBit]) -> u64 {
    mask(&PLATFORM, bits)
}

/// Names of guest policy bits.
pub(in crate::policy) fn guest_policy(mask: u64) -> String {
    words(&GUEST, mask)
}

/// Names of platform information bits.
pub(in crate::policy) fn platform_info(mask: u64) -> String {
    words(&PLATFORM, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dawnkey_attest::snp::bits::{GuestPolicy, PlatformInfo};

    #[test]
    fn names_are_those_of_the_reports_bits() {
        assert!(GuestPolicy(guest_mask(&[GuestBit::PageSwapDisable])).page_swap_disable());
        assert!(GuestPolicy(guest_mask(&[GuestBit::MemAes256Xts])).mem_aes_256_xts());
        assert!(
            PlatformInfo(platform_mask(&[PlatformBit::AliasCheckComplete])).alias_check_complete()
        );
        assert!(PlatformInfo(platform_mask(&[PlatformBit::TioEnabled])).tio_enabled());
        assert_eq!(
            guest_policy(0x0110_0000),
            "single_socket, ciphertext_hiding"
        );
        assert_eq!(platform_info(0x21), "smt_enabled, alias_check_complete");
    }
}
