//! The little DER that is read by hand in certificates and CRLs of AMD and Intel: definite, minimal lengths and
//! low tag numbers only, so that one value has one encoding.
//!
//! Every function is total: bytes that are not such DER give `None`. Nesting is followed by the callers to a
//! fixed depth, never recursively.

/// Tags used here.
pub(crate) mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const IA5_STRING: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    pub const BOOLEAN: u8 = 0x01;
    pub const CONTEXT_0: u8 = 0xa0;
    pub const CONTEXT_3: u8 = 0xa3;
}

/// One element: its tag, content, and all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub whole: &'a [u8],
}

/// A cursor over elements that follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever its tag.
    pub fn any(&mut self) -> Option<Tlv<'a>> {
        let (tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, header) = length(rest)?;
        let end = header.checked_add(1)?.checked_add(length)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(Tlv {
            tag: *tag,
            content: whole.get(end - length..)?,
            whole,
        })
    }

    /// The next element, which must have `tag`.
    pub fn expect(&mut self, tag: u8) -> Option<Tlv<'a>> {
        self.any().filter(|tlv| tlv.tag == tag)
    }

    /// The next element if it has `tag`; otherwise nothing is read.
    pub fn optional(&mut self, tag: u8) -> Option<Tlv<'a>> {
        let mut ahead = *self;
        let tlv = ahead.expect(tag)?;
        *self = ahead;
        Some(tlv)
    }
}

/// Length and size of its encoding. Indefinite, over-long and non-minimal forms give `None`.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), 1));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let digits = rest.get(..count)?;
    let value = digits
        .iter()
        .fold(0usize, |sum, digit| (sum << 8) | usize::from(*digit));
    let minimal = digits.first() != Some(&0) && value >= 0x80;
    minimal.then_some((value, count + 1))
}

/// One element that is all of `bytes`.
pub(crate) fn single(bytes: &[u8], tag: u8) -> Option<Tlv<'_>> {
    let mut reader = Reader::new(bytes);
    reader.expect(tag).filter(|_| reader.is_empty())
}

/// The octets of a BIT STRING whose bits fill them.
pub(crate) fn bit_string<'a>(tlv: &Tlv<'a>) -> Option<&'a [u8]> {
    match tlv.content.split_first()? {
        (0, octets) if tlv.tag == tag::BIT_STRING => Some(octets),
        _ => None,
    }
}

/// The digits of a non-negative INTEGER, big-endian, without the sign octet; zero gives one zero octet.
pub(crate) fn unsigned<'a>(tlv: &Tlv<'a>) -> Option<&'a [u8]> {
    if tlv.tag != tag::INTEGER {
        return None;
    }
    match tlv.content {
        [0] => Some(tlv.content),
        [0, rest @ ..] if rest.first().is_some_and(|b| *b >= 0x80) => Some(rest),
        [first, ..] if (1..0x80).contains(first) => Some(tlv.content),
        _ => None,
    }
}

/// A signed structure of X.509: `SEQUENCE { tbs, algorithm, signature }`, all of `bytes`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// To be signed, with header.
    pub tbs: Tlv<'a>,
    /// AlgorithmIdentifier, with header.
    pub algorithm: &'a [u8],
    /// Signature octets.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(single(bytes, tag::SEQUENCE)?.content);
        let tbs = reader.expect(tag::SEQUENCE)?;
        let algorithm = reader.expect(tag::SEQUENCE)?.whole;
        let signature = bit_string(&reader.expect(tag::BIT_STRING)?)?;
        reader.is_empty().then_some(Self {
            tbs,
            algorithm,
            signature,
        })
    }
}

/// A UTCTime or GeneralizedTime with seconds and `Z`, as seconds since 1970. Times before 1970 give `None`.
pub(crate) fn time(tlv: &Tlv<'_>) -> Option<u64> {
    let (century, digits) = match tlv.tag {
        tag::UTC_TIME => {
            let first = tlv.content.first()?;
            (
                if *first >= b'5' { Some(19) } else { Some(20) },
                tlv.content,
            )
        }
        tag::GENERALIZED_TIME => (None, tlv.content),
        _ => return None,
    };
    let digits = digits.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pairs: Vec<u64> = digits
        .chunks(2)
        .map(|pair| {
            pair.iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        })
        .collect();
    let (year, rest) = match (century, pairs.as_slice(), digits.len()) {
        (Some(century), [year, rest @ ..], 12) => (century * 100 + year, rest),
        (None, [century, year, rest @ ..], 14) => (century * 100 + year, rest),
        _ => return None,
    };
    let &[month, day, hour, minute, second] = rest else {
        return None;
    };
    seconds(year, month, day, hour, minute, second)
}

/// Seconds since 1970 of a Gregorian date and time, proleptic, without leap seconds.
fn seconds(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days by the civil calendar algorithm: years start in March, so that a leap day ends one.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `2023-04-03T19:23:43Z` for seconds since 1970.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (days, rest) = (unix / 86_400 + 719_468, unix % 86_400);
    let era = days / 146_097;
    let doe = days % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Option<u64> {
        let content = text.as_bytes();
        time(&Tlv {
            tag: tag::UTC_TIME,
            content,
            whole: content,
        })
    }

    #[test]
    fn reads_times_of_both_forms() {
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("230403192343Z"), Some(1_680_549_823));
        assert_eq!(
            utc("240229235959Z").map(rfc3339).as_deref(),
            Some("2024-02-29T23:59:59Z")
        );
        let content = b"20471118204834Z".as_slice();
        let general = time(&Tlv {
            tag: tag::GENERALIZED_TIME,
            content,
            whole: content,
        });
        assert_eq!(
            general.map(rfc3339).as_deref(),
            Some("2047-11-18T20:48:34Z")
        );
    }

    #[test]
    fn refuses_times_that_are_none() {
        for text in [
            "",
            "Z",
            "230229000000Z",
            "231301000000Z",
            "230100000000Z",
            "2304031923Z",
            "230403192343+0100",
            "2304031923433Z",
            "230403246060Z",
            "23040319234aZ",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_lengths_that_are_not_minimal() {
        for bytes in [
            &[0x04, 0x81, 0x01, 0xff][..],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x1f, 1, 0],
            &[0x04, 0x85, 0, 0, 0, 0, 1],
            &[0x04, 2, 0],
            &[0x04],
        ] {
            assert!(Reader::new(bytes).any().is_none(), "{bytes:02x?}");
        }
    }

    #[test]
    fn integers_must_be_minimal_and_not_negative() {
        let read =
            |bytes| single(bytes, tag::INTEGER).and_then(|tlv| unsigned(&tlv).map(<[u8]>::to_vec));
        assert_eq!(read(&[2, 1, 0]), Some(vec![0]));
        assert_eq!(read(&[2, 2, 0, 0xdb]), Some(vec![0xdb]));
        assert_eq!(read(&[2, 2, 0, 0x01]), None);
        assert_eq!(read(&[2, 1, 0x80]), None);
        assert_eq!(read(&[2, 0]), None);
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new(&bytes);
            while let Some(tlv) = reader.any() {
                let _ = (bit_string(&tlv), unsigned(&tlv), time(&tlv));
            }
            let _ = Signed::parse(&bytes);
        }

        #[test]
        fn times_print_as_they_were_read(unix in 0u64..2_524_607_999) {
            let text = rfc3339(unix);
            let compact: String = text.chars().skip(2).filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
            prop_assert_eq!(utc(&compact), Some(unix));
        }
    }
}
