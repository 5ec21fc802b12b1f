//! PCR values beside a quote.

use std::collections::BTreeMap;

use super::{BANK, VtpmError, quote};
use crate::{
    evidence::PcrBank,
    tpm::{PCR_COUNT, hash::Hash},
};

/// PCR values of one bank, by index.
pub(crate) type Values = BTreeMap<u8, Vec<u8>>;

/// The values of `bank`, each at most once and of the bank's size.
pub(super) fn of_bank(pcrs: &[PcrBank], bank: Hash) -> Result<Values, VtpmError> {
    let mut banks = pcrs
        .iter()
        .filter(|found| found.alg == u32::from(bank.id()));
    let values = banks
        .next()
        .ok_or(VtpmError::BankMissing { bank: bank.name() })?;
    let refuse = |index, problem| VtpmError::MalformedPcr {
        bank: bank.name(),
        index,
        problem,
    };
    if banks.next().is_some() {
        return Err(refuse(0, "the bank is given twice"));
    }
    let mut out = Values::new();
    for value in &values.values {
        let index = u8::try_from(value.index)
            .ok()
            .filter(|index| *index < PCR_COUNT);
        let index = index.ok_or_else(|| refuse(value.index, "the index is above 23"))?;
        if value.digest.len() != bank.size() {
            return Err(refuse(
                value.index,
                "the value has not the bank's digest length",
            ));
        }
        if out.insert(index, value.digest.clone()).is_some() {
            return Err(refuse(value.index, "the value is given twice"));
        }
    }
    Ok(out)
}

/// The values that a quote of whatever PCRs of one bank vouches for. Empty where no values came along; that, and
/// another bank than [`BANK`], is for recorded evidence only.
pub(crate) fn quoted(signed: &quote::Signed, pcrs: &[PcrBank]) -> Result<Values, VtpmError> {
    if pcrs.is_empty() {
        return Ok(Values::new());
    }
    let bank = quote::single_bank(signed)?;
    let values = of_bank(pcrs, bank)?;
    quote::check_pcrs(signed, bank, &values)?;
    Ok(if bank == BANK { values } else { Values::new() })
}
