//! The requests of `/dev/sev-guest` and `/dev/tdx_guest`.
//!
//! Source: Linux `include/uapi/linux/sev-guest.h` and `include/uapi/linux/tdx-guest.h`.
#![allow(unsafe_code)]
// JUSTIFICATION: the two devices speak by ioctl only, and neither std, nix nor another dependency wraps their requests.
// Every function below is safe to call with any argument.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Bytes of the buffer for a guest message.
pub const RESPONSE_LEN: usize = 4000;
/// Bytes of a TDREPORT.
pub const TD_REPORT_LEN: usize = 1024;
/// `msg_version` of every guest message.
const MESSAGE_VERSION: u8 = 1;

/// `struct snp_report_req`
#[repr(C)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`
#[repr(C)]
struct ExtendedRequest {
    data: ReportRequest,
    certs_address: u64,
    certs_len: u32,
}

mod raw {
    #![allow(missing_docs)]

    /// `struct snp_guest_request_ioctl`
    #[repr(C)]
    pub struct GuestRequest {
        pub msg_version: u8,
        pub req_data: u64,
        pub resp_data: u64,
        pub exitinfo2: u64,
    }

    /// `struct tdx_report_req`
    #[repr(C)]
    pub struct TdReportRequest {
        pub report_data: [u8; 64],
        pub td_report: [u8; super::TD_REPORT_LEN],
    }

    nix::ioctl_readwrite!(snp_get_report, b'S', 0x0, GuestRequest);
    nix::ioctl_readwrite!(snp_get_ext_report, b'S', 0x2, GuestRequest);
    nix::ioctl_readwrite!(tdx_get_report0, b'T', 1, TdReportRequest);
}

/// What came back from `/dev/sev-guest`, whether the call succeeded or not.
pub(super) struct Answered {
    /// The call's own result.
    pub result: io::Result<()>,
    /// `exitinfo2`: firmware's error in the low half, the hypervisor's in the high half.
    pub exit_info: u64,
    /// Message of the firmware.
    pub response: Box<[u8; RESPONSE_LEN]>,
    /// `certs_len` as the kernel left it.
    pub certificates_len: u32,
}

/// `SNP_GET_REPORT`.
pub(super) fn snp_report(device: &File, user_data: &[u8; 64], vmpl: u32) -> Answered {
    let mut request = ReportRequest {
        user_data: *user_data,
        vmpl,
        reserved: [0; 28],
    };
    let mut response = Box::new([0; RESPONSE_LEN]);
    let mut call = call((&raw mut request) as u64, (&raw mut *response) as u64);
    // SAFETY: the descriptor is open for the length of the call. The kernel reads a `snp_report_req` at `req_data` and
    // writes a `snp_report_resp`, 4000 bytes, at `resp_data`; both live until the call has returned, and it keeps
    // neither address.
    let result = unsafe { raw::snp_get_report(device.as_raw_fd(), &raw mut call) };
    Answered {
        result: result.map(drop).map_err(io::Error::from),
        exit_info: call.exitinfo2,
        response,
        certificates_len: 0,
    }
}

/// `SNP_GET_EXT_REPORT`; the host's certificate table is written to `certificates`.
pub(super) fn snp_extended_report(
    device: &File,
    user_data: &[u8; 64],
    vmpl: u32,
    certificates: &mut [u8],
) -> Answered {
    let address = if certificates.is_empty() {
        0
    } else {
        certificates.as_mut_ptr() as u64
    };
    let mut request = ExtendedRequest {
        data: ReportRequest {
            user_data: *user_data,
            vmpl,
            reserved: [0; 28],
        },
        certs_address: address,
        certs_len: u32::try_from(certificates.len()).unwrap_or(0),
    };
    let mut response = Box::new([0; RESPONSE_LEN]);
    let mut call = call((&raw mut request) as u64, (&raw mut *response) as u64);
    // SAFETY: as in `snp_report`, with a `snp_ext_report_req` at `req_data`, which the kernel may write too. At
    // `certs_address` it writes no more than `certs_len` bytes, which is the length of that slice or 0.
    let result = unsafe { raw::snp_get_ext_report(device.as_raw_fd(), &raw mut call) };
    Answered {
        result: result.map(drop).map_err(io::Error::from),
        exit_info: call.exitinfo2,
        response,
        // SAFETY: a read of a live local. The kernel wrote to it through the address in `call`, which the compiler does
        // not see, so that the value is read as it is in memory.
        certificates_len: unsafe { (&raw const request.certs_len).read_volatile() },
    }
}

fn call(request: u64, response: u64) -> raw::GuestRequest {
    raw::GuestRequest {
        msg_version: MESSAGE_VERSION,
        req_data: request,
        resp_data: response,
        exitinfo2: 0,
    }
}

/// `TDX_CMD_GET_REPORT0`.
pub(super) fn td_report(device: &File, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
    let mut request = raw::TdReportRequest {
        report_data: *report_data,
        td_report: [0; TD_REPORT_LEN],
    };
    // SAFETY: the descriptor is open for the length of the call, and the kernel reads and writes exactly one
    // `tdx_report_req` at the pointer.
    unsafe { raw::tdx_get_report0(device.as_raw_fd(), &raw mut request) }?;
    Ok(request.td_report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernels_headers() {
        assert_eq!(size_of::<ReportRequest>(), 96);
        assert_eq!(size_of::<ExtendedRequest>(), 112);
        assert_eq!(std::mem::offset_of!(ExtendedRequest, certs_address), 96);
        assert_eq!(size_of::<raw::GuestRequest>(), 32);
        assert_eq!(std::mem::offset_of!(raw::GuestRequest, req_data), 8);
        assert_eq!(size_of::<raw::TdReportRequest>(), 1088);
    }
}
