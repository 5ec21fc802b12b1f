//! What a report and an endorsement certificate say, as plain data: byte strings in hex, bit fields as hex
//! numbers beside their decoded flags.

use serde::{Deserialize, Serialize};

use super::report::{FirmwareVersion, Report, SigningKey, Tcbs};
use super::tcb::{Tcb, TcbLayout};
use crate::bytes::{Bytes, Hex};

/// A report's fields. Nothing in it says that the report was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ReportClaims {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: Hex,
    pub policy_flags: PolicyFlags,
    pub family_id: Bytes<16>,
    pub image_id: Bytes<16>,
    pub vmpl: u32,
    pub signature_algo: u32,
    pub current_tcb: Tcb,
    pub platform_info: Hex,
    pub platform_flags: PlatformFlags,
    pub author_key_en: bool,
    pub mask_chip_key: bool,
    pub signing_key: String,
    pub report_data: Bytes<64>,
    pub measurement: Bytes<48>,
    pub host_data: Bytes<32>,
    pub id_key_digest: Bytes<48>,
    pub author_key_digest: Bytes<48>,
    pub report_id: Bytes<32>,
    pub report_id_ma: Bytes<32>,
    pub reported_tcb: Tcb,
    pub chip_id: Bytes<64>,
    pub committed_tcb: Tcb,
    pub current_version: FirmwareVersion,
    pub committed_version: FirmwareVersion,
    pub launch_tcb: Tcb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuid: Option<CpuidClaims>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_mit_vector: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_mit_vector: Option<u64>,
    /// Offset of the first reserved byte that is not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_not_zero: Option<usize>,
}

/// Guest policy, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PolicyFlags {
    pub abi_minor: u8,
    pub abi_major: u8,
    pub smt: bool,
    pub migrate_ma: bool,
    pub debug: bool,
    pub single_socket: bool,
    pub cxl_allow: bool,
    pub mem_aes_256_xts: bool,
    pub rapl_dis: bool,
    pub ciphertext_hiding: bool,
    pub page_swap_disable: bool,
}

/// Platform information, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PlatformFlags {
    pub smt_enabled: bool,
    pub tsme_enabled: bool,
    pub ecc_enabled: bool,
    pub rapl_disabled: bool,
    pub ciphertext_hiding: bool,
    pub alias_check_complete: bool,
    pub tio_enabled: bool,
}

/// CPU of the chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CpuidClaims {
    pub family: Hex<u8>,
    pub model: Hex<u8>,
    pub stepping: u8,
}

impl ReportClaims {
    /// The fields of `report`, with TCB versions read in `layout`.
    #[must_use]
    pub fn new(report: &Report, layout: TcbLayout) -> Self {
        let tcbs = report.tcbs(layout);
        Self {
            version: report.version,
            guest_svn: report.guest_svn,
            policy: Hex(report.policy.0),
            policy_flags: policy_flags(report),
            family_id: Bytes(report.family_id),
            image_id: Bytes(report.image_id),
            vmpl: report.vmpl,
            signature_algo: report.signature_algo,
            current_tcb: tcbs.current,
            platform_info: Hex(report.platform_info.0),
            platform_flags: platform_flags(report),
            author_key_en: report.author_key_en(),
            mask_chip_key: report.mask_chip_key(),
            signing_key: match report.signing_key() {
                SigningKey::Vcek => "VCEK".to_owned(),
                SigningKey::Vlek => "VLEK".to_owned(),
                SigningKey::None => "none".to_owned(),
                SigningKey::Reserved(value) => format!("reserved ({value})"),
            },
            report_data: Bytes(report.report_data),
            measurement: Bytes(report.measurement),
            host_data: Bytes(report.host_data),
            id_key_digest: Bytes(report.id_key_digest),
            author_key_digest: Bytes(report.author_key_digest),
            report_id: Bytes(report.report_id),
            report_id_ma: Bytes(report.report_id_ma),
            reported_tcb: tcbs.reported,
            chip_id: Bytes(report.chip_id),
            committed_tcb: tcbs.committed,
            current_version: report.current_version,
            committed_version: report.committed_version,
            launch_tcb: tcbs.launch,
            cpuid: report.cpuid.map(|cpuid| CpuidClaims {
                family: Hex(cpuid.family),
                model: Hex(cpuid.model),
                stepping: cpuid.stepping,
            }),
            launch_mit_vector: report.launch_mit_vector,
            current_mit_vector: report.current_mit_vector,
            reserved_not_zero: reserved_not_zero(report, &tcbs),
        }
    }
}

/// Where bits or bytes are set that the report's version reserves.
fn reserved_not_zero(report: &Report, tcbs: &Tcbs) -> Option<usize> {
    let fields = [
        (0x38, tcbs.current),
        (0x180, tcbs.reported),
        (0x1e0, tcbs.committed),
        (0x1f0, tcbs.launch),
    ];
    let tcb = fields.into_iter().find(|(_, tcb)| !tcb.reserved_is_zero());
    let key_info = (report.key_info >> 5 != 0).then_some(0x48);
    let policy = !report.policy.reserved_one() || report.policy.0 >> 26 != 0;
    report
        .nonzero_reserved()
        .or(tcb.map(|(at, _)| at))
        .or(key_info)
        .or(policy.then_some(0x08))
}

fn policy_flags(report: &Report) -> PolicyFlags {
    let policy = report.policy;
    PolicyFlags {
        abi_minor: policy.abi_minor(),
        abi_major: policy.abi_major(),
        smt: policy.smt(),
        migrate_ma: policy.migrate_ma(),
        debug: policy.debug(),
        single_socket: policy.single_socket(),
        cxl_allow: policy.cxl_allow(),
        mem_aes_256_xts: policy.mem_aes_256_xts(),
        rapl_dis: policy.rapl_dis(),
        ciphertext_hiding: policy.ciphertext_hiding(),
        page_swap_disable: policy.page_swap_disable(),
    }
}

fn platform_flags(report: &Report) -> PlatformFlags {
    let info = report.platform_info;
    PlatformFlags {
        smt_enabled: info.smt_enabled(),
        tsme_enabled: info.tsme_enabled(),
        ecc_enabled: info.ecc_enabled(),
        rapl_disabled: info.rapl_disabled(),
        ciphertext_hiding: info.ciphertext_hiding(),
        alias_check_complete: info.alias_check_complete(),
        tio_enabled: info.tio_enabled(),
    }
}

#[cfg(feature = "verify")]
pub use endorsement::{SnpClaims, VekClaims};

#[cfg(feature = "verify")]
mod endorsement {
    use serde::{Deserialize, Serialize};

    use super::ReportClaims;
    use crate::der::rfc3339;
    use crate::snp::certs::Certificate;
    use crate::snp::chain::name;
    use crate::snp::product::Product;
    use crate::snp::vek::{Vek, VekKind};
    use crate::snp::verify::SnpVerified;

    /// What verified SNP evidence says: `report` is signed by the endorsed key, `vek` and `product` by AMD.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct SnpClaims {
        pub product: Product,
        pub report: ReportClaims,
        pub vek: VekClaims,
        pub intermediate: String,
        pub root: String,
    }

    impl From<&SnpVerified> for SnpClaims {
        fn from(verified: &SnpVerified) -> Self {
            let chain = verified.chain();
            Self {
                product: chain.product.clone(),
                report: ReportClaims::new(verified.report(), chain.vek.layout()),
                vek: VekClaims::new(&chain.certificate, &chain.vek),
                intermediate: name(&chain.intermediate.subject),
                root: name(&chain.root.subject),
            }
        }
    }

    /// What an endorsement certificate says. `spl_…` are reserved components, by their identifier.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct VekClaims {
        pub kind: VekKind,
        pub serial: String,
        pub not_before: String,
        pub not_after: String,
        pub struct_version: u8,
        pub product: String,
        #[serde(flatten)]
        pub spl: SplClaims,
        /// Hex chip id, 64 or 8 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hwid: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub csp_id: Option<String>,
    }

    /// The TCB that an endorsement key was derived for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct SplClaims {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub boot_loader: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tee: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub snp: Option<u8>,
        #[serde(rename = "spl_3.4", default, skip_serializing_if = "Option::is_none")]
        pub spl4: Option<u8>,
        #[serde(rename = "spl_3.5", default, skip_serializing_if = "Option::is_none")]
        pub spl5: Option<u8>,
        #[serde(rename = "spl_3.6", default, skip_serializing_if = "Option::is_none")]
        pub spl6: Option<u8>,
        #[serde(rename = "spl_3.7", default, skip_serializing_if = "Option::is_none")]
        pub spl7: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub microcode: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fmc: Option<u8>,
    }

    impl VekClaims {
        /// The certificate's dates and serial number with AMD's extensions.
        #[must_use]
        pub fn new(certificate: &Certificate, vek: &Vek) -> Self {
            let [
                _,
                boot_loader,
                tee,
                snp,
                spl4,
                spl5,
                spl6,
                spl7,
                microcode,
                fmc,
            ] = vek.spl;
            Self {
                kind: vek.kind,
                serial: serial(&certificate.serial),
                not_before: rfc3339(certificate.not_before),
                not_after: rfc3339(certificate.not_after),
                struct_version: vek.struct_version,
                product: vek.product_name.clone(),
                spl: SplClaims {
                    boot_loader,
                    tee,
                    snp,
                    spl4,
                    spl5,
                    spl6,
                    spl7,
                    microcode,
                    fmc,
                },
                hwid: vek.hwid.as_ref().map(hex::encode),
                csp_id: vek.csp_id.clone(),
            }
        }
    }

    /// `0x10001` for the digits of a serial number.
    pub fn serial(digits: &[u8]) -> String {
        let digits = hex::encode(digits);
        let digits = digits.trim_start_matches('0');
        format!("0x{}", if digits.is_empty() { "0" } else { digits })
    }
}
