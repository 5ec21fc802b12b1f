//! Certificates of TPM keys judged alone.

use rustls_pki_types::UnixTime;

use super::{claims::CertificateClaims, error::PartError};
use crate::{
    part::CertificatePart,
    verify::{
        Collateral, Roots,
        chain::{self, Leaf, Purpose},
    },
};

/// With a chain, the path must lead to a root for endorsement or attestation keys; without, reading is all.
pub(super) fn verify(
    part: &CertificatePart,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<CertificateClaims, PartError> {
    let Some(chain) = &part.chain else {
        return read(part);
    };
    let helpers = chain.iter().chain(&collateral.tpm_intermediates);
    let helpers: Vec<&[u8]> = helpers.map(Vec::as_slice).collect();
    let trusted = [roots.tpm_ek.as_slice(), &roots.tpm_ak].concat();
    let leaf = chain::validate(&part.certificate, &helpers, &trusted, now, Purpose::Any)?;
    Ok(claims(leaf, true))
}

pub(super) fn read(part: &CertificatePart) -> Result<CertificateClaims, PartError> {
    Ok(claims(Leaf::read(&part.certificate)?, false))
}

fn claims(leaf: Leaf, path_held: bool) -> CertificateClaims {
    CertificateClaims {
        subject: leaf.subject,
        issuer: leaf.issuer,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        signature_algorithm: leaf.signature_algorithm,
        trailing_bytes: leaf.trailing_bytes,
        gce: leaf.gce,
        spki_sha256: hex::encode(leaf.key.spki_sha256()),
        path_held,
    }
}
