//! `dawnkey-test-proxy`: ends the TLS connections of nodes on their way to a key service, on the host.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use dawnkey_test_devices::DeviceError;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Shows a certificate to nodes, and relays what they say in another TLS connection to the service.
///
/// Prints the address at which it listens, then the count of bytes that each node entrusted it with.
#[derive(Debug, Parser)]
#[command(name = "dawnkey-test-proxy")]
struct Arguments {
    /// The certificate that nodes see, PEM
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, PEM
    #[arg(long)]
    key: PathBuf,
    /// CA of the service, PEM
    #[arg(long)]
    ca: PathBuf,
    /// Name in the service's certificate
    #[arg(long)]
    name: String,
    /// Where the service is
    #[arg(long)]
    service: SocketAddr,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let ended = runtime
        .map_err(|e| problem("start", e))
        .and_then(|runtime| runtime.block_on(run(&Arguments::parse())));
    let Err(error) = ended;
    let _ = writeln!(std::io::stderr(), "dawnkey-test-proxy: {error}");
    ExitCode::FAILURE
}

fn problem(what: &str, error: impl std::fmt::Display) -> DeviceError {
    DeviceError::Pki(format!("{what}: {error}"))
}

async fn run(arguments: &Arguments) -> Result<std::convert::Infallible, DeviceError> {
    let Arguments {
        certificate,
        key,
        ca,
        name,
        service,
    } = arguments;
    let name = ServerName::try_from(name.clone()).map_err(|e| problem("--name", e))?;
    let relay = Relay {
        acceptor: TlsAcceptor::from(Arc::new(server(certificate, key)?)),
        connector: TlsConnector::from(Arc::new(client(ca)?)),
        name,
        service: *service,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|e| problem("listen", e))?;
    let address = listener.local_addr().map_err(|e| problem("listen", e))?;
    print(&address.to_string())?;
    loop {
        let (node, _) = listener.accept().await.map_err(|e| problem("accept", e))?;
        // One after the other: a node makes one connection at a time.
        let entrusted = relay.serve(node).await.unwrap_or(0);
        print(&entrusted.to_string())?;
    }
}

fn print(line: &str) -> Result<(), DeviceError> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| problem("print", e))
}

/// What every connection is served with.
struct Relay {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    name: ServerName<'static>,
    service: SocketAddr,
}

impl Relay {
    /// Relays until either side has had enough; bytes in clear of the node.
    async fn serve(&self, node: TcpStream) -> std::io::Result<u64> {
        let here = self.acceptor.accept(node).await?;
        let tcp = TcpStream::connect(self.service).await?;
        let there = self.connector.connect(self.name.clone(), tcp).await?;
        let ((here_reads, mut here_writes), (mut there_reads, there_writes)) =
            (split(here), split(there));
        let mut entrusted = 0;
        tokio::select! {
            () = pass(here_reads, there_writes, &mut entrusted) => {}
            _ = copy(&mut there_reads, &mut here_writes) => {}
        }
        Ok(entrusted)
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: &mut u64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        *count += u64::try_from(length).unwrap_or_default();
        let bytes = buffer.get(..length).unwrap_or_default();
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn server(certificate: &Path, key: &Path) -> Result<ServerConfig, DeviceError> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|e| problem("--certificate", e))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| problem("--key", e))?;
    let mut config = ServerConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| problem("TLS 1.3", e))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| problem("--certificate with --key", e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn client(ca: &Path) -> Result<ClientConfig, DeviceError> {
    let ca = CertificateDer::from_pem_file(ca).map_err(|e| problem("--ca", e))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|e| problem("--ca", e))?;
    let mut config = ClientConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| problem("TLS 1.3", e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
