//! Quotes from Intel's quote generation service on the host, over vsock.
//!
//! Source: Intel SGX DCAP, `QuoteGeneration/quote_wrapper/qgs_msg_lib/inc/qgs_msg_lib.h` for the messages (little-endian
//! fields, header of 16 bytes) and `tdx_attest` for the connection: each message is preceded by its length as 32-bit
//! big-endian number, and a connection carries one request.

mod vsock;

pub use vsock::{HOST, PORT, connect};

use std::io::{self, Read, Write};

use super::tdx_guest::TD_REPORT_LEN;

/// Largest quote, bytes.
pub const MAX_QUOTE: usize = 64 << 10;
/// Largest id of the chosen attestation key, bytes.
const MAX_ID: usize = 1 << 10;
/// `GET_QUOTE_REQ`
const REQUEST: u32 = 0;
/// `GET_QUOTE_RESP`
const RESPONSE: u32 = 1;
/// Major and minor version. Services accept any minor one.
const VERSION: (u16, u16) = (1, 0);
/// Bytes of the header, and of what stands between header and data in both messages.
const HEADER: usize = 16;
const SIZES: usize = 8;
/// Largest message.
const MAX_MESSAGE: usize = HEADER + SIZES + MAX_ID + MAX_QUOTE;

/// Why the quote generation service gave no quote.
#[derive(Debug, thiserror::Error)]
pub enum QgsError {
    /// There is no connection.
    #[error("connect to the quote generation service at vsock {cid}:{port}: {source}")]
    Connect {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
        /// What the system says.
        source: io::Error,
    },
    /// The connection failed.
    #[error("{doing} the quote generation service: {source}")]
    Transport {
        /// What was attempted.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The answer ends early.
    #[error("the quote generation service's {part} ended early, {wanted} bytes were expected")]
    Truncated {
        /// Part of the answer.
        part: &'static str,
        /// Bytes expected.
        wanted: usize,
    },
    /// The answer is larger than any that makes sense.
    #[error("the quote generation service's {part} has {found} bytes, at most {most} are read")]
    TooLarge {
        /// Part of the answer.
        part: &'static str,
        /// Bytes it says.
        found: usize,
        /// Cap.
        most: usize,
    },
    /// The answer is not the message it should be.
    #[error("the quote generation service answered with {field} {found}, {expected} was expected")]
    Field {
        /// Field of the message.
        field: &'static str,
        /// Value found.
        found: u32,
        /// Value expected.
        expected: u32,
    },
    /// The service refuses.
    #[error("the quote generation service refused: {} ({code:#x})", words(*.code))]
    Refused {
        /// Its error code.
        code: u32,
    },
    /// A quote without a byte.
    #[error("the quote generation service gave an empty quote")]
    Empty,
}

/// Words for an error code of the service.
const fn words(code: u32) -> &'static str {
    match code {
        0x0001_2001 => "unexpected error",
        0x0001_2002 => "out of memory",
        0x0001_2003 => "invalid parameter",
        0x0001_2004 => "invalid version",
        0x0001_2005 => "invalid message type",
        0x0001_2006 => "invalid message size",
        0x0001_2007 => "invalid error code in the request",
        _ => "error without a name",
    }
}

/// Gets a quote over `td_report` on a fresh connection.
///
/// # Errors
/// [`QgsError`].
pub fn quote(
    stream: &mut (impl Read + Write),
    td_report: &[u8; TD_REPORT_LEN],
) -> Result<Vec<u8>, QgsError> {
    let request = request(td_report);
    let framed = [&length(request.len()).to_be_bytes(), request.as_slice()].concat();
    let sent = stream.write_all(&framed).and_then(|()| stream.flush());
    sent.map_err(|source| QgsError::Transport {
        doing: "send a request to",
        source,
    })?;
    let mut size = [0; 4];
    receive(stream, "length", &mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    let mut message = vec![0; within("answer", size, MAX_MESSAGE)?];
    receive(stream, "answer", &mut message)?;
    parse_response(&message)
}

/// The request without its length prefix.
fn request(td_report: &[u8]) -> Vec<u8> {
    let size = length(HEADER + SIZES + td_report.len());
    let mut message = Vec::new();
    message.extend(VERSION.0.to_le_bytes());
    message.extend(VERSION.1.to_le_bytes());
    for word in [REQUEST, size, 0, length(td_report.len()), 0] {
        message.extend(word.to_le_bytes());
    }
    message.extend(td_report);
    message
}

/// Takes the quote out of an answer without its length prefix.
///
/// # Errors
/// [`QgsError`].
pub fn parse_response(message: &[u8]) -> Result<Vec<u8>, QgsError> {
    let Some((head, data)) = message.split_first_chunk::<{ HEADER + SIZES }>() else {
        return Err(QgsError::Truncated {
            part: "header",
            wanted: HEADER + SIZES,
        });
    };
    let [m0, m1, _, _, rest @ ..] = *head;
    let (words, _) = rest.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or(0);
    let (kind, size, code) = (next(), next(), next());
    let (id_size, quote_size) = (next(), next());
    expect(
        "major version",
        u16::from_le_bytes([m0, m1]).into(),
        VERSION.0.into(),
    )?;
    expect("message type", kind, RESPONSE)?;
    expect("message size", size, length(message.len()))?;
    if code != 0 {
        return Err(QgsError::Refused { code });
    }
    let id_size = within("key id", id_size as usize, MAX_ID)?;
    let quote_size = within("quote", quote_size as usize, MAX_QUOTE)?;
    expect(
        "size of its parts",
        length(id_size + quote_size),
        length(data.len()),
    )?;
    let quote = data.get(id_size..).unwrap_or_default();
    if quote.is_empty() {
        return Err(QgsError::Empty);
    }
    Ok(quote.to_vec())
}

fn receive(stream: &mut impl Read, part: &'static str, buffer: &mut [u8]) -> Result<(), QgsError> {
    let wanted = buffer.len();
    stream
        .read_exact(buffer)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => QgsError::Truncated { part, wanted },
            _ => QgsError::Transport {
                doing: "read an answer of",
                source,
            },
        })
}

fn expect(field: &'static str, found: u32, expected: u32) -> Result<(), QgsError> {
    if found == expected {
        return Ok(());
    }
    Err(QgsError::Field {
        field,
        found,
        expected,
    })
}

fn within(part: &'static str, found: usize, most: usize) -> Result<usize, QgsError> {
    if found <= most {
        return Ok(found);
    }
    Err(QgsError::TooLarge { part, found, most })
}

/// A length as messages carry it; all are capped far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
