//! PE files: sections, and the digest firmware measures when it loads one.
//!
//! Source: Microsoft, Windows Authenticode Portable Executable Signature Format, "Calculating the PE image hash".

use object::{
    LittleEndian as LE,
    pe::{IMAGE_DIRECTORY_ENTRY_SECURITY, ImageNtHeaders64},
    read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, PeFile64},
};

use super::MeasureError;
use crate::{reader::Reader, tpm::hash::Hash};

/// A PE32+ file.
pub(super) struct Pe<'a> {
    what: &'static str,
    bytes: &'a [u8],
    file: PeFile64<'a>,
}

/// One section.
pub(super) struct Section<'a> {
    /// Name without trailing NULs.
    pub name: String,
    /// Its content in memory: the file's bytes, cut or zero-filled to the virtual size.
    pub memory: std::borrow::Cow<'a, [u8]>,
}

/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`
const PKCS_SIGNED_DATA: u16 = 2;
/// Most zeros that all sections together have in memory behind their bytes in the file. Stubs have a few pages.
const MAX_ZEROS: usize = 16 << 20;

impl<'a> Pe<'a> {
    /// Parses headers and section table; `what` names the file in errors.
    pub(super) fn parse(what: &'static str, bytes: &'a [u8]) -> Result<Self, MeasureError> {
        let file = PeFile64::parse(bytes).map_err(|error| MeasureError::NotPe {
            what,
            problem: error.to_string(),
        })?;
        Ok(Self { what, bytes, file })
    }

    fn malformed(&self, problem: &'static str) -> MeasureError {
        MeasureError::Malformed {
            what: self.what,
            problem,
        }
    }

    /// All sections, in the order of the table.
    pub(super) fn sections(&self) -> Result<Vec<Section<'a>>, MeasureError> {
        let zeros = self.file.section_table().iter().map(|header| {
            let memory = usize_of(header.virtual_size.get(LE));
            memory.saturating_sub(usize_of(header.size_of_raw_data.get(LE)))
        });
        if zeros.fold(0, usize::saturating_add) > MAX_ZEROS {
            return Err(
                self.malformed("its sections have more than 16 MiB that are not in the file")
            );
        }
        self.file
            .section_table()
            .iter()
            .map(|header| self.section(header))
            .collect()
    }

    fn section(
        &self,
        header: &object::pe::ImageSectionHeader,
    ) -> Result<Section<'a>, MeasureError> {
        let end = header
            .name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(header.name.len());
        let name = header.name.get(..end).unwrap_or_default();
        let start = usize_of(header.pointer_to_raw_data.get(LE));
        let raw = usize_of(header.size_of_raw_data.get(LE));
        let memory = usize_of(header.virtual_size.get(LE));
        let taken = raw.min(memory);
        let bytes = self
            .bytes
            .get(start..start.saturating_add(taken))
            .ok_or_else(|| self.malformed("a section lies outside the file"))?;
        let memory = if taken == memory {
            bytes.into()
        } else {
            let mut filled = bytes.to_vec();
            filled.resize(memory, 0);
            filled.into()
        };
        Ok(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            memory,
        })
    }

    /// Digest of the image as firmware measures it: everything but the checksum, the certificate table and its
    /// directory entry, sections in file order, then what follows the last section.
    pub(super) fn authenticode(&self, hash: Hash) -> Result<Vec<u8>, MeasureError> {
        let checksum = self.optional_header_offset()? + 64;
        let directory = self.security_directory()?;
        let headers = usize_of(self.file.nt_headers().optional_header().size_of_headers());
        let has_entry = self.has_security_directory();
        let certificates = if has_entry {
            self.certificate_table_size(directory)?
        } else {
            0
        };
        let mut parts: Vec<&[u8]> = vec![self.range(0, checksum)?];
        if has_entry {
            parts.push(self.range(checksum + 4, directory)?);
            parts.push(self.range(directory + 8, headers)?);
        } else {
            parts.push(self.range(checksum + 4, headers)?);
        }
        let mut hashed = headers;
        let mut sections: Vec<(usize, usize)> = self
            .file
            .section_table()
            .iter()
            .map(|one| {
                (
                    usize_of(one.pointer_to_raw_data.get(LE)),
                    usize_of(one.size_of_raw_data.get(LE)),
                )
            })
            .filter(|(_, size)| *size != 0)
            .collect();
        sections.sort_by_key(|(start, _)| *start);
        for (start, size) in sections {
            parts.push(self.range(start, start.saturating_add(size))?);
            hashed = hashed.saturating_add(size);
        }
        let end = self.bytes.len().checked_sub(certificates);
        let end =
            end.ok_or_else(|| self.malformed("the certificate table is larger than the file"))?;
        if end > hashed {
            parts.push(self.range(hashed, end)?);
        }
        Ok(hash.digest(&parts))
    }

    /// The PKCS#7 signatures in the certificate table, in its order; none where the image is not signed.
    ///
    /// Source: Microsoft, PE Format, "The Attribute Certificate Table"; entries begin at multiples of eight.
    pub(super) fn signatures(&self) -> Result<Vec<&'a [u8]>, MeasureError> {
        let mut found = Vec::new();
        if !self.has_security_directory() {
            return Ok(found);
        }
        let entry = self.security_directory()?;
        let start = self.range(entry, entry + 4)?.try_into();
        let start = start.map(u32::from_le_bytes).map(usize_of);
        let start = start.map_err(|_| self.malformed("it ends in the data directories"))?;
        let size = self.certificate_table_size(entry)?;
        let table = self.range(start, start.saturating_add(size))?;
        let mut reader = Reader::new(table);
        while !reader.is_empty() {
            let cut = |_| self.malformed("an entry of its certificate table is cut");
            let length = usize_of(reader.u32_le("dwLength").map_err(cut)?);
            reader.u16_le("wRevision").map_err(cut)?;
            let kind = reader.u16_le("wCertificateType").map_err(cut)?;
            let content = length.checked_sub(8);
            let content =
                content.ok_or_else(|| self.malformed("a signature is shorter than its header"))?;
            let content = reader.take("bCertificate", content).map_err(cut)?;
            if kind == PKCS_SIGNED_DATA {
                found.push(content);
            }
            let padding = reader.at().next_multiple_of(8) - reader.at();
            let padding = padding.min(reader.rest().len());
            reader.take("padding", padding).map_err(cut)?;
        }
        Ok(found)
    }

    fn has_security_directory(&self) -> bool {
        self.file.data_directories().len() > IMAGE_DIRECTORY_ENTRY_SECURITY
    }

    /// Offset of the certificate table's entry in the data directories.
    fn security_directory(&self) -> Result<usize, MeasureError> {
        Ok(self.optional_header_offset()?
            + size_of::<object::pe::ImageOptionalHeader64>()
            + IMAGE_DIRECTORY_ENTRY_SECURITY * size_of::<object::pe::ImageDataDirectory>())
    }

    fn optional_header_offset(&self) -> Result<usize, MeasureError> {
        let nt = self
            .bytes
            .get(0x3c..0x40)
            .and_then(|bytes| bytes.try_into().ok());
        let nt = nt
            .map(u32::from_le_bytes)
            .ok_or_else(|| self.malformed("it ends in the DOS header"))?;
        // Signature and COFF header come before the optional header.
        Ok(usize_of(nt) + size_of::<ImageNtHeaders64>()
            - size_of::<object::pe::ImageOptionalHeader64>())
    }

    /// Size in the certificate table's directory entry, whatever its address says: firmware looks at nothing else.
    fn certificate_table_size(&self, entry: usize) -> Result<usize, MeasureError> {
        let size = self.range(entry + 4, entry + 8)?.try_into();
        let size = size.map(u32::from_le_bytes);
        size.map(usize_of)
            .map_err(|_| self.malformed("it ends in the data directories"))
    }

    fn range(&self, start: usize, end: usize) -> Result<&'a [u8], MeasureError> {
        self.bytes
            .get(start..end)
            .ok_or_else(|| self.malformed("a header field points outside the file"))
    }
}

fn usize_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
