//! The certificate table that comes with a report: `auxblob` of configfs-tsm, or the second half of an extended
//! guest request.
//!
//! A table of 24-byte entries, GUID, offset and length, ends with an entry of zeros; the certificates follow at
//! their offsets. The host fills it, so nothing in it is trusted. Source: AMD 56421 "GHCB standardization" §4.1.8.1.

/// Largest table read, bytes.
pub const MAX_TABLE: usize = 64 << 10;
/// Most entries read.
pub const MAX_ENTRIES: usize = 32;
const ENTRY_LEN: usize = 24;

/// Identifiers of certificates, in the byte order they have in the table (mixed endian).
mod guid {
    /// 63da758d-e664-4564-adc5-f4b93be8accd
    pub const VCEK: [u8; 16] = [
        0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
        0xcd,
    ];
    /// a8074bc2-a25a-483e-aae6-39c045a0b8a1
    pub const VLEK: [u8; 16] = [
        0xc2, 0x4b, 0x07, 0xa8, 0x5a, 0xa2, 0x3e, 0x48, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8,
        0xa1,
    ];
    /// 4ab7b379-bbac-4fe4-a02f-05aef327c782, for ASK and ASVK
    pub const ASK: [u8; 16] = [
        0x79, 0xb3, 0xb7, 0x4a, 0xac, 0xbb, 0xe4, 0x4f, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
        0x82,
    ];
    /// c0b406a4-a803-4952-9743-3fb6014cd0ae
    pub const ARK: [u8; 16] = [
        0xa4, 0x06, 0xb4, 0xc0, 0x03, 0xa8, 0x52, 0x49, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0,
        0xae,
    ];
    /// 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
    pub const CRL: [u8; 16] = [
        0xc3, 0x1b, 0xf8, 0x92, 0x11, 0x58, 0x3d, 0x4d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67,
        0xea,
    ];
}

/// What a table holds. Certificates are DER as the host gave them, or PEM where a host keeps that form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateTable {
    /// Chip endorsement key.
    pub vcek: Option<Vec<u8>>,
    /// Loaded endorsement key.
    pub vlek: Option<Vec<u8>>,
    /// ASK or ASVK, in the order found.
    pub intermediates: Vec<Vec<u8>>,
    /// Root.
    pub ark: Option<Vec<u8>>,
    /// Revocation list.
    pub crl: Option<Vec<u8>>,
    /// Entries of other kinds, passed over.
    pub others: usize,
}

/// Why bytes are not a certificate table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Over 64 KiB.
    #[error("read a certificate table of {found} bytes, at most {MAX_TABLE} are taken")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// The table ends before its closing entry of zeros.
    #[error("read a certificate table without a closing entry in its first {MAX_ENTRIES}")]
    NoEnd,
    /// An entry points outside the table or into the list of entries.
    #[error(
        "certificate {index} of the table lies at {offset}, length {length}, which is not behind the entries and within the table"
    )]
    Range {
        /// Which entry, from 0.
        index: usize,
        /// Offset it gives.
        offset: u32,
        /// Length it gives.
        length: u32,
    },
    /// Two certificates of one kind.
    #[error("certificate {index} of the table is of a kind that is there already")]
    Duplicate {
        /// Which entry, from 0.
        index: usize,
    },
}

impl CertificateTable {
    /// Reads a table. No bytes at all are an empty table: many hosts give none.
    ///
    /// # Errors
    /// [`TableError`] with the entry that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > MAX_TABLE {
            return Err(TableError::TooLong { found: bytes.len() });
        }
        let entries = entries(bytes)?;
        let data_start = (entries.len() + 1) * ENTRY_LEN;
        let mut table = Self::default();
        for (index, (guid, offset, length)) in entries.into_iter().enumerate() {
            let start = offset as usize;
            let content = start
                .checked_add(length as usize)
                .and_then(|end| bytes.get(start..end));
            let content = content.filter(|_| start >= data_start && length > 0);
            let content = content
                .ok_or(TableError::Range {
                    index,
                    offset,
                    length,
                })?
                .to_vec();
            let slot = match guid {
                guid::VCEK => &mut table.vcek,
                guid::VLEK => &mut table.vlek,
                guid::ARK => &mut table.ark,
                guid::CRL => &mut table.crl,
                guid::ASK => {
                    table.intermediates.push(content);
                    continue;
                }
                _ => {
                    table.others += 1;
                    continue;
                }
            };
            if slot.replace(content).is_some() {
                return Err(TableError::Duplicate { index });
            }
        }
        Ok(table)
    }

    /// Writes a table, as a host would.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let one = |guid, content: &Option<Vec<u8>>| content.clone().map(|content| (guid, content));
        let mut parts: Vec<([u8; 16], Vec<u8>)> = Vec::new();
        parts.extend(one(guid::VCEK, &self.vcek));
        parts.extend(one(guid::VLEK, &self.vlek));
        parts.extend(
            self.intermediates
                .iter()
                .map(|content| (guid::ASK, content.clone())),
        );
        parts.extend(one(guid::ARK, &self.ark));
        parts.extend(one(guid::CRL, &self.crl));
        let mut offset = (parts.len() + 1) * ENTRY_LEN;
        let mut bytes = Vec::new();
        for (guid, content) in &parts {
            bytes.extend_from_slice(guid);
            bytes.extend_from_slice(&(offset as u32).to_le_bytes());
            bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
            offset += content.len();
        }
        bytes.extend_from_slice(&[0; ENTRY_LEN]);
        parts
            .iter()
            .for_each(|(_, content)| bytes.extend_from_slice(content));
        bytes
    }
}

/// The entries before the closing one: GUID, offset, length.
fn entries(bytes: &[u8]) -> Result<Vec<([u8; 16], u32, u32)>, TableError> {
    let mut entries = Vec::new();
    for chunk in bytes.chunks_exact(ENTRY_LEN).take(MAX_ENTRIES + 1) {
        if chunk.iter().all(|b| *b == 0) {
            return Ok(entries);
        }
        let parsed = chunk.split_first_chunk::<16>().and_then(|(guid, rest)| {
            let (offset, rest) = rest.split_first_chunk::<4>()?;
            let length = rest.first_chunk::<4>()?;
            Some((
                *guid,
                u32::from_le_bytes(*offset),
                u32::from_le_bytes(*length),
            ))
        });
        entries.extend(parsed);
    }
    Err(TableError::NoEnd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> CertificateTable {
        CertificateTable {
            vcek: Some(vec![1; 10]),
            intermediates: vec![vec![2; 5], vec![3; 6]],
            ark: Some(vec![4; 7]),
            crl: Some(vec![5]),
            ..CertificateTable::default()
        }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(CertificateTable::parse(&sample().encode()), Ok(sample()));
        assert_eq!(
            CertificateTable::parse(&[]),
            Ok(CertificateTable::default())
        );
        assert_eq!(
            CertificateTable::parse(&[0; 4096]),
            Ok(CertificateTable::default())
        );
    }

    #[test]
    fn refuses_a_table_without_end() {
        assert_eq!(CertificateTable::parse(&[1; 23]), Err(TableError::NoEnd));
        assert_eq!(CertificateTable::parse(&[1; 24]), Err(TableError::NoEnd));
        assert_eq!(
            CertificateTable::parse(&[1; 24 * 40]),
            Err(TableError::NoEnd)
        );
    }

    #[test]
    fn refuses_an_oversized_table() {
        assert_eq!(
            CertificateTable::parse(&[0; MAX_TABLE + 1]),
            Err(TableError::TooLong {
                found: MAX_TABLE + 1
            })
        );
    }

    #[test]
    fn refuses_entries_outside_the_table_or_inside_its_head() {
        let bytes = sample().encode();
        for (offset, length) in [
            (0u32, 4u32),
            (24, 8),
            (u32::MAX, u32::MAX),
            (bytes.len() as u32, 1),
            (144, 0),
        ] {
            let mut bad = bytes.clone();
            bad[16..20].copy_from_slice(&offset.to_le_bytes());
            bad[20..24].copy_from_slice(&length.to_le_bytes());
            assert_eq!(
                CertificateTable::parse(&bad),
                Err(TableError::Range {
                    index: 0,
                    offset,
                    length
                })
            );
        }
    }

    #[test]
    fn refuses_two_endorsement_keys() {
        let mut bytes = sample().encode();
        bytes.copy_within(0..16, 24);
        assert_eq!(
            CertificateTable::parse(&bytes),
            Err(TableError::Duplicate { index: 1 })
        );
    }

    #[test]
    fn passes_over_unknown_kinds() {
        let mut bytes = sample().encode();
        bytes[0] ^= 1;
        let table = CertificateTable::parse(&bytes).unwrap();
        assert_eq!((table.vcek, table.others), (None, 1));
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = CertificateTable::parse(&bytes);
        }
    }
}
