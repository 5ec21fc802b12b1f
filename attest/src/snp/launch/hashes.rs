//! Hashes of kernel, initrd and command line, in the page that QEMU fills for direct boot (`kernel-hashes=on`).
//!
//! The layout must be exactly QEMU's (`target/i386/sev.c`, `sev_add_kernel_loader_hashes`): a table of three
//! entries, each GUID, length and SHA-256, padded to 16 bytes.

use sha2::{Digest, Sha256};

use super::PAGE;

/// 9438d606-4f22-4cc9-b479-a793d411fd21, little-endian as in the table.
const TABLE: [u8; 16] = [
    0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21,
];
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const CMDLINE: [u8; 16] = [
    0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a,
];
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRD: [u8; 16] = [
    0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d,
];
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL: [u8; 16] = [
    0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b,
];
const ENTRY_LEN: u16 = 50;
const TABLE_LEN: u16 = 16 + 2 + 3 * ENTRY_LEN;
const PADDED_LEN: usize = 176;

/// SHA-256 of what is booted directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    cmdline: [u8; 32],
}

impl KernelHashes {
    /// Hashes a kernel image, an initrd (empty if none is given to QEMU) and a command line, which counts with
    /// its closing zero byte.
    #[must_use]
    pub fn new(kernel: &[u8], initrd: &[u8], cmdline: &str) -> Self {
        let cmdline = Sha256::new()
            .chain_update(cmdline.as_bytes())
            .chain_update([0])
            .finalize();
        Self {
            kernel: Sha256::digest(kernel).into(),
            initrd: Sha256::digest(initrd).into(),
            cmdline: cmdline.into(),
        }
    }

    /// The page with the table at `offset`; a table that would not fit is cut at the end of the page, as it is
    /// in the guest's memory.
    pub(super) fn page(&self, offset: usize) -> Vec<u8> {
        let mut page = vec![0; offset];
        page.extend_from_slice(&TABLE);
        page.extend_from_slice(&TABLE_LEN.to_le_bytes());
        for (guid, hash) in [
            (CMDLINE, self.cmdline),
            (INITRD, self.initrd),
            (KERNEL, self.kernel),
        ] {
            page.extend_from_slice(&guid);
            page.extend_from_slice(&ENTRY_LEN.to_le_bytes());
            page.extend_from_slice(&hash);
        }
        page.resize(offset + PADDED_LEN, 0);
        page.resize(PAGE, 0);
        page
    }
}
