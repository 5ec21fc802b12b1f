//! PCR values: bank to index to hex, or as tpm2-tools writes them.

use std::collections::BTreeMap;

use dawnkey_attest::{
    part::PcrValues,
    reader::{ReadError, Reader},
    tpm::hash::Hash,
};
use serde_json::Value;

use crate::case::{Case, CorpusError, field};

/// The values in a JSON file; none where the case has no such file.
pub(super) fn of_file(case: &Case, role: &str) -> Result<PcrValues, CorpusError> {
    let Some(bytes) = case.file(role)? else {
        return Ok(PcrValues::new());
    };
    let json = serde_json::from_slice(&bytes).map_err(|error| field(role, error))?;
    of_json(&json, role)
}

/// The values in a JSON object.
pub(super) fn of_json(json: &Value, name: &str) -> Result<PcrValues, CorpusError> {
    let mut out = PcrValues::new();
    for (bank, values) in json.as_object().into_iter().flatten() {
        let hash = Hash::from_name(bank);
        let hash = hash.ok_or_else(|| field(name, format!("bank {bank} is not known")))?;
        let mut pcrs = BTreeMap::new();
        for (index, value) in values.as_object().into_iter().flatten() {
            let value = value.as_str().and_then(|text| hex::decode(text).ok());
            let (Ok(index), Some(value)) = (index.parse::<u8>(), value) else {
                return Err(field(name, format!("{bank} PCR {index} is malformed")));
            };
            pcrs.insert(index, value);
        }
        out.insert(hash, pcrs);
    }
    Ok(out)
}

/// Banks that one C structure of tpm2-tools has room for.
const SELECTIONS: usize = 16;
/// Digests of one list in it.
const DIGESTS: usize = 8;

/// The values in a dump of tpm2-tools' C structures: `TPML_PCR_SELECTION`, a count, then that many `TPML_DIGEST`,
/// little-endian and with the compiler's gaps.
pub(super) fn of_tools(bytes: &[u8]) -> Result<PcrValues, ReadError> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32_le("selection.count")?;
    let mut wanted = Vec::new();
    for number in 0..SELECTIONS {
        let bank = reader.u16_le("selection.hash")?;
        reader.u8("selection.sizeofSelect")?;
        let bits = reader.take("selection.pcrSelect", 4)?;
        reader.u8("selection.gap")?;
        if u32::try_from(number).is_ok_and(|number| number < count) {
            let set = |pcr: &u8| {
                bits.get(usize::from(pcr / 8))
                    .is_some_and(|byte| byte >> (pcr % 8) & 1 == 1)
            };
            wanted.extend((0..24).filter(set).map(|pcr| (bank, pcr)));
        }
    }
    let lists = reader.u32_le("digests.count")?;
    let mut values = Vec::new();
    for _ in 0..lists.min(64) {
        let count = reader.u32_le("digest.count")?;
        for number in 0..DIGESTS {
            let size = usize::from(reader.u16_le("digest.size")?);
            let buffer = reader.take("digest.buffer", 64)?;
            if u32::try_from(number).is_ok_and(|number| number < count) {
                values.push(buffer.get(..size).unwrap_or(buffer).to_vec());
            }
        }
    }
    let mut out = PcrValues::new();
    for ((bank, pcr), value) in wanted.into_iter().zip(values) {
        if let Some(bank) = Hash::from_id(bank) {
            out.entry(bank).or_default().insert(pcr, value);
        }
    }
    Ok(out)
}
