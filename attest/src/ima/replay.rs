//! Replays a list: the PCR values it would produce.

use std::collections::BTreeMap;

use super::list::List;
use crate::tpm::hash::Hash;

/// What a kernel extends into banks other than the one its template digests are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The template data's digest of the bank's own algorithm: Linux 5.8 and later.
    OwnDigest,
    /// The SHA-1 template digest, zeros behind it: Linux before 5.8.
    PaddedSha1,
}

/// Why a list cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImaReplayError {
    /// An entry whose data are not known.
    #[error(
        "entry {entry} has a template whose binary data cannot be rebuilt from the ASCII form; the binary list is \
         needed for {bank}"
    )]
    NoData {
        /// Number of the entry, the first is 0.
        entry: usize,
        /// Bank asked for.
        bank: &'static str,
    },
    /// Padded digests of a list that is not SHA-1.
    #[error("the list has {found} template digests; kernels that pad digests have SHA-1 ones")]
    NotSha1 {
        /// Algorithm of the list.
        found: &'static str,
    },
}

/// Replays a list in one bank; only PCRs it extends are in the result. A violation extends all ones.
pub fn replay(
    list: &List<'_>,
    bank: Hash,
    extension: Extension,
) -> Result<BTreeMap<u8, Vec<u8>>, ImaReplayError> {
    if extension == Extension::PaddedSha1 && list.hash != Hash::Sha1 {
        return Err(ImaReplayError::NotSha1 {
            found: list.hash.name(),
        });
    }
    let mut pcrs = BTreeMap::new();
    for (number, entry) in list.entries.iter().enumerate() {
        let missing = ImaReplayError::NoData {
            entry: number,
            bank: bank.name(),
        };
        let as_listed = bank == list.hash || extension == Extension::PaddedSha1;
        let mut digest = match (entry.is_violation(), as_listed) {
            (true, true) => vec![0xff; list.hash.size()],
            (true, false) => vec![0xff; bank.size()],
            (false, true) => entry.digest.clone(),
            (false, false) => bank.digest(&[entry.data.as_deref().ok_or(missing)?]),
        };
        if extension == Extension::PaddedSha1 {
            digest.resize(bank.size(), 0);
        }
        let value = pcrs
            .entry(entry.pcr)
            .or_insert_with(|| vec![0; bank.size()]);
        *value = bank.digest(&[value, &digest]);
    }
    Ok(pcrs)
}
