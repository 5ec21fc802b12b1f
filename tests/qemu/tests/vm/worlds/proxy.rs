//! A proxy between node and service that ends the node's TLS connection under a certificate that it holds, and opens
//! another to the service.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dawnkey_qemu_tests::command::Guard;
use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::operator::SERVICE_NAME;

/// Ends with this value.
pub struct Proxy {
    /// Where nodes are led to.
    pub address: SocketAddr,
    entrusted: Arc<AtomicU64>,
    _process: Guard,
}

impl Proxy {
    /// Shows this certificate to nodes, and relays to the lab's service at an address.
    pub fn start(lab: &Lab, [certificate, key]: &[PathBuf; 2], service: SocketAddr) -> Self {
        let mut proxy = Command::new(&lab.test_proxy);
        proxy.arg("--certificate").arg(certificate);
        proxy.arg("--key").arg(key);
        proxy.arg("--ca").arg(lab.operator.join("ca.pem"));
        proxy.args(["--name", SERVICE_NAME]);
        proxy.args(["--service", &service.to_string()]);
        let mut child = proxy.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Guard::new(child);
        let address = lines.next().unwrap().unwrap().parse().unwrap();
        let entrusted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&entrusted);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                count.fetch_add(line.parse().unwrap(), Ordering::SeqCst);
            }
        });
        Proxy {
            address,
            entrusted,
            _process: process,
        }
    }

    /// Bytes in clear that nodes entrusted it with.
    pub fn entrusted(&self) -> u64 {
        self.entrusted.load(Ordering::SeqCst)
    }
}
