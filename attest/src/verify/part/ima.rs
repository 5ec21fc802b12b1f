//! Measurement lists judged alone.

use std::collections::BTreeMap;

use super::{claims::ImaClaims, error::PartError};
use crate::{
    ima::{Extension, Limits, List, replay},
    part::ImaPart,
    tpm::hash::Hash,
};

/// The PCR that IMA extends unless its policy says otherwise.
const PCR: u8 = 10;

/// Entries that cannot be checked are counted in the claims, not refused: their template may be a newer kernel's.
pub(super) fn verify(part: &ImaPart) -> Result<ImaClaims, PartError> {
    let claims = read(part)?;
    if claims.template_hash_mismatches > 0 {
        return Err(PartError::TemplateHash {
            mismatches: claims.template_hash_mismatches,
            entries: claims.entries,
        });
    }
    Ok(claims)
}

pub(super) fn read(part: &ImaPart) -> Result<ImaClaims, PartError> {
    let list = List::parse(&part.list, part.hash, Limits::default())?;
    Ok(ImaClaims {
        format: list.form.name().to_owned(),
        entries: list.entries.len(),
        template_hash_mismatches: list.template_hash_mismatches(),
        violations: list.violations(),
        unchecked: list.unchecked(),
        pcr10: values(&list, Extension::OwnDigest),
        pcr10_padded: values(&list, Extension::PaddedSha1),
    })
}

/// PCR 10 in every bank the list can be replayed in.
fn values(list: &List<'_>, extension: Extension) -> BTreeMap<String, String> {
    let banks = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    let value = |bank: Hash| {
        let replayed = replay(list, bank, extension).ok()?;
        let value = replayed.get(&PCR).cloned();
        let value = value.unwrap_or_else(|| vec![0; bank.size()]);
        Some((bank.name().to_owned(), hex::encode(value)))
    };
    banks.into_iter().filter_map(value).collect()
}
