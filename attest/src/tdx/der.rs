//! The little DER that is read here by hand: strict, so that one value has one encoding.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// `AlgorithmIdentifier` of ECDSA with SHA-256, the one algorithm of Intel's PKI.
const ECDSA_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];

/// Content of the only element in `der`.
pub(super) fn sole(der: &[u8], tag: u8) -> Option<&[u8]> {
    match element(der, tag)? {
        (content, []) => Some(content),
        _ => None,
    }
}

/// Content of the first element, which must have this tag, and the bytes behind it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            let minimal = match digits {
                [digit] => *digit >= 0x80,
                digits => digits.first().is_some_and(|digit| *digit != 0),
            };
            (minimal.then_some(length)?, rest)
        }
        _ => return None,
    };
    if found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

/// The signed bytes of a certificate or CRL and the ECDSA-SHA256 signature over them. Everything around them is
/// fixed: no bit of it can change without being noticed.
pub(super) fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let content = sole(der, SEQUENCE)?;
    let (_, rest) = element(content, SEQUENCE)?;
    let tbs = content.get(..content.len().checked_sub(rest.len())?)?;
    let bits = sole(rest.strip_prefix(ECDSA_SHA256)?, BITS)?;
    match bits.split_first()? {
        (0, signature) => Some((tbs, signature)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_lengths_that_are_not_minimal_or_too_long() {
        assert_eq!(element(&[4, 1, 9, 7], OCTETS), Some((&[9][..], &[7][..])));
        assert_eq!(element(&[4, 0x81, 1, 9], OCTETS), None);
        assert_eq!(element(&[4, 0x82, 0, 1, 9], OCTETS), None);
        assert_eq!(element(&[4, 2, 9], OCTETS), None);
        assert_eq!(element(&[4, 0x84, 0, 0, 0, 1, 9], OCTETS), None);
        assert_eq!(element(&[5, 0], OCTETS), None);
    }
}
