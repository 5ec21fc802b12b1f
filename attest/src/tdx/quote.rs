//! The TD quote as bytes: header, body, signature data.
//!
//! Layouts: Intel TDX DCAP Quoting Library API, appendix A ("Quote Format", versions 4 and 5); the enclave report
//! of the quoting enclave (QE) is `sgx_report_body_t` of the Intel SDM. Integers are little-endian. Version 4 has
//! the TD 1.0 body right behind the header; version 5 puts a body descriptor (type, size) between them:
//! type 2 is TD 1.0, 3 is TD 1.5, 4 is TD 1.5 with the service TD and device fields, 1 is an SGX enclave report,
//! which is refused here as is every quote of another TEE.
//!
//! The signed region is everything before the signature data's length field. Bytes behind the signature data are
//! not part of the quote: kernels and clouds hand out fixed buffers with padding.

use super::attributes::TdAttributes;
use crate::bytes::Bytes;
use crate::reader::{ReadError, Reader};

/// Bytes of the quote header.
pub const HEADER_LEN: usize = 48;
/// Largest buffer that is looked at; real quotes have about 5 KiB, in buffers of 8 or 16 KiB.
pub const MAX_QUOTE_LEN: usize = 64 << 10;
/// `tee_type` of TDX.
const TEE_TDX: u32 = 0x81;
/// ECDSA over P-256 with SHA-256, the one attestation key type in use.
const KEY_ECDSA_P256: u16 = 2;
/// Vendor id of Intel's quoting enclave.
const INTEL_QE: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// Certification data: a PEM chain PCK, CA, root.
const CERT_PCK_CHAIN: u16 = 5;
/// Certification data: the QE's report, its signature, and inner certification data.
const CERT_QE_REPORT: u16 = 6;

/// Why bytes are not a TD quote that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The bytes end inside a field, or lengths contradict each other.
    #[error("the TD quote is malformed: {0}")]
    Malformed(#[from] ReadError),
    /// More bytes than any quote buffer has.
    #[error("the TD quote has {found} bytes, at most {MAX_QUOTE_LEN} are accepted")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Neither version 4 nor 5.
    #[error("quote version {found}, only 4 and 5 are TD quotes")]
    Version {
        /// Version found.
        found: u16,
    },
    /// The quote is of another TEE.
    #[error(
        "the quote is of TEE type {found:#x}, expected 0x81 (TDX); an SGX quote says nothing about a TD"
    )]
    NotTdx {
        /// TEE type found; 0 is SGX.
        found: u32,
    },
    /// The body descriptor of a version 5 quote names no TD report.
    #[error(
        "body type {found}, expected 2 (TD 1.0), 3 (TD 1.5) or 4 (TD 1.5 extended); 1 is an SGX enclave"
    )]
    BodyType {
        /// Body type found.
        found: u16,
    },
    /// The body's size does not fit its type.
    #[error("body type {kind} announces {found} bytes, expected {wanted}")]
    BodySize {
        /// Body type.
        kind: u16,
        /// Size found.
        found: u32,
        /// Size of that type.
        wanted: u32,
    },
    /// The attestation key is not ECDSA over P-256.
    #[error("attestation key type {found}, only 2 (ECDSA P-256) is accepted")]
    KeyType {
        /// Type found.
        found: u16,
    },
    /// The quoting enclave is not Intel's.
    #[error("quoting enclave vendor {found}, expected Intel's 939a7233f79c4ca9940a0db3957f0607")]
    QeVendor {
        /// Vendor id found.
        found: Bytes<16>,
    },
    /// Certification data of a kind that does not carry the PCK chain.
    #[error("certification data type {found}, expected {wanted}")]
    CertificationType {
        /// Type found.
        found: u16,
        /// What would be right.
        wanted: &'static str,
    },
}

/// TD 1.0 body: the fields every TD report has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TdReport {
    /// TCB of the TDX module and SEAM loader when the TD was launched.
    pub tee_tcb_svn: Bytes<16>,
    /// Measurement of the TDX module.
    pub mr_seam: Bytes<48>,
    /// Signer of the TDX module; zero for Intel's.
    pub mr_signer_seam: Bytes<48>,
    /// Attributes of the TDX module.
    pub seam_attributes: Bytes<8>,
    /// Attributes of the TD.
    pub td_attributes: TdAttributes,
    /// Extended features the TD may use.
    pub xfam: Bytes<8>,
    /// Measurement of the TD's initial memory.
    pub mr_td: Bytes<48>,
    /// Software-defined id of the TD's configuration, set by the host.
    pub mr_config_id: Bytes<48>,
    /// Software-defined id of the TD's owner, set by the host.
    pub mr_owner: Bytes<48>,
    /// Software-defined id of the owner's configuration, set by the host.
    pub mr_owner_config: Bytes<48>,
    /// Runtime measurement registers 0 to 3.
    pub rtmr: [Bytes<48>; 4],
    /// What the TD asked to have reported.
    pub report_data: Bytes<64>,
}

/// What a TD 1.5 body adds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TdReport15 {
    /// TCB of the TDX module now, after an update under the running TD.
    pub tee_tcb_svn2: Bytes<16>,
    /// Hash of the service TDs bound to the TD; zero where there is none.
    pub mr_service_td: Bytes<48>,
}

/// What body type 4 adds to TD 1.5 (`sgx_report2_body_v1_5_ex_t`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TdReport15Ex {
    /// Index of the VM inside a partitioned TD; 0 otherwise.
    pub vmid: u8,
    /// Id of the TD instance.
    pub td_id: Bytes<32>,
    /// Hash of the device information.
    pub dev_info: Bytes<48>,
    /// Hash of the service TDs bound at creation.
    pub init_service_td_hash: Bytes<48>,
    /// Attributes of the service TD bound at creation.
    pub init_service_td_attributes: Bytes<8>,
    /// CPUSVN at creation.
    pub init_cpu_svn: Bytes<16>,
    /// Module TCB at creation.
    pub init_tee_tcb_svn: Bytes<16>,
    /// Platform model at creation.
    pub init_tee_fmspc: Bytes<12>,
    /// Hash of the service TDs bound now.
    pub cur_service_td_hash: Bytes<48>,
    /// Attributes of the service TD bound now.
    pub cur_service_td_attributes: Bytes<8>,
}

/// The fields of the QE's enclave report that are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeReport {
    /// MISCSELECT as it lies in memory.
    pub misc_select: Bytes<4>,
    /// Enclave attributes.
    pub attributes: Bytes<16>,
    /// Measurement of the QE.
    pub mr_enclave: Bytes<32>,
    /// Signer of the QE.
    pub mr_signer: Bytes<32>,
    /// Product id.
    pub isv_prod_id: u16,
    /// Security version.
    pub isv_svn: u16,
    /// SHA-256 of attestation key and authentication data, then 32 zero bytes.
    pub report_data: Bytes<64>,
}

/// Signature data of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureData<'a> {
    /// ECDSA signature (r, s) over the signed region.
    pub quote_signature: &'a [u8],
    /// Attestation key: x, y.
    pub attestation_key: &'a [u8],
    /// The QE's report as signed.
    pub qe_report_bytes: &'a [u8],
    /// ECDSA signature (r, s) over the QE's report by the PCK.
    pub qe_report_signature: &'a [u8],
    /// Data the QE hashed together with the attestation key.
    pub qe_auth_data: &'a [u8],
    /// The QE's report.
    pub qe_report: QeReport,
    /// PEM chain of the PCK certificate.
    pub pck_chain: &'a [u8],
}

/// A TD quote, parsed but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote<'a> {
    /// 4 or 5.
    pub version: u16,
    /// 2 (ECDSA P-256).
    pub attestation_key_type: u16,
    /// Free field of the header; the first 16 bytes are the QE's id.
    pub user_data: Bytes<20>,
    /// Type in the body descriptor; `None` in version 4, which has none.
    pub body_type: Option<u16>,
    /// The report of the TD.
    pub report: TdReport,
    /// Body types 3 and 4.
    pub report15: Option<TdReport15>,
    /// Body type 4.
    pub report15_ex: Option<TdReport15Ex>,
    /// Header and body: the bytes the attestation key signed.
    pub signed: &'a [u8],
    /// Signature data.
    pub signature: SignatureData<'a>,
    /// Bytes behind the quote (padding of the buffer it came in).
    pub padding: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a quote. Total on hostile bytes, allocates nothing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_QUOTE_LEN {
            return Err(QuoteError::TooLarge { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let (version, attestation_key_type, user_data) = header(&mut reader)?;
        let body_type = match version {
            4 => None,
            _ => Some(descriptor(&mut reader)?),
        };
        let report = td_report(&mut reader)?;
        let report15 = match body_type {
            Some(3 | 4) => Some(td_report15(&mut reader)?),
            _ => None,
        };
        let report15_ex = match body_type {
            Some(4) => Some(td_report15_ex(&mut reader)?),
            _ => None,
        };
        let signed = bytes.get(..reader.at()).unwrap_or_default();
        let length = reader.u32_le("signature data length")?;
        let data = reader.take("signature data", to_usize(length))?;
        Ok(Self {
            version,
            attestation_key_type,
            user_data,
            body_type,
            report,
            report15,
            report15_ex,
            signed,
            signature: signature_data(data)?,
            padding: reader.rest(),
        })
    }
}

fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn bytes<const N: usize>(
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<Bytes<N>, ReadError> {
    let mut out = [0; N];
    out.copy_from_slice(reader.take(what, N)?);
    Ok(Bytes(out))
}

fn header(reader: &mut Reader<'_>) -> Result<(u16, u16, Bytes<20>), QuoteError> {
    let version = reader.u16_le("quote version")?;
    if !matches!(version, 3..=5) {
        return Err(QuoteError::Version { found: version });
    }
    let key_type = reader.u16_le("attestation key type")?;
    // In version 3 these bytes are reserved (zero): such quotes are SGX by definition.
    let tee = reader.u32_le("TEE type")?;
    if tee != TEE_TDX {
        return Err(QuoteError::NotTdx { found: tee });
    }
    if version == 3 {
        return Err(QuoteError::Version { found: version });
    }
    if key_type != KEY_ECDSA_P256 {
        return Err(QuoteError::KeyType { found: key_type });
    }
    reader.take("reserved", 4)?;
    let vendor = bytes::<16>(reader, "QE vendor id")?;
    if vendor.0 != INTEL_QE {
        return Err(QuoteError::QeVendor { found: vendor });
    }
    Ok((version, key_type, bytes(reader, "user data")?))
}

fn descriptor(reader: &mut Reader<'_>) -> Result<u16, QuoteError> {
    let kind = reader.u16_le("body type")?;
    let found = reader.u32_le("body size")?;
    let wanted = match kind {
        2 => 584,
        3 => 648,
        4 => 885,
        _ => return Err(QuoteError::BodyType { found: kind }),
    };
    if found != wanted {
        return Err(QuoteError::BodySize {
            kind,
            found,
            wanted,
        });
    }
    Ok(kind)
}

fn td_report(reader: &mut Reader<'_>) -> Result<TdReport, ReadError> {
    Ok(TdReport {
        tee_tcb_svn: bytes(reader, "tee_tcb_svn")?,
        mr_seam: bytes(reader, "mr_seam")?,
        mr_signer_seam: bytes(reader, "mr_signer_seam")?,
        seam_attributes: bytes(reader, "seam_attributes")?,
        td_attributes: TdAttributes(bytes(reader, "td_attributes")?),
        xfam: bytes(reader, "xfam")?,
        mr_td: bytes(reader, "mr_td")?,
        mr_config_id: bytes(reader, "mr_config_id")?,
        mr_owner: bytes(reader, "mr_owner")?,
        mr_owner_config: bytes(reader, "mr_owner_config")?,
        rtmr: [
            bytes(reader, "rtmr0")?,
            bytes(reader, "rtmr1")?,
            bytes(reader, "rtmr2")?,
            bytes(reader, "rtmr3")?,
        ],
        report_data: bytes(reader, "report_data")?,
    })
}

fn td_report15(reader: &mut Reader<'_>) -> Result<TdReport15, ReadError> {
    Ok(TdReport15 {
        tee_tcb_svn2: bytes(reader, "tee_tcb_svn2")?,
        mr_service_td: bytes(reader, "mr_service_td")?,
    })
}

fn td_report15_ex(reader: &mut Reader<'_>) -> Result<TdReport15Ex, ReadError> {
    Ok(TdReport15Ex {
        vmid: reader.u8("vmid")?,
        td_id: bytes(reader, "td_id")?,
        dev_info: bytes(reader, "dev_info")?,
        init_service_td_hash: bytes(reader, "init_service_td_hash")?,
        init_service_td_attributes: bytes(reader, "init_service_td_attributes")?,
        init_cpu_svn: bytes(reader, "init_cpu_svn")?,
        init_tee_tcb_svn: bytes(reader, "init_tee_tcb_svn")?,
        init_tee_fmspc: bytes(reader, "init_tee_fmspc")?,
        cur_service_td_hash: bytes(reader, "cur_service_td_hash")?,
        cur_service_td_attributes: bytes(reader, "cur_service_td_attributes")?,
    })
}

fn signature_data(data: &[u8]) -> Result<SignatureData<'_>, QuoteError> {
    let mut outer = Reader::new(data);
    let quote_signature = outer.take("quote signature", 64)?;
    let attestation_key = outer.take("attestation key", 64)?;
    let kind = outer.u16_le("certification data type")?;
    if kind != CERT_QE_REPORT {
        let wanted = "6 (QE report)";
        return Err(QuoteError::CertificationType {
            found: kind,
            wanted,
        });
    }
    let length = outer.u32_le("certification data length")?;
    let mut inner = Reader::new(outer.take("certification data", to_usize(length))?);
    outer.finish("signature data")?;

    let qe_report_bytes = inner.take("QE report", 384)?;
    let qe_report_signature = inner.take("QE report signature", 64)?;
    let length = inner.u16_le("QE authentication data length")?;
    let qe_auth_data = inner.take("QE authentication data", usize::from(length))?;
    let kind = inner.u16_le("inner certification data type")?;
    if kind != CERT_PCK_CHAIN {
        let wanted = "5 (PCK certificate chain)";
        return Err(QuoteError::CertificationType {
            found: kind,
            wanted,
        });
    }
    let length = inner.u32_le("PCK chain length")?;
    let pck_chain = inner.take("PCK chain", to_usize(length))?;
    inner.finish("certification data")?;
    Ok(SignatureData {
        quote_signature,
        attestation_key,
        qe_report_bytes,
        qe_report_signature,
        qe_auth_data,
        qe_report: qe_report(qe_report_bytes)?,
        pck_chain,
    })
}

fn qe_report(report: &[u8]) -> Result<QeReport, ReadError> {
    let mut reader = Reader::new(report);
    reader.take("CPUSVN", 16)?;
    let misc_select = bytes(&mut reader, "MISCSELECT")?;
    reader.take("reserved", 28)?;
    let attributes = bytes(&mut reader, "ATTRIBUTES")?;
    let mr_enclave = bytes(&mut reader, "MRENCLAVE")?;
    reader.take("reserved", 32)?;
    let mr_signer = bytes(&mut reader, "MRSIGNER")?;
    reader.take("reserved", 96)?;
    let isv_prod_id = reader.u16_le("ISVPRODID")?;
    let isv_svn = reader.u16_le("ISVSVN")?;
    reader.take("reserved", 60)?;
    let report_data = bytes(&mut reader, "REPORTDATA")?;
    reader.finish("QE report")?;
    Ok(QeReport {
        misc_select,
        attributes,
        mr_enclave,
        mr_signer,
        isv_prod_id,
        isv_svn,
        report_data,
    })
}
