//! The host's quote generation service: Intel's `GET_QUOTE` over vsock, at the port where the real one listens.
//!
//! It stands in the guest itself: `vsock_loopback` carries connections to context id 1, and no host needs vhost for it.
//! Source: Intel SGX DCAP, `qgs_msg_lib.h` for the messages (little-endian fields) and `tdx_attest` for the length before
//! each of them (32 bits, big-endian).

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, RawFd};

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, VsockAddr, accept4, bind, listen, recv,
    send, socket,
};
use nix::unistd::close;

use crate::cuse::wire::u32_at;
use crate::error::{DeviceError, IoContext as _};
use crate::signer::{Signer, TD_REPORT};

/// The port.
pub const PORT: u32 = 4050;
/// `VMADDR_CID_ANY`
const ANY: u32 = u32::MAX;

/// Bytes before a message's data: version, type, size and error code, then two sizes of parts.
const HEAD: usize = 16 + 8;
/// Longest request read.
const LONGEST: usize = 4 << 10;
/// `GET_QUOTE_REQ`
const REQUEST: u32 = 0;
/// `GET_QUOTE_RESP`
const RESPONSE: u32 = 1;
/// Version 1.0.
const VERSION: [u8; 4] = [1, 0, 0, 0];

const UNEXPECTED: u32 = 0x0001_2001;
const INVALID_PARAMETER: u32 = 0x0001_2003;
const INVALID_VERSION: u32 = 0x0001_2004;
const INVALID_TYPE: u32 = 0x0001_2005;
const INVALID_SIZE: u32 = 0x0001_2006;
const INVALID_CODE: u32 = 0x0001_2007;

/// Answers until the process ends. `ready` is called when callers can connect.
///
/// # Errors
/// [`DeviceError::Io`] when the port cannot be listened at.
pub fn serve(
    signer: &Signer,
    ready: impl FnOnce() -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let cloexec = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Vsock, SockType::Stream, cloexec, None)
        .map_err(io::Error::from)
        .doing(|| "make a vsock socket".to_owned())?;
    bind(listener.as_raw_fd(), &VsockAddr::new(ANY, PORT))
        .and_then(|()| listen(&listener, Backlog::MAXCONN))
        .map_err(io::Error::from)
        .doing(|| format!("listen at vsock port {PORT}"))?;
    ready()?;
    loop {
        let accepted = accept4(listener.as_raw_fd(), cloexec)
            .map_err(io::Error::from)
            .doing(|| format!("accept at vsock port {PORT}"))?;
        // A caller who hangs up is the caller's matter.
        let _ = answer(&mut Connection(accepted), signer);
    }
}

/// Answers the one request that a connection carries, with a quote or the code of a refusal.
///
/// # Errors
/// What the connection gives.
pub fn answer(stream: &mut (impl Read + Write), signer: &Signer) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    let quote = if length > LONGEST {
        Err(INVALID_SIZE)
    } else {
        let mut request = vec![0; length];
        stream.read_exact(&mut request)?;
        quote(&request, signer)
    };
    let response = match quote {
        Ok(quote) => response(0, &quote),
        Err(code) => response(code, &[]),
    };
    stream.write_all(&size(response.len()).to_be_bytes())?;
    stream.write_all(&response)
}

/// The quote that a request without its length asks for, or the code of a refusal.
fn quote(request: &[u8], signer: &Signer) -> Result<Vec<u8>, u32> {
    let word = |at| u32_at(request, at).ok_or(INVALID_SIZE);
    let known = |good: bool, code| if good { Ok(()) } else { Err(code) };
    known(request.get(..2) == VERSION.get(..2), INVALID_VERSION)?;
    known(word(4)? == REQUEST, INVALID_TYPE)?;
    known(word(8)? == size(request.len()), INVALID_SIZE)?;
    known(word(12)? == 0, INVALID_CODE)?;
    // No list of keys to choose from: there is one.
    let (report_size, ids_size) = (word(16)?, word(20)?);
    known(
        report_size == size(TD_REPORT) && ids_size == 0,
        INVALID_PARAMETER,
    )?;
    let report = request
        .get(HEAD..)
        .and_then(|report| report.try_into().ok())
        .ok_or(INVALID_SIZE)?;
    match signer.quote_of(report) {
        Ok(Some(quote)) => Ok(quote),
        Ok(None) => Err(INVALID_PARAMETER),
        Err(_) => Err(UNEXPECTED),
    }
}

/// A response without its length, and without the id of the key that was chosen.
fn response(code: u32, quote: &[u8]) -> Vec<u8> {
    let mut message = VERSION.to_vec();
    for word in [
        RESPONSE,
        size(HEAD + quote.len()),
        code,
        0,
        size(quote.len()),
    ] {
        message.extend(word.to_le_bytes());
    }
    message.extend(quote);
    message
}

/// A length as messages carry it; all are far below 4 GiB.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// An accepted connection, closed with this value.
struct Connection(RawFd);

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, buffer, MsgFlags::empty())?)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, MsgFlags::MSG_NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = close(self.0);
    }
}
