//! The admin profile: where the key service's admin interface is, how it is known, and who asks.

use crate::files;
use crate::outcome::Failure;
use clap::Args;
use dawnkey_proto::tls::Identity;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest deadline that a profile may ask for, in seconds.
const MAX_SECONDS: u64 = 600;

/// Which profile a command uses.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Admin profile: endpoint, certificates and key of the admin interface
    #[arg(
        long,
        global = true,
        env = "DAWNKEY_PROFILE",
        default_value = "admin.toml",
        value_name = "FILE"
    )]
    profile: PathBuf,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    endpoint: String,
    name: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    #[serde(default = "default_connect_seconds")]
    connect_seconds: u64,
    #[serde(default = "default_call_seconds")]
    call_seconds: u64,
}

fn default_connect_seconds() -> u64 {
    10
}

fn default_call_seconds() -> u64 {
    30
}

/// A profile ready for use.
pub(crate) struct Profile {
    /// `host:port` of the admin interface.
    pub(crate) endpoint: String,
    /// Name that the service's certificate must carry.
    pub(crate) name: ServerName<'static>,
    /// Certificates of the CA that the service's certificate must come from.
    pub(crate) ca: Vec<CertificateDer<'static>>,
    /// The operator's certificate and key.
    pub(crate) identity: Identity,
    /// Until when TCP and TLS must be up.
    pub(crate) connect: Duration,
    /// Until when a call must be answered.
    pub(crate) call: Duration,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl ProfileArgs {
    /// Loads the profile and everything it names. Paths in it are relative to the profile's directory.
    pub(crate) fn load(&self) -> Result<Profile, Failure> {
        load(&self.profile)
    }
}

fn load(path: &Path) -> Result<Profile, Failure> {
    let text = files::read_text(path, "the admin profile").map_err(|mut failure| {
        failure.right =
            "--profile FILE or DAWNKEY_PROFILE naming the admin.toml that `dawnkey init` made"
                .into();
        failure
    })?;
    let file: ProfileFile = toml::from_str(&text).map_err(|e| {
        Failure::local(
            format!("read the admin profile: {}", e.message()),
            path.display(),
            "endpoint, name, ca, certificate and key, as `dawnkey init` writes them",
        )
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let name = ServerName::try_from(file.name.clone()).map_err(|_| {
        bad(
            path,
            "name",
            &file.name,
            "the DNS name or IP address in the service's certificate",
        )
    })?;
    if !file
        .endpoint
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0))
    {
        return Err(bad(path, "endpoint", &file.endpoint, "host:port"));
    }
    Ok(Profile {
        ca: certificates(&base.join(&file.ca), "the CA certificate")?,
        identity: Identity {
            chain: certificates(&base.join(&file.certificate), "the admin certificate")?,
            key: private_key(&base.join(&file.key))?,
        },
        connect: deadline(path, "connect_seconds", file.connect_seconds)?,
        call: deadline(path, "call_seconds", file.call_seconds)?,
        endpoint: file.endpoint,
        name,
    })
}

fn bad(path: &Path, key: &str, found: &str, right: &str) -> Failure {
    Failure::local(
        format!("read the admin profile: {key} = {found:?}"),
        path.display(),
        right,
    )
}

fn deadline(path: &Path, key: &str, seconds: u64) -> Result<Duration, Failure> {
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let right = format!("1 to {MAX_SECONDS} seconds");
        return Err(bad(path, key, &seconds.to_string(), &right));
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads a PEM file with at least one certificate.
pub(crate) fn certificates(
    path: &Path,
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = files::read(path, what, files::MAX_TEXT)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Failure::local(
            format!("read {what}: no certificate in it"),
            path.display(),
            "one or more PEM blocks of type CERTIFICATE",
        )),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let bytes = files::read_private(path, "the admin key")?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        Failure::local(
            "read the admin key: no private key in it",
            path.display(),
            "one PEM block of type PRIVATE KEY",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Exit;

    fn refused(text: &str) -> Failure {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).unwrap_err()
    }

    const REST: &str = "ca = 'a'\ncertificate = 'b'\nkey = 'c'\n";

    #[test]
    fn refuses_unknown_and_missing_fields() {
        let missing = refused("endpoint = '127.0.0.1:1'\n");
        assert!(missing.what.contains("missing field"), "{missing}");
        let unknown = refused(&format!("endpoint='h:1'\nname='h'\npin='x'\n{REST}"));
        assert!(unknown.what.contains("unknown field `pin`"), "{unknown}");
        assert_eq!(unknown.exit, Exit::Local);
    }

    #[test]
    fn refuses_endpoints_without_host_or_port_and_deadlines_out_of_range() {
        for endpoint in ["host", ":1", "host:0", "host:70000", "host:"] {
            let failure = refused(&format!("endpoint='{endpoint}'\nname='h'\n{REST}"));
            assert_eq!(failure.right, "host:port", "{endpoint}");
        }
        let failure = refused(&format!("endpoint='h:1'\nname='_ _'\n{REST}"));
        assert!(failure.what.contains("name ="), "{failure}");
        assert!(deadline(Path::new("p"), "call_seconds", 0).is_err());
        assert!(deadline(Path::new("p"), "call_seconds", 601).is_err());
    }
}
