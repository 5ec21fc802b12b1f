//! OVMF as far as a launch digest needs it: the table of GUIDs before its end, and the SEV metadata it points to.
//!
//! Sources: EDK2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm` (table, read backwards from 48 bytes before the
//! end) and `OvmfPkg/Include/WorkArea.h`, `OvmfSevMetadata.h` (sections).

use super::PAGE;

/// Largest firmware taken, bytes. OVMF has 2 to 16 MiB.
pub const MAX_FIRMWARE: usize = 64 << 20;
/// Most metadata sections taken.
const MAX_SECTIONS: usize = 128;
/// Largest section of zeros taken, bytes.
const MAX_SECTION: u32 = 256 << 20;
const FOUR_GIB: u64 = 1 << 32;

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const FOOTER: [u8; 16] = [
    0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d,
];
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const HASH_TABLE: [u8; 16] = [
    0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54,
];
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const RESET_BLOCK: [u8; 16] = [
    0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e,
];
/// dc886566-984a-4798-a75e-5585a7bf67cc
const METADATA: [u8; 16] = [
    0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc,
];

/// What a section of guest memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Memory the firmware runs in before it can accept any, measured as zeros.
    SecMemory,
    /// Secrets page.
    Secrets,
    /// CPUID page.
    Cpuid,
    /// Calling area of an SVSM.
    SvsmCaa,
    /// Hashes of a directly booted kernel.
    KernelHashes,
}

/// A section of guest memory that the firmware wants prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Guest physical address.
    pub gpa: u32,
    /// Length, bytes, whole pages.
    pub size: u32,
    /// Purpose.
    pub kind: SectionKind,
}

/// Why bytes are not OVMF with SEV metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// Not whole pages, empty or too large.
    #[error("read firmware of {found} bytes, whole pages up to 64 MiB are taken")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// No table of GUIDs before the end.
    #[error("read firmware without OVMF's table before its end")]
    NoTable,
    /// The table does not add up.
    #[error("read OVMF's table: {0}")]
    Table(&'static str),
    /// The SEV metadata does not add up.
    #[error("read OVMF's SEV metadata: {0}")]
    Metadata(&'static str),
    /// A section of a kind that is not known here, so that its measurement is not known either.
    #[error("read OVMF's SEV metadata: section {index} is of kind {kind:#x}, which is not known")]
    SectionKind {
        /// Which section, from 0.
        index: usize,
        /// Its kind.
        kind: u32,
    },
}

/// Firmware with the places that matter for a launch.
#[derive(Clone, Debug)]
pub struct Ovmf<'a> {
    bytes: &'a [u8],
    reset_eip: Option<u32>,
    hash_table_gpa: Option<u32>,
    sections: Vec<Section>,
}

impl<'a> Ovmf<'a> {
    /// Reads firmware as it is loaded at the end of the first 4 GiB.
    ///
    /// # Errors
    /// [`FirmwareError`] naming what is missing or does not add up.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FirmwareError> {
        if bytes.is_empty() || bytes.len() > MAX_FIRMWARE || !bytes.len().is_multiple_of(PAGE) {
            return Err(FirmwareError::Length { found: bytes.len() });
        }
        let mut ovmf = Self {
            bytes,
            reset_eip: None,
            hash_table_gpa: None,
            sections: Vec::new(),
        };
        let mut metadata = None;
        for (guid, data) in table(bytes)? {
            let value = data.first_chunk().map(|value| u32::from_le_bytes(*value));
            match guid {
                RESET_BLOCK => ovmf.reset_eip = value,
                // A table that the build left out is given as address 0.
                HASH_TABLE => ovmf.hash_table_gpa = value.filter(|gpa| *gpa != 0),
                METADATA => metadata = value,
                _ => {}
            }
        }
        if let Some(offset) = metadata {
            ovmf.sections = sections(bytes, offset)?;
        }
        Ok(ovmf)
    }

    /// The firmware as given.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Guest physical address it is loaded at.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        FOUR_GIB - self.bytes.len() as u64
    }

    /// Where CPUs other than the first start.
    #[must_use]
    pub fn reset_eip(&self) -> Option<u32> {
        self.reset_eip
    }

    /// Guest physical address of the table of kernel hashes.
    #[must_use]
    pub fn hash_table_gpa(&self) -> Option<u32> {
        self.hash_table_gpa
    }

    /// Sections in the firmware's order, which is the order they are measured in.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }
}

/// GUID and data of an entry.
pub(crate) type Entry<'a> = ([u8; 16], &'a [u8]);

/// Entries of the table, last first. Each ends with its length and GUID; the footer's length covers them all.
pub(crate) fn table(bytes: &[u8]) -> Result<Vec<Entry<'_>>, FirmwareError> {
    let before_reset = bytes
        .len()
        .checked_sub(32)
        .and_then(|end| bytes.get(..end))
        .ok_or(FirmwareError::NoTable)?;
    let (rest, guid) = before_reset
        .split_last_chunk::<16>()
        .ok_or(FirmwareError::NoTable)?;
    let (rest, length) = rest.split_last_chunk::<2>().ok_or(FirmwareError::NoTable)?;
    if *guid != FOOTER {
        return Err(FirmwareError::NoTable);
    }
    let length = usize::from(u16::from_le_bytes(*length)).checked_sub(18);
    let start = length.and_then(|length| rest.len().checked_sub(length));
    let mut left = start
        .and_then(|start| rest.get(start..))
        .ok_or(FirmwareError::Table("its length is wrong"))?;
    let mut entries = Vec::new();
    while let Some((head, guid)) = left.split_last_chunk::<16>() {
        let Some((head, length)) = head.split_last_chunk::<2>() else {
            break;
        };
        let data = usize::from(u16::from_le_bytes(*length)).checked_sub(18);
        let split = data
            .and_then(|data| head.len().checked_sub(data))
            .and_then(|at| head.split_at_checked(at));
        let (next, data) = split.ok_or(FirmwareError::Table("an entry's length is wrong"))?;
        entries.push((*guid, data));
        left = next;
    }
    Ok(entries)
}

/// Sections of the metadata that starts `offset` bytes before the end.
fn sections(bytes: &[u8], offset: u32) -> Result<Vec<Section>, FirmwareError> {
    let start = bytes
        .len()
        .checked_sub(offset as usize)
        .ok_or(FirmwareError::Metadata("its offset is wrong"))?;
    let header = bytes
        .get(start..)
        .and_then(|rest| rest.split_first_chunk::<16>());
    let (header, rest) = header.ok_or(FirmwareError::Metadata("it is cut short"))?;
    let [signature, length, version, count] = words(header);
    if signature != u32::from_le_bytes(*b"ASEV") || version != 1 {
        return Err(FirmwareError::Metadata("it is not of version 1"));
    }
    let count = count as usize;
    let body = (length as usize)
        .checked_sub(16)
        .and_then(|length| rest.get(..length));
    let body = body.filter(|body| count <= MAX_SECTIONS && body.len() >= count * 12);
    let body = body.ok_or(FirmwareError::Metadata(
        "its length and number of sections do not fit",
    ))?;
    let mut sections = Vec::new();
    for (index, entry) in body.as_chunks::<12>().0.iter().take(count).enumerate() {
        let [gpa, size, kind] = words(entry);
        let kind = match kind {
            1 => SectionKind::SecMemory,
            2 => SectionKind::Secrets,
            3 => SectionKind::Cpuid,
            4 => SectionKind::SvsmCaa,
            0x10 => SectionKind::KernelHashes,
            kind => return Err(FirmwareError::SectionKind { index, kind }),
        };
        if !size.is_multiple_of(PAGE as u32) || size > MAX_SECTION {
            return Err(FirmwareError::Metadata(
                "a section is not of whole pages up to 256 MiB",
            ));
        }
        sections.push(Section { gpa, size, kind });
    }
    Ok(sections)
}

/// Little-endian words of `4 * N` bytes.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AMD_SEV: &[u8] = include_bytes!("../../../tests/data/ovmf/amdsev_tail.bin");

    #[test]
    fn reads_what_the_firmware_asks_for() {
        let ovmf = Ovmf::parse(AMD_SEV).unwrap();
        assert_eq!(ovmf.gpa(), 0xffff_f000);
        assert_eq!(ovmf.reset_eip(), Some(0x0080_b004));
        assert_eq!(ovmf.hash_table_gpa(), Some(0x0081_0c00));
        let kinds: Vec<_> = ovmf.sections().iter().map(|section| section.kind).collect();
        assert!(
            kinds.contains(&SectionKind::Secrets) && kinds.contains(&SectionKind::KernelHashes),
            "{kinds:?}"
        );
    }

    #[test]
    fn refuses_what_is_no_firmware() {
        for len in [0, 1, 4095, 4097] {
            assert_eq!(
                Ovmf::parse(&vec![0; len]).unwrap_err(),
                FirmwareError::Length { found: len }
            );
        }
        assert_eq!(Ovmf::parse(&[0; 4096]).unwrap_err(), FirmwareError::NoTable);
    }

    #[test]
    fn refuses_a_table_longer_than_the_firmware() {
        let mut bytes = AMD_SEV.to_vec();
        let at = bytes.len() - 50;
        bytes[at..at + 2].copy_from_slice(&0xffffu16.to_le_bytes());
        assert_eq!(
            Ovmf::parse(&bytes).unwrap_err(),
            FirmwareError::Table("its length is wrong")
        );
        bytes[at..at + 2].copy_from_slice(&17u16.to_le_bytes());
        assert_eq!(
            Ovmf::parse(&bytes).unwrap_err(),
            FirmwareError::Table("its length is wrong")
        );
    }

    #[test]
    fn refuses_sections_of_unknown_kind() {
        let at = AMD_SEV
            .windows(4)
            .position(|window| window == b"ASEV")
            .unwrap();
        let mut bytes = AMD_SEV.to_vec();
        bytes[at + 16 + 8] = 0x77;
        assert_eq!(
            Ovmf::parse(&bytes).unwrap_err(),
            FirmwareError::SectionKind {
                index: 0,
                kind: 0x77
            }
        );
        let mut bytes = AMD_SEV.to_vec();
        bytes[at + 12] = 0xff;
        assert!(matches!(
            Ovmf::parse(&bytes).unwrap_err(),
            FirmwareError::Metadata(_)
        ));
    }

    proptest! {
        #[test]
        fn parsing_is_total(changes in proptest::collection::vec((0usize..4096, any::<u8>()), 0..20)) {
            let mut bytes = AMD_SEV.to_vec();
            for (at, byte) in changes {
                // Most of what is parsed lies in the last kilobyte.
                bytes[3072 + at % 1024] = byte;
            }
            let _ = Ovmf::parse(&bytes);
        }
    }
}
