//! The binary part of a LUKS2 header copy: 4096 bytes, big-endian numbers, then 12288 bytes of JSON.
//!
//! Fields after the LUKS2 on-disk format specification, section 2.1. Nothing in it is free: the salt follows from the
//! token's nonce, the label is empty, the subsystem is `dawnkey`.

use sha2::{Digest, Sha256, Sha512};
use uuid::Uuid;

use super::error::{CopyError, CopyName, Torn};

/// Bytes of one copy.
pub const COPY_BYTES: usize = 16_384;
/// Bytes of the binary part.
pub const BINARY_BYTES: usize = 4096;
/// Bytes of the JSON part.
pub const JSON_BYTES: usize = COPY_BYTES - BINARY_BYTES;
/// Where the checksum is, and how many bytes its field has.
pub(super) const CHECKSUM: std::ops::Range<usize> = 448..512;

const VERSION: u16 = 2;
const SALT_DOMAIN: &[u8] = b"dawnkey header salt v1";
/// Offsets of the fields, in the order of the specification.
mod at {
    use std::ops::Range;
    pub const MAGIC: Range<usize> = 0..6;
    pub const VERSION: usize = 6;
    pub const SIZE: usize = 8;
    pub const SEQUENCE: usize = 16;
    pub const LABEL: Range<usize> = 24..72;
    pub const CHECKSUM_ALGORITHM: Range<usize> = 72..104;
    pub const SALT: Range<usize> = 104..168;
    pub const UUID: Range<usize> = 168..208;
    pub const SUBSYSTEM: Range<usize> = 208..256;
    pub const OFFSET: usize = 256;
}

/// The values of a binary header that vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// The volume's id.
    pub volume: Uuid,
    /// Sequence number: one more with every write.
    pub sequence: u64,
}

impl CopyName {
    /// Where the copy begins, in bytes from the disk's begin.
    #[must_use]
    pub const fn offset(self) -> u64 {
        match self {
            Self::Primary => 0,
            Self::Secondary => COPY_BYTES as u64,
        }
    }

    const fn magic(self) -> &'static [u8; 6] {
        match self {
            Self::Primary => b"LUKS\xba\xbe",
            Self::Secondary => b"SKUL\xba\xbe",
        }
    }
}

/// The 64-byte salt of a copy: SHA-512 over domain, copy and the token's nonce.
fn salt(which: CopyName, nonce: &[u8]) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update(SALT_DOMAIN);
    hash.update(which.magic());
    hash.update(nonce);
    hash.finalize().into()
}

/// Writes a copy without its checksum, whose field stays zero. `None` if the text does not fit.
pub(super) fn encode(
    which: CopyName,
    binary: &Binary,
    nonce: &[u8],
    json: &str,
) -> Option<Box<[u8; COPY_BYTES]>> {
    let mut copy: Box<[u8; COPY_BYTES]> = vec![0; COPY_BYTES].try_into().ok()?;
    let mut uuid = Uuid::encode_buffer();
    let uuid = binary.volume.hyphenated().encode_lower(&mut uuid);
    put(&mut copy, at::MAGIC.start, which.magic())?;
    put(&mut copy, at::VERSION, &VERSION.to_be_bytes())?;
    put(&mut copy, at::SIZE, &(COPY_BYTES as u64).to_be_bytes())?;
    put(&mut copy, at::SEQUENCE, &binary.sequence.to_be_bytes())?;
    put(&mut copy, at::CHECKSUM_ALGORITHM.start, b"sha256")?;
    put(&mut copy, at::SALT.start, &salt(which, nonce))?;
    put(&mut copy, at::UUID.start, uuid.as_bytes())?;
    put(&mut copy, at::SUBSYSTEM.start, b"dawnkey")?;
    put(&mut copy, at::OFFSET, &which.offset().to_be_bytes())?;
    // The specification wants at least one NUL behind the text.
    if json.len() >= JSON_BYTES {
        return None;
    }
    put(&mut copy, BINARY_BYTES, json.as_bytes())?;
    Some(copy)
}

/// Fills in the checksum of a copy whose checksum field is zero.
pub(super) fn finish(copy: &mut [u8; COPY_BYTES]) {
    let sum = checksum(copy);
    if let Some(field) = copy.get_mut(CHECKSUM) {
        field.copy_from_slice(&sum);
    }
}

/// SHA-256 over the copy with a zero checksum field, then 32 zeros.
fn checksum(copy: &[u8; COPY_BYTES]) -> [u8; 64] {
    let (head, tail) = (
        copy.get(..CHECKSUM.start).unwrap_or_default(),
        copy.get(CHECKSUM.end..).unwrap_or_default(),
    );
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update([0; 64]);
    hash.update(tail);
    let mut field = [0; 64];
    if let Some(sum) = field.get_mut(..32) {
        sum.copy_from_slice(&hash.finalize());
    }
    field
}

/// Says whether a copy is whole: magic and checksum.
pub(crate) fn whole(which: CopyName, copy: &[u8; COPY_BYTES]) -> Result<(), Torn> {
    if copy.get(at::MAGIC) != Some(which.magic()) {
        return Err(Torn::Magic);
    }
    if copy.get(CHECKSUM) == Some(&checksum(copy)) {
        return Ok(());
    }
    match number::<2>(copy, at::VERSION).map(u16::from_be_bytes) {
        Some(1) => Err(Torn::Luks1),
        _ => Err(Torn::Checksum),
    }
}

/// Reads the binary part of a whole copy. The caller compares all bytes afterwards; this names what differs.
pub(super) fn parse(which: CopyName, copy: &[u8; COPY_BYTES]) -> Result<Binary, CopyError> {
    let version = number(copy, at::VERSION).map_or(0, u16::from_be_bytes);
    if version != VERSION {
        return Err(CopyError::Version { found: version });
    }
    let size = number(copy, at::SIZE).map_or(0, u64::from_be_bytes);
    if size != COPY_BYTES as u64 {
        return Err(CopyError::Size { found: size });
    }
    let offset = number(copy, at::OFFSET).map_or(0, u64::from_be_bytes);
    if offset != which.offset() {
        return Err(CopyError::Offset {
            found: offset,
            wanted: which.offset(),
        });
    }
    fixed(copy, at::LABEL, b"", "label")?;
    fixed(
        copy,
        at::CHECKSUM_ALGORITHM,
        b"sha256",
        "checksum algorithm",
    )?;
    fixed(copy, at::SUBSYSTEM, b"dawnkey", "subsystem")?;
    let sequence = number(copy, at::SEQUENCE).map_or(0, u64::from_be_bytes);
    if sequence == 0 {
        return Err(CopyError::Sequence);
    }
    let volume = volume(copy).ok_or(CopyError::Uuid)?;
    Ok(Binary { volume, sequence })
}

/// What is at a byte of a copy, for messages.
pub(super) fn field_at(offset: usize) -> &'static str {
    match offset {
        0..6 => "magic",
        6..8 => "version",
        8..16 => "size",
        16..24 => "sequence number",
        24..72 => "label",
        72..104 => "checksum algorithm",
        104..168 => "salt",
        168..208 => "UUID",
        208..256 => "subsystem",
        256..264 => "offset",
        448..512 => "checksum",
        264..BINARY_BYTES => "padding",
        _ => "JSON area",
    }
}

/// The id in a copy's UUID field if it is text of one, of a copy that need not be whole.
pub(super) fn volume(copy: &[u8; COPY_BYTES]) -> Option<Uuid> {
    let text = copy.get(at::UUID)?.get(..36)?;
    let text = std::str::from_utf8(text).ok()?;
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    Uuid::try_parse(text).ok().filter(|_| lower)
}

/// Whether either copy's magic is at the begin of `copy`.
pub(super) fn has_magic(which: CopyName, copy: &[u8; COPY_BYTES]) -> bool {
    copy.starts_with(which.magic())
}

fn put(copy: &mut [u8; COPY_BYTES], offset: usize, bytes: &[u8]) -> Option<()> {
    copy.get_mut(offset..offset.checked_add(bytes.len())?)?
        .copy_from_slice(bytes);
    Some(())
}

fn number<const N: usize>(copy: &[u8; COPY_BYTES], offset: usize) -> Option<[u8; N]> {
    copy.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn fixed(
    copy: &[u8; COPY_BYTES],
    range: std::ops::Range<usize>,
    wanted: &[u8],
    field: &'static str,
) -> Result<(), CopyError> {
    let found = copy.get(range).unwrap_or_default();
    let rest_is_zero = || found.iter().skip(wanted.len()).all(|byte| *byte == 0);
    if found.starts_with(wanted) && rest_is_zero() {
        Ok(())
    } else {
        Err(CopyError::FixedField { field })
    }
}
