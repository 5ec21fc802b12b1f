//! DNS messages (RFC 1035): one query, and what of its answer counts. Reading is total and bounded.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Most records of an answer that are looked at.
const MAX_RECORDS: u16 = 256;
/// Most aliases (CNAME) that are followed.
const MAX_ALIASES: usize = 8;
/// Bytes of a message's header.
const HEADER: usize = 12;
/// Longest name, as it stands in a message.
const MAX_NAME: usize = 255;
/// Class IN.
const INTERNET: u16 = 1;
const CNAME: u16 = 5;

/// A name: labels of letters, digits, `-` and `_`, in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name written so, with or without the dot at its end.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // One byte for the first label's length and one for the root.
        let fits = text.len() + 2 <= MAX_NAME && text.split('.').all(good);
        fits.then(|| Self(text.to_ascii_lowercase()))
    }

    /// `LABELS.NAME`.
    #[must_use]
    pub fn below(&self, labels: &str) -> Option<Self> {
        Self::new(&format!("{labels}.{}", self.0))
    }

    /// The text, without a dot at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a message, not compressed.
    fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            // A label has at most 63 bytes.
            wire.push(u8::try_from(label.len()).unwrap_or_default());
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service is (RFC 2782).
    Srv,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        })
    }
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// The smallest is to be tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// TCP port, not 0.
    pub port: u16,
    /// The host.
    pub target: Name,
}

/// One record that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A service.
    Srv(Srv),
}

/// An answer to what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The records of the name, or of what it is an alias for; may be none.
    Records(Vec<Record>),
    /// There is no such name.
    NoSuchName,
    /// It is longer than the way it came; to be asked again over TCP.
    Truncated,
    /// The server did not answer the question: RCODE.
    Failed(u8),
}

/// The message that asks, with recursion.
#[must_use]
pub fn query(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Standard query, recursion desired; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&name.wire());
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// What a message says about a question; `None` if it is not an answer to it, or is malformed.
#[must_use]
pub fn parse(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Reply> {
    let [flags, code] = *bytes.get(2..4)?.as_array()?;
    let response_to_query = flags & 0xf8 == 0x80;
    if number(bytes, 0)? != id || !response_to_query || number(bytes, 4)? != 1 {
        return None;
    }
    let (asked, at) = read_name(bytes, HEADER)?;
    let same = number(bytes, at)? == kind.number() && number(bytes, at + 2)? == INTERNET;
    if !same || asked != name.wire() {
        return None;
    }
    match code & 0x0f {
        0 if flags & 0x02 != 0 => return Some(Reply::Truncated),
        0 => {}
        3 => return Some(Reply::NoSuchName),
        code => return Some(Reply::Failed(code)),
    }
    let raw = records(bytes, at + 4, number(bytes, 6)?.min(MAX_RECORDS))?;
    let mut owner = asked;
    for _ in 0..MAX_ALIASES {
        let alias = raw.iter().find(|r| r.kind == CNAME && r.owner == owner);
        match alias.and_then(|alias| read_name(bytes, alias.data)) {
            Some((target, _)) => owner = target,
            None => break,
        }
    }
    let wanted = raw
        .iter()
        .filter(|r| r.kind == kind.number() && r.owner == owner);
    Some(Reply::Records(
        wanted.filter_map(|r| r.typed(bytes, kind)).collect(),
    ))
}

/// A record of class IN as it stands in a message.
struct Raw {
    owner: Vec<u8>,
    kind: u16,
    /// Where its data begin, and how many bytes they are.
    data: usize,
    length: usize,
}

impl Raw {
    fn typed(&self, bytes: &[u8], kind: Kind) -> Option<Record> {
        let data = bytes.get(self.data..self.data + self.length)?;
        match kind {
            Kind::A => Some(Record::A(Ipv4Addr::from(*data.as_array::<4>()?))),
            Kind::Aaaa => Some(Record::Aaaa(Ipv6Addr::from(*data.as_array::<16>()?))),
            Kind::Srv => {
                let (target, _) = read_name(bytes, self.data + 6)?;
                let port = number(data, 4)?;
                Some(Record::Srv(Srv {
                    priority: number(data, 0)?,
                    weight: number(data, 2)?,
                    port: (port != 0).then_some(port)?,
                    target: text(&target)?,
                }))
            }
        }
    }
}

fn records(bytes: &[u8], mut at: usize, count: u16) -> Option<Vec<Raw>> {
    let mut found = Vec::new();
    for _ in 0..count {
        let (owner, fixed) = read_name(bytes, at)?;
        let (kind, class) = (number(bytes, fixed)?, number(bytes, fixed + 2)?);
        let length = usize::from(number(bytes, fixed + 8)?);
        let data = fixed + 10;
        at = data + length;
        bytes.get(data..at)?;
        if class == INTERNET {
            found.push(Raw {
                owner,
                kind,
                data,
                length,
            });
        }
    }
    Some(found)
}

/// A name at an offset, not compressed and in small letters, and where what follows it begins.
fn read_name(bytes: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut at, mut after) = (start, None);
    // Pointers must lead backwards, each before the one that led there: that ends.
    let mut limit = start;
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => {
                name.push(0);
                return Some((name, after.unwrap_or(at + 1)));
            }
            1..=63 => {
                let label = bytes.get(at + 1..=at + usize::from(length))?;
                name.push(length);
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                if name.len() >= MAX_NAME {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(number(bytes, at)? & 0x3fff);
                after = after.or(Some(at + 2));
                if target >= limit {
                    return None;
                }
                (at, limit) = (target, target);
            }
            _ => return None,
        }
    }
}

/// A name of a message as text, if it is a host's.
fn text(wire: &[u8]) -> Option<Name> {
    let mut labels = Vec::new();
    let mut rest = wire;
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length != 0) {
        let (label, next) = after.split_at_checked(usize::from(*length))?;
        labels.push(std::str::from_utf8(label).ok()?);
        rest = next;
    }
    Name::new(&labels.join("."))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(*pair.as_array()?))
}

#[cfg(test)]
mod tests;
