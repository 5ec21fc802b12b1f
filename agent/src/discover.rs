//! Where the key service may be: addresses, and nothing but addresses.
//!
//! A list, DNS and a cloud's metadata service may all name places to try. None of them is trusted: everything here
//! ends as an [`Address`], from which no [`Pin`](dawnkey_proto::tls::Pin) can be made; that comes from the measured file
//! alone ([`crate::config`]), and a wrong address is found out by it. What is read here is hostile: every answer,
//! list and name is bounded, and what exceeds its bound is left out.
//!
//! | module | |
//! |---|---|
//! | [`endpoint`] | `HOST:PORT`, and an address with what it was found by |
//! | [`message`] | DNS messages: a query, and what of an answer counts |
//! | [`resolver`] | asks DNS servers over UDP, and over TCP what does not fit |
//! | [`system`] | what the machine says about names and DNS servers |
//! | [`metadata`] | the metadata services of AWS, Azure, Google Cloud and OpenStack |
//! | [`search`] | all of them side by side, addresses in the order in which to try them |

pub mod endpoint;
pub mod message;
pub mod metadata;
pub mod resolver;
pub mod search;
pub mod system;

pub use endpoint::{Address, Endpoint};
pub use search::Search;

use message::Name;
use metadata::Metadata;
use std::net::SocketAddr;

/// Most endpoints that one source may name.
pub const MAX_ENDPOINTS: usize = 16;
/// Most addresses of one name.
pub const MAX_PER_NAME: usize = 8;
/// Most addresses of one try, whatever the sources say.
pub const MAX_ADDRESSES: usize = 32;

/// Everywhere to look. At least one of the sources is there.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// A list, in order of preference.
    pub endpoints: Vec<Endpoint>,
    /// Domain whose records `_dawnkey._tcp.DOMAIN` name the service.
    pub domain: Option<Name>,
    /// DNS servers; none: those that the machine was told.
    pub resolvers: Vec<SocketAddr>,
    /// The cloud's metadata service.
    pub metadata: Option<Metadata>,
}

impl Places {
    /// A list only.
    #[must_use]
    pub fn listed(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            ..Self::default()
        }
    }

    /// Whether there is nowhere to look.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.domain.is_none() && self.metadata.is_none()
    }
}

/// A source gave no address. Waiting may mend each of these: a network that comes up late looks the same.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// DNS has no answer.
    #[error(transparent)]
    Dns(#[from] resolver::ResolveError),
    /// The metadata service has no answer.
    #[error(transparent)]
    Metadata(#[from] metadata::MetadataError),
    /// The answers are there, and name nothing.
    #[error("find the key service: {0}")]
    Nothing(String),
}
