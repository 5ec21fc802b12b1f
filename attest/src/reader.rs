//! A cursor over hostile bytes: every read is bounds-checked, says what it was reading, and allocates nothing.

/// Why bytes could not be read as the structure they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes end inside a field.
    #[error("{what}: needs {wanted} bytes at offset {at}, only {left} are left")]
    Ends {
        /// Field being read.
        what: &'static str,
        /// Offset of the field.
        at: usize,
        /// Bytes the field needs.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length or count is above what this field may have.
    #[error("{what}: {found} at offset {at}, at most {most} is allowed")]
    TooMany {
        /// Field being read.
        what: &'static str,
        /// Offset of the field.
        at: usize,
        /// Length or count found.
        found: usize,
        /// Highest value allowed.
        most: usize,
    },
    /// A field has a value that is not defined, or not accepted here.
    #[error("{what}: value {found:#x} at offset {at}, expected {wanted}")]
    Value {
        /// Field being read.
        what: &'static str,
        /// Offset of the field.
        at: usize,
        /// Value found.
        found: u64,
        /// What would be right.
        wanted: &'static str,
    },
    /// Bytes follow after the structure's end.
    #[error("{what}: {left} bytes follow after its end")]
    Trailing {
        /// Structure that was read.
        what: &'static str,
        /// Bytes behind it.
        left: usize,
    },
}

/// A cursor over borrowed bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Takes `n` bytes.
    pub fn take(&mut self, what: &'static str, n: usize) -> Result<&'a [u8], ReadError> {
        let ends = ReadError::Ends {
            what,
            at: self.at,
            wanted: n,
            left: self.rest().len(),
        };
        let end = self.at.checked_add(n).ok_or_else(|| ends.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(ends)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let mut out = [0u8; N];
        out.copy_from_slice(self.take(what, N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, ReadError> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// Big-endian 16 bits, as in TPM structures.
    pub fn u16_be(&mut self, what: &'static str) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Big-endian 32 bits, as in TPM structures.
    pub fn u32_be(&mut self, what: &'static str) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Big-endian 64 bits, as in TPM structures.
    pub fn u64_be(&mut self, what: &'static str) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// Little-endian 16 bits, as in event logs and PE files.
    pub fn u16_le(&mut self, what: &'static str) -> Result<u16, ReadError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Little-endian 32 bits, as in event logs and PE files.
    pub fn u32_le(&mut self, what: &'static str) -> Result<u32, ReadError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A TPM2B: 16-bit big-endian length, then that many bytes, at most `most`.
    pub fn sized(&mut self, what: &'static str, most: usize) -> Result<&'a [u8], ReadError> {
        let at = self.at;
        let found = usize::from(self.u16_be(what)?);
        self.take_at_most(what, at, found, most)
    }

    /// The `found` bytes that a length field at `at` announced, at most `most`.
    pub fn take_at_most(
        &mut self,
        what: &'static str,
        at: usize,
        found: usize,
        most: usize,
    ) -> Result<&'a [u8], ReadError> {
        if found > most {
            return Err(ReadError::TooMany {
                what,
                at,
                found,
                most,
            });
        }
        self.take(what, found)
    }

    /// Ends the reading of `what`; leftover bytes are an error.
    pub fn finish(self, what: &'static str) -> Result<(), ReadError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(ReadError::Trailing { what, left }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_in_both_byte_orders_and_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 2, 1, 2, 9]);
        assert_eq!(reader.u16_be("a").unwrap(), 0x0102);
        assert_eq!(reader.u16_le("b").unwrap(), 0x0201);
        let error = reader.u32_be("c").unwrap_err();
        assert!(matches!(
            error,
            ReadError::Ends {
                at: 4,
                wanted: 4,
                left: 1,
                ..
            }
        ));
        assert!(matches!(
            reader.finish("d"),
            Err(ReadError::Trailing { left: 1, .. })
        ));
    }

    #[test]
    fn refuses_a_sized_field_above_its_cap_before_taking_it() {
        let error = Reader::new(&[0xff, 0xff, 0])
            .sized("field", 64)
            .unwrap_err();
        assert!(matches!(
            error,
            ReadError::TooMany {
                found: 0xffff,
                most: 64,
                ..
            }
        ));
    }
}
