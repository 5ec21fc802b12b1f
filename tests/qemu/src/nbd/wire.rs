//! The NBD protocol's bytes: fixed newstyle handshake and simple replies, all numbers big-endian.
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>)

use std::io::{self, Read, Write};

const MAGIC: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const HAVE_OPTION: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Fixed newstyle, and no 124 zeros behind the answer to `EXPORT_NAME`.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
/// Flags are valid, flush and trim are understood. No FUA, so that every barrier is a request of its own.
const EXPORT_FLAGS: u16 = 1 | 4 | 32;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const INFO: u32 = 6;
const GO: u32 = 7;
const ACK: u32 = 1;
const INFORMATION: u32 = 3;
const UNSUPPORTED: u32 = (1 << 31) + 1;

/// Longest option and longest request that is taken: QEMU's own limit is 32 MiB.
const LONGEST: u32 = 32 << 20;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Read bytes.
    Read,
    /// Write bytes.
    Write,
    /// Make everything that was written durable.
    Flush,
    /// Give space back.
    Trim,
}

/// One request, its data behind it if it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// The client's name of this request.
    pub handle: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// What to write.
    pub data: Vec<u8>,
}

/// Greets a client and goes through its options until it enters the transmission phase. `false`: it went away.
pub fn handshake(stream: &mut (impl Read + Write), bytes: u64) -> io::Result<bool> {
    stream.write_all(&MAGIC.to_be_bytes())?;
    stream.write_all(&HAVE_OPTION.to_be_bytes())?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let _client_flags = u32_from(stream)?;
    loop {
        if u64_from(stream)? != HAVE_OPTION {
            return Err(malformed("option"));
        }
        let (option, length) = (u32_from(stream)?, u32_from(stream)?);
        let _name = data_from(stream, length)?;
        match option {
            EXPORT_NAME => {
                stream.write_all(&export(bytes))?;
                return Ok(true);
            }
            INFO | GO => {
                let information = [&0u16.to_be_bytes()[..], &export(bytes)].concat();
                option_reply(stream, option, INFORMATION, &information)?;
                option_reply(stream, option, ACK, &[])?;
                if option == GO {
                    return Ok(true);
                }
            }
            ABORT => {
                option_reply(stream, option, ACK, &[])?;
                return Ok(false);
            }
            _ => option_reply(stream, option, UNSUPPORTED, &[])?,
        }
    }
}

fn export(bytes: u64) -> [u8; 10] {
    let mut export = [0; 10];
    let (size, flags) = export.split_at_mut(8);
    size.copy_from_slice(&bytes.to_be_bytes());
    flags.copy_from_slice(&EXPORT_FLAGS.to_be_bytes());
    export
}

fn option_reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| malformed("reply"))?;
    let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
    for number in [option, kind, length] {
        reply.extend(number.to_be_bytes());
    }
    reply.extend(data);
    stream.write_all(&reply)
}

/// The next request; `None` when the client disconnects.
pub fn request(stream: &mut impl Read) -> io::Result<Option<Request>> {
    if u32_from(stream)? != REQUEST {
        return Err(malformed("request"));
    }
    let _flags = u16_from(stream)?;
    let command = u16_from(stream)?;
    let (handle, offset, length) = (u64_from(stream)?, u64_from(stream)?, u32_from(stream)?);
    let (kind, data) = match command {
        0 if length <= LONGEST => (Kind::Read, Vec::new()),
        1 => (Kind::Write, data_from(stream, length)?),
        2 => return Ok(None),
        3 => (Kind::Flush, Vec::new()),
        4 => (Kind::Trim, Vec::new()),
        _ => return Err(malformed("command")),
    };
    Ok(Some(Request {
        kind,
        handle,
        offset,
        length,
        data,
    }))
}

/// Answers a request: `error` is 0 or a number of `errno`; `data` follows a read that succeeded.
pub fn reply(stream: &mut impl Write, handle: u64, error: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = REPLY.to_be_bytes().to_vec();
    reply.extend(error.to_be_bytes());
    reply.extend(handle.to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

fn data_from(stream: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(malformed("length"));
    }
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data)?;
    Ok(data)
}

fn u16_from(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

fn u32_from(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn u64_from(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not an NBD {what} that is known here"),
    )
}
