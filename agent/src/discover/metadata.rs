//! The metadata services of clouds, for addresses only: who can write a tag of the machine can name a place to try.
//!
//! Sources: AWS "Use IMDSv2", "Access tags in instance metadata"; Azure "Instance Metadata Service" (tagsList, userData);
//! Google Cloud "About VM metadata"; OpenStack Nova "Metadata service". All answer by plain HTTP on a link-local address.

mod answers;
mod http;

use super::Endpoint;
use dawnkey_attest::collect::imds::{ADDRESS, ImdsError};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub use answers::KEY;

/// Most time for all requests of one try.
const BUDGET: Duration = Duration::from_secs(5);

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Instance tag, then user data, with a token (IMDSv2).
    Aws,
    /// Tag, then user data.
    Azure,
    /// Attribute of the instance, then of the project.
    Gcp,
    /// Property of the server, then user data.
    OpenStack,
}

impl Cloud {
    /// By its name in the configuration.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Aws, Self::Azure, Self::Gcp, Self::OpenStack];
        all.into_iter().find(|cloud| cloud.name() == name)
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::OpenStack => "openstack",
        }
    }

    /// What is looked at, for people.
    const fn looks_at(self) -> &'static str {
        match self {
            Self::Aws => "instance tag (tags in metadata must be on), user data",
            Self::Azure => "tag, user data",
            Self::Gcp => "attribute of the instance, attribute of the project",
            Self::OpenStack => "property of the server, user data",
        }
    }
}

/// A metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Whose.
    pub cloud: Cloud,
    /// Where.
    pub address: SocketAddr,
}

/// Why a metadata service named no address.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// No connection, or it broke.
    #[error("ask the metadata service at {address} for {path}: {source}")]
    Transport {
        /// Where.
        address: SocketAddr,
        /// What was asked for.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No complete answer in time.
    #[error("the metadata service at {address} gave no complete answer within {} ms", waited.as_millis())]
    TimedOut {
        /// Where.
        address: SocketAddr,
        /// How long.
        waited: Duration,
    },
    /// A refusal, or no answer that makes sense.
    #[error(transparent)]
    Answer(#[from] ImdsError),
    /// The token of AWS's service could not stand in a request.
    #[error("the metadata service at {address} gave a token that is none")]
    Token {
        /// Where.
        address: SocketAddr,
    },
    /// It names no endpoint.
    #[error(
        "the metadata service at {address} has no `{KEY}` that names an endpoint HOST:PORT; looked at: {looked_at}"
    )]
    Nothing {
        /// Where.
        address: SocketAddr,
        /// Where there.
        looked_at: &'static str,
    },
}

impl Metadata {
    /// The service of a cloud where it is in every machine.
    #[must_use]
    pub const fn of(cloud: Cloud) -> Self {
        Self {
            cloud,
            address: ADDRESS,
        }
    }

    /// The endpoints it names, 1 to 16.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn endpoints(&self, deadline: Instant) -> Result<Vec<Endpoint>, MetadataError> {
        let began = Instant::now();
        let deadline = deadline.min(began + BUDGET);
        let address = self.address;
        let asked = timeout_at(deadline, self.ask()).await;
        let found = asked.map_err(|_| MetadataError::TimedOut {
            address,
            waited: began.elapsed(),
        })??;
        if found.is_empty() {
            let looked_at = self.cloud.looks_at();
            return Err(MetadataError::Nothing { address, looked_at });
        }
        Ok(found)
    }

    async fn ask(&self) -> Result<Vec<Endpoint>, MetadataError> {
        let token;
        let headers: &[(&str, &str)] = match self.cloud {
            Cloud::Aws => {
                token = self.token().await?;
                &[("X-aws-ec2-metadata-token", &token)]
            }
            Cloud::Azure => &[("Metadata", "true")],
            Cloud::Gcp => &[("Metadata-Flavor", "Google")],
            Cloud::OpenStack => &[],
        };
        for place in answers::places(self.cloud) {
            let request = http::Request {
                method: "GET",
                path: place.path,
                headers,
            };
            let found = match http::exchange(self.address, &request).await {
                Ok(body) => (place.read)(&body),
                // It has nothing there.
                Err(MetadataError::Answer(ImdsError::Status { status: 404, .. })) => Vec::new(),
                Err(error) => return Err(error),
            };
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// AWS: a token for the requests that follow.
    async fn token(&self) -> Result<String, MetadataError> {
        let request = http::Request {
            method: "PUT",
            path: "/latest/api/token",
            headers: &[("X-aws-ec2-metadata-token-ttl-seconds", "60")],
        };
        let address = self.address;
        let body = http::exchange(address, &request).await?;
        let text = std::str::from_utf8(body.trim_ascii()).unwrap_or_default();
        let good = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| text.to_owned())
            .ok_or(MetadataError::Token { address })
    }
}
