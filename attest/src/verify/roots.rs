//! What the verifier trusts, and what it is handed to find paths with.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    snp::{self, CrlRule, report::Report, vek::Vek, verify::ChainCache},
    tdx::{self, PlatformClaims, Quote, TdxCollateral, TdxRoots},
};

/// Trust anchors, by kind of evidence. The default trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Certificates (DER) of CAs whose EK certificates are trusted.
    pub tpm_ek: Vec<Vec<u8>>,
    /// Certificates (DER) of CAs whose certificates for attestation keys are trusted.
    pub tpm_ak: Vec<Vec<u8>>,
    /// AMD's roots.
    pub snp: snp::roots::Roots,
    /// Whether a revocation list of AMD's root must be at hand.
    pub snp_crl: CrlRule,
    /// Intel's root.
    pub tdx: TdxRoots,
}

/// Untrusted helpers: what evidence lacks, from the verifier's own store. Each is verified where it is used.
#[derive(Debug, Clone, Default)]
pub struct Collateral {
    /// Intermediate certificates (DER) between TPM certificates and their roots.
    pub tpm_intermediates: Vec<Vec<u8>>,
    /// VCEKs and VLEKs (DER).
    pub snp_certificates: Vec<Vec<u8>>,
    /// Revocation lists of AMD's roots (DER).
    pub snp_crls: Vec<Vec<u8>>,
    /// Intel's collateral, one per platform model.
    pub tdx: Vec<TdxCollateral>,
    /// What was verified before; shared by clones.
    pub cache: Arc<Cache>,
}

/// Signatures that were found to hold, so that they need not be checked again. Dates and revocation always are.
#[derive(Debug, Default)]
pub struct Cache {
    /// Chains of SNP endorsement keys.
    pub snp: ChainCache,
}

impl Collateral {
    /// The certificate of the chip and TCB that a report names, if there is one.
    pub(crate) fn snp_vek(&self, report: &[u8]) -> Option<&[u8]> {
        let report = Report::parse(report).ok()?;
        let fits = |der: &&Vec<u8>| {
            let Ok(certificate) = snp::certs::Certificate::parse(der) else {
                return false;
            };
            let Ok(vek) = Vek::parse(&certificate) else {
                return false;
            };
            let chip = vek.hwid.is_none() || vek.names_chip(&report.chip_id);
            chip && vek.kind.signing_key() == report.signing_key()
                && vek.certifies(&report.tcbs(vek.layout()).reported)
        };
        self.snp_certificates.iter().find(fits).map(Vec::as_slice)
    }

    /// The collateral of the platform model that a quote names, if there is one.
    pub(crate) fn tdx_for(&self, quote: &[u8]) -> Option<&TdxCollateral> {
        let quote = Quote::parse(quote).ok()?;
        let fmspc = PlatformClaims::read(&quote).ok()?.fmspc;
        self.tdx.iter().find(|one| tdx::fmspc(one) == Some(fmspc))
    }
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
