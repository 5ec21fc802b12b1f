//! Loopback ports of one key service, free when they were chosen.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::error::{IoContext, VmError};

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
        let bind = || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "bind a loopback port".to_owned())
        };
        let sockets = [bind()?, bind()?, bind()?];
        let mut ports = [0; 3];
        for (port, socket) in ports.iter_mut().zip(&sockets) {
            *port = socket
                .local_addr()
                .doing(|| "read a port".to_owned())?
                .port();
        }
        let [unlock, admin, metrics] = ports;
        Ok(Ports {
            unlock,
            admin,
            metrics,
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

/// The address of a port.
pub(crate) fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
