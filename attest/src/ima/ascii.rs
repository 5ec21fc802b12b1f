//! The ASCII form: `pcr digest template fields…`, one line for each entry.

use std::borrow::Cow;

use super::{
    list::{Entry, ImaError, Limits},
    template::{Field, MAX_FIELD, OLD_DIGEST, OLD_NAME, Order, Template},
};
use crate::tpm::{PCR_COUNT, hash::Hash};

/// Longest line: the hex of the largest fields.
const MAX_LINE: usize = 4 * MAX_FIELD;

pub(super) fn parse(bytes: &[u8], hash: Hash, limits: Limits) -> Result<Vec<Entry<'_>>, ImaError> {
    let mut entries = Vec::new();
    for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if entries.len() >= limits.entries {
            return Err(ImaError::TooManyEntries {
                most: limits.entries,
            });
        }
        entries.push(line(text, hash).map_err(|problem| ImaError::Line {
            line: index + 1,
            problem,
        })?);
    }
    if entries.is_empty() {
        return Err(ImaError::Empty);
    }
    Ok(entries)
}

fn line(text: &[u8], hash: Hash) -> Result<Entry<'_>, &'static str> {
    if text.len() > MAX_LINE {
        return Err("it is too long");
    }
    let (pcr, rest) = word(text.trim_ascii_start());
    let (digest, rest) = word(rest);
    let (name, rest) = word(rest);
    let pcr = std::str::from_utf8(pcr)
        .ok()
        .and_then(|pcr| pcr.parse().ok());
    let pcr = pcr.filter(|pcr: &u8| *pcr < PCR_COUNT);
    let pcr = pcr.ok_or("it does not begin with a PCR index from 0 to 23")?;
    let digest = hex::decode(digest).map_err(|_| "its template digest is not hex")?;
    if digest.is_empty() || digest.len() > Hash::Sha512.size() {
        return Err("its template digest has the length of no digest");
    }
    let printable = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| printable);
    let name = name.ok_or("it has no template name")?;
    let template = Template::of(name);
    let data = match &template {
        Template::Unknown => None,
        Template::Old => Some(Cow::Owned(old(rest)?)),
        Template::Fields(fields) => Some(Cow::Owned(fielded(fields, rest)?)),
    };
    Ok(Entry {
        pcr,
        digest,
        template_name: Cow::Borrowed(name),
        template,
        data,
        hash,
        order: Order::Little,
    })
}

/// Splits at the first space.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let at = text.iter().position(|byte| *byte == b' ');
    let (word, rest) = text
        .split_at_checked(at.unwrap_or(text.len()))
        .unwrap_or_default();
    (word, rest.get(1..).unwrap_or_default())
}

/// Data of the oldest template, as hashed.
fn old(rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (digest, name) = word(rest);
    let mut data = hex::decode(digest).map_err(|_| "its digest is not hex")?;
    if data.len() > OLD_DIGEST || name.len() >= OLD_NAME {
        return Err("its digest or name is too long for the template ima");
    }
    data.resize(OLD_DIGEST, 0);
    data.extend_from_slice(name);
    data.resize(OLD_DIGEST + OLD_NAME, 0);
    Ok(data)
}

/// Data of a template with fields: each after its length, little-endian.
///
/// Kernels put one space between fields and none into them, except that old ones left spaces in names: what is too
/// much belongs to the name. Empty fields at the end may be cut off.
fn fielded(fields: &[Field], rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let pieces = rest.split(|byte| *byte == b' ').count();
    let mut surplus = pieces.saturating_sub(fields.len());
    let mut data = Vec::with_capacity(rest.len());
    let mut rest = rest;
    for field in fields {
        let (mut text, mut after) = word(rest);
        while surplus > 0 && field.id == "n-ng" {
            let (more, behind) = word(after);
            let end = text.len() + 1 + more.len();
            (text, after) = (rest.get(..end).unwrap_or(rest), behind);
            surplus -= 1;
        }
        let bytes = field.bytes_of_ascii(text)?;
        let size = u32::try_from(bytes.len()).ok();
        let size = size.filter(|_| bytes.len() <= MAX_FIELD);
        data.extend_from_slice(&size.ok_or("a field is too long")?.to_le_bytes());
        data.extend_from_slice(&bytes);
        rest = after;
    }
    if surplus > 0 {
        return Err("it has more fields than its template");
    }
    Ok(data)
}
