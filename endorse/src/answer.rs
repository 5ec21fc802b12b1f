//! JSON answers of Intel's provisioning service: a text, byte for byte as it was signed, and its signature.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Which statement an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `tcbInfo`.
    TcbInfo,
    /// `enclaveIdentity`.
    QeIdentity,
}

/// An answer, taken apart. Nothing in it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which statement it has.
    pub kind: Kind,
    /// The signed text.
    pub text: &'a str,
    /// r, s.
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "enclaveIdentity")]
    qe_identity: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: &'a str,
}

/// Takes an answer apart; `None` if it is none.
#[must_use]
pub fn parse(body: &[u8]) -> Option<Answer<'_>> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let (kind, text) = match (body.tcb_info, body.qe_identity) {
        (Some(text), None) => (Kind::TcbInfo, text),
        (None, Some(text)) => (Kind::QeIdentity, text),
        _ => return None,
    };
    Some(Answer {
        kind,
        text: text.get(),
        signature: hex::decode(body.signature).ok()?,
    })
}

/// Puts a signed text and its signature together as the service would.
#[must_use]
pub fn write(kind: Kind, text: &[u8], signature: &[u8]) -> Vec<u8> {
    let name = match kind {
        Kind::TcbInfo => "tcbInfo",
        Kind::QeIdentity => "enclaveIdentity",
    };
    let end = format!(",\"signature\":\"{}\"}}", hex::encode(signature));
    [format!("{{\"{name}\":").as_bytes(), text, end.as_bytes()].concat()
}

/// PEM out of an issuer-chain header, which is percent-encoded.
#[must_use]
pub fn chain_of_header(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        out.extend(byte);
        rest = tail;
    }
    out.starts_with(b"-----BEGIN CERTIFICATE-----")
        .then_some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_the_signed_text_byte_for_byte() {
        let text = br#"{"id":"TDX", "version" : 3,"x":1.50}"#;
        let body = write(Kind::TcbInfo, text, &[0xab; 64]);
        let answer = parse(&body).unwrap();
        assert_eq!(answer.kind, Kind::TcbInfo);
        assert_eq!(answer.text.as_bytes(), text);
        assert_eq!(answer.signature, [0xab; 64]);
    }

    #[test]
    fn refuses_an_answer_with_both_statements_or_none() {
        for body in [
            r#"{"tcbInfo":{},"enclaveIdentity":{},"signature":"00"}"#,
            r#"{"signature":"00"}"#,
            r#"{"tcbInfo":{},"tcbInfo":{},"signature":"00"}"#,
            r#"{"tcbInfo":{},"signature":"0"}"#,
            "[]",
        ] {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn reads_a_percent_encoded_chain() {
        let header =
            b"-----BEGIN%20CERTIFICATE-----%0AMIIC%2Bw%3D%3D%0A-----END%20CERTIFICATE-----%0A";
        let pem = chain_of_header(header).unwrap();
        assert!(pem.ends_with(b"\nMIIC+w==\n-----END CERTIFICATE-----\n"));
        assert_eq!(chain_of_header(b"-----BEGIN%20CERTIFICATE-----%4"), None);
        assert_eq!(chain_of_header(b"text"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = chain_of_header(&bytes);
        }
    }
}
