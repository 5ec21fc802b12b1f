//! Firmware for TDs (TDVF), as far as its measurement needs it: the sections of its metadata.
//!
//! Source: Intel TDX Virtual Firmware Design Guide 1.01, 11 "TDVF Metadata"; EDK2
//! `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm`. What QEMU's loader refuses is refused here too.

use crate::{
    reader::{ReadError, Reader},
    snp::launch::{FirmwareError, guid_table},
};

/// Size of a page, bytes.
pub(super) const PAGE: u64 = 4096;
/// Largest firmware taken, bytes.
const MAX_FIRMWARE: usize = 64 << 20;
/// Most sections taken.
const MAX_SECTIONS: u32 = 64;
/// Most memory all sections ask for, bytes.
const MAX_MEMORY: u64 = 1 << 30;
/// e47a6535-984a-4798-865e-4685a7bf8ec2
const METADATA: [u8; 16] = [
    0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2,
];
/// Attribute: the content is measured.
const EXTEND: u32 = 1;
/// Attribute: the pages are added while the TD runs, and so not measured at all.
const AUGMENT: u32 = 2;

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TdvfSectionKind {
    /// Firmware code.
    Bfv,
    /// Firmware variables.
    Cfv,
    /// Where the host writes the TD HOB.
    TdHob,
    /// Memory firmware runs in before it can accept any.
    TempMem,
}

/// A section of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdvfSection<'a> {
    /// Content in the file; shorter than the memory where that is filled with zeros.
    pub data: &'a [u8],
    /// Guest physical address, of a page.
    pub address: u64,
    /// Length in memory, bytes, whole pages.
    pub size: u64,
    /// Purpose.
    pub kind: TdvfSectionKind,
    /// Whether the content is measured into MRTD.
    pub extend: bool,
    /// Whether the pages are added only while the TD runs.
    pub augment: bool,
}

/// Why bytes are no firmware for TDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdvfError {
    /// Too large.
    #[error("read firmware of {found} bytes, at most 64 MiB are taken")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// OVMF's table is not there or does not add up.
    #[error(transparent)]
    Table(#[from] FirmwareError),
    /// Firmware without support for TDX.
    #[error("read firmware without TDX metadata: use a build of OVMF for TDX")]
    NoMetadata,
    /// The metadata ends early.
    #[error("read TDX metadata: {0}")]
    Malformed(#[from] ReadError),
    /// The metadata does not add up.
    #[error("read TDX metadata: {0}")]
    Metadata(&'static str),
    /// A section does not add up.
    #[error("read TDX metadata: section {index} {problem}")]
    Section {
        /// Which section, from 0.
        index: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// A section of a kind that is not known here, so that its measurement is not known either.
    #[error(
        "read TDX metadata: section {index} is of kind {kind}, which is not known (0 to 3 are)"
    )]
    Kind {
        /// Which section, from 0.
        index: u32,
        /// Its kind.
        kind: u32,
    },
}

/// Firmware with its sections.
#[derive(Clone, Debug)]
pub struct Tdvf<'a> {
    sections: Vec<TdvfSection<'a>>,
}

impl<'a> Tdvf<'a> {
    /// Reads firmware as QEMU loads it (`-bios`).
    ///
    /// # Errors
    /// [`TdvfError`] naming what is missing or does not add up.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TdvfError> {
        if bytes.len() > MAX_FIRMWARE {
            return Err(TdvfError::TooLarge { found: bytes.len() });
        }
        let entries = guid_table(bytes)?;
        let entry = entries.iter().find(|(guid, _)| *guid == METADATA);
        let (_, offset) = entry.ok_or(TdvfError::NoMetadata)?;
        // QEMU reads the last four bytes of the entry.
        let offset = offset.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let start = offset.and_then(|offset| bytes.len().checked_sub(offset as usize));
        let metadata = start.and_then(|start| bytes.get(start..));
        let metadata = metadata.ok_or(TdvfError::Metadata("it lies outside the firmware"))?;
        Ok(Self {
            sections: sections(bytes, metadata)?,
        })
    }

    /// Sections in the firmware's order, which is the order they are measured in.
    #[must_use]
    pub fn sections(&self) -> &[TdvfSection<'a>] {
        &self.sections
    }

    /// The firmware's variables as it is delivered with them, which it measures itself.
    #[must_use]
    pub fn variables(&self) -> Option<&'a [u8]> {
        let mut sections = self.sections.iter();
        let found = sections.find(|section| section.kind == TdvfSectionKind::Cfv)?;
        Some(found.data)
    }
}

fn sections<'a>(bytes: &'a [u8], metadata: &'a [u8]) -> Result<Vec<TdvfSection<'a>>, TdvfError> {
    let mut reader = Reader::new(metadata);
    let signature = reader.take("signature", 4)?;
    let length = reader.u32_le("length")?;
    let version = reader.u32_le("version")?;
    let count = reader.u32_le("number of sections")?;
    if signature != b"TDVF" || version != 1 {
        return Err(TdvfError::Metadata("it is not of version 1"));
    }
    if count > MAX_SECTIONS || length != 16 + 32 * count {
        return Err(TdvfError::Metadata(
            "its length and number of sections do not fit",
        ));
    }
    let mut found = Vec::new();
    let mut memory = 0u64;
    for index in 0..count {
        let section = section(bytes, &mut reader, index)?;
        memory = memory.saturating_add(section.size);
        if memory > MAX_MEMORY {
            return Err(TdvfError::Metadata("its sections are larger than 1 GiB"));
        }
        found.push(section);
    }
    let count = |kind| found.iter().filter(|section| section.kind == kind).count();
    if count(TdvfSectionKind::Bfv) == 0 || count(TdvfSectionKind::TdHob) != 1 {
        return Err(TdvfError::Metadata(
            "it needs a section of firmware code and exactly one of the TD HOB",
        ));
    }
    Ok(found)
}

fn section<'a>(
    bytes: &'a [u8],
    reader: &mut Reader<'_>,
    index: u32,
) -> Result<TdvfSection<'a>, TdvfError> {
    let offset = reader.u32_le("data offset")? as usize;
    let length = reader.u32_le("raw data size")? as usize;
    let address = u64::from_le_bytes(word(reader, "memory address")?);
    let size = u64::from_le_bytes(word(reader, "memory data size")?);
    let kind = reader.u32_le("type")?;
    let attributes = reader.u32_le("attributes")?;
    let wrong = |problem| TdvfError::Section { index, problem };
    let kind = match kind {
        0 => TdvfSectionKind::Bfv,
        1 => TdvfSectionKind::Cfv,
        2 => TdvfSectionKind::TdHob,
        3 => TdvfSectionKind::TempMem,
        kind => return Err(TdvfError::Kind { index, kind }),
    };
    if !address.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) {
        return Err(wrong("is not of whole pages"));
    }
    if address.checked_add(size).is_none() {
        return Err(wrong("lies outside the address space"));
    }
    let data = bytes.get(offset..offset.saturating_add(length));
    let data = data.ok_or_else(|| wrong("has its data outside the firmware"))?;
    if data.len() as u64 > size {
        return Err(wrong("has more data than memory"));
    }
    match kind {
        TdvfSectionKind::Bfv | TdvfSectionKind::Cfv if data.is_empty() => {
            return Err(wrong("has no data"));
        }
        TdvfSectionKind::TdHob | TdvfSectionKind::TempMem if !data.is_empty() => {
            return Err(wrong("has data that would not be loaded"));
        }
        _ => {}
    }
    if attributes & !(EXTEND | AUGMENT) != 0 || attributes == EXTEND | AUGMENT {
        return Err(wrong("has attributes that are not known"));
    }
    Ok(TdvfSection {
        data,
        address,
        size,
        kind,
        extend: attributes & EXTEND != 0,
        augment: attributes & AUGMENT != 0,
    })
}

fn word(reader: &mut Reader<'_>, what: &'static str) -> Result<[u8; 8], ReadError> {
    Ok(reader.take(what, 8)?.try_into().unwrap_or_default())
}
