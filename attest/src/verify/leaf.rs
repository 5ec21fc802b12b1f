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
use crate::{
    der::{self, Signed, tag},
    tpm::public::Key,
};

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
    let (rest, certificate) = parse_first(der, what)?;
    let filler = rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == 0xff);
    if filler {
        return Ok((certificate, rest.len()));
    }
    Err(ChainError::Malformed {
        what,
        problem: format!("{} bytes follow that are no filler", rest.len()),
    })
}

/// Parses the certificate at the begin of `der`; gives what follows too.
///
/// The parser reads headers more kindly than DER allows. What is outside of the signed part has one form only: outer
/// headers by DER, and the outer algorithm byte for byte as the inner one (RFC 5280, 4.1.1.2).
pub(super) fn parse_first<'a>(
    der: &'a [u8],
    what: &'static str,
) -> Result<(&'a [u8], X509Certificate<'a>), ChainError> {
    let malformed = |problem: String| ChainError::Malformed { what, problem };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let own = der.get(..der.len() - rest.len()).unwrap_or_default();
    let signed = Signed::parse(own);
    let signed = signed.ok_or_else(|| malformed("its outer structure is not DER".to_owned()))?;
    if inner_algorithm(&signed) != Some(signed.algorithm) {
        let problem = "the signature algorithms inside and outside differ";
        return Err(malformed(problem.to_owned()));
    }
    Ok((rest, certificate))
}

/// The AlgorithmIdentifier in the signed part, behind version and serial number.
fn inner_algorithm<'a>(signed: &Signed<'a>) -> Option<&'a [u8]> {
    let mut fields = der::Reader::new(signed.tbs.content);
    fields.optional(tag::CONTEXT_0);
    fields.expect(tag::INTEGER)?;
    Some(fields.expect(tag::SEQUENCE)?.whole)
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
