//! A key service on loopback that does as it is told, with its PKI.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod cut;
pub mod dns;
pub mod garbage;
pub mod relay;
pub mod web;

use cut::Cut;
use dawnkey_agent::config::{Pace, Protocol, ServiceConfig};
use dawnkey_agent::discover::{Endpoint, Places};
use dawnkey_proto::binding::{Exporter, Role, SpkiDigest};
use dawnkey_proto::tls::{self, Identity, Pin};
use dawnkey_proto::wire;
use dawnkey_proto::wire::key_service_server::{KeyService, KeyServiceServer};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

/// The name in the service's certificate.
pub const NAME: &str = "keyservice.test";

/// A CA and one server certificate of it.
pub struct Pki {
    pub ca: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Pki {
    pub fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![NAME.into()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self {
            ca: ca.der().clone(),
            leaf: leaf.der().clone(),
            key: key.serialize_der(),
        }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            chain: vec![self.leaf.clone()],
            key: PrivateKeyDer::try_from(self.key.clone()).unwrap(),
        }
    }

    pub fn spki(&self) -> SpkiDigest {
        SpkiDigest::of_certificate(&self.leaf).unwrap()
    }

    pub fn ca_pin(&self) -> Pin {
        Pin::Ca(vec![self.ca.clone()])
    }
}

/// An address as it stands in a list.
pub fn endpoint(address: &SocketAddr) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

/// A client's configuration for these addresses.
pub fn config(addresses: &[SocketAddr], pin: Pin) -> ServiceConfig {
    ServiceConfig {
        places: Places::listed(addresses.iter().map(endpoint).collect()),
        name: ServerName::try_from(NAME).unwrap(),
        pin,
        pace: Pace {
            budget: Duration::from_secs(5),
            attempt: Duration::from_secs(2),
        },
        protocol: Protocol::Dawnkey,
    }
}

/// What the service knows of a connection.
#[derive(Debug, Clone)]
pub struct Keys {
    pub exporter: Exporter,
    /// Plaintext bytes that the service may still write over this connection.
    pub allowance: Arc<AtomicUsize>,
}

/// What the service does with a call.
pub trait Script: Send + Sync + 'static {
    fn unlock(
        &self,
        request: wire::UnlockRequest,
        keys: &Keys,
    ) -> impl Future<Output = Result<wire::UnlockAnswer, Status>> + Send;

    fn activate(
        &self,
        _: wire::ActivateRequest,
        _: &Keys,
    ) -> impl Future<Output = Result<wire::UnlockAnswer, Status>> + Send {
        async { Err(Status::unimplemented("not in this script")) }
    }

    fn confirm(
        &self,
        _: wire::ConfirmRequest,
        _: &Keys,
    ) -> impl Future<Output = Result<wire::ConfirmAnswer, Status>> + Send {
        async { Err(Status::unimplemented("not in this script")) }
    }

    fn renew(
        &self,
        _: wire::RenewRequest,
    ) -> impl Future<Output = Result<wire::RenewAnswer, Status>> + Send {
        async { Err(Status::unimplemented("not in this script")) }
    }
}

struct Scripted<S>(S);

fn keys<T>(request: &Request<T>) -> Keys {
    request.extensions().get::<Keys>().unwrap().clone()
}

#[tonic::async_trait]
impl<S: Script> KeyService for Scripted<S> {
    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::UnlockAnswer>, Status> {
        let keys = keys(&request);
        self.0
            .unlock(request.into_inner(), &keys)
            .await
            .map(Response::new)
    }

    async fn activate(
        &self,
        request: Request<wire::ActivateRequest>,
    ) -> Result<Response<wire::UnlockAnswer>, Status> {
        let keys = keys(&request);
        self.0
            .activate(request.into_inner(), &keys)
            .await
            .map(Response::new)
    }

    async fn confirm(
        &self,
        request: Request<wire::ConfirmRequest>,
    ) -> Result<Response<wire::ConfirmAnswer>, Status> {
        let keys = keys(&request);
        self.0
            .confirm(request.into_inner(), &keys)
            .await
            .map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewAnswer>, Status> {
        self.0.renew(request.into_inner()).await.map(Response::new)
    }
}

impl Connected for Cut {
    type ConnectInfo = Keys;
    fn connect_info(&self) -> Keys {
        Keys {
            exporter: tls::exporter(self.stream.get_ref().1, Role::Node).unwrap(),
            allowance: Arc::clone(&self.allowance),
        }
    }
}

/// A task that ends with the test.
pub struct Stopping(tokio::task::JoinHandle<()>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A running service.
pub struct Running {
    pub address: SocketAddr,
    /// TCP connections accepted so far.
    pub accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a service that follows `script`.
pub async fn serve(pki: &Pki, script: impl Script) -> Running {
    let routes = Server::builder().add_service(KeyServiceServer::new(Scripted(script)));
    serve_routes(pki, routes).await
}

/// Starts a service with these routes, over the protocol's TLS settings.
pub async fn serve_routes(pki: &Pki, routes: tonic::transport::server::Router) -> Running {
    let settings = tls::server_config(pki.identity(), None).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let (connections, incoming) = tokio::sync::mpsc::channel(8);
    let accept = async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            if let Ok(stream) = acceptor.accept(tcp).await {
                let allowance = Arc::new(AtomicUsize::new(usize::MAX));
                let _ = connections.send(Ok(Cut { stream, allowance })).await;
            }
        }
    };
    let task = tokio::spawn(async move {
        let serving = routes.serve_with_incoming(cut::Incoming(incoming));
        tokio::select! { () = accept => {}, served = serving => served.unwrap() }
    });
    Running {
        address,
        accepted,
        task,
    }
}

/// Listens and treats each TCP connection as told.
pub async fn raw<F, T>(treat: F) -> Running
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let task = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(treat(tcp));
        }
    });
    Running {
        address,
        accepted,
        task,
    }
}
