//! `/dev/sev-guest`: the requests of `linux/sev-guest.h`, answered as the kernel's driver and a host would.
//!
//! The extended request negotiates the room for certificates in two steps: with too little of it the call fails
//! with `EIO`, `exitinfo2` says "invalid length" and `certs_len` says how much is needed. Checks and their order
//! are those of `drivers/virt/coco/sev-guest/sev-guest.c` of Linux 6.12.

use crate::cuse::wire::{u32_at, u64_at};
use crate::cuse::{Answer, Device, Ioctl, Span};
use crate::signer::{DATA, Report, Signer};

/// `SNP_GET_REPORT`
pub const GET_REPORT: u32 = 0xc020_5300;
/// `SNP_GET_DERIVED_KEY`
pub const GET_DERIVED_KEY: u32 = 0xc020_5301;
/// `SNP_GET_EXT_REPORT`
pub const GET_EXT_REPORT: u32 = 0xc020_5302;

/// `struct snp_guest_request_ioctl`
const REQUEST: usize = 32;
/// `struct snp_report_req`
const REPORT_REQUEST: usize = 96;
/// `struct snp_ext_report_req` with its padding
const EXTENDED_REQUEST: usize = 112;
/// `struct snp_report_resp`
const RESPONSE: usize = 4000;
/// Header of the security processor's MSG_REPORT_RSP: status, size, reserved.
const RESPONSE_HEADER: usize = 32;
/// Most room for certificates that the driver takes.
const MAX_CERTIFICATES: u32 = 16 << 10;
const PAGE: u32 = 4096;
/// `SNP_GUEST_VMM_ERR(SNP_GUEST_VMM_ERR_INVALID_LEN)`
const INVALID_LENGTH: u64 = 1 << 32;
/// Firmware error "invalid parameter" (AMD 56860, status codes).
const INVALID_PARAMETER: u64 = 0x16;

const EIO: i32 = 5;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;

/// The device.
#[derive(Debug)]
pub struct SevGuest {
    signer: Signer,
}

/// `struct snp_guest_request_ioctl` as it came.
struct Envelope {
    bytes: [u8; REQUEST],
    request: u64,
    response: u64,
}

impl Envelope {
    fn read(input: &[u8]) -> Option<Self> {
        Some(Self {
            bytes: *input.first_chunk()?,
            request: u64_at(input, 8)?,
            response: u64_at(input, 16)?,
        })
    }

    fn version(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// Its bytes with `exitinfo2` set.
    fn with_exit(mut self, exit: u64) -> Vec<u8> {
        if let Some(field) = self.bytes.last_chunk_mut() {
            *field = exit.to_le_bytes();
        }
        self.bytes.to_vec()
    }
}

impl SevGuest {
    /// Answers with what `signer` signs.
    #[must_use]
    pub fn new(signer: Signer) -> Self {
        Self { signer }
    }

    fn report(&self, at: u64, input: &[u8]) -> Option<Answer> {
        let envelope = Envelope::read(input)?;
        if envelope.version() == 0 {
            return Some(Answer::error(EINVAL));
        }
        let Some(request) = input.get(REQUEST..).filter(|rest| !rest.is_empty()) else {
            return Some(Answer::Retry {
                read: vec![span(at, REQUEST), span(envelope.request, REPORT_REQUEST)],
                write: vec![span(at, REQUEST), span(envelope.response, RESPONSE)],
            });
        };
        Some(match self.sign(request) {
            Some(report) => Answer::Done {
                result: 0,
                output: [envelope.with_exit(0), response(&report.report)].concat(),
            },
            None => failed(envelope, INVALID_PARAMETER),
        })
    }

    fn extended(&self, at: u64, input: &[u8], room: usize) -> Option<Answer> {
        let envelope = Envelope::read(input)?;
        if envelope.version() == 0 {
            return Some(Answer::error(EINVAL));
        }
        let read = vec![span(at, REQUEST), span(envelope.request, EXTENDED_REQUEST)];
        let Some(request) = input.get(REQUEST..).filter(|rest| !rest.is_empty()) else {
            return Some(Answer::Retry {
                read,
                write: Vec::new(),
            });
        };
        let address = u64_at(request, REPORT_REQUEST)?;
        let mut length = u32_at(request, REPORT_REQUEST + 8)?;
        if address == 0 {
            length = 0;
        }
        if length > MAX_CERTIFICATES || !length.is_multiple_of(PAGE) {
            return Some(Answer::error(EINVAL));
        }
        if room == 0 {
            let mut write = vec![span(at, REQUEST), span(envelope.request, EXTENDED_REQUEST)];
            write.push(span(envelope.response, RESPONSE));
            if length > 0 {
                write.push(span(address, length as usize));
            }
            return Some(Answer::Retry { read, write });
        }
        let Some(report) = self.sign(request) else {
            return Some(failed(envelope, INVALID_PARAMETER));
        };
        Some(answer_extended(envelope, request, length, &report))
    }

    fn sign(&self, request: &[u8]) -> Option<Report> {
        let data: &[u8; DATA] = request.first_chunk()?;
        let level = u32_at(request, DATA)?;
        let reserved = request.get(DATA + 4..REPORT_REQUEST)?;
        if level > 3 || reserved.iter().any(|byte| *byte != 0) {
            return None;
        }
        self.signer.snp_report(data, level).ok()
    }
}

/// A caller who gave too little room for certificates, or none, is told how much it takes.
fn answer_extended(envelope: Envelope, request: &[u8], length: u32, report: &Report) -> Answer {
    let needed = u32::try_from(report.certificates.len()).unwrap_or(u32::MAX);
    let mut request = request.to_vec();
    if length < needed {
        if let Some(field) = request.get_mut(REPORT_REQUEST + 8..REPORT_REQUEST + 12) {
            field.copy_from_slice(&needed.to_le_bytes());
        }
        return Answer::Done {
            result: -EIO,
            output: [envelope.with_exit(INVALID_LENGTH), request].concat(),
        };
    }
    let mut output = envelope.with_exit(0);
    output.extend(request);
    output.extend(response(&report.report));
    output.extend(&report.certificates);
    Answer::Done { result: 0, output }
}

fn failed(envelope: Envelope, exit: u64) -> Answer {
    Answer::Done {
        result: -EIO,
        output: envelope.with_exit(exit),
    }
}

fn span(base: u64, length: usize) -> Span {
    Span {
        base,
        length: length as u64,
    }
}

/// MSG_REPORT_RSP in the driver's fixed room.
fn response(report: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(u32::try_from(report.len()).unwrap_or(0).to_le_bytes());
    out.resize(RESPONSE_HEADER, 0);
    out.extend(report);
    out.resize(RESPONSE, 0);
    out
}

impl Device for SevGuest {
    const NAME: &'static str = "sev-guest";

    fn ioctl(&mut self, ioctl: Ioctl<'_>) -> Answer {
        let known = [GET_REPORT, GET_DERIVED_KEY, GET_EXT_REPORT].contains(&ioctl.command);
        if !known {
            return Answer::error(ENOTTY);
        }
        if ioctl.input.is_empty() {
            return Answer::Retry {
                read: vec![span(ioctl.argument, REQUEST)],
                write: Vec::new(),
            };
        }
        let answer = match ioctl.command {
            GET_REPORT => self.report(ioctl.argument, ioctl.input),
            GET_EXT_REPORT => self.extended(ioctl.argument, ioctl.input, ioctl.room),
            // Keys derived by a stand-in would be worth nothing.
            _ => None,
        };
        answer.unwrap_or_else(|| Answer::error(EINVAL))
    }
}
