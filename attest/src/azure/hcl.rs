//! The HCL report: what the paravisor of an Azure confidential VM leaves in NV index 0x01400001 of the vTPM.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 32 | header: magic `HCLA`, version, size of the whole report, request type, status, 12 reserved |
//! | 32 | 1184 | hardware report: an SNP report, or a TDREPORT (1024 bytes, then zeros) |
//! | 1216 | 20 | runtime data header: size from here, version, kind of hardware report, hash algorithm, size of the claims |
//! | 1236 | 0 or 4 | from version 2 of that header: a capability bitmap |
//! | then | n | runtime claims, JSON; their hash is in the hardware report's report data |
//! | then | | zeros, to the size of the NV index |
//!
//! Numbers are little-endian. Only the hardware report and, through its report data, the runtime claims are vouched
//! for; both headers are anybody's. Source: `openhcl_attestation_protocol::igvm_attest::get` of OpenHCL, whose
//! attestation key certificate request this report is, and the reports that VMs have.

use crate::reader::{ReadError, Reader};

/// Most bytes that are looked at; the NV index has 2600.
pub const MAX_LEN: usize = 16 << 10;
/// Bytes of the area that holds the hardware report.
pub const HARDWARE_LEN: usize = 1184;
/// Bytes of a TDREPORT.
pub const TD_REPORT_LEN: usize = 1024;
/// Bytes of the header.
pub const HEADER_LEN: usize = 32;
/// Bytes of the runtime data header.
pub const RUNTIME_HEADER_LEN: usize = 20;
/// First bytes of a report.
pub const MAGIC: [u8; 4] = *b"HCLA";
/// The paravisor asks the host for a certificate of the attestation key with this report.
pub const REQUEST_AK_CERTIFICATE: u32 = 2;
/// Largest runtime claims, bytes.
const MAX_CLAIMS: usize = 8 << 10;

/// Why bytes are not an HCL report that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HclError {
    /// The bytes end inside a field, or a length is above its cap.
    #[error("the HCL report is malformed: {0}")]
    Malformed(#[from] ReadError),
    /// More bytes than any NV index has.
    #[error("the HCL report has {found} bytes, at most {MAX_LEN} are accepted")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not an HCL report at all.
    #[error(
        "the HCL report begins with {found:02x?}, expected \"HCLA\": is this NV index 0x01400001?"
    )]
    Magic {
        /// First bytes.
        found: [u8; 4],
    },
    /// A header of a version without a layout here.
    #[error("the {header} of the HCL report has version {found}, versions 1 and 2 are known")]
    Version {
        /// Which header.
        header: &'static str,
        /// Version found.
        found: u32,
    },
    /// A size field contradicts the others.
    #[error("{field} of the HCL report is {found}, its parts make {wanted}")]
    Size {
        /// The field.
        field: &'static str,
        /// Value found.
        found: u32,
        /// What the other fields make of it.
        wanted: u64,
    },
    /// A report made for another purpose.
    #[error("the HCL report is of request type {found}, expected 2 (attestation key)")]
    RequestType {
        /// Request type found.
        found: u32,
    },
    /// Status or a reserved field is not zero.
    #[error("{field} of the HCL report is not zero")]
    NotZero {
        /// The field.
        field: &'static str,
    },
    /// The VM has no hardware report: another kind of isolation, or none.
    #[error(
        "the HCL report carries hardware report type {found}, expected 2 (SNP) or 4 (TDX); 1 is VBS, 3 a VM without TEE"
    )]
    NotTee {
        /// Type found.
        found: u32,
    },
    /// The hash algorithm is none.
    #[error(
        "the HCL report names hash algorithm {found}, expected 1 (SHA-256), 2 (SHA-384) or 3 (SHA-512)"
    )]
    HashAlgorithm {
        /// Number found.
        found: u32,
    },
    /// Something follows the report that is no filler.
    #[error("{count} bytes follow the HCL report that are not zero filler")]
    Trailing {
        /// Bytes behind the report.
        count: usize,
    },
}

impl HclError {
    /// A short stable name of the cause.
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Version { .. } => "unsupported_version",
            Self::NotTee { .. } => "not_tee",
            Self::HashAlgorithm { .. } => "unsupported_hash",
            _ => "malformed",
        }
    }
}

/// Kind of the hardware report inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HardwareKind {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl HardwareKind {
    /// Number in the runtime data header.
    pub fn id(self) -> u32 {
        match self {
            Self::Snp => 2,
            Self::Tdx => 4,
        }
    }
}

/// Algorithm that hashed the runtime claims into the hardware report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashKind {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashKind {
    /// Number in the runtime data header.
    pub fn id(self) -> u32 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    fn hash(self) -> crate::tpm::hash::Hash {
        use crate::tpm::hash::Hash;
        match self {
            Self::Sha256 => Hash::Sha256,
            Self::Sha384 => Hash::Sha384,
            Self::Sha512 => Hash::Sha512,
        }
    }
}

/// An HCL report, parsed but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport<'a> {
    /// Version of the header.
    pub header_version: u32,
    /// Version of the runtime data header.
    pub runtime_version: u32,
    /// What the hardware report is.
    pub kind: HardwareKind,
    /// The hardware report: 1184 bytes of SNP, or 1024 of TDX.
    pub hardware: &'a [u8],
    /// Algorithm of the hash in its report data.
    pub hash: HashKind,
    /// The claims as hashed, JSON.
    pub runtime_claims: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// Reads a report. Total on hostile bytes, allocates nothing.
    ///
    /// # Errors
    /// [`HclError`], one variant for each way in which bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclError> {
        if bytes.len() > MAX_LEN {
            return Err(HclError::TooLarge { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let (header_version, report_size) = header(&mut reader)?;
        let area = reader.take("hardware report", HARDWARE_LEN)?;
        let runtime = RuntimeHeader::read(&mut reader)?;
        let wanted = (HEADER_LEN + HARDWARE_LEN) as u64 + u64::from(runtime.data_size);
        if u64::from(report_size) != wanted {
            return Err(HclError::Size {
                field: "report size",
                found: report_size,
                wanted,
            });
        }
        if runtime.version >= 2 {
            reader.u32_le("capability bitmap")?;
        }
        let runtime_claims = reader.take("runtime claims", runtime.claims_size)?;
        let filler = reader.rest();
        if !is_zero(filler) {
            return Err(HclError::Trailing {
                count: filler.len(),
            });
        }
        Ok(Self {
            header_version,
            runtime_version: runtime.version,
            kind: runtime.kind,
            hardware: hardware(area, runtime.kind)?,
            hash: runtime.hash,
            runtime_claims,
        })
    }

    /// The report data that the hardware report must have: the hash of the runtime claims, then zeros.
    pub fn expected_report_data(&self) -> [u8; 64] {
        report_data(self.hash, self.runtime_claims)
    }
}

/// Hash of `runtime_claims` by `hash`, then zeros.
pub(super) fn report_data(hash: HashKind, runtime_claims: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    let digest = hash.hash().digest(&[runtime_claims]);
    for (slot, byte) in out.iter_mut().zip(digest) {
        *slot = byte;
    }
    out
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Version and size of the whole report.
fn header(reader: &mut Reader<'_>) -> Result<(u32, u32), HclError> {
    let magic = reader.take("magic", MAGIC.len())?;
    if magic != MAGIC {
        let mut found = [0; 4];
        found.copy_from_slice(magic);
        return Err(HclError::Magic { found });
    }
    let version = known_version("header", reader.u32_le("header version")?)?;
    let size = reader.u32_le("report size")?;
    let request = reader.u32_le("request type")?;
    if request != REQUEST_AK_CERTIFICATE {
        return Err(HclError::RequestType { found: request });
    }
    if reader.u32_le("status")? != 0 {
        return Err(HclError::NotZero { field: "status" });
    }
    if !is_zero(reader.take("reserved", 12)?) {
        let field = "a reserved field";
        return Err(HclError::NotZero { field });
    }
    Ok((version, size))
}

fn known_version(header: &'static str, found: u32) -> Result<u32, HclError> {
    match found {
        1 | 2 => Ok(found),
        _ => Err(HclError::Version { header, found }),
    }
}

/// A TDREPORT is shorter than the area; what follows it is zero.
fn hardware(area: &[u8], kind: HardwareKind) -> Result<&[u8], HclError> {
    let length = match kind {
        HardwareKind::Snp => HARDWARE_LEN,
        HardwareKind::Tdx => TD_REPORT_LEN,
    };
    match area.split_at_checked(length) {
        Some((report, rest)) if is_zero(rest) => Ok(report),
        _ => Err(HclError::NotZero {
            field: "the area behind the TDREPORT",
        }),
    }
}

struct RuntimeHeader {
    data_size: u32,
    version: u32,
    kind: HardwareKind,
    hash: HashKind,
    claims_size: usize,
}

impl RuntimeHeader {
    fn read(reader: &mut Reader<'_>) -> Result<Self, HclError> {
        let data_size = reader.u32_le("runtime data size")?;
        let version = known_version("runtime data", reader.u32_le("runtime data version")?)?;
        let kind = match reader.u32_le("hardware report type")? {
            2 => HardwareKind::Snp,
            4 => HardwareKind::Tdx,
            found => return Err(HclError::NotTee { found }),
        };
        let hash = match reader.u32_le("hash algorithm")? {
            1 => HashKind::Sha256,
            2 => HashKind::Sha384,
            3 => HashKind::Sha512,
            found => return Err(HclError::HashAlgorithm { found }),
        };
        let at = reader.at();
        let claims_size = reader.u32_le("runtime claims size")?;
        let extension = if version >= 2 { 4 } else { 0 };
        let wanted = RUNTIME_HEADER_LEN as u64 + extension + u64::from(claims_size);
        if u64::from(data_size) != wanted {
            return Err(HclError::Size {
                field: "runtime data size",
                found: data_size,
                wanted,
            });
        }
        let claims_size = usize::try_from(claims_size).unwrap_or(usize::MAX);
        if claims_size > MAX_CLAIMS {
            return Err(HclError::Malformed(ReadError::TooMany {
                what: "runtime claims size",
                at,
                found: claims_size,
                most: MAX_CLAIMS,
            }));
        }
        Ok(Self {
            data_size,
            version,
            kind,
            hash,
            claims_size,
        })
    }
}
