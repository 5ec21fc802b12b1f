//! TDREPORTs through the ioctl of `/dev/tdx_guest`: what a quote is made from where configfs-tsm cannot make it.
//!
//! Source: Linux `include/uapi/linux/tdx-guest.h`; Intel TDX Module ABI, `TDREPORT_STRUCT`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::ioctl;
pub use super::ioctl::TD_REPORT_LEN;

/// The device.
pub const DEVICE: &str = "/dev/tdx_guest";
/// `REPORTTYPE.TYPE` of a TD.
const TYPE_TDX: u8 = 0x81;
/// Where the report data lies in it.
const REPORT_DATA_AT: usize = 128;

/// Why there is no TDREPORT.
#[derive(Debug, thiserror::Error)]
pub enum TdxGuestError {
    /// The device cannot be opened.
    #[error("open {}: {source}; expected the device of the tdx-guest module", .path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The request failed.
    #[error("TDX_CMD_GET_REPORT0: {source}")]
    Refused {
        /// What the system says.
        source: io::Error,
    },
    /// The answer is no report of a TD over our data.
    #[error("TDX_CMD_GET_REPORT0 gave {problem}, expected a TDREPORT over the data given")]
    Answer {
        /// What is wrong.
        problem: &'static str,
    },
}

/// The device.
pub trait TdxGuest {
    /// `TDX_CMD_GET_REPORT0`.
    ///
    /// # Errors
    /// Whatever the system says.
    fn td_report(&mut self, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]>;
}

/// The kernel's device.
#[derive(Debug)]
pub struct KernelTdxGuest(File);

impl KernelTdxGuest {
    /// Opens a device.
    ///
    /// # Errors
    /// [`TdxGuestError::Open`].
    pub fn open(path: &Path) -> Result<Self, TdxGuestError> {
        let opened = File::options().read(true).write(true).open(path);
        opened.map(Self).map_err(|source| TdxGuestError::Open {
            path: path.into(),
            source,
        })
    }
}

impl TdxGuest for KernelTdxGuest {
    fn td_report(&mut self, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
        ioctl::td_report(&self.0, report_data)
    }
}

/// Gets a TDREPORT over `report_data`.
///
/// # Errors
/// [`TdxGuestError`].
pub fn td_report(
    device: &mut impl TdxGuest,
    report_data: &[u8; 64],
) -> Result<[u8; TD_REPORT_LEN], TdxGuestError> {
    let report = device
        .td_report(report_data)
        .map_err(|source| TdxGuestError::Refused { source })?;
    let wrong = |problem| Err(TdxGuestError::Answer { problem });
    if report.first() != Some(&TYPE_TDX) {
        return wrong("a report of another type");
    }
    let data = report.get(REPORT_DATA_AT..REPORT_DATA_AT + report_data.len());
    if data != Some(report_data.as_slice()) {
        return wrong("a report over other data");
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const DATA: [u8; 64] = [0x5a; 64];

    struct Fake(Result<[u8; TD_REPORT_LEN], i32>);

    impl TdxGuest for Fake {
        fn td_report(&mut self, _: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
            self.0.map_err(io::Error::from_raw_os_error)
        }
    }

    fn sound() -> [u8; TD_REPORT_LEN] {
        let mut report = [0; TD_REPORT_LEN];
        report[0] = TYPE_TDX;
        report[128..192].copy_from_slice(&DATA);
        report
    }

    #[test]
    fn gives_a_report_over_our_data() {
        assert_eq!(td_report(&mut Fake(Ok(sound())), &DATA).unwrap(), sound());
    }

    #[test]
    fn refuses_a_report_of_another_type_or_over_other_data() {
        for at in [0, 128, 191] {
            let mut report = sound();
            report[at] ^= 1;
            let error = td_report(&mut Fake(Ok(report)), &DATA);
            assert!(matches!(error, Err(TdxGuestError::Answer { .. })));
        }
    }

    #[test]
    fn a_refused_request_is_its_own_error() {
        let error = td_report(&mut Fake(Err(5)), &DATA);
        assert!(matches!(error, Err(TdxGuestError::Refused { .. })));
    }
}
