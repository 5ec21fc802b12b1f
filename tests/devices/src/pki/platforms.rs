//! The platforms that tests want: a good one of each kind, and some that must be refused.

use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{Authority, ReportSpec, VekSpec};
use dawnkey_attest::snp::vek::VekKind;

use super::Makers;
use crate::material::Material;

/// Bit of an SNP guest policy that lets the host read the guest's memory.
const SNP_DEBUG: u64 = 1 << 19;
/// Bit of TD attributes with the same meaning.
const TD_DEBUG: u64 = 1;
/// Offset of the report id, which the firmware makes at each launch.
const REPORT_ID: usize = 0x140;
/// Firmware hands out certificates in whole pages.
const PAGE: usize = 4096;

/// One platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// SEV-SNP in order, with its VCEK.
    Snp,
    /// The same guest, launched anew: the firmware gives each launch an id of its own.
    SnpRelaunched,
    /// The same with a guest policy that allows debugging.
    SnpDebug,
    /// The same at VMPL 2.
    SnpVmpl,
    /// The same with a VCEK that its issuer has revoked.
    SnpRevoked,
    /// TDX in order.
    Tdx,
    /// The same with a TD that can be debugged.
    TdxDebug,
}

impl Platform {
    /// All of them.
    pub const ALL: [Platform; 7] = [
        Platform::Snp,
        Platform::SnpRelaunched,
        Platform::SnpDebug,
        Platform::SnpVmpl,
        Platform::SnpRevoked,
        Platform::Tdx,
        Platform::TdxDebug,
    ];

    /// Name of its file, without extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Platform::Snp => "snp",
            Platform::SnpRelaunched => "snp-relaunched",
            Platform::SnpDebug => "snp-debug",
            Platform::SnpVmpl => "snp-vmpl",
            Platform::SnpRevoked => "snp-revoked",
            Platform::Tdx => "tdx",
            Platform::TdxDebug => "tdx-debug",
        }
    }

    /// Its keys and templates.
    #[must_use]
    pub(super) fn material(self, makers: &Makers) -> Material {
        match self {
            Platform::Tdx | Platform::TdxDebug => self.tdx(makers),
            _ => self.snp(makers),
        }
    }

    fn snp(self, makers: &Makers) -> Material {
        let amd = &makers.amd;
        let mut vek = VekSpec::new(VekKind::Vcek, amd.product());
        let mut report = ReportSpec::new(amd.product(), VekKind::Vcek);
        match self {
            Platform::SnpRelaunched => report.bent.push((REPORT_ID, 0x2e)),
            Platform::SnpDebug => report.policy |= SNP_DEBUG,
            Platform::SnpVmpl => report.vmpl = 2,
            Platform::SnpRevoked => vek.serial = Makers::REVOKED.to_vec(),
            _ => {}
        }
        // A table has room for one list: the root's, which a verifier demands, or the one that says no.
        let crl = match self {
            Platform::SnpRevoked => makers.crl(Authority::Ask),
            _ => makers.crl(Authority::Ark),
        };
        let vek = amd.issue(&vek);
        let table = CertificateTable {
            vcek: Some(vek.der),
            intermediates: vec![amd.der(Authority::Ask).to_vec()],
            ark: Some(amd.der(Authority::Ark).to_vec()),
            crl: Some(crl),
            ..CertificateTable::default()
        };
        let mut certificates = table.encode();
        certificates.resize(certificates.len().next_multiple_of(PAGE), 0);
        Material::Snp {
            report: report.bytes(),
            key: vek.pkcs8,
            certificates,
        }
    }

    fn tdx(self, makers: &Makers) -> Material {
        let mut spec = makers.spec.clone();
        if self == Platform::TdxDebug {
            spec.td_attributes |= TD_DEBUG;
        }
        Material::Tdx {
            quote: makers.intel.quote(&spec),
            key: makers.intel.attestation_key().to_vec(),
        }
    }
}
