//! Writes reports for the mock to sign.

use crate::snp::product::Product;
use crate::snp::tcb::TcbLayout;
use crate::snp::vek::VekKind;

use super::MockVek;

/// Chip id of the mock, of which Turin uses the first eight bytes.
pub(super) const CHIP: [u8; 64] = {
    let mut chip = [0xc5; 64];
    let mut at = 0;
    while at < 64 {
        chip[at] ^= at as u8;
        at += 1;
    }
    chip
};

/// A report to be. Fields are public to be bent by tests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ReportSpec {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: u64,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub vmpl: u32,
    pub signature_algo: u32,
    pub current_tcb: [u8; 8],
    pub platform_info: u64,
    pub key_info: u32,
    pub report_data: [u8; 64],
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub reported_tcb: [u8; 8],
    /// Family, model, stepping; written from version 3 on.
    pub cpuid: [u8; 3],
    pub chip_id: [u8; 64],
    pub committed_tcb: [u8; 8],
    /// Build, minor, major.
    pub current_version: [u8; 3],
    /// Build, minor, major.
    pub committed_version: [u8; 3],
    pub launch_tcb: [u8; 8],
    /// Launch and current; written in version 5.
    pub mitigations: [u64; 2],
    /// Bytes to overwrite before signing: offset and value.
    pub bent: Vec<(usize, u8)>,
}

impl ReportSpec {
    /// A version 5 report that the default policy accepts under a VCEK.
    #[must_use]
    pub fn new(product: &Product, kind: VekKind) -> Self {
        let tcb = match TcbLayout::of(product) {
            TcbLayout::Legacy => [4, 1, 0, 0, 0, 0, 24, 219],
            TcbLayout::Fmc => [1, 2, 3, 4, 0, 0, 0, 81],
        };
        let mut chip_id = [0; 64];
        let named = match (kind, TcbLayout::of(product)) {
            (VekKind::Vlek, _) => 0,
            (VekKind::Vcek, TcbLayout::Fmc) => 8,
            (VekKind::Vcek, TcbLayout::Legacy) => 64,
        };
        chip_id[..named].copy_from_slice(&CHIP[..named]);
        let cpuid = match product {
            Product::Milan => [0x19, 0x01, 1],
            Product::Genoa => [0x19, 0x11, 1],
            Product::Turin => [0x1a, 0x02, 1],
            Product::Other(_) => [0x1a, 0x50, 0],
        };
        Self {
            version: 5,
            guest_svn: 0,
            policy: 0x3_0000,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: 0x25,
            key_info: if kind == VekKind::Vlek { 1 << 2 } else { 0 },
            report_data: [0; 64],
            measurement: [0x3d; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            reported_tcb: tcb,
            cpuid,
            chip_id,
            committed_tcb: tcb,
            current_version: [43, 55, 1],
            committed_version: [43, 55, 1],
            launch_tcb: tcb,
            mitigations: [0x0b, 0x0f],
            bent: Vec::new(),
        }
    }

    /// The report without a signature.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; crate::snp::report::REPORT_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x000, &self.version.to_le_bytes());
        put(0x004, &self.guest_svn.to_le_bytes());
        put(0x008, &self.policy.to_le_bytes());
        put(0x010, &self.family_id);
        put(0x020, &self.image_id);
        put(0x030, &self.vmpl.to_le_bytes());
        put(0x034, &self.signature_algo.to_le_bytes());
        put(0x038, &self.current_tcb);
        put(0x040, &self.platform_info.to_le_bytes());
        put(0x048, &self.key_info.to_le_bytes());
        put(0x050, &self.report_data);
        put(0x090, &self.measurement);
        put(0x0c0, &self.host_data);
        put(0x0e0, &self.id_key_digest);
        put(0x110, &self.author_key_digest);
        put(0x140, &[0x1d; 32]);
        put(0x160, &[0xff; 32]);
        put(0x180, &self.reported_tcb);
        if self.version >= 3 {
            put(0x188, &self.cpuid);
        }
        put(0x1a0, &self.chip_id);
        put(0x1e0, &self.committed_tcb);
        put(0x1e8, &self.current_version);
        put(0x1ec, &self.committed_version);
        put(0x1f0, &self.launch_tcb);
        if self.version >= 5 {
            put(0x1f8, &self.mitigations[0].to_le_bytes());
            put(0x200, &self.mitigations[1].to_le_bytes());
        }
        for (at, value) in &self.bent {
            out[*at] = *value;
        }
        out
    }

    /// The report, signed.
    #[must_use]
    pub fn sign(&self, vek: &MockVek) -> Vec<u8> {
        let mut bytes = self.bytes();
        vek.sign(&mut bytes);
        bytes
    }
}
