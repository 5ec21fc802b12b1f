//! `[service]`: where the key service may be, and how it is known.

use super::{ConfigError, Outside, read, reader::Section};
use crate::discover::metadata::{Cloud, Metadata};
use crate::discover::resolver::MAX_SERVERS;
use crate::discover::{Endpoint, MAX_ENDPOINTS, Places, message::Name, system};
use dawnkey_proto::binding::SpkiDigest;
use dawnkey_proto::tls::Pin;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the network may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// All attempts to get a verdict together; and again all attempts to confirm.
    pub budget: Duration,
    /// One connection with its handshake, and each call over it.
    pub attempt: Duration,
}

/// The key service: where it may be and how it is known.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Where to look; anybody may have a say in that.
    pub places: Places,
    /// The name in its certificate.
    pub name: ServerName<'static>,
    /// How it is known; only the measured file has a say in that.
    pub pin: Pin,
    /// How long to wait.
    pub pace: Pace,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What the other end speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Dawnkey's own: gRPC.
    Dawnkey,
    /// A Key Broker Service's: HTTP/1.1.
    #[cfg(feature = "trustee")]
    Trustee(TrusteeConfig),
}

impl Protocol {
    /// What is offered in a handshake.
    #[must_use]
    pub fn alpn(&self) -> Vec<Vec<u8>> {
        vec![match self {
            Self::Dawnkey => b"h2".to_vec(),
            #[cfg(feature = "trustee")]
            Self::Trustee(_) => b"http/1.1".to_vec(),
        }]
    }
}

/// A Key Broker Service of Trustee.
#[cfg(feature = "trustee")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrusteeConfig {
    /// Where the keys are; a volume's id is the last part.
    pub resources: dawnkey_proto::trustee::Collection,
    /// Whether a blank disk is formatted. Nobody but this file can say so: a KBS does not know what was initialised.
    pub provision: bool,
}

/// The section's values.
pub(super) fn service(
    mut section: Section<'_>,
    file: &Path,
    outside: &Outside,
) -> Result<ServiceConfig, ConfigError> {
    const SECONDS: &str = "a whole number of seconds from 1 to 86400";
    let mut places = places(&mut section)?;
    outside.add_places(&mut places);
    if places.is_empty() {
        return Err(ConfigError::NoPlace { file: file.into() });
    }
    let name = section.parsed("name", "the name in the service's certificate", |text| {
        ServerName::try_from(text.to_owned()).ok()
    })?;
    let pin = pin(&mut section, file)?;
    let protocol = protocol(&mut section)?;
    let pace = Pace {
        budget: section.seconds("budget_seconds", 60, SECONDS)?,
        attempt: section.seconds("attempt_seconds", 10, SECONDS)?,
    };
    if pace.attempt > pace.budget {
        let found = format!("{} s", pace.attempt.as_secs());
        return Err(section.invalid("attempt_seconds", &found, "no more than budget_seconds"));
    }
    section.end()?;
    Ok(ServiceConfig {
        places,
        name,
        pin,
        pace,
        protocol,
    })
}

/// What is spoken. The fields of a broker are unknown beside any other protocol.
fn protocol(section: &mut Section<'_>) -> Result<Protocol, ConfigError> {
    const BUILT: &str = if cfg!(feature = "trustee") {
        "\"dawnkey\" or \"trustee\""
    } else {
        "\"dawnkey\"; this agent was built without the feature `trustee`"
    };
    let trustee = section.optional("protocol", BUILT, |text| match text {
        "dawnkey" => Some(false),
        "trustee" => cfg!(feature = "trustee").then_some(true),
        _ => None,
    })?;
    #[cfg(feature = "trustee")]
    if trustee == Some(true) {
        let right = "REPOSITORY/TYPE, where the key of each volume has the volume's id as its tag";
        let parse = dawnkey_proto::trustee::Collection::parse;
        return Ok(Protocol::Trustee(TrusteeConfig {
            resources: section.parsed("resources", right, parse)?,
            provision: section.flag("provision", false)?,
        }));
    }
    let _ = trustee;
    Ok(Protocol::Dawnkey)
}

/// Where to look.
fn places(section: &mut Section<'_>) -> Result<Places, ConfigError> {
    const ENDPOINTS: &str = "1 to 16 texts HOST:PORT, an IPv6 address in brackets";
    const RESOLVERS: &str = "1 to 3 addresses of DNS servers, with or without a port";
    const CLOUDS: &str = "\"aws\", \"azure\", \"gcp\" or \"openstack\"";
    let endpoints = list(section, "endpoints", MAX_ENDPOINTS, ENDPOINTS, |text| {
        text.parse::<Endpoint>().ok()
    })?;
    let domain = section.optional("domain", "a DNS domain", Name::new)?;
    let resolvers = list(section, "resolvers", MAX_SERVERS, RESOLVERS, system::server)?;
    let cloud = section.optional("metadata", CLOUDS, Cloud::named)?;
    let address = section.optional("metadata_address", "ADDRESS:PORT", |text| {
        text.parse::<SocketAddr>().ok()
    })?;
    let metadata = match (cloud, address) {
        (None, Some(_)) => {
            let right = "nothing without `metadata`, which says whose service it is";
            return Err(section.invalid("metadata_address", "given", right));
        }
        (None, None) => None,
        (Some(cloud), None) => Some(Metadata::of(cloud)),
        (Some(cloud), Some(address)) => Some(Metadata { cloud, address }),
    };
    Ok(Places {
        endpoints,
        domain,
        resolvers,
        metadata,
    })
}

/// A list that may be absent, but not empty.
fn list<T>(
    section: &mut Section<'_>,
    key: &'static str,
    most: usize,
    right: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ConfigError> {
    let Some(texts) = section.optional_texts(key, right)? else {
        return Ok(Vec::new());
    };
    if texts.is_empty() || texts.len() > most {
        return Err(section.invalid(key, &format!("{} texts", texts.len()), right));
    }
    let parsed = texts
        .iter()
        .map(|text| parse(text).ok_or_else(|| section.invalid(key, text, right)));
    parsed.collect()
}

fn pin(section: &mut Section<'_>, file: &Path) -> Result<Pin, ConfigError> {
    const SPKI: &str =
        "64 hexadecimal digits, the SHA-256 of the service key's SubjectPublicKeyInfo";
    let ca = section.optional("ca_file", "a path", |text| Some(PathBuf::from(text)))?;
    let spki = section.optional("spki_sha256", SPKI, digest)?;
    match (ca, spki) {
        (None, None) => Err(ConfigError::PinMissing { file: file.into() }),
        (Some(_), Some(_)) => Err(ConfigError::PinTwice { file: file.into() }),
        (None, Some(digest)) => Ok(Pin::Spki(SpkiDigest(digest))),
        (Some(path), None) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            let found = CertificateDer::pem_slice_iter(&read(&path)?)
                .collect::<Result<Vec<_>, _>>()
                .unwrap_or_default();
            if found.is_empty() {
                let found = format!("{} without a certificate", path.display());
                let right = "a PEM file with one or more CA certificates";
                return Err(section.invalid("ca_file", &found, right));
            }
            Ok(Pin::Ca(found))
        }
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}
