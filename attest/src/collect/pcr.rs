//! Reading PCRs of one bank, and extending one in all.

use tss_esapi::{
    Context,
    constants::CapabilityType,
    handles::{KeyHandle, PcrHandle},
    interface_types::algorithm::HashingAlgorithm,
    structures::{CapabilityData, Digest, DigestValues, PcrSelectionList, PcrSlot},
};

use super::{
    error::{CollectError, Doing as _},
    session,
};
use crate::tpm::{PCR_COUNT, hash::Hash};

/// PCRs a TPM returns in one answer (`TPML_DIGEST`).
const PER_READ: u8 = 8;

/// The TSS's name for a bank.
pub(super) fn tss_hash(bank: Hash) -> HashingAlgorithm {
    match bank {
        Hash::Sha1 => HashingAlgorithm::Sha1,
        Hash::Sha256 => HashingAlgorithm::Sha256,
        Hash::Sha384 => HashingAlgorithm::Sha384,
        Hash::Sha512 => HashingAlgorithm::Sha512,
    }
}

/// A selection of PCRs of one bank.
pub(super) fn selection(
    bank: Hash,
    pcrs: impl Iterator<Item = u8>,
) -> Result<PcrSelectionList, CollectError> {
    let doing = "select PCRs";
    let slots: Result<Vec<PcrSlot>, _> = pcrs.map(|pcr| PcrSlot::try_from(1u32 << pcr)).collect();
    PcrSelectionList::builder()
        .with_selection(tss_hash(bank), &slots.doing(doing)?)
        .build()
        .doing(doing)
}

/// Values of all 24 PCRs of a bank, in order.
pub(super) fn read_all(context: &mut Context, bank: Hash) -> Result<Vec<Vec<u8>>, CollectError> {
    let mut values = Vec::with_capacity(usize::from(PCR_COUNT));
    for first in (0..PCR_COUNT).step_by(usize::from(PER_READ)) {
        values.extend(read(context, bank, first..first + PER_READ)?);
    }
    Ok(values)
}

/// Values of a run of at most eight PCRs.
pub(super) fn read(
    context: &mut Context,
    bank: Hash,
    pcrs: std::ops::Range<u8>,
) -> Result<Vec<Vec<u8>>, CollectError> {
    let doing = "read PCRs";
    let wanted = pcrs.len();
    let selection = selection(bank, pcrs)?;
    let read = context.execute_without_session(|context| context.pcr_read(selection));
    let (_, _, digests) = read.doing(doing)?;
    let values: Vec<Vec<u8>> = digests
        .value()
        .iter()
        .map(|one| one.value().to_vec())
        .collect();
    if values.len() != wanted || values.iter().any(|value| value.len() != bank.size()) {
        return Err(CollectError::Answer {
            doing,
            problem: "fewer PCRs than asked for: is the bank active?",
        });
    }
    Ok(values)
}

/// Active banks of a PCR whose digests are computed here.
pub(super) fn active_banks(context: &mut Context, pcr: u8) -> Result<Vec<Hash>, CollectError> {
    let doing = "list the active PCR banks";
    let slot = PcrSlot::try_from(1u32 << pcr).doing(doing)?;
    let listed = context.execute_without_session(|context| {
        context.get_capability(CapabilityType::AssignedPcr, 0, 1)
    });
    let (CapabilityData::AssignedPcr(banks), _) = listed.doing(doing)? else {
        return Err(CollectError::Answer {
            doing,
            problem: "another capability than the one asked for",
        });
    };
    let active = banks.get_selections().iter();
    let active = active.filter(|bank| bank.is_selected(slot));
    Ok(active
        .filter_map(|bank| {
            let all = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
            all.into_iter()
                .find(|hash| tss_hash(*hash) == bank.hashing_algorithm())
        })
        .collect())
}

/// Extends PCR 15 with a digest for each bank, in one command.
pub(super) fn extend_15(
    context: &mut Context,
    salt_key: KeyHandle,
    digests: &[(Hash, Vec<u8>)],
) -> Result<(), CollectError> {
    let doing = "extend PCR 15";
    let mut values = DigestValues::new();
    for (bank, digest) in digests {
        let digest = Digest::try_from(digest.as_slice()).doing(doing)?;
        values.set(tss_hash(*bank), digest);
    }
    session::with_hmac(context, salt_key, |context, session| {
        let done = context.execute_with_session(Some(session), |context| {
            context.pcr_extend(PcrHandle::Pcr15, values)
        });
        done.doing(doing)
    })
}
