//! `HOST:PORT` as it is written, and as an address to connect to.

use super::MAX_ENDPOINTS;
use rustls_pki_types::ServerName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where the key service may listen: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// The address, if the host is one.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip = self.host.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// The endpoints in a text that anybody may have written, parted by blanks or commas: at most 16; what is none is
    /// left out.
    #[must_use]
    pub fn list(text: &str) -> Vec<Self> {
        text.split(|c: char| c.is_whitespace() || c == ',')
            .filter_map(|word| word.parse().ok())
            .take(MAX_ENDPOINTS)
            .collect()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(v6) => v6
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| ())?
                .to_string(),
            None => ServerName::try_from(host)
                .map_err(|_| ())?
                .to_str()
                .into_owned(),
        };
        if bracketed.is_none() && host.contains(':') {
            return Err(());
        }
        let port = port.parse().ok().filter(|p| *p != 0).ok_or(())?;
        Ok(Self { host, port })
    }
}

/// An address to connect to, with the endpoint that it was found for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The address.
    pub socket: SocketAddr,
}

impl Address {
    /// The address of an endpoint that needs no search.
    #[must_use]
    pub fn literal(endpoint: &Endpoint) -> Option<Self> {
        let socket = endpoint.literal()?;
        let endpoint = endpoint.clone();
        Some(Self { endpoint, socket })
    }
}

/// The endpoint, and behind it the address of a name.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        match self.endpoint.literal() {
            Some(_) => Ok(()),
            None => write!(f, " ({})", self.socket.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_endpoints_out_of_a_text_and_no_more_than_sixteen() {
        let text = "keys.example:8443, [fd00::1]:8443\n10.0.0.1:1  nonsense :80 a:0 fd00::2:8443";
        let found: Vec<_> = Endpoint::list(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["keys.example:8443", "[fd00::1]:8443", "10.0.0.1:1"]);
        assert_eq!(Endpoint::list(&"10.0.0.1:1 ".repeat(5000)).len(), 16);
    }
}
