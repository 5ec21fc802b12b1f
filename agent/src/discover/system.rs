//! What the machine was told about names and DNS servers, read anew for each try: DHCP may be late.

use super::message::Name;
use super::resolver::MAX_SERVERS;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Most bytes read of a file.
const MAX_FILE: u64 = 64 << 10;
/// Most files of a directory that are looked at.
const MAX_FILES: usize = 16;
/// Port of DNS.
const PORT: u16 = 53;

/// A machine's files, below a root.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self::below("/")
    }
}

impl System {
    /// The files below `root`, which is `/` outside of tests.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The DNS servers, at most three, of the first of these that names one: `/etc/resolv.conf`,
    /// `/run/systemd/resolve/resolv.conf`, `/run/systemd/netif/state` (networkd without resolved), `/proc/net/pnp` (`ip=` on
    /// the kernel command line), `/run/net-*.conf` (klibc's `ipconfig`).
    #[must_use]
    pub fn resolvers(&self) -> Vec<SocketAddr> {
        let lists = [
            ("etc/resolv.conf", "nameserver"),
            ("run/systemd/resolve/resolv.conf", "nameserver"),
            ("run/systemd/netif/state", "DNS"),
            ("proc/net/pnp", "nameserver"),
        ];
        let mut found = lists.iter().map(|(file, key)| {
            let text = self.read(&self.root.join(file));
            servers(&text, |word| word == *key)
        });
        let found = found.find(|servers| !servers.is_empty());
        found.unwrap_or_else(|| self.ipconfig())
    }

    fn ipconfig(&self) -> Vec<SocketAddr> {
        let Ok(directory) = std::fs::read_dir(self.root.join("run")) else {
            return Vec::new();
        };
        let names = directory.flatten().map(|entry| entry.file_name());
        let ours = names.filter(|name| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"net-") && name.ends_with(b".conf")
        });
        let texts = ours
            .take(MAX_FILES)
            .map(|name| self.read(&self.root.join("run").join(name)));
        let text: String = texts.collect();
        servers(&text, |key| {
            matches!(key, "IPV4DNS0" | "IPV4DNS1" | "IPV6DNS0" | "IPV6DNS1")
        })
    }

    /// The addresses that `/etc/hosts` has for a name; `localhost` needs no file.
    #[must_use]
    pub fn hosts(&self, name: &Name) -> Vec<IpAddr> {
        if name.as_str() == "localhost" {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let text = self.read(&self.root.join("etc/hosts"));
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|alias| alias.eq_ignore_ascii_case(name.as_str()))
                .then_some(address)
        });
        lines.take(super::MAX_PER_NAME).collect()
    }

    /// As much of a file as is text; a file that is not there is empty.
    fn read(&self, file: &Path) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = std::fs::File::open(file) {
            let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The addresses on lines `KEY ADDRESS…` or `KEY=ADDRESS…`, in quotes or not.
fn servers(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '\'' | '"'));
        if !words.next().is_some_and(&wanted) {
            continue;
        }
        found.extend(words.filter_map(server));
    }
    found.dedup();
    found.truncate(MAX_SERVERS);
    found
}

/// An address with or without a port. `0.0.0.0`, as `ipconfig` writes it, is none; a zone is left out.
#[must_use]
pub fn server(text: &str) -> Option<SocketAddr> {
    let socket = text.parse().ok();
    let socket = socket.or_else(|| {
        let address = text.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    })?;
    (!socket.ip().is_unspecified() && socket.port() != 0).then_some(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let scratch = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = scratch.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let system = System::below(scratch.path());
        (scratch, system)
    }

    fn texts(servers: &[SocketAddr]) -> Vec<String> {
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_the_servers_wherever_the_initramfs_leaves_them() {
        let resolv = "# comment\nnameserver 10.0.0.1\nsearch a b\nnameserver fe80::1%eth0\n\
                      nameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let (_kept, found) = system(&[("etc/resolv.conf", resolv)]);
        assert_eq!(
            texts(&found.resolvers()),
            ["10.0.0.1:53", "[fe80::1]:53", "10.0.0.2:53"]
        );
        let state = "ADMIN_STATE=configured\nDNS=10.0.2.3 fd00::3\nNTP=\n";
        let (_kept, found) = system(&[
            ("etc/resolv.conf", "nameserver nonsense\n"),
            ("run/systemd/netif/state", state),
        ]);
        assert_eq!(texts(&found.resolvers()), ["10.0.2.3:53", "[fd00::3]:53"]);
        let ipconfig =
            "DEVICE='eth0'\nIPV4ADDR='10.0.0.9'\nIPV4DNS0='10.0.2.3'\nIPV4DNS1='0.0.0.0'\n";
        let (_kept, found) = system(&[("run/net-eth0.conf", ipconfig)]);
        assert_eq!(texts(&found.resolvers()), ["10.0.2.3:53"]);
        let (_kept, none) = system(&[]);
        assert_eq!(texts(&none.resolvers()), Vec::<String>::new());
    }

    #[test]
    fn reads_no_more_of_a_file_than_it_needs() {
        let long = format!("{}nameserver 10.0.0.1\n", "#\n".repeat(64 << 10));
        let (_kept, found) = system(&[("etc/resolv.conf", &long)]);
        assert!(found.resolvers().is_empty());
        let many = "10.0.0.1 keys\n".repeat(4000);
        let (_kept, found) = system(&[("etc/hosts", &many)]);
        assert_eq!(found.hosts(&Name::new("keys").unwrap()).len(), 8);
    }

    #[test]
    fn a_name_of_the_hosts_file_needs_no_server() {
        let hosts =
            "10.0.0.1 other # keys.example\nfd00::1 KEYS.example keys\n10.0.0.2 keys.example\n";
        let (_kept, found) = system(&[("etc/hosts", hosts)]);
        let name = Name::new("keys.example").unwrap();
        let addresses: [IpAddr; 2] = ["fd00::1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        assert_eq!(found.hosts(&name), addresses);
        assert_eq!(found.hosts(&Name::new("localhost").unwrap()).len(), 2);
    }
}
