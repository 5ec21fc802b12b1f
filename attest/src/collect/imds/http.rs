//! As much HTTP/1.1 as one request and its bounded answer take: no redirect, no reuse, one deadline.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{ImdsError, MAX_ANSWER};

/// Bytes read at a time.
const CHUNK: usize = 8 << 10;

/// Sends a request and gives the body of an answer with status 200.
pub(super) fn exchange(
    address: SocketAddr,
    budget: Duration,
    method: &'static str,
    path: &'static str,
    body: &str,
) -> Result<Vec<u8>, ImdsError> {
    let deadline = Instant::now() + budget;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ImdsError::TimedOut { path, budget },
        _ => ImdsError::Transport { path, source },
    };
    let mut stream = TcpStream::connect_timeout(&address, budget)
        .map_err(|source| ImdsError::Connect { address, source })?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nAccept: application/json\r\nConnection: close\r\n\r\n{body}",
        address.ip()
    );
    let sent = left(deadline)
        .and_then(|left| stream.set_write_timeout(Some(left)))
        .and_then(|()| stream.write_all(request.as_bytes()));
    sent.map_err(failed)?;
    let mut answer = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let read = left(deadline)
            .and_then(|left| stream.set_read_timeout(Some(left)))
            .and_then(|()| stream.read(&mut chunk));
        let read = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(ImdsError::TooLarge { path });
        }
        if let Some(body) = parse_response(&answer, read == 0, path)? {
            return Ok(body);
        }
    }
}

/// What is left of the time.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// How long a body is.
enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, a line each.
    pub headers: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// The body of an answer with status 200, or `None` if it is not complete. `ended`: no more bytes will come.
///
/// # Errors
/// [`ImdsError::Malformed`], [`ImdsError::TooLarge`], [`ImdsError::Status`].
pub fn parse_response(
    bytes: &[u8],
    ended: bool,
    path: &'static str,
) -> Result<Option<Vec<u8>>, ImdsError> {
    let Some(head) = Head::parse(bytes, ended, path)? else {
        return Ok(None);
    };
    match head.status {
        200 => head.body(ended, path),
        status => Err(ImdsError::Status { path, status }),
    }
}

/// An answer with any status, or `None` if it is not complete.
///
/// # Errors
/// [`ImdsError::Malformed`], [`ImdsError::TooLarge`].
pub fn parse_answer(
    bytes: &[u8],
    ended: bool,
    path: &'static str,
) -> Result<Option<Answer>, ImdsError> {
    let Some(head) = Head::parse(bytes, ended, path)? else {
        return Ok(None);
    };
    let body = head.body(ended, path)?;
    Ok(body.map(|body| Answer {
        status: head.status,
        headers: head.headers.into_iter().map(str::to_owned).collect(),
        body,
    }))
}

/// A complete head, and what has come of the body.
struct Head<'a> {
    status: u16,
    headers: Vec<&'a str>,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8], ended: bool, path: &'static str) -> Result<Option<Self>, ImdsError> {
        let malformed = |problem| ImdsError::Malformed { path, problem };
        let Some((head, rest)) = split(bytes, b"\r\n\r\n") else {
            return match ended {
                true => Err(malformed("it ends before its body")),
                false => Ok(None),
            };
        };
        let head = std::str::from_utf8(head).map_err(|_| malformed("its head is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(status);
        let status = status.ok_or_else(|| malformed("it begins with no HTTP/1 status"))?;
        Ok(Some(Self {
            status,
            headers: lines.collect(),
            rest,
        }))
    }

    /// The whole body; `None` if it is not complete.
    fn body(&self, ended: bool, path: &'static str) -> Result<Option<Vec<u8>>, ImdsError> {
        let malformed = |problem| ImdsError::Malformed { path, problem };
        let headers = self.headers.iter().copied();
        let body = match framing(headers).map_err(malformed)? {
            Framing::Length(length) if length > MAX_ANSWER => {
                return Err(ImdsError::TooLarge { path });
            }
            Framing::Length(length) => self.rest.get(..length).map(<[u8]>::to_vec),
            Framing::Chunked => unchunk(self.rest).map_err(malformed)?,
            Framing::ToTheEnd => ended.then(|| self.rest.to_vec()),
        };
        match body {
            None if ended => Err(malformed("it ends within its body")),
            body => Ok(body),
        }
    }
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|part| part == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

fn status(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    let version = words.next()?;
    let status = words.next().filter(|status| status.len() == 3)?;
    version
        .starts_with("HTTP/1.")
        .then(|| status.parse().ok())?
}

fn framing<'a>(headers: impl Iterator<Item = &'a str>) -> Result<Framing, &'static str> {
    let mut framing = Framing::ToTheEnd;
    for header in headers {
        let (name, value) = header.split_once(':').ok_or("a header has no colon")?;
        let value = value.trim();
        let found = if name.eq_ignore_ascii_case("content-length") {
            Framing::Length(value.parse().map_err(|_| "its length is no number")?)
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            match value.eq_ignore_ascii_case("chunked") {
                true => Framing::Chunked,
                false => return Err("its transfer coding is not known"),
            }
        } else {
            continue;
        };
        if !matches!(framing, Framing::ToTheEnd) {
            return Err("it gives its length twice");
        }
        framing = found;
    }
    Ok(framing)
}

/// Puts chunks together; `None` if the last has not come.
fn unchunk(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some((line, rest)) = split(bytes, b"\r\n") else {
            return match bytes.len() {
                0..=64 => Ok(None),
                _ => Err("a chunk has no length"),
            };
        };
        let size = std::str::from_utf8(line).map(|line| line.split(';').next().unwrap_or(line));
        let size = size
            .ok()
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size.filter(|size| *size <= MAX_ANSWER);
        let size = size.ok_or("a chunk's length is no number within the cap")?;
        if size == 0 {
            return Ok(Some(body));
        }
        let (Some(chunk), Some(end)) = (rest.get(..size), rest.get(size..size + 2)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err("a chunk does not end where it should");
        }
        body.extend_from_slice(chunk);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
}
