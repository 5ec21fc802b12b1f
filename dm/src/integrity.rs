//! How changed blocks are found, and what follows from it: cipher, key, tag.
//!
//! Each kind is what `cryptsetup luksFormat` makes of the same choice (cryptsetup 2.6, `INTEGRITY_tag_size` and
//! `cipher_c2dm`), so that stock tools understand the volume.

use std::fmt;

/// How changed blocks are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// AES-256-XTS, and every block carries an HMAC-SHA256 tag in dm-integrity: a changed block is a read error.
    HmacSha256,
    /// AES-256-GCM with a random 96-bit nonce for every write of a block, kept with the tag. Nonces must not repeat:
    /// for volumes that are written less than 2^32 times a block (16 TiB) in their life.
    AesGcm,
    /// AEGIS-128 with a random 128-bit nonce for every write of a block, kept with the tag. The key has 128 bits.
    Aegis128,
    /// AES-256-XTS alone: a changed block decrypts to noise. Only by explicit choice.
    None,
}

impl Integrity {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::HmacSha256, Self::AesGcm, Self::Aegis128, Self::None];

    /// The name in configurations and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::AesGcm => "aes-gcm",
            Self::Aegis128 => "aegis128",
            Self::None => "none",
        }
    }

    /// The kind of this [`Integrity::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of the volume key: the cipher's, and the HMAC's behind it.
    #[must_use]
    pub const fn volume_key_bytes(self) -> usize {
        match self {
            Self::HmacSha256 => 96,
            Self::AesGcm => 32,
            Self::Aegis128 => 16,
            Self::None => 64,
        }
    }

    /// Bytes that dm-integrity keeps for each block: the tag, and behind it the nonce if that is random.
    #[must_use]
    pub const fn tag_bytes(self) -> u64 {
        match self {
            Self::HmacSha256 => 32,
            Self::AesGcm => 16 + 12,
            Self::Aegis128 => 16 + 16,
            Self::None => 0,
        }
    }

    /// Whether dm-integrity is below dm-crypt.
    #[must_use]
    pub const fn has_tags(self) -> bool {
        self.tag_bytes() > 0
    }

    /// The segment's `encryption` in LUKS2.
    pub(crate) const fn encryption(self) -> &'static str {
        match self {
            Self::HmacSha256 | Self::None => "aes-xts-plain64",
            Self::AesGcm => "aes-gcm-random",
            Self::Aegis128 => "aegis128-random",
        }
    }

    /// The segment's `integrity.type` in LUKS2.
    pub(crate) const fn luks_type(self) -> Option<&'static str> {
        match self {
            Self::HmacSha256 => Some("hmac(sha256)"),
            Self::AesGcm | Self::Aegis128 => Some("aead"),
            Self::None => None,
        }
    }

    /// The cipher in a dm-crypt table.
    pub(crate) const fn crypt_cipher(self) -> &'static str {
        match self {
            Self::HmacSha256 => "capi:authenc(hmac(sha256),xts(aes))-plain64",
            Self::AesGcm => "capi:gcm(aes)-random",
            Self::Aegis128 => "capi:aegis128-random",
            Self::None => "aes-xts-plain64",
        }
    }

    /// The kind of a segment with this cipher, with integrity or without. `None` if no kind has that cipher.
    pub(crate) fn of_segment(encryption: &str, integrity: bool) -> Option<Self> {
        let mut of_cipher = Self::ALL
            .into_iter()
            .filter(|kind| kind.encryption() == encryption);
        let first = of_cipher.next()?;
        // Only XTS comes in both ways; an AEAD cipher without integrity is refused by what the segment lacks.
        let second = of_cipher.next().unwrap_or(first);
        Some(if integrity { first } else { second })
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_segments_lead_back_to_their_kind() {
        for kind in Integrity::ALL {
            assert_eq!(Integrity::from_name(kind.name()), Some(kind));
            let found = Integrity::of_segment(kind.encryption(), kind.has_tags());
            assert_eq!(found, Some(kind));
            assert_eq!(kind.luks_type().is_some(), kind.has_tags());
        }
        assert_eq!(Integrity::from_name("crc32c"), None);
        assert_eq!(Integrity::of_segment("cipher_null-ecb", true), None);
    }
}
