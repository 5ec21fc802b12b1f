#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

const REPORT: [u8; TD_REPORT_LEN] = [0x81; TD_REPORT_LEN];

/// A service that reads what is sent and answers with bytes.
struct Fake {
    sent: Vec<u8>,
    answer: io::Cursor<Vec<u8>>,
}

impl Fake {
    fn answering(bytes: &[u8]) -> Self {
        Self {
            sent: Vec::new(),
            answer: io::Cursor::new(bytes.to_vec()),
        }
    }

    fn framed(message: &[u8]) -> Self {
        let prefix = length(message.len()).to_be_bytes();
        Self::answering(&[&prefix, message].concat())
    }
}

impl Read for Fake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.answer.read(buffer)
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn response(code: u32, id: &[u8], quote: &[u8]) -> Vec<u8> {
    let size = length(24 + id.len() + quote.len());
    let words = [RESPONSE, size, code, length(id.len()), length(quote.len())];
    let mut message = vec![1, 0, 1, 0];
    message.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    message.extend(id);
    message.extend(quote);
    message
}

fn fails(message: &[u8]) -> QgsError {
    quote(&mut Fake::framed(message), &REPORT).unwrap_err()
}

#[test]
fn sends_the_report_and_takes_the_quote_behind_the_key_id() {
    let mut fake = Fake::framed(&response(0, b"id", b"the quote"));
    assert_eq!(quote(&mut fake, &REPORT).unwrap(), b"the quote");
    assert_eq!(fake.sent.len(), 4 + 24 + 1024);
    assert_eq!(fake.sent[..4], 1048u32.to_be_bytes());
    assert_eq!(fake.sent[4..12], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(fake.sent[12..16], 1048u32.to_le_bytes());
    assert_eq!(fake.sent[20..24], 1024u32.to_le_bytes());
    assert_eq!(fake.sent[28..], REPORT);
}

#[test]
fn refuses_an_answer_cut_anywhere() {
    let whole = Fake::framed(&response(0, b"id", b"the quote"))
        .answer
        .into_inner();
    for cut in 0..whole.len() {
        let error = quote(&mut Fake::answering(&whole[..cut]), &REPORT);
        assert!(
            matches!(error, Err(QgsError::Truncated { .. })),
            "{cut} bytes"
        );
    }
    let short = fails(&response(0, b"", b"q")[..23]);
    assert!(matches!(short, QgsError::Truncated { part: "header", .. }));
}

#[test]
fn refuses_an_oversized_answer_before_reading_it() {
    let mut fake = Fake::answering(&u32::MAX.to_be_bytes());
    let error = quote(&mut fake, &REPORT);
    assert!(matches!(
        error,
        Err(QgsError::TooLarge { part: "answer", .. })
    ));
}

#[test]
fn refuses_parts_that_are_too_large_or_do_not_add_up() {
    let mut message = response(0, b"id", b"quote");
    message[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        fails(&message),
        QgsError::TooLarge { part: "key id", .. }
    ));
    let mut message = response(0, b"id", b"quote");
    message[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        fails(&message),
        QgsError::TooLarge { part: "quote", .. }
    ));
    let mut message = response(0, b"id", b"quote");
    message[20] += 1;
    assert!(matches!(
        fails(&message),
        QgsError::Field {
            field: "size of its parts",
            ..
        }
    ));
}

#[test]
fn refuses_another_message_version_or_size() {
    for (at, field) in [
        (0, "major version"),
        (4, "message type"),
        (8, "message size"),
    ] {
        let mut message = response(0, b"", b"quote");
        message[at] ^= 2;
        match fails(&message) {
            QgsError::Field { field: found, .. } => assert_eq!(found, field),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn names_the_code_of_a_refusal() {
    let error = fails(&response(0x0001_2002, b"", b""));
    assert!(matches!(error, QgsError::Refused { code: 0x0001_2002 }));
    assert!(error.to_string().contains("out of memory"));
}

#[test]
fn refuses_an_empty_quote() {
    assert!(matches!(fails(&response(0, b"id", b"")), QgsError::Empty));
}

#[test]
fn a_timeout_is_a_failure_of_the_transport() {
    struct Slow;
    impl Read for Slow {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = quote(&mut Slow, &REPORT);
    assert!(matches!(error, Err(QgsError::Transport { .. })));
}

#[test]
fn a_host_without_the_service_is_a_connection_that_fails() {
    // Port 1 of the local context: nothing listens there, and most machines have no vsock at all.
    let error = connect(1, 1, std::time::Duration::from_secs(1));
    assert!(matches!(
        error,
        Err(QgsError::Connect {
            cid: 1,
            port: 1,
            ..
        })
    ));
}

proptest! {
    #[test]
    fn never_panics_on_any_answer(message in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse_response(&message);
        let _ = quote(&mut Fake::answering(&message), &REPORT);
    }
}
