//! Where a service is.

use super::RestError;
use http::Uri;
use std::fmt;
use std::net::IpAddr;

/// Scheme, host, port, and a path before all of the service's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) prefix: String,
}

impl Base {
    /// Reads a URL with the scheme `https`, or `http` for a loopback address, without user or query.
    pub(crate) fn parse(text: &str) -> Result<Self, RestError> {
        let refuse = |wanted: &str| {
            let found: String = text.chars().take(200).collect();
            Err(RestError::Configuration(format!("{found:?}: {wanted}")))
        };
        let form = "expected a URL like https://host[:port][/path]";
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse(form);
        };
        let (Some(scheme), Some(authority), None) =
            (uri.scheme_str(), uri.authority(), uri.query())
        else {
            return refuse(form);
        };
        if authority.as_str().contains('@') {
            // Not shown: what stands before the @ may be a password.
            let problem =
                "a URL must not have a user name; credentials are named in fields of their own";
            return Err(RestError::Configuration(problem.to_owned()));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = match scheme {
            "https" => true,
            "http" if is_loopback(&host) => false,
            "http" => return refuse("plain http is for loopback addresses; use https"),
            _ => return refuse("the scheme must be https"),
        };
        Ok(Self {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            host,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// As a `Host` header has it.
    pub(super) fn authority(&self) -> String {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn refuses_plain_http_to_other_machines_and_users_in_urls() {
        for good in [
            "https://vault.example:8200",
            "https://keystone.example/identity/v3/",
            "http://127.0.0.1:8200",
            "http://localhost",
            "http://[::1]:80",
        ] {
            assert!(Base::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://vault.example:8200",
            "http://10.0.0.1",
            "ftp://localhost",
            "vault.example",
            "https://user:hunter2@host",
            "https://host/?token=hunter2",
            "",
        ] {
            let refused = Base::parse(bad).unwrap_err();
            assert!(matches!(refused, RestError::Configuration(_)), "{bad}");
        }
        let refused = Base::parse("https://user:hunter2@host").unwrap_err();
        assert!(!refused.to_string().contains("hunter2"));
    }

    #[test]
    fn keeps_the_path_before_the_services_own() {
        let base = Base::parse("https://keystone.example/identity/v3/").unwrap();
        assert_eq!(base.to_string(), "https://keystone.example:443/identity/v3");
    }
}
