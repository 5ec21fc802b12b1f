//! Who vouches for the TPM: the EK certificate's path and its key.

use rustls_pki_types::UnixTime;

use crate::{
    claims::Endorsement,
    evidence::VtpmEvidence,
    tpm::public::Public,
    verify::{
        Collateral, Roots,
        chain::{self, ChainError, Purpose},
    },
};

/// An endorsement if the certificate chains to a root at `now`, is for EKs, and is for this very key.
pub(super) fn judge(
    evidence: &VtpmEvidence,
    ek: &Public,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Endorsement, ChainError> {
    let helpers = evidence
        .ek_chain
        .iter()
        .chain(&collateral.tpm_intermediates);
    let helpers: Vec<&[u8]> = helpers.map(Vec::as_slice).collect();
    let leaf = chain::validate(
        &evidence.ek_certificate,
        &helpers,
        &roots.tpm_ek,
        now,
        Purpose::EndorsementKey,
    )?;
    if leaf.key != ek.key {
        return Err(ChainError::OtherKey);
    }
    if !ek.attributes.is_endorsement_key() {
        return Err(ChainError::Purpose {
            subject: leaf.subject,
            problem: "the evidence's key has not the attributes of an endorsement key",
        });
    }
    Ok(Endorsement {
        subject: leaf.subject,
        issuer: leaf.issuer,
        ek_spki_sha256: hex::encode(ek.key.spki_sha256()),
    })
}
