//! A vsock connection to the host.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, VsockAddr, connect as connect_to, setsockopt, socket,
    sockopt::{ReceiveTimeout, SendTimeout},
};
use nix::sys::time::TimeVal;

use super::QgsError;

/// The host's context id.
pub const HOST: u32 = 2;
/// The service's usual port.
pub const PORT: u32 = 4050;

/// Connects; sending and receiving may each take `timeout` at most.
///
/// # Errors
/// [`QgsError::Connect`].
pub fn connect(cid: u32, port: u32, timeout: Duration) -> Result<File, QgsError> {
    let connected = || -> nix::Result<File> {
        let socket = socket(
            AddressFamily::Vsock,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
        let limit = TimeVal::new(seconds, 0);
        setsockopt(&socket, SendTimeout, &limit)?;
        setsockopt(&socket, ReceiveTimeout, &limit)?;
        connect_to(socket.as_raw_fd(), &VsockAddr::new(cid, port))?;
        Ok(File::from(socket))
    };
    connected().map_err(|errno| QgsError::Connect {
        cid,
        port,
        source: errno.into(),
    })
}
