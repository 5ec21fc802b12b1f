//! Whom to trust: root certificates, and intermediates that help when evidence brings none.
//!
//! Roots are always an argument of verification. [`Roots::amd`] gives AMD's own, which are compiled in from
//! `roots/amd/`; test roots exist only in tests, and nothing turns one kind into the other.

use sha2::{Digest, Sha256};

use super::certs::Certificate;
use super::error::{Role, SnpError};

/// AMD's roots and intermediates, as published. `roots/amd/README.md` gives their SHA-256 and where they are from.
const AMD_ROOTS: [&[u8]; 3] = [
    include_bytes!("../../roots/amd/milan_ark.der"),
    include_bytes!("../../roots/amd/genoa_ark.der"),
    include_bytes!("../../roots/amd/turin_ark.der"),
];
const AMD_INTERMEDIATES: [&[u8]; 6] = [
    include_bytes!("../../roots/amd/milan_ask.der"),
    include_bytes!("../../roots/amd/milan_asvk.der"),
    include_bytes!("../../roots/amd/genoa_ask.der"),
    include_bytes!("../../roots/amd/genoa_asvk.der"),
    include_bytes!("../../roots/amd/turin_ask.der"),
    include_bytes!("../../roots/amd/turin_asvk.der"),
];

/// Trusted roots. Intermediates are not trusted by being here: the root's signature is checked all the same.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    fingerprint: [u8; 32],
}

impl Roots {
    /// Trusts the given root certificates, DER.
    ///
    /// # Errors
    /// [`SnpError::Certificate`] for bytes that are no certificate.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, SnpError> {
        let roots = parse_all(roots, Role::Ark)?;
        Ok(Self {
            roots,
            ..Self::default()
        }
        .fingerprinted())
    }

    /// AMD's roots for Milan, Genoa (with Bergamo and Siena) and Turin, with their ASKs and ASVKs.
    ///
    /// # Errors
    /// None in a build whose tests passed: the certificates are compiled in.
    pub fn amd() -> Result<Self, SnpError> {
        Self::new(AMD_ROOTS)?.with_intermediates(AMD_INTERMEDIATES)
    }

    /// Adds intermediates that are used when evidence brings none.
    ///
    /// # Errors
    /// [`SnpError::Certificate`] for bytes that are no certificate.
    pub fn with_intermediates<'a>(
        mut self,
        intermediates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, SnpError> {
        self.intermediates
            .extend(parse_all(intermediates, Role::Ask)?);
        Ok(self.fingerprinted())
    }

    /// Without any built-in intermediates: evidence must bring the whole chain.
    #[must_use]
    pub fn without_intermediates(mut self) -> Self {
        self.intermediates.clear();
        self.fingerprinted()
    }

    /// The trusted roots.
    #[must_use]
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// The intermediates at hand.
    #[must_use]
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// Hash over all certificates here, for keys of caches.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    fn fingerprinted(mut self) -> Self {
        let mut hash = Sha256::new();
        for list in [&self.roots, &self.intermediates] {
            hash.update((list.len() as u64).to_le_bytes());
            list.iter()
                .for_each(|certificate| hash.update(Sha256::digest(certificate.der())));
        }
        self.fingerprint = hash.finalize().into();
        self
    }

    /// The root with these very bytes.
    pub(super) fn exactly(&self, der: &[u8]) -> Option<&Certificate> {
        self.roots.iter().find(|root| root.der() == der)
    }
}

fn parse_all<'a>(
    ders: impl IntoIterator<Item = &'a [u8]>,
    role: Role,
) -> Result<Vec<Certificate>, SnpError> {
    ders.into_iter()
        .map(|der| Certificate::parse(der).map_err(|source| SnpError::Certificate { role, source }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::pss;
    use super::*;
    use crate::der::Signed;

    #[test]
    fn built_in_roots_sign_themselves_and_their_intermediates() {
        let amd = Roots::amd().unwrap();
        assert_eq!(amd.roots().len(), 3);
        for root in amd.roots() {
            let signed = Signed::parse(root.der()).unwrap();
            pss::verify(root.rsa_key().unwrap(), signed.tbs.whole, signed.signature).unwrap();
            assert!(root.common_name().unwrap().starts_with("ARK-"));
        }
        assert_eq!(amd.intermediates().len(), 6);
        for ask in amd.intermediates() {
            let root = amd
                .roots()
                .iter()
                .find(|root| root.subject == ask.issuer)
                .unwrap();
            let signed = Signed::parse(ask.der()).unwrap();
            assert!(ask.may_sign_certificates() && pss::is_amd_algorithm(signed.algorithm));
            pss::verify(root.rsa_key().unwrap(), signed.tbs.whole, signed.signature).unwrap();
        }
    }
}
