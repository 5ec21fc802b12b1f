//! What the verifier trusts, and what it is handed to find paths with.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// Trust anchors, by kind of evidence.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Certificates (DER) of CAs whose EK certificates are trusted.
    pub tpm_ek: Vec<Vec<u8>>,
}

/// Untrusted helpers of path building. Later kinds add revocation lists and platform collateral here.
#[derive(Debug, Clone, Default)]
pub struct Collateral {
    /// Intermediate certificates (DER) between EK certificates and their roots.
    pub tpm_ek_intermediates: Vec<Vec<u8>>,
}

/// Why a file holds no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("roots are not PEM certificates: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// PEM without a certificate.
    #[error("no CERTIFICATE block was found where a root was expected")]
    Empty,
    /// A block that is not an X.509 certificate.
    #[error("certificate {number} of the file is not X.509: {problem}")]
    Certificate {
        /// Its place in the file, from 1.
        number: usize,
        /// What the parser says.
        problem: String,
    },
}

/// The certificates of a PEM text, each checked to be X.509.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, RootsError> {
    let mut out = Vec::new();
    for (index, block) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = block.map_err(RootsError::Pem)?;
        if let Err(error) = x509_parser::parse_x509_certificate(&der) {
            return Err(RootsError::Certificate {
                number: index + 1,
                problem: error.to_string(),
            });
        }
        out.push(der.to_vec());
    }
    if out.is_empty() {
        return Err(RootsError::Empty);
    }
    Ok(out)
}

impl Roots {
    /// Adds the certificates of a PEM text to the trusted EK roots; returns how many.
    pub fn add_tpm_ek_pem(&mut self, pem: &[u8]) -> Result<usize, RootsError> {
        let certificates = certificates_from_pem(pem)?;
        let count = certificates.len();
        self.tpm_ek.extend(certificates);
        Ok(count)
    }
}
