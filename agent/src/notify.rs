//! Telling systemd: `READY=1`, `STATUS=…`, `WATCHDOG=1`, one datagram each to the socket of `NOTIFY_SOCKET`.
//!
//! Source: sd_notify(3). Where there is no such socket nothing is said; a lost datagram is no error.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one of this process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let limit = std::env::var("WATCHDOG_USEC").ok();
        Self::new(socket, limit.and_then(|micros| micros.parse().ok()))
    }

    /// One that is told through this socket, an abstract one with `@` in front, and wants to hear something within so
    /// many microseconds.
    #[must_use]
    pub fn new(socket: Option<OsString>, watchdog_micros: Option<u64>) -> Self {
        let to = socket.and_then(|name| {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        });
        let watchdog = watchdog_micros.map(Duration::from_micros);
        Self { to, watchdog }
    }

    /// The service does what it is there for.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// One line for people who ask `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={text}"));
    }

    /// The service will end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The service lives.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// How often [`Notifier::alive`] is to be called: twice in the time that the manager waits, and once in a second if
    /// it does not.
    #[must_use]
    pub fn tick(&self) -> Duration {
        let half = self.watchdog.map(|limit| limit / 2);
        half.unwrap_or(Duration::MAX)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.to {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes.get(..length).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn says_ready_status_and_alive_through_a_path_and_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("dawnkey-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, text) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let notifier = Notifier::new(Some(text), Some(200_000));
            notifier.ready();
            assert_eq!(heard(&socket), "READY=1");
            notifier.status("held until then");
            assert_eq!(heard(&socket), "STATUS=held until then");
            notifier.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            assert_eq!(notifier.tick(), Duration::from_millis(100));
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notifier = Notifier::new(None, None);
        notifier.ready();
        notifier.alive();
        assert_eq!(notifier.tick(), Duration::from_secs(1));
        Notifier::new(Some("/nowhere/notify".into()), None).ready();
    }
}
