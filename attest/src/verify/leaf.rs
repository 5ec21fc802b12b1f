//! What an end certificate of a TPM says.

use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{self as oid, Oid},
    prelude::FromDer as _,
};

use super::{
    certificate::key_of,
    chain::ChainError,
    gce::{self, GceInstance},
    names,
};
use crate::{der, tpm::public::Key};

/// What an end certificate says. Validated only where [`super::chain::validate`] gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Subject as text (RFC 4514), may be empty.
    pub subject: String,
    /// Issuer as text (RFC 4514).
    pub issuer: String,
    /// Begin of validity, RFC 3339.
    pub not_before: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
    /// Name of the signature algorithm, or its number.
    pub signature_algorithm: String,
    /// Bytes of filler behind the certificate.
    pub trailing_bytes: usize,
    /// Google's description of the instance, where there is one.
    pub gce: Option<GceInstance>,
    /// Its key.
    pub key: Key,
}

impl Leaf {
    /// Reads a certificate (DER, may be padded) without validating anything: to show certificates that are refused.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] and [`ChainError::Key`].
    pub fn read(der: &[u8]) -> Result<Self, ChainError> {
        let (certificate, trailing_bytes) = parse_padded(der)?;
        Self::of(&certificate, trailing_bytes)
    }

    pub(super) fn of(
        certificate: &X509Certificate<'_>,
        trailing_bytes: usize,
    ) -> Result<Self, ChainError> {
        let subject = names::text(certificate.subject());
        let key = key_of(certificate).map_err(|problem| ChainError::Key {
            subject: subject.clone(),
            problem,
        })?;
        let gce = gce::of(certificate).map_err(|problem| ChainError::Malformed {
            what: "of the TPM",
            problem: problem.to_owned(),
        })?;
        let validity = certificate.validity();
        Ok(Self {
            subject,
            issuer: names::text(certificate.issuer()),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            signature_algorithm: algorithm(&certificate.signature_algorithm.algorithm),
            trailing_bytes,
            gce,
            key,
        })
    }
}

/// Parses a certificate that may have 0x00 or 0xff filler behind it; gives the number of filler bytes too.
pub(super) fn parse_padded(der: &[u8]) -> Result<(X509Certificate<'_>, usize), ChainError> {
    let what = "of the TPM";
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|e| ChainError::Malformed {
            what,
            problem: e.to_string(),
        })?;
    let filler = rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == 0xff);
    if filler {
        return Ok((certificate, rest.len()));
    }
    Err(ChainError::Malformed {
        what,
        problem: format!("{} bytes follow that are no filler", rest.len()),
    })
}

/// RFC 3339; times before 1970 show as 1970.
fn time(unix: i64) -> String {
    der::rfc3339(u64::try_from(unix).unwrap_or(0))
}

fn algorithm(id: &Oid<'_>) -> String {
    let known = [
        (oid::OID_PKCS1_SHA1WITHRSA, "sha1WithRSAEncryption"),
        (oid::OID_PKCS1_SHA256WITHRSA, "sha256WithRSAEncryption"),
        (oid::OID_PKCS1_SHA384WITHRSA, "sha384WithRSAEncryption"),
        (oid::OID_PKCS1_SHA512WITHRSA, "sha512WithRSAEncryption"),
        (oid::OID_PKCS1_RSASSAPSS, "rsassaPss"),
        (oid::OID_SIG_ECDSA_WITH_SHA256, "ecdsa-with-SHA256"),
        (oid::OID_SIG_ECDSA_WITH_SHA384, "ecdsa-with-SHA384"),
        (oid::OID_SIG_ECDSA_WITH_SHA512, "ecdsa-with-SHA512"),
    ];
    let found = known.into_iter().find(|(known, _)| known == id);
    found.map_or_else(|| id.to_id_string(), |(_, name)| name.to_owned())
}
