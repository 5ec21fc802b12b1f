//! The attestation report: 1184 bytes, of which the first 672 are signed.
//!
//! [`Report::parse`] reads the fields and keeps the bytes: signatures are checked over what was received, never
//! over a re-encoding, so a change of a reserved byte cannot go unseen. Parsing judges nothing but length and
//! version; everything else is for [`super::verify`] and [`super::policy`].
//!
//! Layout: AMD 56860 table "ATTESTATION_REPORT", report versions 2 to 5. Version 3 added the CPUID values at
//! 0x188, version 5 the mitigation vectors at 0x1F8 and 0x200; version 4 changed no field.

pub use super::bits::{GuestPolicy, PlatformInfo};
use super::product::Product;
use super::tcb::{Tcb, TcbLayout};

/// Length of a report, bytes.
pub const REPORT_LEN: usize = 0x4a0;
/// Length of the part that the signature covers, bytes.
pub const SIGNED_LEN: usize = 0x2a0;
/// Report versions this code knows the layout of.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;
/// Length of each of R and S in the signature, bytes, little-endian.
pub(super) const SCALAR_LEN: usize = 72;

/// Why bytes are not a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not 1184 bytes.
    #[error("read an SNP report of {found} bytes, a report has {REPORT_LEN}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// A version without a layout here.
    #[error("read an SNP report of version {found}, versions 2 to 5 are known")]
    Version {
        /// Version field.
        found: u32,
    },
}

/// Which key signed a report, from `SIGNING_KEY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own versioned key.
    Vcek,
    /// A key loaded by the cloud provider.
    Vlek,
    /// The report is not signed.
    None,
    /// A reserved value, 2 to 6.
    Reserved(u8),
}

/// Firmware version: major, minor, build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// API major version.
    pub major: u8,
    /// API minor version.
    pub minor: u8,
    /// Build number.
    pub build: u8,
}

impl std::fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl serde::Serialize for FirmwareVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for FirmwareVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for FirmwareVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse::<u8>().ok());
        let mut next = || {
            parts
                .next()
                .flatten()
                .ok_or("expected a version as 1.55.22")
        };
        Ok(Self {
            major: next()?,
            minor: next()?,
            build: next()?,
        })
    }
}

/// CPUID family, model and stepping of the chip, report version 3 and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpuid {
    /// Combined family.
    pub family: u8,
    /// Combined model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A report's fields beside the bytes they were read from. Nothing here is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    raw: Box<[u8; REPORT_LEN]>,
    /// Report version, 2 to 5.
    pub version: u32,
    /// Guest's security version, from the id block.
    pub guest_svn: u32,
    /// Guest policy bits.
    pub policy: GuestPolicy,
    /// Family id from the id block.
    pub family_id: [u8; 16],
    /// Image id from the id block.
    pub image_id: [u8; 16],
    /// Privilege level of the requester, or 0xFFFFFFFF if the host asked.
    pub vmpl: u32,
    /// 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// TCB the platform runs now, raw bytes.
    pub current_tcb: [u8; 8],
    /// Platform information bits.
    pub platform_info: PlatformInfo,
    /// Author key, chip key mask and signing key, raw.
    pub key_info: u32,
    /// What the guest asked to be bound.
    pub report_data: [u8; 64],
    /// Launch digest.
    pub measurement: [u8; 48],
    /// What the host bound at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the id block.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the id key.
    pub author_key_digest: [u8; 48],
    /// Report id of this guest.
    pub report_id: [u8; 32],
    /// Report id of its migration agent; all ones without one.
    pub report_id_ma: [u8; 32],
    /// TCB the signing key was derived for, raw bytes.
    pub reported_tcb: [u8; 8],
    /// CPUID values, version 3 and later.
    pub cpuid: Option<Cpuid>,
    /// Chip id: 64 bytes, or 8 bytes and zeros on Turin; zero if masked or signed by a VLEK.
    pub chip_id: [u8; 64],
    /// TCB that cannot be rolled back below, raw bytes.
    pub committed_tcb: [u8; 8],
    /// Firmware running now.
    pub current_version: FirmwareVersion,
    /// Firmware committed to.
    pub committed_version: FirmwareVersion,
    /// TCB when this guest was launched or imported, raw bytes.
    pub launch_tcb: [u8; 8],
    /// Mitigations verified when the guest was launched, version 5.
    pub launch_mit_vector: Option<u64>,
    /// Mitigations the platform has now, version 5.
    pub current_mit_vector: Option<u64>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// [`ReportError::Length`] for anything but 1184 bytes, [`ReportError::Version`] outside 2 to 5.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let raw: Box<[u8; REPORT_LEN]> = Box::new(
            bytes
                .try_into()
                .map_err(|_| ReportError::Length { found: bytes.len() })?,
        );
        let version = u32::from_le_bytes(take(&raw, 0x000));
        if !VERSIONS.contains(&version) {
            return Err(ReportError::Version { found: version });
        }
        let mitigations = |at| (version >= 5).then(|| u64::from_le_bytes(take(&raw, at)));
        Ok(Self {
            version,
            guest_svn: u32::from_le_bytes(take(&raw, 0x004)),
            policy: GuestPolicy(u64::from_le_bytes(take(&raw, 0x008))),
            family_id: take(&raw, 0x010),
            image_id: take(&raw, 0x020),
            vmpl: u32::from_le_bytes(take(&raw, 0x030)),
            signature_algo: u32::from_le_bytes(take(&raw, 0x034)),
            current_tcb: take(&raw, 0x038),
            platform_info: PlatformInfo(u64::from_le_bytes(take(&raw, 0x040))),
            key_info: u32::from_le_bytes(take(&raw, 0x048)),
            report_data: take(&raw, 0x050),
            measurement: take(&raw, 0x090),
            host_data: take(&raw, 0x0c0),
            id_key_digest: take(&raw, 0x0e0),
            author_key_digest: take(&raw, 0x110),
            report_id: take(&raw, 0x140),
            report_id_ma: take(&raw, 0x160),
            reported_tcb: take(&raw, 0x180),
            cpuid: (version >= 3).then(|| {
                let [family, model, stepping] = take(&raw, 0x188);
                Cpuid {
                    family,
                    model,
                    stepping,
                }
            }),
            chip_id: take(&raw, 0x1a0),
            committed_tcb: take(&raw, 0x1e0),
            current_version: firmware_version(take(&raw, 0x1e8)),
            committed_version: firmware_version(take(&raw, 0x1ec)),
            launch_tcb: take(&raw, 0x1f0),
            launch_mit_vector: mitigations(0x1f8),
            current_mit_vector: mitigations(0x200),
            raw,
        })
    }

    /// The report as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8; REPORT_LEN] {
        &self.raw
    }

    /// The bytes the signature covers.
    #[must_use]
    pub fn signed(&self) -> &[u8; SIGNED_LEN] {
        self.raw.first_chunk().unwrap_or(&[0; SIGNED_LEN])
    }

    /// R and S as received: little-endian, 72 bytes each.
    #[must_use]
    pub fn scalars(&self) -> ([u8; SCALAR_LEN], [u8; SCALAR_LEN]) {
        (
            take(&self.raw, SIGNED_LEN),
            take(&self.raw, SIGNED_LEN + SCALAR_LEN),
        )
    }

    /// First byte that is not zero behind R and S. Those bytes are unsigned and must be zero.
    #[must_use]
    pub fn nonzero_padding(&self) -> Option<usize> {
        let start = SIGNED_LEN + 2 * SCALAR_LEN;
        self.raw
            .iter()
            .skip(start)
            .position(|b| *b != 0)
            .map(|at| at + start)
    }

    /// Whether the whole signature field is zero: the firmware did not sign.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.raw.iter().skip(SIGNED_LEN).all(|b| *b == 0)
    }

    /// Whether the author key's digest was given at launch.
    #[must_use]
    pub fn author_key_en(&self) -> bool {
        self.key_info & 1 != 0
    }

    /// Whether the host masked the chip key: such reports are not signed.
    #[must_use]
    pub fn mask_chip_key(&self) -> bool {
        self.key_info & 2 != 0
    }

    /// Which key the firmware says it signed with.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        match (self.key_info >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Reserved(other as u8),
        }
    }

    /// Whether the chip id is zero: masked by the host, or left out under a VLEK.
    #[must_use]
    pub fn chip_id_is_zero(&self) -> bool {
        self.chip_id == [0; 64]
    }

    /// The product line by CPUID: `None` in version 2 and for models not known here.
    #[must_use]
    pub fn cpuid_product(&self) -> Option<Product> {
        self.cpuid
            .and_then(|cpuid| Product::from_cpuid(cpuid.family, cpuid.model))
    }

    /// The TCB layout as far as the report alone tells: by CPUID; for a family of no known line, by the family;
    /// in version 2 by the chip id, of which only Turin's is eight bytes long.
    #[must_use]
    pub fn tcb_layout(&self) -> TcbLayout {
        if let Some(product) = self.cpuid_product() {
            return TcbLayout::of(&product);
        }
        match self.cpuid {
            Some(cpuid) if cpuid.family >= 0x1a => TcbLayout::Fmc,
            Some(_) => TcbLayout::Legacy,
            None => {
                let (id, rest) = self.chip_id.split_at(8);
                let short = rest.iter().all(|b| *b == 0) && id.iter().any(|b| *b != 0);
                if short {
                    TcbLayout::Fmc
                } else {
                    TcbLayout::Legacy
                }
            }
        }
    }

    /// Reported, current, committed and launch TCB in `layout`.
    #[must_use]
    pub fn tcbs(&self, layout: TcbLayout) -> Tcbs {
        Tcbs {
            reported: Tcb::decode(self.reported_tcb, layout),
            current: Tcb::decode(self.current_tcb, layout),
            committed: Tcb::decode(self.committed_tcb, layout),
            launch: Tcb::decode(self.launch_tcb, layout),
        }
    }

    /// Offset of the first reserved byte that is not zero, beside those of TCB versions and of bit fields.
    #[must_use]
    pub fn nonzero_reserved(&self) -> Option<usize> {
        let mut reserved = vec![0x04c..0x050, 0x1eb..0x1ec, 0x1ef..0x1f0];
        reserved.push(if self.version >= 3 {
            0x18b..0x1a0
        } else {
            0x188..0x1a0
        });
        reserved.push(if self.version >= 5 {
            0x208..SIGNED_LEN
        } else {
            0x1f8..SIGNED_LEN
        });
        reserved
            .into_iter()
            .flatten()
            .find(|at| self.raw.get(*at).is_some_and(|b| *b != 0))
    }
}

/// The four TCB versions of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcbs {
    /// The one the signing key was derived for.
    pub reported: Tcb,
    /// What the platform runs.
    pub current: Tcb,
    /// What it cannot be rolled back below.
    pub committed: Tcb,
    /// What it ran when the guest was launched.
    pub launch: Tcb,
}

fn firmware_version([build, minor, major]: [u8; 3]) -> FirmwareVersion {
    FirmwareVersion {
        major,
        minor,
        build,
    }
}

/// `N` bytes from offset `at`. Offsets are constants of the layout, all within the report.
fn take<const N: usize>(raw: &[u8; REPORT_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(field) = raw.get(at..at + N) {
        out.copy_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blank(version: u32) -> Vec<u8> {
        let mut bytes = vec![0; REPORT_LEN];
        bytes[..4].copy_from_slice(&version.to_le_bytes());
        bytes
    }

    #[test]
    fn refuses_other_lengths() {
        for len in [0, 1, REPORT_LEN - 1, REPORT_LEN + 1] {
            assert_eq!(
                Report::parse(&vec![2; len]),
                Err(ReportError::Length { found: len })
            );
        }
    }

    #[test]
    fn refuses_unknown_and_big_endian_versions() {
        for version in [0, 1, 6, 0x0200_0000, u32::MAX] {
            assert_eq!(
                Report::parse(&blank(version)),
                Err(ReportError::Version { found: version })
            );
        }
    }

    #[test]
    fn version_decides_which_fields_exist() {
        let fields = |v| {
            let report = Report::parse(&blank(v)).unwrap();
            (
                report.cpuid.is_some(),
                report.launch_mit_vector.is_some(),
                report.current_mit_vector.is_some(),
            )
        };
        assert_eq!(fields(2), (false, false, false));
        assert_eq!(fields(3), (true, false, false));
        assert_eq!(fields(4), (true, false, false));
        assert_eq!(fields(5), (true, true, true));
    }

    #[test]
    fn names_reserved_bytes_by_version() {
        let with = |version, at: usize| {
            let mut bytes = blank(version);
            bytes[at] = 1;
            Report::parse(&bytes).unwrap().nonzero_reserved()
        };
        assert_eq!(with(2, 0x188), Some(0x188));
        assert_eq!(with(3, 0x188), None);
        assert_eq!(with(3, 0x18b), Some(0x18b));
        assert_eq!(with(4, 0x1f8), Some(0x1f8));
        assert_eq!(with(5, 0x1f8), None);
        assert_eq!(with(5, 0x208), Some(0x208));
        assert_eq!(with(5, 0x4c), Some(0x4c));
        assert_eq!(with(5, 0x29f), Some(0x29f));
    }

    #[test]
    fn last_signed_field_is_read_from_its_place() {
        let mut bytes = blank(5);
        for (at, byte) in bytes.iter_mut().enumerate().skip(4) {
            *byte = at as u8;
        }
        let report = Report::parse(&bytes).unwrap();
        assert_eq!(
            report.current_mit_vector,
            Some(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]))
        );
        assert_eq!(report.signed().last(), Some(&0x9f));
        assert_eq!(report.scalars().0[0], 0xa0);
        assert_eq!(report.scalars().1[0], 0xe8);
        assert_eq!(report.nonzero_padding(), Some(0x330));
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = Report::parse(&bytes);
        }

        #[test]
        fn every_full_length_buffer_of_a_known_version_parses(
            version in 2u32..=5,
            rest in proptest::collection::vec(any::<u8>(), REPORT_LEN - 4),
        ) {
            let bytes = [version.to_le_bytes().to_vec(), rest].concat();
            let report = Report::parse(&bytes).unwrap();
            prop_assert_eq!(report.bytes().as_slice(), bytes.as_slice());
            let _ = (report.nonzero_reserved(), report.tcb_layout(), report.signing_key());
        }
    }
}
