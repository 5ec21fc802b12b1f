//! Where a KMS is spoken to: over TLS, in clear text to loopback only.

use http::Uri;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Scheme, host and port of a KMS, `https://kms.eu-central-1.amazonaws.com`. Plain `http` is for servers on the same host
/// (`http://127.0.0.1:4566`), since DEKs travel there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has a path, a query, user information, or no host.
    #[error("an endpoint is `https://host` or `https://host:port` with nothing after it")]
    Form,
    /// It goes over the network in clear text.
    #[error("an endpoint must be `https`; `http` is for a server on this host's loopback address")]
    ClearText,
}

impl Endpoint {
    /// As it was written, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        match rest.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => rest,
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        let bare = text.strip_suffix('/').unwrap_or(&text);
        let uri: Uri = bare.parse().map_err(|_| EndpointError::Form)?;
        let authority = uri.authority().ok_or(EndpointError::Form)?;
        let whole = matches!(uri.path(), "" | "/") && uri.query().is_none() && !bare.ends_with('/');
        if !whole || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EndpointError::Form);
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(authority.host()) => {}
            Some("http") => return Err(EndpointError::ClearText),
            _ => return Err(EndpointError::Form),
        }
        Ok(Self(bare.to_owned()))
    }
}

/// Addresses only: where a name leads is for the resolver to say.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Endpoint, EndpointError> {
        text.to_owned().try_into()
    }

    #[test]
    fn takes_tls_anywhere_and_clear_text_on_loopback() {
        for (text, host) in [
            (
                "https://kms.eu-central-1.amazonaws.com",
                "kms.eu-central-1.amazonaws.com",
            ),
            ("https://vault.example:8443/", "vault.example"),
            ("http://127.0.0.1:4566", "127.0.0.1"),
            ("http://[::1]:4566", "[::1]"),
        ] {
            assert_eq!(read(text).unwrap().host(), host);
        }
    }

    #[test]
    fn refuses_clear_text_over_the_network() {
        for text in [
            "http://kms.example",
            "http://10.0.0.1:80",
            "http://localhost.example",
            "http://localhost",
        ] {
            assert_eq!(read(text), Err(EndpointError::ClearText), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_more_than_an_endpoint() {
        for text in [
            "",
            "kms.example",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a//",
            "https://u:p@a",
            "ftp://a",
        ] {
            assert_eq!(read(text), Err(EndpointError::Form), "{text}");
        }
    }
}
