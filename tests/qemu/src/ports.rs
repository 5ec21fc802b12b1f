//! Loopback ports of one key service, free when they were chosen.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{IoContext, VmError};

/// Below the ports that the kernel gives to outgoing connections, of which the guests make many: none of those takes a
/// port between its choice and the service's start.
const RANGE: Range<u16> = 10_240..32_768;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Loopback ports for nodes, operators and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) unlock: u16,
    pub(crate) admin: u16,
    pub(crate) metrics: u16,
}

impl Ports {
    /// Three ports that are free now.
    pub(crate) fn free() -> Result<Self, VmError> {
        Ok(Ports {
            unlock: free_port()?,
            admin: free_port()?,
            metrics: free_port()?,
        })
    }

    /// Ports in a key service's configuration.
    pub(crate) fn read(config: &Path) -> Result<Self, VmError> {
        let text = fs::read_to_string(config).doing(|| format!("read {}", config.display()))?;
        let port = |key: &str| {
            text.lines()
                .filter_map(|line| line.trim().strip_prefix(key))
                .find_map(|rest| rest.split('"').nth(1)?.rsplit_once(':')?.1.parse().ok())
                .ok_or_else(|| VmError::Lab(format!("{} has no `{key}`", config.display())))
        };
        Ok(Ports {
            unlock: port("unlock =")?,
            admin: port("admin =")?,
            metrics: port("metrics =")?,
        })
    }

    pub(crate) fn replace(self, old: Ports, text: &str) -> String {
        let mut text = text.to_owned();
        for (old, new) in [
            (old.unlock, self.unlock),
            (old.admin, self.admin),
            (old.metrics, self.metrics),
        ] {
            text = text.replace(&loopback(old), &format!("127.0.0.1:={new}"));
        }
        text.replace(":=", ":")
    }
}

/// A port that is free now and that this process has not chosen before.
pub(crate) fn free_port() -> Result<u16, VmError> {
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    let count = u32::from(RANGE.end - RANGE.start);
    for _ in 0..count {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = RANGE.start + u16::try_from(place).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(VmError::Lab(format!(
        "no loopback port is free in {RANGE:?}"
    )))
}

/// The address of a port.
pub(crate) fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_never_chosen_twice_and_never_of_outgoing_connections() {
        let mut chosen: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert!(chosen.iter().all(|port| RANGE.contains(port)));
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 100);
    }

    #[test]
    fn ports_are_replaced_even_when_old_and_new_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("c");
        let text = "[listen]\nunlock = \"127.0.0.1:10\"  # x\nadmin = \"127.0.0.1:20\"\nmetrics = \"127.0.0.1:30\"\n";
        fs::write(&config, text).unwrap();
        let old = Ports::read(&config).unwrap();
        assert_eq!(
            old,
            Ports {
                unlock: 10,
                admin: 20,
                metrics: 30
            }
        );
        let new = Ports {
            unlock: 20,
            admin: 30,
            metrics: 10,
        };
        fs::write(&config, new.replace(old, text)).unwrap();
        assert_eq!(Ports::read(&config).unwrap(), new);
    }
}
