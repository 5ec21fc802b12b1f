//! The binary form: PCR, template digest, template name, template data, with lengths before the last two.

use std::borrow::Cow;

use super::{
    list::{Entry, ImaError, Limits},
    template::{MAX_FIELD, OLD_DIGEST, OLD_NAME, Order, Template},
};
use crate::{
    reader::{ReadError, Reader},
    tpm::{PCR_COUNT, hash::Hash},
};

/// Longest template name (`TCG_EVENT_NAME_LEN_MAX`).
const MAX_TEMPLATE_NAME: usize = 255;
/// Most bytes of an entry's template data.
const MAX_DATA: usize = 2 * MAX_FIELD;

pub(super) fn parse(bytes: &[u8], hash: Hash, limits: Limits) -> Result<Vec<Entry<'_>>, ImaError> {
    let order = order(bytes, hash);
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let number = entries.len();
        if number >= limits.entries {
            return Err(ImaError::TooManyEntries {
                most: limits.entries,
            });
        }
        let entry = entry(&mut reader, order, hash);
        entries.push(entry.map_err(|source| ImaError::Malformed {
            entry: number,
            source,
        })?);
    }
    Ok(entries)
}

/// The byte order, which the form does not tell: big-endian where only so the first entry can be read.
fn order(bytes: &[u8], hash: Hash) -> Order {
    let reads = |order| entry(&mut Reader::new(bytes), order, hash).is_ok();
    if !reads(Order::Little) && reads(Order::Big) {
        Order::Big
    } else {
        Order::Little
    }
}

fn entry<'a>(reader: &mut Reader<'a>, order: Order, hash: Hash) -> Result<Entry<'a>, ReadError> {
    let at = reader.at();
    let found = order.u32(reader, "pcr")?;
    let pcr = u8::try_from(found).ok().filter(|pcr| *pcr < PCR_COUNT);
    let pcr = pcr.ok_or(ReadError::Value {
        what: "pcr",
        at,
        found: found.into(),
        wanted: "0 to 23",
    })?;
    let digest = reader.take("template digest", hash.size())?.to_vec();
    let at = reader.at();
    let name = sized(reader, order, "template name", MAX_TEMPLATE_NAME)?;
    let printable = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| printable);
    let name = name.ok_or(ReadError::Value {
        what: "template name",
        at,
        found: 0,
        wanted: "printable ASCII",
    })?;
    let template = Template::of(name);
    let data = match template {
        Template::Old => Cow::Owned(old(reader, order)?),
        _ => Cow::Borrowed(sized(reader, order, "template data", MAX_DATA)?),
    };
    Ok(Entry {
        pcr,
        digest,
        template_name: Cow::Borrowed(name),
        template,
        data: Some(data),
        hash,
        order,
    })
}

/// Data of the oldest template, as hashed: no length before the digest, the name without its NUL.
fn old(reader: &mut Reader<'_>, order: Order) -> Result<Vec<u8>, ReadError> {
    let mut data = reader.take("digest", OLD_DIGEST)?.to_vec();
    data.extend_from_slice(sized(reader, order, "name", OLD_NAME - 1)?);
    data.resize(OLD_DIGEST + OLD_NAME, 0);
    Ok(data)
}

fn sized<'a>(
    reader: &mut Reader<'a>,
    order: Order,
    what: &'static str,
    most: usize,
) -> Result<&'a [u8], ReadError> {
    let at = reader.at();
    let found = order.u32(reader, what)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    reader.take_at_most(what, at, found, most)
}
