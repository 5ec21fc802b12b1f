//! EFI signature lists: what the variables PK, KEK, db and dbx hold.
//!
//! Source: UEFI 2.10, 32.4.1 "Signature Database". A variable is a run of `EFI_SIGNATURE_LIST`: type, sizes, a header
//! that is empty for every type in use, and entries of one size, each an owner's GUID and the data.

use super::guid::Guid;
use crate::reader::{ReadError, Reader};

/// `EFI_CERT_X509_GUID`
pub(super) const X509: Guid = Guid::new(
    0xa5c0_59a1,
    0x94e4,
    0x4aa7,
    [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72],
);
/// `EFI_CERT_SHA256_GUID`
pub(super) const SHA256: Guid = Guid::new(
    0xc1c4_1626,
    0x504c,
    0x4092,
    [0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28],
);
/// Largest variable taken, bytes. OVMF's variable store is smaller.
pub const MAX_VARIABLE: usize = 1 << 20;
/// Length of type and the three sizes.
const HEADER: usize = 28;

/// Why bytes are no signature lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureListError {
    /// Too many bytes.
    #[error("signature lists of {found} bytes, at most {MAX_VARIABLE} are taken")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Ends early.
    #[error("signature list {list}: {source}")]
    Malformed {
        /// Which list, from 0.
        list: usize,
        /// What is wrong.
        source: ReadError,
    },
    /// The sizes contradict one another.
    #[error(
        "signature list {list}: its sizes (list {list_size}, header {header_size}, entry {entry_size}) do not fit"
    )]
    Sizes {
        /// Which list, from 0.
        list: usize,
        /// `SignatureListSize`
        list_size: u32,
        /// `SignatureHeaderSize`
        header_size: u32,
        /// `SignatureSize`
        entry_size: u32,
    },
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Type of the list it is in.
    pub kind: Guid,
    /// Who put it there.
    pub owner: Guid,
    /// Certificate or digest.
    pub data: &'a [u8],
    /// `EFI_SIGNATURE_DATA`: owner and data, as firmware measures it.
    pub whole: &'a [u8],
}

/// Reads all entries of a variable, in order. An empty variable has none.
///
/// # Errors
/// [`SignatureListError`] naming the list that is not in the specified form.
pub fn signatures(variable: &[u8]) -> Result<Vec<Signature<'_>>, SignatureListError> {
    if variable.len() > MAX_VARIABLE {
        return Err(SignatureListError::TooLarge {
            found: variable.len(),
        });
    }
    let mut reader = Reader::new(variable);
    let mut found = Vec::new();
    for list in 0.. {
        if reader.is_empty() {
            break;
        }
        one_list(&mut reader, list, &mut found)?;
    }
    Ok(found)
}

fn one_list<'a>(
    reader: &mut Reader<'a>,
    list: usize,
    found: &mut Vec<Signature<'a>>,
) -> Result<(), SignatureListError> {
    let malformed = |source| SignatureListError::Malformed { list, source };
    let kind = reader.take("SignatureType", 16).map_err(malformed)?;
    let kind = Guid(kind.try_into().unwrap_or_default());
    let list_size = reader.u32_le("SignatureListSize").map_err(malformed)?;
    let header_size = reader.u32_le("SignatureHeaderSize").map_err(malformed)?;
    let entry_size = reader.u32_le("SignatureSize").map_err(malformed)?;
    let sizes = || SignatureListError::Sizes {
        list,
        list_size,
        header_size,
        entry_size,
    };
    let entry = entry_size as usize;
    let body = (list_size as usize).checked_sub(HEADER).ok_or_else(sizes)?;
    let entries = body.checked_sub(header_size as usize).ok_or_else(sizes)?;
    if entry <= 16 || !entries.is_multiple_of(entry) {
        return Err(sizes());
    }
    reader
        .take("SignatureHeader", header_size as usize)
        .map_err(malformed)?;
    let body = reader.take("Signatures", entries).map_err(malformed)?;
    for whole in body.chunks_exact(entry) {
        if let Some((owner, data)) = whole.split_first_chunk::<16>() {
            found.push(Signature {
                kind,
                owner: Guid(*owner),
                data,
                whole,
            });
        }
    }
    Ok(())
}

/// The variable that holds the given certificates (DER), each in a list of its own, as `cert-to-efi-sig-list` and
/// firmware setups write them.
#[must_use]
pub fn of_certificates<'a>(
    owner: Guid,
    certificates: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut variable = Vec::new();
    for der in certificates {
        let entry = u32::try_from(16 + der.len()).unwrap_or(u32::MAX);
        let list = entry.saturating_add(28);
        variable.extend_from_slice(&X509.0);
        for size in [list, 0, entry] {
            variable.extend_from_slice(&size.to_le_bytes());
        }
        variable.extend_from_slice(&owner.0);
        variable.extend_from_slice(der);
    }
    variable
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const OWNER: Guid = Guid([7; 16]);

    #[test]
    fn reads_what_it_writes() {
        let certificates: [&[u8]; 2] = [b"first", b"second certificate"];
        let variable = of_certificates(OWNER, certificates);
        let found = signatures(&variable).unwrap();
        assert_eq!(found.len(), 2);
        for (signature, der) in found.iter().zip(certificates) {
            assert_eq!((signature.kind, signature.owner), (X509, OWNER));
            assert_eq!(signature.data, der);
            assert_eq!(signature.whole, [&OWNER.0, der].concat());
        }
        assert_eq!(signatures(b"").unwrap(), []);
    }

    #[test]
    fn refuses_sizes_that_do_not_fit() {
        let variable = of_certificates(OWNER, [b"certificate".as_slice()]);
        for (at, value) in [(16, 27), (16, 54), (20, 28), (24, 16), (24, 0), (24, 26)] {
            let mut bytes = variable.clone();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            assert!(
                matches!(
                    signatures(&bytes),
                    Err(SignatureListError::Sizes { list: 0, .. })
                ),
                "{at} {value}"
            );
        }
        let mut long = variable.clone();
        long[16..20].copy_from_slice(&(28u32 + 2 * 27).to_le_bytes());
        assert!(matches!(
            signatures(&long),
            Err(SignatureListError::Malformed { list: 0, .. })
        ));
        let cut = &variable[..variable.len() - 1];
        assert!(matches!(
            signatures(cut),
            Err(SignatureListError::Malformed { .. })
        ));
        let found = MAX_VARIABLE + 1;
        assert_eq!(
            signatures(&vec![0; found]),
            Err(SignatureListError::TooLarge { found })
        );
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = signatures(&bytes);
        }
    }
}
