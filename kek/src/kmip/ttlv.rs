//! Tag, type, length, value: the encoding of KMIP messages (KMIP 1.4, clause 9.1).
//!
//! Decoding is total: what a server sends is bounded in bytes and in depth, every length is checked before it is used,
//! and only the one right form of a value is taken, so that encoding gives the same bytes again.

use zeroize::Zeroizing;

/// Longest message taken or made.
pub const MAX: usize = 64 * 1024;
/// Deepest nesting of structures.
const DEPTH: usize = 16;

/// A tagged value. Has no `Debug`: it may be a password or a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// The tag, 24 bits.
    pub tag: u32,
    /// The value.
    pub value: Value,
}

/// A value; the types that messages of ours and their answers have.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Items in order.
    Structure(Vec<Item>),
    /// 32 bits.
    Integer(i32),
    /// 64 bits.
    LongInteger(i64),
    /// A multiple of 8 bytes, two's complement.
    BigInteger(Vec<u8>),
    /// One of a list.
    Enumeration(u32),
    /// Yes or no.
    Boolean(bool),
    /// UTF-8.
    Text(Zeroizing<String>),
    /// Bytes.
    Bytes(Zeroizing<Vec<u8>>),
    /// Seconds since 1970.
    DateTime(i64),
    /// Seconds.
    Interval(u32),
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within an item, or goes on behind it.
    #[error("a length does not fit")]
    Length,
    /// More than [`MAX`] bytes.
    #[error("longer than {MAX} bytes")]
    TooLong,
    /// Structures within structures without end.
    #[error("nested deeper than {DEPTH}")]
    TooDeep,
    /// A type that KMIP 1.4 does not have.
    #[error("unknown type {0:#04x}")]
    Type(u8),
    /// Not the one right form of its type.
    #[error("a value is not one of its type")]
    Value,
}

impl Item {
    /// A structure.
    #[must_use]
    pub const fn structure(tag: u32, items: Vec<Self>) -> Self {
        let value = Value::Structure(items);
        Self { tag, value }
    }

    /// An integer.
    #[must_use]
    pub const fn integer(tag: u32, value: i32) -> Self {
        let value = Value::Integer(value);
        Self { tag, value }
    }

    /// An enumeration.
    #[must_use]
    pub const fn enumeration(tag: u32, value: u32) -> Self {
        let value = Value::Enumeration(value);
        Self { tag, value }
    }

    /// A text.
    #[must_use]
    pub fn text(tag: u32, text: &str) -> Self {
        let value = Value::Text(Zeroizing::new(text.to_owned()));
        Self { tag, value }
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(tag: u32, bytes: &[u8]) -> Self {
        let value = Value::Bytes(Zeroizing::new(bytes.to_vec()));
        Self { tag, value }
    }

    /// Items of a structure; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Structure(items) => items,
            _ => &[],
        }
    }

    /// The first item of this tag in a structure.
    #[must_use]
    pub fn child(&self, tag: u32) -> Option<&Self> {
        self.items().iter().find(|item| item.tag == tag)
    }

    /// The text of the first item of this tag.
    #[must_use]
    pub fn text_of(&self, tag: u32) -> Option<&str> {
        match &self.child(tag)?.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The bytes of the first item of this tag.
    #[must_use]
    pub fn bytes_of(&self, tag: u32) -> Option<&[u8]> {
        match &self.child(tag)?.value {
            Value::Bytes(bytes) => Some(bytes.as_slice()),
            _ => None,
        }
    }

    /// The enumeration of the first item of this tag.
    #[must_use]
    pub fn enumeration_of(&self, tag: u32) -> Option<u32> {
        match self.child(tag)?.value {
            Value::Enumeration(value) => Some(value),
            _ => None,
        }
    }

    /// The integer of the first item of this tag.
    #[must_use]
    pub fn integer_of(&self, tag: u32) -> Option<i32> {
        match self.child(tag)?.value {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The message, in a buffer that is wiped.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // All of its length at once, so that no part stays behind in a smaller buffer.
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded()));
        self.write(&mut out);
        out
    }

    fn encoded(&self) -> usize {
        8 + self.value.length().next_multiple_of(8)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let length = self.value.length();
        let [_, tag @ ..] = self.tag.to_be_bytes();
        out.extend_from_slice(&tag);
        out.push(self.value.kind());
        let length32 = u32::try_from(length).unwrap_or(u32::MAX);
        out.extend_from_slice(&length32.to_be_bytes());
        match &self.value {
            Value::Structure(items) => items.iter().for_each(|item| item.write(out)),
            Value::Integer(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Enumeration(value) | Value::Interval(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::LongInteger(value) | Value::DateTime(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::Boolean(value) => out.extend_from_slice(&u64::from(*value).to_be_bytes()),
            Value::BigInteger(bytes) => out.extend_from_slice(bytes),
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(bytes) => out.extend_from_slice(bytes),
        }
        let padding = length.next_multiple_of(8) - length;
        out.resize(out.len() + padding, 0);
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX {
            return Err(Malformed::TooLong);
        }
        let (item, rest) = Self::read(bytes, 0)?;
        rest.is_empty().then_some(item).ok_or(Malformed::Length)
    }

    fn read(bytes: &[u8], depth: usize) -> Result<(Self, &[u8]), Malformed> {
        if depth == DEPTH {
            return Err(Malformed::TooDeep);
        }
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::Length)?;
        let [t0, t1, t2, kind, l0, l1, l2, l3] = *head;
        let tag = u32::from_be_bytes([0, t0, t1, t2]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(length).map_err(|_| Malformed::Length)?;
        let padded = length
            .checked_next_multiple_of(8)
            .ok_or(Malformed::Length)?;
        let (body, rest) = rest.split_at_checked(padded).ok_or(Malformed::Length)?;
        let (body, padding) = body.split_at_checked(length).ok_or(Malformed::Length)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed::Value);
        }
        let value = Value::read(kind, body, depth)?;
        Ok((Self { tag, value }, rest))
    }
}

impl Value {
    const fn kind(&self) -> u8 {
        match self {
            Self::Structure(_) => 1,
            Self::Integer(_) => 2,
            Self::LongInteger(_) => 3,
            Self::BigInteger(_) => 4,
            Self::Enumeration(_) => 5,
            Self::Boolean(_) => 6,
            Self::Text(_) => 7,
            Self::Bytes(_) => 8,
            Self::DateTime(_) => 9,
            Self::Interval(_) => 10,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Structure(items) => items.iter().map(Item::encoded).sum(),
            Self::Integer(_) | Self::Enumeration(_) | Self::Interval(_) => 4,
            Self::LongInteger(_) | Self::DateTime(_) | Self::Boolean(_) => 8,
            Self::BigInteger(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn read(kind: u8, body: &[u8], depth: usize) -> Result<Self, Malformed> {
        let four = || <[u8; 4]>::try_from(body).map_err(|_| Malformed::Value);
        let eight = || <[u8; 8]>::try_from(body).map_err(|_| Malformed::Value);
        Ok(match kind {
            1 => {
                let (mut items, mut rest) = (Vec::new(), body);
                while !rest.is_empty() {
                    let (item, behind) = Item::read(rest, depth + 1)?;
                    items.push(item);
                    rest = behind;
                }
                Self::Structure(items)
            }
            2 => Self::Integer(i32::from_be_bytes(four()?)),
            3 => Self::LongInteger(i64::from_be_bytes(eight()?)),
            4 if !body.is_empty() && body.len().is_multiple_of(8) => {
                Self::BigInteger(body.to_vec())
            }
            4 => return Err(Malformed::Value),
            5 => Self::Enumeration(u32::from_be_bytes(four()?)),
            6 => match u64::from_be_bytes(eight()?) {
                0 => Self::Boolean(false),
                1 => Self::Boolean(true),
                _ => return Err(Malformed::Value),
            },
            7 => {
                let text = std::str::from_utf8(body).map_err(|_| Malformed::Value)?;
                Self::Text(Zeroizing::new(text.to_owned()))
            }
            8 => Self::Bytes(Zeroizing::new(body.to_vec())),
            9 => Self::DateTime(i64::from_be_bytes(eight()?)),
            10 => Self::Interval(u32::from_be_bytes(four()?)),
            other => return Err(Malformed::Type(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(bytes: &[u8]) -> Malformed {
        Item::decode(bytes).err().unwrap()
    }

    #[test]
    fn encodes_the_examples_of_the_specification() {
        // KMIP 1.4, clause 9.1.2.
        for (item, hex) in [
            (
                Item::integer(0x42_0020, 8),
                "42002002000000040000000800000000",
            ),
            (
                Item::enumeration(0x42_0020, 255),
                "4200200500000004000000ff00000000",
            ),
            (
                Item::text(0x42_0020, "Hello World"),
                "420020070000000b48656c6c6f20576f726c640000000000",
            ),
            (
                Item::bytes(0x42_0020, &[1, 2, 3]),
                "42002008000000030102030000000000",
            ),
            (
                Item::structure(
                    0x42_0020,
                    vec![
                        Item::enumeration(0x42_0004, 254),
                        Item::integer(0x42_0005, 255),
                    ],
                ),
                "42002001000000204200040500000004000000fe000000004200050200000004000000ff00000000",
            ),
        ] {
            let bytes = hex::decode(hex).unwrap();
            assert_eq!(item.encode().as_slice(), bytes);
            assert!(Item::decode(&bytes).unwrap() == item);
        }
    }

    #[test]
    fn refuses_every_truncation_and_whatever_follows() {
        let item = Item::structure(1, vec![Item::text(2, "x"), Item::bytes(3, &[7; 9])]);
        let bytes = item.encode();
        for cut in 0..bytes.len() {
            assert!(Item::decode(&bytes[..cut]).is_err());
        }
        assert_eq!(refused(&[&bytes[..], &[0]].concat()), Malformed::Length);
    }

    #[test]
    fn refuses_depth_length_type_and_padding_that_cannot_be() {
        let mut deep = Item::integer(1, 1);
        for _ in 0..DEPTH {
            deep = Item::structure(1, vec![deep]);
        }
        assert_eq!(refused(&deep.encode()), Malformed::TooDeep);
        assert_eq!(refused(&vec![0; MAX + 1]), Malformed::TooLong);
        assert_eq!(
            refused(&[0, 0, 1, 8, 0xff, 0xff, 0xff, 0xff]),
            Malformed::Length
        );
        assert_eq!(refused(&[0, 0, 1, 77, 0, 0, 0, 0]), Malformed::Type(77));
        assert_eq!(refused(&[0, 0, 1, 2, 0, 0, 0, 0]), Malformed::Value);
        let mut padded = Item::integer(1, 1).encode();
        padded[15] = 1;
        assert_eq!(refused(&padded), Malformed::Value);
    }
}
