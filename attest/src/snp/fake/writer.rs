//! Writes the little DER that the mock's certificates need.

use crate::snp::certs::rfc3339;

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(super) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

pub(super) fn oid(content: &[u8]) -> Vec<u8> {
    tlv(0x06, content)
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

/// A non-negative number from its minimal big-endian digits.
pub(super) fn integer(digits: &[u8]) -> Vec<u8> {
    match digits.first() {
        Some(0x80..) => tlv(0x02, &[&[0], digits].concat()),
        _ => tlv(0x02, digits),
    }
}

/// UTCTime until 2049, GeneralizedTime later (RFC 5280 §4.1.2.5).
pub(super) fn generalized_or_utc(unix: u64) -> Vec<u8> {
    let text: String = rfc3339(unix)
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == 'Z')
        .collect();
    if text.as_str() < "2050" {
        tlv(0x17, &text.as_bytes()[2..])
    } else {
        tlv(0x18, text.as_bytes())
    }
}

/// A name in AMD's form, by its common name.
pub(super) fn name(common_name: &str) -> Vec<u8> {
    let part = |oid_content: &[u8], text: &str| {
        tlv(
            0x31,
            &sequence(&[oid(oid_content), tlv(0x0c, text.as_bytes())]),
        )
    };
    sequence(&[
        part(&[0x55, 0x04, 0x0a], "Mock Micro Devices"),
        part(&[0x55, 0x04, 0x03], common_name),
    ])
}
