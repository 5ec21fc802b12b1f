//! A proxy that has stolen the service's own key: it ends the node's TLS connection and opens another.

use super::{World, pki::NAME};
use dawnkey_proto::tls::{self, Clock, Pin};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Starts it in front of the service; it relays one connection.
pub async fn start(world: &World) -> SocketAddr {
    let settings = tls::server_config(world.pki.server(), None).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let pin = Pin::Ca(vec![world.pki.ca()]);
    let settings = tls::client_config(&pin, Clock::Trusted, None).unwrap();
    let connector = TlsConnector::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = world.address();
    tokio::spawn(async move {
        let (node, _) = listener.accept().await.unwrap();
        let mut here = acceptor.accept(node).await.unwrap();
        let tcp = TcpStream::connect(service).await.unwrap();
        let name = NAME.try_into().unwrap();
        let mut there = connector.connect(name, tcp).await.unwrap();
        let _ = copy_bidirectional(&mut here, &mut there).await;
    });
    address
}
