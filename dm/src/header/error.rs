//! What can be wrong with a header, each by its name.

use std::fmt;

use crate::geometry::BadLayout;

/// One of the two copies of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyName {
    /// At byte 0, magic `LUKS\xba\xbe`.
    Primary,
    /// At byte 16384, magic `SKUL\xba\xbe`.
    Secondary,
}

impl fmt::Display for CopyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

/// Why a copy counts as torn: not written completely, or damaged afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// It does not begin with the copy's magic.
    #[error("the LUKS magic is missing")]
    Magic,
    /// It says LUKS version 1, which has no second copy and no checksum.
    #[error("it is a LUKS version 1 header")]
    Luks1,
    /// The SHA-256 over the copy does not match.
    #[error("the SHA-256 checksum does not match")]
    Checksum,
}

/// Why a copy whose checksum matches is not the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// LUKS version field other than 2.
    #[error("LUKS version is {found}, must be 2")]
    Version {
        /// As read.
        found: u16,
    },
    /// Size field other than 16384.
    #[error("header size is {found} bytes, must be 16384")]
    Size {
        /// As read.
        found: u64,
    },
    /// The copy states another place than its own.
    #[error("header offset is {found}, must be {wanted}")]
    Offset {
        /// As read.
        found: u64,
        /// Where the copy is.
        wanted: u64,
    },
    /// Sequence number 0.
    #[error("sequence number is 0, must be at least 1")]
    Sequence,
    /// A fixed text field of the binary header has another content.
    #[error("the {field} field differs from the template's")]
    FixedField {
        /// The field's name in the LUKS2 specification.
        field: &'static str,
    },
    /// The volume id is not a lower-case hyphenated UUID.
    #[error("the UUID field is not a lower-case hyphenated UUID")]
    Uuid,
    /// The JSON area is not UTF-8 text ended by NUL.
    #[error("the JSON area is not UTF-8 text ended by NUL")]
    JsonArea,
    /// The text is not JSON, or nested more deeply than 128 levels.
    #[error("the JSON area is not one JSON document: {0}")]
    Json(String),
    /// A member stands twice in one object, so that two readers may take different values.
    #[error("a member of the JSON stands twice: {0}")]
    Duplicate(String),
    /// The JSON lacks a member.
    #[error("the JSON lacks {field}")]
    Missing {
        /// Path of the member.
        field: String,
    },
    /// The JSON has a member that the template does not know.
    #[error("the JSON has the member {field}, which the template does not know")]
    Unknown {
        /// Path of the member, clipped and escaped.
        field: String,
    },
    /// A member is of another type.
    #[error("{field} is {found}, must be {wanted}")]
    Type {
        /// Path of the member.
        field: String,
        /// Type as read.
        found: &'static str,
        /// Type of the template.
        wanted: &'static str,
    },
    /// A keyslot exists.
    #[error("{count} keyslot(s) present, must be none")]
    Keyslot {
        /// How many.
        count: usize,
    },
    /// Not exactly the segment `0`.
    #[error("{count} segment(s) present, must be exactly segment 0")]
    Segments {
        /// How many.
        count: usize,
    },
    /// The segment would be stored in clear.
    #[error(
        "segment cipher is {found:?}: data would be in clear; must be aes-xts-plain64, aes-gcm-random or aegis128-random"
    )]
    NullCipher {
        /// As read.
        found: String,
    },
    /// Another cipher than the template's.
    #[error(
        "segment cipher is {found:?}, must be aes-xts-plain64, aes-gcm-random or aegis128-random"
    )]
    Cipher {
        /// As read.
        found: String,
    },
    /// The segment carries flags.
    #[error("segment flags are present, must be none")]
    SegmentFlags,
    /// Not exactly the token `0`.
    #[error("{count} token(s) present, must be exactly token 0")]
    Tokens {
        /// How many.
        count: usize,
    },
    /// The token is of another type.
    #[error("token type is {found:?}, must be \"dawnkey\"")]
    TokenType {
        /// As read.
        found: String,
    },
    /// Not exactly the digest `0`.
    #[error("{count} digest(s) present, must be exactly digest 0")]
    Digests {
        /// How many.
        count: usize,
    },
    /// The digest asks for another amount of work.
    #[error("digest asks for {found} PBKDF2 iterations, must be 1000")]
    Iterations {
        /// As read.
        found: u64,
    },
    /// Persistent flags are set.
    #[error("configuration flags are present, must be none")]
    Flags,
    /// Requirements are set (reencryption, offline-reencrypt, …).
    #[error("requirements are present, must be none")]
    Requirements,
    /// A value is not the pinned one, or out of its range.
    #[error("{field} is not the template's value")]
    Value {
        /// Path of the JSON member.
        field: String,
    },
    /// The segment has integrity and the token's layout has none, or the other way round.
    #[error(
        "integrity of the segment ({segment}) is not what the token's layout says ({token}): integrity was taken away or added"
    )]
    IntegrityDiffers {
        /// Whether the segment has integrity.
        segment: bool,
        /// Whether the token's layout has tags.
        token: bool,
    },
    /// Format version of the token.
    #[error("token format version is {found}, must be 1")]
    FormatVersion {
        /// As read.
        found: u32,
    },
    /// The layout's numbers fit no disk.
    #[error(transparent)]
    Layout(#[from] BadLayout),
    /// Everything parsed, but the bytes are not the ones the values are written as.
    #[error("byte {offset} of the copy ({field}) is not what its values are written as")]
    NotCanonical {
        /// First differing byte, within the copy.
        offset: usize,
        /// What is at that byte.
        field: &'static str,
    },
}

/// Why a header region yields no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer or more bytes than the two copies take.
    #[error("parse a header: {found} bytes given, must be 32768")]
    RegionSize {
        /// Bytes given.
        found: usize,
    },
    /// Neither copy begins with a LUKS magic.
    #[error("parse a header: neither copy begins with a LUKS magic")]
    Absent,
    /// A LUKS version 1 header.
    #[error("parse a header: LUKS version 1, must be a Dawnkey LUKS version 2 header")]
    Luks1,
    /// Neither copy is whole.
    #[error(
        "parse a header: both copies are torn (primary: {primary}; secondary: {secondary}); write a saved header back, or if the volume was being formatted zero the disk's first 16 MiB"
    )]
    BothTorn {
        /// What is wrong with the primary copy.
        primary: Torn,
        /// What is wrong with the secondary copy.
        secondary: Torn,
    },
    /// A copy is whole by its checksum and yet not the template.
    #[error("parse a header: the {which} copy was altered: {source}")]
    Altered {
        /// Which copy.
        which: CopyName,
        /// What is wrong with it.
        source: CopyError,
    },
    /// Both copies are whole, and neither equals nor directly precedes the other.
    #[error(
        "parse a header: the copies differ (sequence numbers {primary} and {secondary}) and neither is the direct predecessor of the other"
    )]
    CopiesDiffer {
        /// Sequence number of the primary copy.
        primary: u64,
        /// Sequence number of the secondary copy.
        secondary: u64,
    },
}

/// Why a header's seal could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The random source failed.
    #[error("seal a volume key: the random source failed")]
    Random,
    /// The volume key has another length than the volume's integrity needs.
    #[error("seal a volume key: it has {found} bytes, must have {wanted}")]
    KeyLength {
        /// Bytes given.
        found: usize,
        /// Bytes the volume needs.
        wanted: usize,
    },
    /// Epochs, generations and sequence numbers begin with 1 and do not wrap.
    #[error("seal a header: epoch, generation and sequence number must be at least 1 and not wrap")]
    Counter,
    /// The header could not follow the one it replaces.
    #[error(
        "seal a header: it must follow the one before it by a higher generation, by the same epoch or the next, and by as many data and ready sectors or more"
    )]
    Step,
    /// The AEAD refused to seal.
    #[error("seal a volume key: AES-256-GCM-SIV failed")]
    Cipher,
    /// Another DEK, another volume, another epoch, or a header that was not written by us.
    #[error(
        "open the volume key's seal: the DEK is of another volume or epoch, or the header is not the one that was sealed"
    )]
    Open,
}
