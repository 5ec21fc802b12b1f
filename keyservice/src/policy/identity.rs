//! Who a node is, and which of its boots this is, by the kind of its evidence.
//!
//! | kind | the instance is | known by |
//! |---|---|---|
//! | `vtpm` | the TPM's endorsement key | its maker's certificate and a challenge, once; then the enrolled attestation key |
//! | `vtpm`, with a certificate for the attestation key | that key | the cloud's certificate |
//! | `azure` | the vTPM's attestation key | the TEE report that vouches for it |
//! | `snp` | the chip | the endorsement key's certificate, or the report under a provider's key |
//! | `tdx` | the platform (PPID) | the PCK certificate |
//!
//! An instance id of a TPM's endorsement key is the SHA-256 of that key; all others are hashed with their kind, so that
//! no two kinds share an id.

use super::admit::{Denial, denial};
use super::{Enrol, Owner, Policy};
use crate::volume::{Digest32, InstanceId, InstanceRecord, VolumeRecord};
use dawnkey_attest::claims::{Claims, Endorsement, TpmClaims};
use dawnkey_attest::snp::claims::SnpClaims;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_proto::message::Reason;
use sha2::{Digest, Sha256};

/// Begin of what is hashed to an instance id.
const INSTANCE: &[u8] = b"dawnkey/v1/instance/";

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Its attestation key was enrolled for this instance, which a certificate with this subject vouched for then.
    Enrolled(InstanceId, String),
    /// Its attestation key is new; it says that it lives in this endorsed TPM and has to prove it.
    Claimed(InstanceId, Endorsement),
    /// Its attestation key is new, and a trusted certificate with this subject is for that very key.
    Certified(InstanceId, String),
    /// A TEE's vendor vouches for it in the evidence itself; nothing is enrolled.
    Attested(InstanceId),
}

impl Identity {
    /// The instance.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        match self {
            Self::Enrolled(instance, _)
            | Self::Claimed(instance, _)
            | Self::Certified(instance, _)
            | Self::Attested(instance) => *instance,
        }
    }

    /// Who claims say that the machine is, whoever may believe it; `None` where they name nobody.
    pub(super) fn shown(claims: &Claims) -> Option<Self> {
        if let Some(instance) = instance_of(claims) {
            return Some(Self::Attested(instance));
        }
        let tpm = claims.tpm.as_ref().filter(|_| claims.azure.is_none())?;
        if let Some(endorsement) = &tpm.endorsement {
            let instance = endorsed(endorsement).ok()?;
            return Some(Self::Claimed(instance, endorsement.clone()));
        }
        let certificate = tpm.attestation_key_certificate.as_ref()?;
        Some(Self::Certified(
            certified(tpm).ok()?,
            certificate.subject.clone(),
        ))
    }

    /// Whether the node has to answer a challenge before it can have a key.
    #[must_use]
    pub fn needs_proof(&self) -> bool {
        matches!(self, Self::Claimed(..))
    }

    /// Whom the enrolment record will name as the one who vouched; `None` where nothing is enrolled.
    #[must_use]
    pub fn vouched_by(&self) -> Option<&str> {
        match self {
            Self::Claimed(_, endorsement) => Some(&endorsement.subject),
            Self::Certified(_, subject) => Some(subject),
            Self::Enrolled(..) | Self::Attested(_) => None,
        }
    }

    /// Subject of the certificate that vouches for the node, or did when it was enrolled.
    #[must_use]
    pub fn endorser(&self) -> Option<&str> {
        match self {
            Self::Enrolled(_, subject) => Some(subject),
            other => other.vouched_by(),
        }
    }
}

/// Name of the key that signed a TPM's evidence: what enrolment is remembered by. Keys of TEEs are not enrolled.
pub(crate) fn key_name(claims: &Claims) -> Option<&str> {
    let tpm = claims.tpm.as_ref().filter(|_| claims.azure.is_none())?;
    (!tpm.attestation_key_name.is_empty()).then_some(tpm.attestation_key_name.as_str())
}

/// What tells one launch of a guest from the next: a bare SNP guest's report id. Others have registers for that.
pub(crate) fn boot_id(claims: &Claims) -> Option<Digest32> {
    let snp = claims.snp.as_ref().filter(|_| claims.azure.is_none())?;
    Some(Digest32(snp.report.report_id.0))
}

/// The instance that evidence of a TEE names; `None` for a TPM's, and where the host hides the chip.
#[must_use]
pub fn instance_of(claims: &Claims) -> Option<InstanceId> {
    if claims.azure.is_some() {
        let key = &claims.tpm.as_ref()?.attestation_key_spki_sha256;
        return Some(hashed("azure-vtpm", &hex::decode(key).ok()?));
    }
    if let Some(snp) = &claims.snp {
        return Some(hashed("snp-chip", &chip(snp)?));
    }
    let tdx = claims.tdx.as_ref()?;
    Some(hashed("tdx-platform", &tdx.platform.ppid.0))
}

/// The chip, 64 bytes: certified under a VCEK; under a VLEK as the firmware reports it, unless the host masks it.
fn chip(snp: &SnpClaims) -> Option<Vec<u8>> {
    if let (VekKind::Vcek, Some(hwid)) = (snp.vek.kind, &snp.vek.hwid) {
        let mut id = hex::decode(hwid).ok()?;
        // Certificates of Turin have the eight bytes that the report fills up with zeros.
        id.resize(64, 0);
        return Some(id);
    }
    let reported = &snp.report.chip_id;
    (!reported.is_zero()).then(|| reported.0.to_vec())
}

/// An instance for one launch only: where the chip is hidden and any instance may own the volume.
fn launch(claims: &Claims) -> Option<InstanceId> {
    boot_id(claims).map(|id| hashed("snp-launch", &id.0))
}

/// The instance of a chip, a platform or an attestation key, by the kind of what names it.
pub(super) fn hashed(kind: &str, value: &[u8]) -> InstanceId {
    let mut hash = Sha256::new();
    hash.update(INSTANCE);
    hash.update(kind);
    hash.update([0]);
    hash.update(value);
    Digest32(hash.finalize().into())
}

impl Policy {
    /// Finds out who the node is: by what a TEE's vendor certified, by its enrolment, or by an endorsement that
    /// policy trusts for enrolling.
    pub fn identify(
        &self,
        volume: &VolumeRecord,
        claims: &Claims,
        enrolment: Option<&InstanceRecord>,
    ) -> Result<Identity, Denial> {
        if claims.snp.is_some() || claims.tdx.is_some() {
            return self.attested(volume, claims);
        }
        let Some(tpm) = &claims.tpm else {
            let detail = format!("evidence of kind {} names no instance", claims.kind);
            let rule = format!("volume-policy.{}", volume.policy);
            return Err(denial(rule, Reason::EvidenceKindNotAllowed, detail, ""));
        };
        match enrolment {
            Some(known) => enrolled(tpm, known),
            None => self.newcomer(volume, tpm),
        }
    }

    fn attested(&self, volume: &VolumeRecord, claims: &Claims) -> Result<Identity, Denial> {
        let owner = self.rules(volume)?.owner;
        let instance = match owner {
            Owner::Instance => instance_of(claims),
            Owner::Any => instance_of(claims).or_else(|| launch(claims)),
        };
        instance.map(Identity::Attested).ok_or_else(|| {
            denial(
                format!("volume-policy.{}.owner", volume.policy),
                Reason::InstanceNotAllowed,
                "the volume belongs to one instance, but the report names no chip",
                "set owner = \"any\" in its volume policy, or run the node where chip ids are not masked",
            )
        })
    }

    fn newcomer(&self, volume: &VolumeRecord, tpm: &TpmClaims) -> Result<Identity, Denial> {
        let key = &tpm.attestation_key_name;
        let rule = format!("volume-policy.{}.enrol", volume.policy);
        if self.rules(volume)?.enrol == Enrol::Never {
            let detail = format!("attestation key {key} is not enrolled, and policy enrols none");
            let remedy = "set enrol = \"endorsed\" in its volume policy to enrol the machine";
            return Err(denial(rule, Reason::KeyNotEnrolled, detail, remedy));
        }
        if let Some(endorsement) = &tpm.endorsement {
            let instance = endorsed(endorsement)?;
            return Ok(Identity::Claimed(instance, endorsement.clone()));
        }
        if let Some(certificate) = &tpm.attestation_key_certificate {
            let subject = certificate.subject.clone();
            return Ok(Identity::Certified(certified(tpm)?, subject));
        }
        let problem = tpm.endorsement_problem.as_deref();
        let problem = problem.unwrap_or("it shows no endorsement certificate");
        let mut detail = format!(
            "attestation key {key} is not enrolled, and its TPM is not endorsed: {problem}"
        );
        if let Some(problem) = &tpm.attestation_key_problem {
            detail.push_str(&format!("; its own certificate: {problem}"));
        }
        let remedy = "add the CA of the TPM's endorsement certificate to roots.tpm_ek, or that of the key's to roots.tpm_ak";
        Err(denial(
            "roots.tpm_ek",
            Reason::EndorsementUntrusted,
            detail,
            remedy,
        ))
    }
}

/// A known key; a certificate beside it must not speak of another instance.
fn enrolled(tpm: &TpmClaims, known: &InstanceRecord) -> Result<Identity, Denial> {
    let shown = match &tpm.endorsement {
        Some(endorsement) => Some(endorsed(endorsement)?),
        None => None,
    };
    match shown {
        Some(other) if other != known.instance => Err(denial(
            "roots.tpm_ek",
            Reason::EndorsementUntrusted,
            format!(
                "attestation key {} was enrolled for instance {}, the endorsement certificate is of instance {other}",
                known.key_name, known.instance
            ),
            "let the node show the certificate of its own TPM",
        )),
        _ => Ok(Identity::Enrolled(
            known.instance,
            known.endorsement.clone(),
        )),
    }
}

fn endorsed(endorsement: &Endorsement) -> Result<InstanceId, Denial> {
    endorsement.ek_spki_sha256.parse().map_err(|e| {
        let detail = format!("identity of the endorsement key: {e}");
        denial("roots.tpm_ek", Reason::Internal, detail, "")
    })
}

fn certified(tpm: &TpmClaims) -> Result<InstanceId, Denial> {
    let key = hex::decode(&tpm.attestation_key_spki_sha256).map_err(|e| {
        let detail = format!("identity of the attestation key: {e}");
        denial("roots.tpm_ak", Reason::Internal, detail, "")
    })?;
    Ok(hashed("tpm-ak", &key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{snp_claims, tdx_claims};
    use super::*;

    #[test]
    fn the_instance_of_a_masked_chip_is_the_certified_one() {
        let open = snp_claims();
        let mut masked = open.clone();
        masked.snp.as_mut().unwrap().report.chip_id.0 = [0; 64];
        assert_eq!(instance_of(&masked), instance_of(&open));
        masked.snp.as_mut().unwrap().vek.kind = VekKind::Vlek;
        masked.snp.as_mut().unwrap().vek.hwid = None;
        assert_eq!(instance_of(&masked), None);
    }

    #[test]
    fn kinds_of_evidence_share_no_instance() {
        let same = [7; 16];
        assert_ne!(hashed("snp-chip", &same), hashed("tdx-platform", &same));
    }

    #[test]
    fn only_a_bare_snp_guest_is_known_by_its_launch() {
        assert_eq!(boot_id(&snp_claims()), Some(Digest32([0x1d; 32])));
        assert_eq!(boot_id(&tdx_claims()), None);
        assert_eq!(key_name(&snp_claims()), None);
    }
}
