//! A caller in a cluster: what the certificate of its connection, if there is one, calls it.

use super::stream::Caller;
use rustls::ServerConnection;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// Most names of one certificate that count.
const MOST: usize = 32;

/// A connection to the listener for data keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    names: Vec<String>,
    peer: SocketAddr,
}

impl Guest {
    /// Who is at the other end of a finished handshake; without a certificate it has no name.
    pub(super) fn at(connection: &ServerConnection, peer: SocketAddr) -> Self {
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let parsed = leaf.and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
        let names = parsed.map(|(_, leaf)| names(&leaf)).unwrap_or_default();
        Self { names, peer }
    }

    /// Who sent a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        match request.extensions().get::<Caller>() {
            Some(Caller::Guest(guest)) => Ok(Arc::clone(guest)),
            _ => Err(Status::internal("the connection is not a caller's")),
        }
    }

    /// What its certificate calls it, as policy files write it.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Where it is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let common = leaf.subject().iter_common_name();
    let common = common.filter_map(|name| Some(format!("cn:{}", name.as_str().ok()?)));
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let alternative = alternative.map(|found| found.value.general_names.as_slice());
    let others = alternative.unwrap_or_default().iter();
    let others = others.filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some((*uri).to_owned()),
        GeneralName::DNSName(name) => Some(format!("dns:{name}")),
        _ => None,
    });
    others.chain(common).take(MOST).collect()
}
