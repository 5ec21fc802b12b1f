//! The operator's CA with a certificate for the service and one for the operator.

use dawnkey_proto::tls::Identity;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The name in the service's certificate.
pub const NAME: &str = "keyservice.test";

#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn write(&self, dir: &Path, name: &str) {
        let key = dir.join(format!("{name}.key"));
        std::fs::write(dir.join(format!("{name}.pem")), &self.certificate).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn identity(&self) -> Identity {
        Identity {
            chain: vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()],
            key: PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap(),
        }
    }
}

/// All of them.
#[derive(Clone)]
pub struct Pki {
    ca: String,
    server: Pair,
    admin: Pair,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// New keys.
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        let pair = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.into()]).unwrap();
            Pair {
                certificate: params.signed_by(&key, &issuer).unwrap().pem(),
                key: key.serialize_pem(),
            }
        };
        Self {
            ca,
            server: pair(NAME),
            admin: pair("operator.test"),
        }
    }

    /// Writes what the service reads.
    pub fn write(&self, dir: &Path) {
        std::fs::write(dir.join("ca.pem"), &self.ca).unwrap();
        self.server.write(dir, "server");
    }

    /// Writes what the operator reads.
    pub fn write_admin(&self, dir: &Path) {
        self.admin.write(dir, "admin");
    }

    /// The CA that nodes pin.
    pub fn ca(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()
    }

    /// The service's identity.
    pub fn server(&self) -> Identity {
        self.server.identity()
    }

    /// The operator's identity.
    pub fn admin(&self) -> Identity {
        self.admin.identity()
    }
}
