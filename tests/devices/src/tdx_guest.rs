//! `/dev/tdx_guest`: the request of `linux/tdx-guest.h`.

use crate::cuse::{Answer, Device, Ioctl, Span};
use crate::signer::{DATA, Signer, TD_REPORT};

/// `TDX_CMD_GET_REPORT0`
pub const GET_REPORT0: u32 = 0xc440_5401;

/// `struct tdx_report_req`
const REQUEST: usize = DATA + TD_REPORT;
const EIO: i32 = 5;
const ENOTTY: i32 = 25;

/// The device.
#[derive(Debug)]
pub struct TdxGuest {
    signer: Signer,
}

impl TdxGuest {
    /// Answers with the measurements that `signer` has.
    #[must_use]
    pub fn new(signer: Signer) -> Self {
        Self { signer }
    }
}

impl Device for TdxGuest {
    const NAME: &'static str = "tdx_guest";

    fn ioctl(&mut self, ioctl: Ioctl<'_>) -> Answer {
        if ioctl.command != GET_REPORT0 {
            return Answer::error(ENOTTY);
        }
        let Some(data) = ioctl.input.first_chunk::<DATA>() else {
            let whole = Span {
                base: ioctl.argument,
                length: REQUEST as u64,
            };
            return Answer::Retry {
                read: vec![whole],
                write: vec![whole],
            };
        };
        match self.signer.td_report(data) {
            Ok(report) => Answer::Done {
                result: 0,
                output: [data.as_slice(), &report].concat(),
            },
            Err(_) => Answer::error(EIO),
        }
    }
}
