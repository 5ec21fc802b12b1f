//! A proxy that ends the node's TLS connection with the service's own, stolen key and opens another to the service.

use super::{NAME, Pki, Running, raw};
use dawnkey_proto::tls::{self, Clock};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Starts it in front of `service`.
pub async fn start(pki: &Pki, service: SocketAddr) -> Running {
    let settings = tls::server_config(pki.identity(), None).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let settings = tls::client_config(&pki.ca_pin(), Clock::Trusted, None).unwrap();
    let connector = TlsConnector::from(Arc::new(settings));
    raw(move |node| {
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        async move {
            let tcp = TcpStream::connect(service).await.unwrap();
            let name = NAME.try_into().unwrap();
            let mut there = connector.connect(name, tcp).await.unwrap();
            let mut here = acceptor.accept(node).await.unwrap();
            let _ = copy_bidirectional(&mut here, &mut there).await;
        }
    })
    .await
}
