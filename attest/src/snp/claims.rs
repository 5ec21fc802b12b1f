//! What a report and an endorsement certificate say, as plain data: byte strings in hex, bit fields as hex
//! numbers beside their decoded flags.

use serde::Serialize;

use super::report::{Report, SigningKey};
use super::tcb::{Tcb, TcbLayout};

/// A report's fields. Nothing in it says that the report was verified.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ReportClaims {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: String,
    pub policy_flags: PolicyFlags,
    pub family_id: String,
    pub image_id: String,
    pub vmpl: u32,
    pub signature_algo: u32,
    pub current_tcb: Tcb,
    pub platform_info: String,
    pub platform_flags: PlatformFlags,
    pub author_key_en: bool,
    pub mask_chip_key: bool,
    pub signing_key: String,
    pub report_data: String,
    pub measurement: String,
    pub host_data: String,
    pub id_key_digest: String,
    pub author_key_digest: String,
    pub report_id: String,
    pub report_id_ma: String,
    pub reported_tcb: Tcb,
    pub chip_id: String,
    pub committed_tcb: Tcb,
    pub current_version: String,
    pub committed_version: String,
    pub launch_tcb: Tcb,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuid: Option<CpuidClaims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_mit_vector: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_mit_vector: Option<u64>,
}

/// Guest policy, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CpuidClaims {
    pub family: String,
    pub model: String,
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
            policy: format!("{:#x}", report.policy.0),
            policy_flags: policy_flags(report),
            family_id: hex::encode(report.family_id),
            image_id: hex::encode(report.image_id),
            vmpl: report.vmpl,
            signature_algo: report.signature_algo,
            current_tcb: tcbs.current,
            platform_info: format!("{:#x}", report.platform_info.0),
            platform_flags: platform_flags(report),
            author_key_en: report.author_key_en(),
            mask_chip_key: report.mask_chip_key(),
            signing_key: match report.signing_key() {
                SigningKey::Vcek => "VCEK".to_owned(),
                SigningKey::Vlek => "VLEK".to_owned(),
                SigningKey::None => "none".to_owned(),
                SigningKey::Reserved(value) => format!("reserved ({value})"),
            },
            report_data: hex::encode(report.report_data),
            measurement: hex::encode(report.measurement),
            host_data: hex::encode(report.host_data),
            id_key_digest: hex::encode(report.id_key_digest),
            author_key_digest: hex::encode(report.author_key_digest),
            report_id: hex::encode(report.report_id),
            report_id_ma: hex::encode(report.report_id_ma),
            reported_tcb: tcbs.reported,
            chip_id: hex::encode(report.chip_id),
            committed_tcb: tcbs.committed,
            current_version: report.current_version.to_string(),
            committed_version: report.committed_version.to_string(),
            launch_tcb: tcbs.launch,
            cpuid: report.cpuid.map(|cpuid| CpuidClaims {
                family: format!("{:#x}", cpuid.family),
                model: format!("{:#x}", cpuid.model),
                stepping: cpuid.stepping,
            }),
            launch_mit_vector: report.launch_mit_vector,
            current_mit_vector: report.current_mit_vector,
        }
    }
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
    use serde::{Serialize, Serializer, ser::SerializeMap};

    use super::ReportClaims;
    use crate::der::rfc3339;
    use crate::snp::certs::Certificate;
    use crate::snp::chain::name;
    use crate::snp::product::Product;
    use crate::snp::vek::Vek;
    use crate::snp::verify::SnpVerified;

    /// What verified SNP evidence says.
    #[derive(Clone, Debug, Serialize)]
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

    /// What an endorsement certificate says.
    #[derive(Clone, Debug)]
    pub struct VekClaims {
        not_before: String,
        not_after: String,
        serial: String,
        vek: Vek,
    }

    impl VekClaims {
        /// The certificate's dates and serial number with AMD's extensions.
        #[must_use]
        pub fn new(certificate: &Certificate, vek: &Vek) -> Self {
            Self {
                not_before: rfc3339(certificate.not_before),
                not_after: rfc3339(certificate.not_after),
                serial: serial(&certificate.serial),
                vek: vek.clone(),
            }
        }
    }

    impl Serialize for VekClaims {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            const NAMES: [&str; 10] = [
                "",
                "boot_loader",
                "tee",
                "snp",
                "spl_3.4",
                "spl_3.5",
                "spl_3.6",
                "spl_3.7",
                "microcode",
                "fmc",
            ];
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("kind", self.vek.kind.name())?;
            map.serialize_entry("serial", &self.serial)?;
            map.serialize_entry("not_before", &self.not_before)?;
            map.serialize_entry("not_after", &self.not_after)?;
            map.serialize_entry("struct_version", &self.vek.struct_version)?;
            map.serialize_entry("product", &self.vek.product_name)?;
            for (name, value) in NAMES.iter().zip(self.vek.spl) {
                if let Some(value) = value {
                    map.serialize_entry(name, &value)?;
                }
            }
            if let Some(hwid) = &self.vek.hwid {
                map.serialize_entry("hwid", &hex::encode(hwid))?;
            }
            if let Some(csp_id) = &self.vek.csp_id {
                map.serialize_entry("csp_id", csp_id)?;
            }
            map.end()
        }
    }

    /// `0x10001` for the digits of a serial number.
    pub fn serial(digits: &[u8]) -> String {
        let digits = hex::encode(digits);
        let digits = digits.trim_start_matches('0');
        format!("0x{}", if digits.is_empty() { "0" } else { digits })
    }
}
