//! A small HTTP client: one GET over one connection, bounded in time and size.
//!
//! TLS keeps a vendor's answer from being read or dropped at will by whoever is on the way; it is not what makes an
//! answer trusted. That is its signature, checked afterwards whatever came over whichever connection. So the client
//! also speaks TLS 1.2 (the only place that does), takes its CAs from the system's bundle, and may be pointed at a
//! mirror or a caching service (PCCS). Plain HTTP is for loopback addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a dial gives.
pub type Dialled<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes connections: over the network, or in tests to a server in memory.
pub trait Dial: Send + Sync {
    /// Connects to a server.
    fn dial<'a>(&'a self, base: &'a Base) -> Dialled<'a>;
}

/// Where a service is: scheme, host, port, and a path before all of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// Why a text is no [`Base`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not usable: {wanted}")]
pub struct BaseError {
    found: String,
    wanted: &'static str,
}

impl Base {
    /// Reads a URL of a scheme `https`, or `http` for a loopback address, without query.
    ///
    /// # Errors
    /// [`BaseError`] says what would be right.
    pub fn parse(text: &str) -> Result<Self, BaseError> {
        let refuse = |wanted| BaseError {
            found: text.chars().take(200).collect(),
            wanted,
        };
        let uri: Uri = text
            .parse()
            .map_err(|_| refuse("expected a URL like https://host[:port][/path]"))?;
        let (Some(scheme), Some(authority), None) =
            (uri.scheme_str(), uri.authority(), uri.query())
        else {
            return Err(refuse("expected a URL like https://host[:port][/path]"));
        };
        if authority.as_str().contains('@') {
            return Err(refuse("a URL without a user name"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = match scheme {
            "https" => true,
            "http" if is_loopback(&host) => false,
            "http" => return Err(refuse("plain http is for loopback addresses; use https")),
            _ => return Err(refuse("the scheme must be https")),
        };
        Ok(Self {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            host,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The host, which back-off and rates are counted for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The connection could not be made, or broke.
    #[error("connect to {base}: {problem}")]
    Connect {
        /// The server.
        base: String,
        /// What went wrong.
        problem: String,
    },
    /// The server broke the protocol, or closed early.
    #[error("GET {url}: {problem}")]
    Protocol {
        /// What was asked.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// It took too long.
    #[error("GET {url}: no whole answer within {seconds} s")]
    TimedOut {
        /// What was asked.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer is larger than any that is right.
    #[error("GET {url}: the answer has more than {most} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit.
        most: usize,
    },
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

/// The client.
#[derive(Clone)]
pub struct Client {
    dial: Arc<dyn Dial>,
    timeout: Duration,
}

impl Client {
    /// A client that makes its connections with `dial` and gives a whole exchange `timeout`.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, timeout: Duration) -> Self {
        Self { dial, timeout }
    }

    /// Asks for `path` (with query) below `base`; at most `most` bytes of body are read. Redirects are not followed.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn get(&self, base: &Base, path: &str, most: usize) -> Result<Response, HttpError> {
        let url = format!("{base}{path}");
        let exchange = self.exchange(base, path, &url, most);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::TimedOut {
                url,
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    async fn exchange(
        &self,
        base: &Base,
        path: &str,
        url: &str,
        most: usize,
    ) -> Result<Response, HttpError> {
        let protocol = |problem: String| HttpError::Protocol {
            url: url.to_owned(),
            problem,
        };
        let stream = self
            .dial
            .dial(base)
            .await
            .map_err(|error| HttpError::Connect {
                base: base.to_string(),
                problem: error.to_string(),
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| protocol(error.to_string()))?;
        let request = Request::get(format!("{}{path}", base.prefix))
            .header("host", base.authority())
            .header("user-agent", concat!("dawnkey/", env!("CARGO_PKG_VERSION")))
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| protocol(error.to_string()))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| protocol(error.to_string()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    let url = url.to_owned();
                    return HttpError::TooLarge { url, most };
                }
                protocol(error.to_string())
            })?;
            Ok(Response {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes().to_vec(),
            })
        };
        // The connection makes progress only while it is polled, and is of no use after the answer.
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(protocol(error.to_string())),
            },
        }
    }
}

/// Connections over TCP, with TLS where the scheme says so.
pub struct Network {
    tls: TlsConnector,
}

/// Why a bundle of CA certificates is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("read the CA bundle {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has no certificate.
    #[error("CA bundle {path}: {problem}")]
    Content {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Network {
    /// Connections to servers whose certificates a CA of `bundle` (PEM) issued.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn new(bundle: &Path) -> Result<Self, BundleError> {
        let path = || bundle.to_owned();
        let pem = std::fs::read(bundle).map_err(|source| BundleError::Read {
            path: path(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        // A bundle of a distribution may have a certificate that this library does not read.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if roots.is_empty() {
            let problem = "no CA certificate in PEM".to_owned();
            return Err(BundleError::Content {
                path: path(),
                problem,
            });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| BundleError::Content {
                path: path(),
                problem: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }
}

impl Dial for Network {
    fn dial<'a>(&'a self, base: &'a Base) -> Dialled<'a> {
        Box::pin(async move {
            let tcp = TcpStream::connect((base.host.as_str(), base.port)).await?;
            if !base.tls {
                // Names may resolve to anything; plain HTTP stays on this machine.
                if !tcp.peer_addr()?.ip().is_loopback() {
                    let why = "plain HTTP is for loopback addresses";
                    return Err(io::Error::other(why));
                }
                return Ok(Box::new(tcp) as Box<dyn Stream>);
            }
            let name = ServerName::try_from(base.host.clone()).map_err(io::Error::other)?;
            let tls = self.tls.connect(name, tcp).await?;
            Ok(Box::new(tls) as Box<dyn Stream>)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in [
            "https://kdsintf.amd.com",
            "https://pccs.example:8081/cache/",
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:80",
        ] {
            assert!(Base::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://kdsintf.amd.com",
            "http://10.0.0.1",
            "ftp://localhost",
            "kdsintf.amd.com",
            "https://user@host",
            "https://host/?a=b",
            "",
        ] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_base_keeps_its_path() {
        let base = Base::parse("https://pccs.example:8081/cache/").unwrap();
        assert_eq!(base.to_string(), "https://pccs.example:8081/cache");
        assert_eq!(base.host(), "pccs.example");
    }
}
