//! The binary part of a foreign LUKS2 header: two copies that must be whole and say the same.

use uuid::Uuid;

use super::error::ForeignError;
use crate::header::{CopyName, HEADER_COPY_BYTES, Torn, copy_is_whole};

/// Bytes of the binary part of a copy.
const BINARY_BYTES: usize = 4096;
const VERSION: std::ops::Range<usize> = 6..8;
const SIZE: std::ops::Range<usize> = 8..16;
const SEQUENCE: std::ops::Range<usize> = 16..24;
const LABEL: std::ops::Range<usize> = 24..72;
const CHECKSUM_ALGORITHM: std::ops::Range<usize> = 72..104;
const UUID: std::ops::Range<usize> = 168..208;
const SUBSYSTEM: std::ops::Range<usize> = 208..256;
const OFFSET: std::ops::Range<usize> = 256..264;

/// What both copies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binary<'a> {
    /// The volume's id.
    pub(super) uuid: Uuid,
    /// Sequence number.
    pub(super) sequence: u64,
    /// The text of the JSON area.
    pub(super) json: &'a str,
}

type Copy = [u8; HEADER_COPY_BYTES];

/// Reads both copies.
pub(super) fn parse(region: &[u8]) -> Result<Binary<'_>, ForeignError> {
    let found = region.len();
    let (primary, secondary) = split(region).ok_or(ForeignError::RegionSize { found })?;
    whole(primary, secondary)?;
    for (field, at) in [
        ("sequence number", SEQUENCE),
        ("label", LABEL),
        ("UUID", UUID),
        ("subsystem", SUBSYSTEM),
        ("JSON", BINARY_BYTES..HEADER_COPY_BYTES),
    ] {
        if primary.get(at.clone()) != secondary.get(at) {
            return Err(ForeignError::CopiesDiffer { field });
        }
    }
    fields(CopyName::Secondary, secondary)?;
    let (uuid, sequence) = fields(CopyName::Primary, primary)?;
    let json = text(primary.get(BINARY_BYTES..).unwrap_or_default())?;
    Ok(Binary {
        uuid,
        sequence,
        json,
    })
}

fn split(region: &[u8]) -> Option<(&Copy, &Copy)> {
    let (primary, secondary) = region.split_at_checked(HEADER_COPY_BYTES)?;
    Some((primary.try_into().ok()?, secondary.try_into().ok()?))
}

fn whole(primary: &Copy, secondary: &Copy) -> Result<(), ForeignError> {
    let states = [
        (CopyName::Primary, copy_is_whole(CopyName::Primary, primary)),
        (
            CopyName::Secondary,
            copy_is_whole(CopyName::Secondary, secondary),
        ),
    ];
    match states {
        [(_, Err(Torn::Luks1)), _] => return Err(ForeignError::Luks1),
        [(_, Err(Torn::Magic)), (_, Err(Torn::Magic))] => return Err(ForeignError::Absent),
        _ => {}
    }
    for (which, state) in states {
        state.map_err(|torn| ForeignError::Torn { which, torn })?;
    }
    Ok(())
}

/// Checks what is the same in every header and reads what is not.
fn fields(which: CopyName, copy: &Copy) -> Result<(Uuid, u64), ForeignError> {
    let refuse = |field, found: String, wanted| ForeignError::Binary {
        which,
        field,
        found,
        wanted,
    };
    let bytes = |at: std::ops::Range<usize>| copy.get(at).unwrap_or_default();
    let number = |at| bytes(at).iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    let (version, size, offset) = (number(VERSION), number(SIZE), number(OFFSET));
    if version != 2 {
        return Err(refuse("version", version.to_string(), "2"));
    }
    if size != HEADER_COPY_BYTES as u64 {
        let wanted = "16384, the size that cryptsetup makes without --luks2-metadata-size";
        return Err(refuse("header size", size.to_string(), wanted));
    }
    if offset != which.offset() {
        return Err(refuse("offset", offset.to_string(), "where the copy is"));
    }
    if bytes(CHECKSUM_ALGORITHM).trim_ascii_end_nul() != b"sha256" {
        let found = String::from_utf8_lossy(bytes(CHECKSUM_ALGORITHM).trim_ascii_end_nul());
        return Err(refuse(
            "checksum algorithm",
            found.escape_debug().to_string(),
            "sha256",
        ));
    }
    let uuid = std::str::from_utf8(bytes(UUID).trim_ascii_end_nul()).unwrap_or_default();
    let parsed = Uuid::try_parse(uuid).unwrap_or_default();
    if parsed.is_nil() || parsed.hyphenated().to_string() != uuid {
        let found = uuid.escape_debug().to_string();
        return Err(refuse("UUID", found, "a lower-case hyphenated UUID"));
    }
    Ok((parsed, number(SEQUENCE)))
}

/// Texts of the binary part end at their first NUL, and nothing follows it.
trait Text {
    fn trim_ascii_end_nul(&self) -> &[u8];
}

impl Text for [u8] {
    fn trim_ascii_end_nul(&self) -> &[u8] {
        let end = self.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        self.get(..end).unwrap_or_default()
    }
}

/// The text of a JSON area; everything behind it is zero.
fn text(area: &[u8]) -> Result<&str, ForeignError> {
    let end = area.iter().position(|b| *b == 0);
    let (text, rest) = area
        .split_at_checked(end.ok_or(ForeignError::JsonArea)?)
        .ok_or(ForeignError::JsonArea)?;
    if rest.iter().any(|b| *b != 0) {
        return Err(ForeignError::JsonArea);
    }
    std::str::from_utf8(text).map_err(|_| ForeignError::JsonArea)
}
