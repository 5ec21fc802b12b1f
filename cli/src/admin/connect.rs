//! One connection: TCP, TLS 1.3 with the pinned CA and the admin certificate, HTTP/2 over exactly that stream.

use super::watch::{Seen, Watched, tls_cause};
use crate::outcome::{Exit, Failure, chain};
use crate::profile::Profile;
use dawnkey_proto::one_shot::OneShot;
use dawnkey_proto::tls::{Clock, Pin, client_config};
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// HTTP authority of every call; TLS has already decided who is at the other end.
const ORIGIN: &str = "http://dawnkey.internal";

/// What would be right when the service refuses the operator's certificate.
const ACCEPTED_CERTIFICATE: &str =
    "certificate and key in the profile: issued by the service's admin_ca and still valid";

/// Connects within the profile's deadline. The channel never connects a second time.
pub(super) async fn channel(profile: Profile) -> Result<(Channel, Seen), Failure> {
    let deadline = profile.connect;
    let endpoint = profile.endpoint.clone();
    match tokio::time::timeout(deadline, open(profile)).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(
            Exit::Unreachable,
            format!("connect: nothing within {} s", deadline.as_secs()),
            endpoint,
            "a reachable key service, or a larger connect_seconds in the profile",
        )),
    }
}

async fn open(profile: Profile) -> Result<(Channel, Seen), Failure> {
    let Profile {
        endpoint,
        name,
        ca,
        identity,
        ..
    } = profile;
    let config = client_config(&Pin::Ca(ca), Clock::Trusted, Some(identity)).map_err(|e| {
        Failure::local(
            e,
            "the profile's ca, certificate and key",
            "the files that `dawnkey init` made together",
        )
    })?;
    let tcp = TcpStream::connect(&endpoint).await.map_err(|e| {
        Failure::new(
            Exit::Unreachable,
            format!("connect: {e}"),
            &endpoint,
            "the admin address of a running key service, as endpoint in the profile",
        )
    })?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|e| handshake_failed(&e, &endpoint))?;
    let (stream, seen) = Watched::new(tls);
    let channel = Endpoint::from_static(ORIGIN)
        .connect_with_connector(OneShot::new(stream))
        .await
        .map_err(|e| broken(&seen, "connect", &e, &endpoint))?;
    Ok((channel, seen))
}

fn handshake_failed(error: &io::Error, endpoint: &str) -> Failure {
    match tls_cause(error) {
        Some(tls) => distrust(tls, "connect", endpoint),
        None => Failure::new(
            Exit::Unreachable,
            format!("connect: the TLS handshake broke off: {error}"),
            endpoint,
            "the admin interface of a key service",
        ),
    }
}

/// Names why a connection broke after its handshake.
///
/// A service that refuses the client's certificate says so in an alert. When it closes with our bytes unread, the alert is
/// lost and only the silence before the end remains.
pub(super) fn broken(
    seen: &Seen,
    what: &str,
    cause: &(dyn Error + 'static),
    endpoint: &str,
) -> Failure {
    if let Some(tls) = seen.tls_error() {
        return distrust(&tls, what, endpoint);
    }
    let (found, right) = if seen.answered() {
        (
            "the connection broke",
            "the admin interface of a running key service",
        )
    } else {
        (
            "the service ended the connection before its first answer; most likely it does not accept the admin certificate",
            ACCEPTED_CERTIFICATE,
        )
    };
    Failure::new(
        Exit::Unreachable,
        format!("{what}: {found} ({})", chain(cause)),
        endpoint,
        right,
    )
}

/// Names the reason for which one side does not trust the other.
pub(super) fn distrust(error: &rustls::Error, what: &str, endpoint: &str) -> Failure {
    let (found, right) = reason(error);
    Failure::new(
        Exit::Unreachable,
        format!("{what}: {found} ({error})"),
        endpoint,
        right,
    )
}

fn reason(error: &rustls::Error) -> (&'static str, &'static str) {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            C::UnknownIssuer | C::BadSignature => (
                "the service's certificate is not from the profile's CA",
                "ca in the profile: the CA that issued this service's certificate",
            ),
            C::NotValidForName | C::NotValidForNameContext { .. } => (
                "the service's certificate is for another name",
                "name in the profile: a name in this service's certificate",
            ),
            C::Expired | C::ExpiredContext { .. } => (
                "the service's certificate has expired",
                "a new certificate for the service, or the right time on this machine",
            ),
            C::NotValidYet | C::NotValidYetContext { .. } => (
                "the service's certificate is not valid yet",
                "the right time on this machine",
            ),
            _ => (
                "the service's certificate is not usable",
                "a server certificate as `dawnkey init` makes it",
            ),
        },
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        )
        | rustls::Error::PeerIncompatible(_) => (
            "the service does not speak TLS 1.3 with X25519MLKEM768 or X25519",
            "a key service as endpoint, with nothing in between that ends TLS",
        ),
        rustls::Error::AlertReceived(_) => (
            "the service does not accept the admin certificate",
            ACCEPTED_CERTIFICATE,
        ),
        rustls::Error::InvalidMessage(_) => (
            "what answers does not speak TLS",
            "the admin address of a key service as endpoint",
        ),
        _ => (
            "the TLS connection failed",
            "the admin interface of a key service",
        ),
    }
}
