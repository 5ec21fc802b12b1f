//! Certificates for a server and its users.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// Certificates of a server and its users, in files: `ca.pem`, and for each name `NAME.pem` and `NAME.key`.
pub struct Pki {
    dir: TempDir,
}

impl Pki {
    /// A CA, the server `server`, and the users `alice` and `bob`. Keys are P-256: with RSA, PyKMIP offers no suite that
    /// rustls has.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch directory");
        let pki = Self { dir };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "CA of the test");
        let ca = CertifiedIssuer::self_signed(params, key()).expect("CA");
        fs::write(pki.file("ca.pem"), ca.pem()).expect("write the CA");
        let uses = [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("alice", ExtendedKeyUsagePurpose::ClientAuth),
            ("bob", ExtendedKeyUsagePurpose::ClientAuth),
        ];
        for (name, purpose) in uses {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages.push(purpose);
            let own = key();
            let certificate = params.signed_by(&own, &ca).expect("certificate");
            fs::write(pki.file(&format!("{name}.pem")), certificate.pem()).expect("write");
            let file = pki.file(&format!("{name}.key"));
            fs::write(&file, own.serialize_pem()).expect("write");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
        }
        pki
    }

    /// The place of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}
