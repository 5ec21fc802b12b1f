//! EFI GUIDs: 16 bytes, the first three fields little-endian.

use std::fmt;

/// A GUID as it stands in memory and in variables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

/// Not `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no GUID, expected the form 8be4df61-93ca-11d2-aa0d-00e098032b8c")]
pub struct GuidError {
    /// Text given.
    pub found: String,
}

/// Lengths of the fields and whether they are little-endian.
const FIELDS: [(usize, bool); 5] = [(4, true), (2, true), (2, true), (2, false), (6, false)];

impl Guid {
    /// Of the fields as they are usually written.
    pub(crate) const fn new(a: u32, b: u16, c: u16, rest: [u8; 8]) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let [r0, r1, r2, r3, r4, r5, r6, r7] = rest;
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], r0, r1, r2, r3, r4, r5, r6, r7,
        ])
    }
}

impl std::str::FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || GuidError {
            found: text.chars().take(64).collect(),
        };
        let mut fields = text.split('-');
        let mut bytes = Vec::with_capacity(16);
        for (length, little) in FIELDS {
            let field = fields.next().ok_or_else(error)?;
            let mut field = hex::decode(field).map_err(|_| error())?;
            if field.len() != length {
                return Err(error());
            }
            if little {
                field.reverse();
            }
            bytes.extend_from_slice(&field);
        }
        let bytes = bytes.try_into().map_err(|_| error())?;
        match fields.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(error()),
        }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest: &[u8] = &self.0;
        for (number, (length, little)) in FIELDS.into_iter().enumerate() {
            let (field, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            let mut field = field.to_vec();
            if little {
                field.reverse();
            }
            let dash = if number == 0 { "" } else { "-" };
            write!(f, "{dash}{}", hex::encode(field))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_and_writes_the_usual_form() {
        let text = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(hex::encode(guid.0), "61dfe48bca93d211aa0d00e098032b8c");
        assert_eq!(guid.to_string(), text);
        let rest = [0xaa, 0x0d, 0, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
        assert_eq!(guid, Guid::new(0x8be4_df61, 0x93ca, 0x11d2, rest));
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "8be4df61",
            "8be4df61-93ca-11d2-aa0d-00e098032b8c-",
            "8be4df6-193ca-11d2-aa0d-00e098032b8c",
            "zbe4df61-93ca-11d2-aa0d-00e098032b8c",
        ] {
            let found = text.to_owned();
            assert_eq!(text.parse::<Guid>(), Err(GuidError { found }));
        }
    }
}
