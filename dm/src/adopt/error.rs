//! Why a foreign LUKS2 header is not taken, each by its name.

use uuid::Uuid;

use crate::header::{CopyName, Torn};

/// Why a LUKS2 header that Dawnkey did not write is not taken. Everything is judged before any library sees a byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// Fewer or more bytes than two copies of 16 KiB.
    #[error("read a LUKS2 header: {found} bytes given, must be 32768")]
    RegionSize {
        /// Bytes given.
        found: usize,
    },
    /// No LUKS magic.
    #[error("read a LUKS2 header: neither copy begins with a LUKS magic")]
    Absent,
    /// LUKS version 1.
    #[error(
        "read a LUKS2 header: it is LUKS version 1; `cryptsetup convert --type luks2` makes it version 2"
    )]
    Luks1,
    /// A copy is not whole.
    #[error(
        "read a LUKS2 header: the {which} copy is torn: {torn}; `cryptsetup repair` mends it from the other"
    )]
    Torn {
        /// Which copy.
        which: CopyName,
        /// What is wrong with it.
        torn: Torn,
    },
    /// A field of a copy's binary part.
    #[error(
        "read a LUKS2 header: the {field} field of the {which} copy is {found}, must be {wanted}"
    )]
    Binary {
        /// Which copy.
        which: CopyName,
        /// The field's name in the LUKS2 specification.
        field: &'static str,
        /// As read.
        found: String,
        /// What is taken.
        wanted: &'static str,
    },
    /// The copies are whole and do not say the same.
    #[error(
        "read a LUKS2 header: its copies differ in {field}; `cryptsetup repair` makes them equal"
    )]
    CopiesDiffer {
        /// What differs.
        field: &'static str,
    },
    /// The JSON area is not UTF-8 text, then zeros.
    #[error("read a LUKS2 header: the JSON area is not UTF-8 text and then zeros")]
    JsonArea,
    /// The text is no JSON, or not of the shape that LUKS2 has.
    #[error("read a LUKS2 header: the JSON of {place} is not what LUKS2 knows: {detail}")]
    Json {
        /// Member.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// A member stands twice: two readers may take different values.
    #[error("read a LUKS2 header: a member of the JSON stands twice: {member}")]
    Duplicate {
        /// Its name, clipped.
        member: String,
    },
    /// A text with a NUL, which C takes for its end.
    #[error("read a LUKS2 header: a text of the JSON holds a NUL character")]
    Nul,
    /// The volume is being re-encrypted, or was when its machine stopped.
    #[error(
        "read a LUKS2 header: re-encryption is under way ({place}); finish it with `cryptsetup reencrypt --resume-only`"
    )]
    Reencryption {
        /// Where it shows.
        place: String,
    },
    /// Requirements that this code does not know how to meet.
    #[error("read a LUKS2 header: requirements are set; there must be none")]
    Requirements,
    /// A persistent flag that weakens the volume, or that is not known.
    #[error(
        "read a LUKS2 header: the persistent flag {flag:?} is set; only allow-discards, same-cpu-crypt, \
         submit-from-crypt-cpus, no-read-workqueue and no-write-workqueue are taken"
    )]
    Flag {
        /// The flag, clipped.
        flag: String,
    },
    /// The sizes in `config` are not those of the header, or out of bounds.
    #[error("read a LUKS2 header: config.{field} is {found}, must be {wanted}")]
    Config {
        /// Member.
        field: &'static str,
        /// As read.
        found: u64,
        /// What is taken.
        wanted: &'static str,
    },
    /// No keyslot, or more than LUKS2 has.
    #[error("read a LUKS2 header: {count} keyslots, must be 1 to 32")]
    Keyslots {
        /// How many.
        count: usize,
    },
    /// A keyslot of another type.
    #[error("read a LUKS2 header: keyslot {slot} is of type {found:?}, must be \"luks2\"")]
    KeyslotType {
        /// Keyslot.
        slot: u32,
        /// As read.
        found: String,
    },
    /// A keyslot's material would be stored in clear.
    #[error(
        "read a LUKS2 header: the area of keyslot {slot} has the cipher {found:?}: the volume key would be in clear; must be \
         aes-xts-plain64"
    )]
    KeyslotNullCipher {
        /// Keyslot.
        slot: u32,
        /// As read.
        found: String,
    },
    /// A value of a keyslot.
    #[error("read a LUKS2 header: {field} of keyslot {slot} is {found}, must be {wanted}")]
    Keyslot {
        /// Keyslot.
        slot: u32,
        /// Member.
        field: &'static str,
        /// As read.
        found: String,
        /// What is taken.
        wanted: &'static str,
    },
    /// A key derivation that is not known.
    #[error(
        "read a LUKS2 header: keyslot {slot} derives its key by {found:?}, must be argon2id, argon2i or pbkdf2"
    )]
    Kdf {
        /// Keyslot.
        slot: u32,
        /// As read.
        found: String,
    },
    /// A key derivation that costs more than any tool asks for, or less than LUKS2 allows.
    #[error(
        "read a LUKS2 header: keyslot {slot} asks for a key derivation with {what} {found}, must be {wanted}"
    )]
    KdfCost {
        /// Keyslot.
        slot: u32,
        /// Which cost.
        what: &'static str,
        /// As read.
        found: u64,
        /// What is taken.
        wanted: &'static str,
    },
    /// An area outside the keyslot region.
    #[error("read a LUKS2 header: the area of keyslot {slot} is outside the keyslot region")]
    AreaOutside {
        /// Keyslot.
        slot: u32,
    },
    /// Areas that overlap.
    #[error("read a LUKS2 header: the areas of keyslots {first} and {second} overlap")]
    AreasOverlap {
        /// One keyslot.
        first: u32,
        /// Another.
        second: u32,
    },
    /// Not exactly segment 0.
    #[error("read a LUKS2 header: {count} segment(s), must be exactly segment 0")]
    Segments {
        /// How many.
        count: usize,
    },
    /// Data would be stored in clear.
    #[error(
        "read a LUKS2 header: the segment's cipher is {found:?}: data would be in clear; must be aes-xts-plain64"
    )]
    NullCipher {
        /// As read.
        found: String,
    },
    /// Another cipher.
    #[error("read a LUKS2 header: the segment's cipher is {found:?}, must be aes-xts-plain64")]
    Cipher {
        /// As read.
        found: String,
    },
    /// A value of the segment.
    #[error("read a LUKS2 header: {field} of the segment is {found}, must be {wanted}")]
    Segment {
        /// Member.
        field: &'static str,
        /// As read.
        found: String,
        /// What is taken.
        wanted: &'static str,
    },
    /// The segment begins where the header is, or behind the disk's end.
    #[error(
        "read a LUKS2 header: the segment begins at byte {offset} of {disk_bytes}, must be behind the keyslot region and before the disk's end"
    )]
    SegmentOffset {
        /// As read.
        offset: u64,
        /// Bytes of the disk.
        disk_bytes: u64,
    },
    /// Not exactly one digest over all keyslots and the segment.
    #[error("read a LUKS2 header: {count} digest(s), must be exactly digest 0")]
    Digests {
        /// How many.
        count: usize,
    },
    /// A value of the digest.
    #[error("read a LUKS2 header: {field} of the digest is {found}, must be {wanted}")]
    Digest {
        /// Member.
        field: &'static str,
        /// As read.
        found: String,
        /// What is taken.
        wanted: &'static str,
    },
    /// More tokens than LUKS2 has.
    #[error("read a LUKS2 header: {count} tokens, must be at most 32")]
    Tokens {
        /// How many.
        count: usize,
    },
}

/// Why a foreign volume could not be read, opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The disk could not be read or written.
    #[error("{doing}")]
    Disk {
        /// What was attempted.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The header is not one that is taken.
    #[error(transparent)]
    Header(#[from] ForeignError),
    /// The key is not that of any keyslot.
    #[error("open a keyslot: this key opens none; must be the passphrase or DEK of the volume")]
    WrongKey,
    /// All 32 keyslots are taken, or no room is left.
    #[error("add a keyslot: no keyslot is free; `cryptsetup luksKillSlot` frees one")]
    NoFreeKeyslot,
    /// An adopted volume without a configured disk.
    #[error("the configuration names no disk; an adopted volume needs `device`")]
    NoDevice,
    /// The configured disk carries another volume.
    #[error("the disk carries volume {found}, must be {wanted}")]
    OtherVolume {
        /// As read.
        found: Uuid,
        /// As configured.
        wanted: Uuid,
    },
    /// This program cannot open keyslots.
    #[error(
        "this program was built without libcryptsetup; adopted volumes need the cargo feature `adopt` (agent: `adopted`)"
    )]
    NotBuilt,
    /// libcryptsetup failed.
    #[error("{doing} with libcryptsetup: {detail}")]
    Library {
        /// What was attempted.
        doing: &'static str,
        /// What it said.
        detail: String,
    },
}
