//! A DNS server that says what the test wants: the network answers in the place of whatever server the guest asks.

use std::net::Ipv4Addr;

const A: u16 = 1;
const SRV: u16 = 33;

/// What a name is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Addresses.
    A(Vec<Ipv4Addr>),
    /// One service: target and port.
    Srv(String, u16),
}

/// A name, in lower case and without a last dot, and what is said of it.
pub type Name = (String, Says);

/// The answer to a question over UDP: the records there are, or an empty answer. `None` for what is no question.
pub(super) fn answer(names: &[Name], query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let question = query.get(12..end.checked_add(4)?)?;
    let kind = query.get(end..end + 2)?;
    let kind = u16::from_be_bytes(kind.try_into().ok()?);
    let records: Vec<Vec<u8>> = names
        .iter()
        .filter(|(known, _)| *known == name)
        .flat_map(|(_, says)| records(says, kind))
        .collect();
    let mut answer = query.get(..2)?.to_vec();
    // A recursive answer to one question without an error.
    answer.extend([0x81, 0x80, 0, 1]);
    answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for record in records {
        // The question's name, class IN, for a minute.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}

fn records(says: &Says, kind: u16) -> Vec<Vec<u8>> {
    match says {
        Says::A(addresses) if kind == A => addresses
            .iter()
            .map(|address| address.octets().to_vec())
            .collect(),
        Says::Srv(target, port) if kind == SRV => {
            let mut record = vec![0, 0, 0, 0];
            record.extend(port.to_be_bytes());
            for label in target.split('.') {
                record.extend(u8::try_from(label.len()));
                record.extend(label.as_bytes());
            }
            record.push(0);
            vec![record]
        }
        _ => Vec::new(),
    }
}

/// The name that is asked for, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join(".").to_ascii_lowercase(), at)),
            1..64 => labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned()),
            _ => return None,
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn query(kind: u16) -> Vec<u8> {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x03Key\x04test\0");
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    #[test]
    fn says_what_it_was_told_and_nothing_of_other_kinds() {
        let names = [("key.test".to_owned(), Says::A(vec![[10, 0, 2, 9].into()]))];
        let told = answer(&names, &query(A)).unwrap();
        assert_eq!(told[..8], [7, 7, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(told[told.len() - 6..], [0, 4, 10, 0, 2, 9]);
        let nothing = answer(&names, &query(28)).unwrap();
        assert_eq!(nothing[6..8], [0, 0]);
        let names = [(
            "key.test".to_owned(),
            Says::Srv("evil.test".to_owned(), 8443),
        )];
        let told = answer(&names, &query(SRV)).unwrap();
        assert!(told.ends_with(b"\x20\xfb\x04evil\x04test\0"), "{told:?}");
    }

    #[test]
    fn cut_questions_have_no_answer() {
        let query = query(A);
        for length in 0..query.len() {
            assert_eq!(answer(&[], query.get(..length).unwrap()), None, "{length}");
        }
    }
}
