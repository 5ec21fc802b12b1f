//! Who vouches for an attestation key by certificate: Microsoft on Azure, Google on Compute Engine.
//!
//! A certificate says that a cloud's own service issued it for a vTPM's key. It roots trust in that cloud, not in a
//! TEE. Where a TEE's report names the key as well, the certificate adds nothing that a verdict needs; it is checked
//! all the same, for evidence that contradicts itself is refused.

use rustls_pki_types::UnixTime;

use super::{
    Collateral, Roots,
    chain::{self, ChainError, Purpose},
};
use crate::{claims::AkCertificate, tpm::public::Key};

/// What became of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AkVerdict {
    /// The certificate, if it holds.
    pub certificate: Option<AkCertificate>,
    /// Why it was not judged.
    pub problem: Option<String>,
}

/// Judges the certificate (DER, may be padded or absent) for `key`.
///
/// Without a root for attestation keys nothing can be said for it and nothing is: that is no refusal.
pub(crate) fn judge(
    certificate: &[u8],
    chain: &[Vec<u8>],
    key: &Key,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<AkVerdict, ChainError> {
    let problem = |text: &str| {
        Ok(AkVerdict {
            certificate: None,
            problem: Some(text.to_owned()),
        })
    };
    if certificate.is_empty() {
        return problem("no certificate of the attestation key came along");
    }
    if chain::Leaf::read(certificate)?.key != *key {
        return Err(ChainError::OtherAttestationKey);
    }
    if roots.tpm_ak.is_empty() {
        return problem("no root for certificates of attestation keys is configured");
    }
    let helpers = chain.iter().chain(&collateral.tpm_intermediates);
    let helpers: Vec<&[u8]> = helpers.map(Vec::as_slice).collect();
    let purpose = Purpose::AttestationKey;
    let leaf = chain::validate(certificate, &helpers, &roots.tpm_ak, now, purpose)?;
    Ok(AkVerdict {
        certificate: Some(AkCertificate {
            subject: leaf.subject,
            issuer: leaf.issuer,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            trailing_bytes: leaf.trailing_bytes,
            gce: leaf.gce,
        }),
        problem: None,
    })
}
