//! The service's TLS identity from its files.

use crate::config::{DataKeysConfig, TlsFiles};
use dawnkey_proto::binding::SpkiDigest;
use dawnkey_proto::tls::{Identity, TlsError, server_config, server_config_offering};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// The TLS identity is not usable.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than its owner may use the private key.
    #[error(
        "private key {path} has mode {mode:04o}: group and others may not have access; chmod 600 {path}. (The group may read one that belongs to root.)"
    )]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{path}: no {what} in PEM: {problem}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key do not work together, or the CA is not one.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What both listeners need.
#[derive(Debug)]
pub(super) struct Loaded {
    /// For nodes: no client certificate.
    pub unlock: Arc<ServerConfig>,
    /// For operators: a client certificate of the admin CA.
    pub admin: Arc<ServerConfig>,
    /// For callers in a cluster, where they are served.
    pub guests: Option<Arc<ServerConfig>>,
    /// Digest of the service's key.
    pub own_spki: SpkiDigest,
}

/// The identity in force: connections that are open keep the one they began with.
pub(super) struct LiveTls(RwLock<Arc<Loaded>>);

impl LiveTls {
    pub(super) fn new(loaded: Loaded) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(loaded))))
    }

    /// For a new connection.
    pub(super) fn now(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For all connections from now on.
    pub(super) fn set(&self, loaded: Loaded) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }
}

/// Reads and checks the files.
pub(super) fn load(
    files: &TlsFiles,
    data_keys: Option<&DataKeysConfig>,
) -> Result<Loaded, IdentityError> {
    let guests = data_keys.map(|data_keys| load_guests(files, data_keys));
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let admin_ca = certificates(&files.admin_ca)?;
    let own_spki = chain
        .first()
        .and_then(|leaf| SpkiDigest::of_certificate(leaf))
        .ok_or_else(|| IdentityError::Pem {
            path: files.certificate.clone(),
            what: "certificate",
            problem: "the first one does not parse".into(),
        })?;
    let admin = Identity {
        chain: chain.clone(),
        key: key.clone_key(),
    };
    Ok(Loaded {
        unlock: Arc::new(server_config(Identity { chain, key }, None)?),
        admin: Arc::new(server_config(admin, Some(&admin_ca))?),
        guests: guests.transpose()?,
        own_spki,
    })
}

/// Reads and checks the files of the listener for callers in a cluster.
fn load_guests(
    files: &TlsFiles,
    data_keys: &DataKeysConfig,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let identity = Identity {
        chain: certificates(&files.certificate)?,
        key: private_key(&files.key)?,
    };
    let config = match (&data_keys.client_ca, &data_keys.kubernetes) {
        (Some(ca), Some(_)) => server_config_offering(identity, &certificates(ca)?)?,
        (Some(ca), None) => server_config(identity, Some(&certificates(ca)?))?,
        (None, _) => server_config(identity, None)?,
    };
    Ok(Arc::new(config))
}

/// Everything that is wrong with the files, not just the first.
pub(crate) fn problems(files: &TlsFiles, data_keys: Option<&DataKeysConfig>) -> Vec<IdentityError> {
    let guest_ca = data_keys.and_then(|guests| guests.client_ca.as_ref());
    let certificates_of = [Some(&files.certificate), Some(&files.admin_ca), guest_ca];
    let mut problems: Vec<IdentityError> = certificates_of
        .into_iter()
        .flatten()
        .filter_map(|path| certificates(path).err())
        .collect();
    problems.extend(private_key(&files.key).err());
    if problems.is_empty() {
        problems.extend(load(files, data_keys).err());
    } else if let (Ok(chain), Ok(key)) = (certificates(&files.certificate), private_key(&files.key))
    {
        // These two are judged whatever else is missing.
        let pair = server_config(Identity { chain, key }, None);
        problems.extend(pair.err().map(IdentityError::from));
    }
    problems
}

/// Whether a certificate is one of now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// For longer than a month.
    Good,
    /// For so many days.
    Soon(i64),
    /// No; why.
    Not(String),
}

/// Judges the first certificate of a file by a time; `None` where there is none that can be read.
pub(crate) fn validity(path: &Path, now: jiff::Timestamp) -> Option<Validity> {
    const DAY: i64 = 24 * 60 * 60;
    let chain = certificates(path).ok()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let (begins, ends) = (leaf.validity().not_before, leaf.validity().not_after);
    let now = now.as_second();
    Some(if now < begins.timestamp() {
        Validity::Not(format!(
            "it begins at {begins}; issue one that is valid now"
        ))
    } else if now > ends.timestamp() {
        Validity::Not(format!(
            "it ended at {ends}; issue a new one of the same CA"
        ))
    } else {
        match (ends.timestamp() - now) / DAY {
            days if days < 30 => Validity::Soon(days),
            _ => Validity::Good,
        }
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = std::fs::read(path).map_err(|source| IdentityError::Read {
        path: path.to_owned(),
        source,
    })?;
    let bad = |problem: String| IdentityError::Pem {
        path: path.to_owned(),
        what: "certificate",
        problem,
    };
    let all = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(e.to_string()))?;
    if all.is_empty() {
        return Err(bad("there is none".into()));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let read = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    let mode = metadata.mode() & 0o7777;
    // Root's file with a group to read it is how Debian's `ssl-cert` and the secrets of a Kubernetes pod are laid out.
    let strangers = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if mode & strangers != 0 {
        return Err(IdentityError::KeyMode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut pem = Zeroizing::new(Vec::new());
    file.read_to_end(&mut pem).map_err(read)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| IdentityError::Pem {
        path: path.to_owned(),
        what: "private key",
        problem: e.to_string(),
    })
}
