//! SEV-SNP reports through the ioctls of `/dev/sev-guest`, for kernels without configfs-tsm.
//!
//! Source: Linux `Documentation/virt/coco/sev-guest.rst`, AMD 56860 (SNP firmware ABI) §7.3 for the message, AMD 56421
//! (GHCB) §4.1.7 for the extended request. The host says how long its certificate table is by refusing a buffer that is
//! too short; it may have grown by the next request.

mod error;

pub use error::{ExitInfo, SevGuestError};

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::ioctl::{self, RESPONSE_LEN};

/// The device.
pub const DEVICE: &str = "/dev/sev-guest";
/// Largest certificate table asked for, bytes. Kernels stop at 16 KiB; evidence carries 64 KiB.
pub const MAX_TABLE: usize = 64 << 10;
/// Requests made while the table grows.
pub const GROWTHS: usize = 4;
/// Requests made while the hypervisor is busy. The kernel has waited up to a minute in each of them.
pub const BUSY_TRIES: usize = 5;
/// Time between two requests to a busy hypervisor.
const PAUSE: Duration = Duration::from_secs(1);
/// The table's length counts in pages.
const PAGE: usize = 4096;
/// Where the report begins in the firmware's message.
const REPORT_AT: usize = 32;
/// Bytes of a report.
const REPORT_LEN: usize = 1184;

/// A report with what the host gave beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpReport {
    /// The report, 1184 bytes.
    pub report: Vec<u8>,
    /// The host's certificate table; empty if it has none.
    pub certificates: Vec<u8>,
}

/// A request's answer, whether it succeeded or not.
#[derive(Debug)]
pub struct Reply {
    /// The call's own result.
    pub result: io::Result<()>,
    /// `exitinfo2`.
    pub exit_info: ExitInfo,
    /// The firmware's message.
    pub response: Box<[u8; RESPONSE_LEN]>,
    /// Bytes the certificate table has, if the buffer for it was too short.
    pub certificates_len: u32,
}

/// The device.
pub trait SevGuest {
    /// `SNP_GET_REPORT`.
    fn report(&mut self, user_data: &[u8; 64], vmpl: u32) -> Reply;

    /// `SNP_GET_EXT_REPORT` with a buffer for the certificate table, which may be empty.
    fn extended(&mut self, user_data: &[u8; 64], vmpl: u32, table: &mut [u8]) -> Reply;

    /// Waits before another request.
    fn pause(&mut self, time: Duration);
}

/// The kernel's device.
#[derive(Debug)]
pub struct KernelSevGuest(File);

impl KernelSevGuest {
    /// Opens a device.
    ///
    /// # Errors
    /// [`SevGuestError::Open`].
    pub fn open(path: &Path) -> Result<Self, SevGuestError> {
        let opened = File::options().read(true).write(true).open(path);
        opened.map(Self).map_err(|source| SevGuestError::Open {
            path: path.into(),
            source,
        })
    }
}

impl From<ioctl::Answered> for Reply {
    fn from(answered: ioctl::Answered) -> Self {
        Self {
            result: answered.result,
            exit_info: ExitInfo(answered.exit_info),
            response: answered.response,
            certificates_len: answered.certificates_len,
        }
    }
}

impl SevGuest for KernelSevGuest {
    fn report(&mut self, user_data: &[u8; 64], vmpl: u32) -> Reply {
        ioctl::snp_report(&self.0, user_data, vmpl).into()
    }

    fn extended(&mut self, user_data: &[u8; 64], vmpl: u32, table: &mut [u8]) -> Reply {
        ioctl::snp_extended_report(&self.0, user_data, vmpl, table).into()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Gets a report over `user_data`, made at `vmpl`, with the host's certificates.
///
/// # Errors
/// [`SevGuestError`]; a device that knows no extended request is asked for a plain report.
pub fn report(
    device: &mut impl SevGuest,
    user_data: &[u8; 64],
    vmpl: u32,
) -> Result<SnpReport, SevGuestError> {
    let mut table = Vec::new();
    for _ in 0..GROWTHS {
        let asked = "SNP_GET_EXT_REPORT";
        let reply = while_busy(device, asked, |device| {
            device.extended(user_data, vmpl, &mut table)
        })?;
        match reply.result {
            Ok(()) => {
                if table.iter().all(|byte| *byte == 0) {
                    table.clear();
                }
                return Ok(SnpReport {
                    report: unpack(&reply.response)?,
                    certificates: table,
                });
            }
            Err(_) if reply.exit_info.is_invalid_length() => {
                table = vec![0; longer(table.len(), reply.certificates_len)?];
            }
            Err(source) if source.raw_os_error() == Some(Errno::ENOTTY as i32) => {
                return plain(device, user_data, vmpl);
            }
            Err(source) => {
                return Err(SevGuestError::Refused {
                    asked,
                    exit_info: reply.exit_info,
                    source,
                });
            }
        }
    }
    Err(SevGuestError::TableGrows {
        attempts: GROWTHS,
        last: table.len(),
    })
}

fn plain(
    device: &mut impl SevGuest,
    user_data: &[u8; 64],
    vmpl: u32,
) -> Result<SnpReport, SevGuestError> {
    let asked = "SNP_GET_REPORT";
    let reply = while_busy(device, asked, |device| device.report(user_data, vmpl))?;
    match reply.result {
        Ok(()) => Ok(SnpReport {
            report: unpack(&reply.response)?,
            certificates: Vec::new(),
        }),
        Err(source) => Err(SevGuestError::Refused {
            asked,
            exit_info: reply.exit_info,
            source,
        }),
    }
}

/// Repeats a request while the hypervisor says that it is busy.
fn while_busy<D: SevGuest>(
    device: &mut D,
    asked: &'static str,
    mut request: impl FnMut(&mut D) -> Reply,
) -> Result<Reply, SevGuestError> {
    for _ in 0..BUSY_TRIES {
        let reply = request(device);
        match &reply.result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if reply.exit_info.is_busy() => device.pause(PAUSE),
            _ => return Ok(reply),
        }
    }
    Err(SevGuestError::Busy {
        asked,
        tries: BUSY_TRIES,
    })
}

/// The length of the next buffer: what the host asks for, in whole pages, and more than the last.
fn longer(last: usize, needed: u32) -> Result<usize, SevGuestError> {
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    if needed > MAX_TABLE {
        return Err(SevGuestError::TableTooLarge { needed });
    }
    let rounded = needed.next_multiple_of(PAGE);
    if rounded <= last {
        return Err(SevGuestError::TableLength { last, needed });
    }
    Ok(rounded)
}

/// Takes the report out of the firmware's message (`MSG_REPORT_RSP`).
fn unpack(response: &[u8; RESPONSE_LEN]) -> Result<Vec<u8>, SevGuestError> {
    let word = |at: usize| {
        let bytes = response.get(at..at + 4).and_then(|w| w.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    if word(0) != 0 {
        return Err(SevGuestError::Status { status: word(0) });
    }
    let report = response.get(REPORT_AT..REPORT_AT + REPORT_LEN);
    match report {
        Some(report) if word(4) as usize == REPORT_LEN => Ok(report.to_vec()),
        _ => Err(SevGuestError::Length { found: word(4) }),
    }
}

#[cfg(test)]
mod tests;
